"""What goes wrong in a made-up shop: traces, predictions and what is said of them, as rows of their tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from genai_calls import insert_calls

from tidegauge.model import Window
from tidegauge.store import Store

AT = datetime(2026, 3, 4, 12, tzinfo=UTC)
WEEK = Window(datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC))


def trace(name: str) -> str:
    return blake2b(name.encode(), digest_size=16).hexdigest()


def call(name: str, question: str, **more: Any) -> dict[str, Any]:
    known = {"timestamp": AT, "trace_id": trace(name), "span_id": "b" * 16, "service": "shop", "model": "m"}
    return known | {"input": question, "output": f"answer to {name}"} | more


def calls(store: Store, *rows: dict[str, Any]) -> None:
    insert_calls(store, rows)


def score(store: Store, name: str, value: float | None, label: str, **more: Any) -> None:
    row = {"timestamp": AT, "sent_at": AT, "trace_id": trace(name), "span_id": "b" * 16, "name": "relevance"}
    store.insert("scores", [row | {"score": value, "label": label, "judge": "j", "inclusion_probability": 1.0} | more])


def feedback(store: Store, name: str, kind: str, value: float | None, comment: str = "") -> None:
    at = AT + timedelta(minutes=5)
    row = {"timestamp": at, "sent_at": at, "trace_id": trace(name), "service": "web", "kind": kind}
    store.insert("feedback", [row | {"score": value, "comment": comment, "span_id": "", "prediction_id": ""}])


def prediction(store: Store, name: str, value: str, chance: float, label: str, **more: Any) -> None:
    row = {
        "timestamp": AT,
        "sent_at": AT,
        "prediction_id": name,
        "model": "fraud",
        "version": "7",
        "role": "production",
    }
    told = {"features": {"amount": float(len(name))}, "categories": {"country": "de"}, "value": value, "score": chance}
    store.insert("predictions", [row | told | {"slices": {"tenant": "acme"}, "versions": {}} | more])
    known = {"timestamp": AT + timedelta(hours=1), "sent_at": AT + timedelta(hours=1), "prediction_id": name}
    store.insert("labels", [known | {"model": "fraud", "value": label, "number": float(label)}])


def measured(store: Store, model: str, pairs: Mapping[str, tuple[Any, Any]], score: float | None = None) -> None:
    """By name what a model foretold and what came of it."""
    same = {"sent_at": AT, "model": model}
    told: dict[str, Any] = {"features": {}, "categories": {}, "score": score, "versions": {}}
    told |= {"version": "7", "role": "production"}
    rows = [
        same | told | {"timestamp": AT, "prediction_id": name, "value": str(said), "slices": {"tenant": "acme"}}
        for name, (said, _) in pairs.items()
    ]
    store.insert("predictions", rows)
    at = {"timestamp": AT + timedelta(hours=1)}
    known = [
        same | at | {"prediction_id": name, "value": str(label), "number": float(label)}
        for name, (_, label) in pairs.items()
    ]
    store.insert("labels", known)
