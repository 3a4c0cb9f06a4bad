"""From a diagnosis to the likely cause of one alert: what may be told of it, and in which words."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tidegauge.alerting.rules import Rule
from tidegauge.alerting.text import moment, plain
from tidegauge.diagnoses import Diagnosed, State
from tidegauge.errors import StoreError, TidegaugeError
from tidegauge.metrics import label_name
from tidegauge.metrics.sources import FINDINGS
from tidegauge.model import Slice
from tidegauge.store import Store

logger = logging.getLogger(__name__)
Diagnose = Callable[[str, datetime | None, datetime, float], dict[str, Any]]
"""Model, since (None: find it), until, days of history -> the diagnosis as plain data. Raises TidegaugeError."""
DRIFTING = f"SELECT minOrNull(latest.5) FROM {FINDINGS.table} WHERE latest.1 = 'drift' AND "  # noqa: S608 - a constant
BEFORE = timedelta(days=7)
"""How long before an alert has it begin a cause may have begun."""
MOST_CAUSES = 5
SURE = ("very likely", "likely")
_DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "findings": ("subject",),
    "llm_calls_1m": ("service",),
    "feedback": ("service",),
    "scores": ("slice.service",),
    **dict.fromkeys(("predictions", "labelled", "labelling", "performance", "schema_changes"), ("model",)),
}
"""Name of a metric's source -> its dimensions that name what can be diagnosed."""
_TOKENS = ("llm.input_tokens", "llm.output_tokens")
_CHANGED: Mapping[str, tuple[str, ...]] = {
    "refusal_rate": ("llm.refused",),
    "guardrail_block_rate": ("llm.blocked",),
    "llm_error_rate": ("llm.failed",),
    "tool_error_rate": ("llm.tool",),
    **dict.fromkeys(("latency_p50", "latency_p95", "latency_p99", "ttft_p95"), ("llm.latency",)),
    "tokens_per_minute": (*_TOKENS, "volume"),
    "cost_per_request": (*_TOKENS, "llm.cost", "llm.price"),
    "cost_usd": (*_TOKENS, "llm.cost", "llm.price", "volume"),
    "thumbs_down_rate": ("llm.feedback",),
    **dict.fromkeys(("quality_score", "low_score_rate"), ("llm.quality",)),
    **dict.fromkeys(("llm_requests", "prediction_volume"), ("volume",)),
    **dict.fromkeys(("mean_score", "estimated_performance"), ("score",)),
    **dict.fromkeys(("accuracy", "error_rate", "mean_absolute_error", "performance"), ("loss", "label")),
    **dict.fromkeys(("label_share", "label_lag", "label_contradiction_rate"), ("label",)),
    "drift_findings": (),
    "schema_changes": (),
}
"""Metric -> what a diagnosis must have found changed to be about it; of the last two it is the alert's feature."""
_RESTATED = frozenset({"refusals up", "blocks up", "volume drop", "volume rise", "scores off"})
"""In all traffic these say no more than the alert does."""
_LOSSES = frozenset({"accuracy", "performance", "estimated performance", "outcome", "error"})
_SAME = {"prompt_version": "prompt"}
_CAUSE = ("cause", "subject", "part", "slice", "stage", "level", "sure", "explains", "touches", "summary", "next")


@dataclass(frozen=True, slots=True)
class About:
    """What an alert is about, in the words of a diagnosis.

    Attributes:
        subject: The model or LLM service; empty where it is neither or all of them, or nothing a diagnosis looks at.
        labels: Those of the alert.
        changed: What it saw change, as ``touches`` of a cause names it; empty for anything.
    """

    subject: str
    labels: Mapping[str, str]
    changed: frozenset[str] = frozenset()


def about(rule: Rule | None, labels: Mapping[str, str]) -> About:
    """What an alert of ``rule`` with ``labels`` is about."""
    if rule is None or rule.metric not in _CHANGED:
        return About("", labels)
    names = [name for source in rule.measure.sources for name in _DIMENSIONS.get(source.name, ())]
    found = (rule.where.get(name) or (name in rule.by and labels.get(label_name(name))) for name in names)
    feature = labels.get("feature", "")
    own = {"loss" if feature in _LOSSES else feature, "llm.topic"} if feature else set()
    return About(next((each for each in found if each), ""), labels, frozenset(_CHANGED[rule.metric]) | own)


