"""What the SDK's events look like as attributes, and what it refuses to send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tidegauge.clock import epoch_ns
from tidegauge.errors import InvalidRecord

PREDICTION = "tidegauge.prediction"
LABEL = "tidegauge.label"
PREDICTION_ERROR = "tidegauge.prediction.error"
FEEDBACK = "tidegauge.feedback"
OUTCOME = "tidegauge.outcome"

FEATURE = "tidegauge.feature."
CATEGORY = "tidegauge.category."
FEEDBACK_RANGE = {"thumbs": (-1.0, 1.0), "csat": (1.0, 5.0), "correction": (-math.inf, math.inf)}

Attributes = dict[str, Any]


def context(
    tenant: str = "",
    intent: str = "",
    session: str = "",
    role: str = "",
    slices: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Attributes:
    """The attributes that say whose record it is, and of which version; empty ones are left out."""
    if not (tenant or intent or session or role or slices or versions):
        return {}
    named = {"tidegauge.tenant": tenant, "tidegauge.intent": intent, "session.id": session, "tidegauge.role": role}
    named |= {f"tidegauge.slice.{key}": text(value) for key, value in (slices or {}).items()}
    named |= {f"tidegauge.version.{key}": text(value) for key, value in (versions or {}).items()}
    return {key: text(value) for key, value in named.items() if value}


def prediction(
    name: str, prediction_id: str, features: Mapping[str, Any], value: Any, score: float | None, version: str
) -> Attributes:
    """The attributes of one prediction of the model ``name``.

    Raises:
        InvalidRecord: no model name, or a feature that is neither a number, text, a bool nor None.
    """
    attributes = model(name, version)
    attributes["tidegauge.prediction.id"], attributes["tidegauge.prediction.value"] = text(prediction_id), text(value)
    if score is not None and not math.isnan(score):
        attributes["tidegauge.prediction.score"] = float(score)
    for each, sent in features.items():
        if type(sent) is float:
            attributes[f"{FEATURE}{each}"] = sent
        elif type(sent) is str:
            attributes[f"{CATEGORY}{each}"] = sent
        else:
            attributes.update(feature(each, sent))
    return attributes


def model(name: str, version: str = "") -> Attributes:
    """The attributes that name a model. Raises InvalidRecord when the name is empty."""
    if not name:
        raise InvalidRecord("model is empty; give the name that its predictions are watched under")
    return {"tidegauge.model.name": clean(name)} | model_version(version)


def model_version(version: str) -> Attributes:
    """The attribute that names a model's version; none for an empty one."""
    return {"tidegauge.model.version": clean(version)} if version else {}


def feature(name: str, value: Any) -> Attributes:
    """One feature as an attribute; None as no attribute, which counts as missing of either kind."""
    plain = value.item() if hasattr(value, "item") else value
    if plain is None:
        return {}
    if isinstance(plain, bool | str):
        return {f"{CATEGORY}{name}": text(plain)}
    if isinstance(plain, int | float):
        return {f"{FEATURE}{name}": float(plain)}
    raise InvalidRecord(
        f"log_prediction: feature {name!r} is a {type(value).__name__}; send a number, text, a bool or None"
    )


def prediction_error(name: str, version: str, error_type: str) -> Attributes:
    """The attributes of a prediction that ended in an exception, whose text is not sent."""
    return model(name, version) | {"error.type": error_type}


def label(name: str, prediction_id: str, value: Any) -> Attributes:
    """The attributes of a ground truth. Raises InvalidRecord without a model or a prediction id."""
    if not prediction_id:
        raise InvalidRecord("log_label: needs the prediction_id that log_prediction returned")
    return model(name) | {"tidegauge.prediction.id": text(prediction_id), "tidegauge.label.value": text(value)}


def outcome(name: str, value: float, prediction_id: str) -> Attributes:
    """The attributes of what came of it. Raises InvalidRecord for a value that is not a finite number."""
    if not math.isfinite(value):
        raise InvalidRecord(f"log_outcome: the value of {name!r} must be a finite number, got {value!r}")
    attributes: Attributes = {"tidegauge.outcome.name": clean(name), "tidegauge.outcome.value": float(value)}
    return attributes | ({"tidegauge.prediction.id": text(prediction_id)} if prediction_id else {})


def feedback(kind: str, score: float | None, comment: str, prediction_id: str) -> Attributes:
    """The attributes of a human's judgement. Raises InvalidRecord for an unknown kind or a score out of range."""
    if kind not in FEEDBACK_RANGE:
        raise InvalidRecord(f"log_feedback: kind {kind!r} is none of {', '.join(FEEDBACK_RANGE)}")
    low, high = FEEDBACK_RANGE[kind]
    if score is not None and not low <= score <= high:
        raise InvalidRecord(f"log_feedback: a {kind} score lies in {low:g} .. {high:g}, got {score!r}")
    named = {"tidegauge.feedback.comment": comment, "tidegauge.prediction.id": prediction_id}
    attributes: Attributes = {"tidegauge.feedback.kind": kind} | {k: clean(each) for k, each in named.items() if each}
    return attributes | ({} if score is None else {"tidegauge.feedback.score": float(score)})


def clean(written: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate, as badly decoded input has it, becomes ``?``."""
    return written.encode(errors="replace").decode()


def text(value: Any) -> str:
    """A prediction or label as text: true and false in lower case, whole floats without a point, None as empty."""
    if type(value) is str:
        return clean(value)
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, str):
        return clean(plain)
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, float) and plain.is_integer():
        return str(int(plain))
    return str(plain)


def nanoseconds(moment: datetime) -> int:
    """An aware datetime as nanoseconds since 1970. Raises InvalidRecord for a naive one, and outside 1970 .. 2262."""
    if moment.tzinfo is None:
        raise InvalidRecord(f"timestamp {moment} has no time zone; use datetime(..., tzinfo=UTC)")
    found = epoch_ns(moment)
    if not 0 <= found < 2**63:
        raise InvalidRecord(f"timestamp {moment} is outside 1970 .. 2262, which is what 64 bits of nanoseconds hold")
    return found