def begin(store: Store, rule: Rule, labels: Mapping[str, str], since: datetime) -> datetime:
    """When what an alert saw may have begun: by the findings that it counts, else as its condition held in a window.

    Args:
        since: From then on the condition held.
    """
    if rule.metric == "drift_findings" and rule.window:
        mine = {**rule.where, **{name: labels.get(label_name(name), "") for name in rule.by}}
        params = {"start": since - rule.window, "end": since, **{f"_{name}": value for name, value in mine.items()}}
        same = " AND ".join(f"{FINDINGS.dimensions[name]} = {{_{name}:String}}" for name in mine)
        found: datetime | None = store.value(DRIFTING + (same or "true"), params)
        if found:
            return found
    if rule.trend:
        return since - rule.trend.steps * rule.trend.step
    return since - (min(rule.slo.windows()) if rule.slo else rule.absent_for or rule.window)


def look(
    diagnose: Diagnose, made: Sequence[Diagnosed], abouts: Mapping[str, About], history_days: float
) -> list[Diagnosed]:
    """``made``, which share a diagnosis, as it ends for each of them. Never raises.

    Asked is first from when the alerts have it begin; where that tells no cause of any, the beginning is left to be
    found.
    """
    first, began = made[0], min(each.began for each in made)
    problems: list[str] = []
    best: list[Diagnosed] = []
    for since in (began, None):
        try:
            answer = json.dumps(_short(diagnose(first.model, since, first.asked_at, history_days)))
        except StoreError as error:
            logger.warning("alerting: the diagnosis of %s failed: %s", first.model, error)
            problems.append(f"the database did not answer: {error}")
        except TidegaugeError as error:
            problems.append(str(error))
        except Exception as error:  # of one model; the next alert is about another
            logger.exception("alerting: the diagnosis of %s failed", first.model)
            problems.append(f"{type(error).__name__}: {error}")
        else:
            found = [judged(replace(each, result=answer), abouts[each.fingerprint]) for each in made]
            best = best or found
            if any(each.state is State.LIKELY for each in found):
                return found
    words = plain("; ".join(dict.fromkeys(problems)), 600)
    return best or [replace(each, state=State.FAILED, words=words) for each in made]


def judged(made: Diagnosed, concerned: About) -> Diagnosed:
    """``made`` as one alert may have it, by its ``result``: likely only where the diagnosis is sure of a cause of it.

    A cause is told when what the alert saw change is among what it explains. It is not when it is only possible, lies
    downstream, began long before the alert, or is about another part of the traffic.
    """
    answer = json.loads(made.result)
    since = datetime.fromisoformat(answer["since"])
    causes: Sequence[Mapping[str, Any]] = answer["causes"]
    if not answer["wrong"] or not causes:
        return replace(made, state=State.NOTHING, words=plain(answer["headline"], 300))
    wanted = concerned.changed
    mine = [each for each in causes if not wanted or wanted.intersection(each["touches"])]
    first = (mine or causes)[0]
    name = plain(": ".join(filter(None, (first["cause"], first["subject"]))), 200)
    found = replace(made, since=since, cause=name, part=plain(first["part"], 200), sure=first["sure"])
    words = f"{name} in {found.part} since {moment(since)}"
    why = _incidental(first, since, made.began, concerned.labels) if mine else "it does not explain what the alert saw"
    if why:
        return replace(found, state=State.UNSURE, words=f"{words} ({first['sure']}), but {why}")
    sure = f"{first['sure']}, explains {first['explains']:.0%} of what changed in {plain(made.model, 100)}"
    return replace(found, state=State.LIKELY, words=f"{words} ({sure}): {plain(first['summary'], 250)}")


def _incidental(first: Mapping[str, Any], since: datetime, began: datetime, labels: Mapping[str, str]) -> str:
    """Why a cause is not told as that of an alert; empty where it is."""
    sides = Slice(labels.get("dimension", ""), labels.get("slice", "")).sides
    known = {**labels, **{each.dimension: each.value for each in sides}}
    pinned = {_SAME.get(name, name): value for name, value in known.items()}
    if first["level"] != "bad" or first["sure"] not in SURE:
        return "that is not sure enough"
    if first["cause"] in _RESTATED and not first["slice"] and not first["subject"]:
        return "that is what the alert says itself"
    if first["stage"] == "downstream":
        return "that is a consequence and no cause"
    if any(pinned.get(each["dimension"], each["value"]) != each["value"] for each in first["slice"]):
        return "the alert is about another part of the traffic"
    return "that was long before the alert" if since < began - BEFORE else ""


def _short(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a diagnosis."""
    causes = [{name: each[name] for name in _CAUSE} for each in answer["causes"][:MOST_CAUSES]]
    stages = [{"stage": each["stage"], "level": each["level"]} for each in answer["stages"]]
    kept = {name: answer[name] for name in ("headline", "wrong", "since", "how")}
    return {**kept, "causes": causes, "stages": stages}
