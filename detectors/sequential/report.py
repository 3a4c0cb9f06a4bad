"""What a look says, as findings: drift where an alarm is on; calm streams of all traffic once a day."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import exp, log

import numpy as np

from tidegauge.detectors.finding import Claim, Context, Finding, Verdict
from tidegauge.detectors.sequential.family import Family
from tidegauge.detectors.sequential.memory import Standing
from tidegauge.detectors.sequential.monitor import AHEAD, Look
from tidegauge.detectors.sequential.rollups import Stream
from tidegauge.detectors.statistics import Result, e_benjamini_hochberg
from tidegauge.detectors.statistics.arrays import BoolArray
from tidegauge.model import ALL, Slice, Window

LOG_TEN = log(10)


def findings_of(
    model: str,
    family: Family,
    after: Standing,
    seen: tuple[Look, BoolArray],
    was: Mapping[Stream, datetime | None],
    now: datetime,
    daily: bool,
) -> list[Finding]:
    """Findings of one look: drift, what drifted at the look before, and, where ``daily``, all of all traffic."""
    look, on = seen
    claims = list(_claims(family, after, look, on, was, daily))
    since = {(claim.feature, claim.detector, claim.part): _moment(look.since[at]) for at, claim in claims if on[at]}
    window = Window(after.until - timedelta(hours=1), after.until)
    context = Context(model, window, family.kind, family.span.start, family.span.end, now, since)
    return [context.finding(claim) for _, claim in claims]


def _claims(
    family: Family,
    after: Standing,
    look: Look,
    on: BoolArray,
    was: Mapping[Stream, datetime | None],
    daily: bool,
) -> Iterator[tuple[int, Claim]]:
    """With the number of its stream; of several about one thing, as the shares of texts are, the one that says most."""
    adjusted = e_benjamini_hochberg(np.exp(np.minimum(look.log_e_process, 700.0)))[1]
    best: dict[tuple[str, str, Slice], int] = {}
    for at, (name, part) in enumerate(after.streams):
        if on[at] or was.get((name, part)) or (daily and part == ALL):
            key = family.measures[name].about, family.measures[name].detector, part
            best[key] = max(best.get(key, at), at, key=lambda each: (bool(on[each]), look.log_e[each]))
    for (feature, detector, part), at in best.items():
        verdict = Verdict.DRIFT if on[at] else Verdict.STABLE
        outcome, shown = _result(family, look, at), _evidence(family, look, at)
        yield at, Claim(feature, detector, part, verdict, outcome, float(adjusted[at]), evidence=shown)


def _result(family: Family, look: Look, at: int) -> Result:
    """``value`` is the decimal logarithm of the e-value; both sizes count hours."""
    return Result(
        method=family.measures[family.streams[at][0]].detector,
        value=float(max(look.log_e[at], -700.0)) / LOG_TEN,
        p_value=exp(-min(700.0, max(0.0, look.log_e_process[at]))),
        effect=float(look.reach[at]),
        floor=float(family.monitor.floors[at]),
        n_reference=int(family.monitor.baseline.blocks[at]),
        n_current=int(look.blocks[at]),
        note=_note(family, look, at),
    )


def _note(family: Family, look: Look, at: int) -> str:
    unit = family.measures[family.streams[at][0]].unit
    threshold = np.broadcast_to(family.monitor.log_a, look.log_e.shape)
    trend = f", {abs(look.recent[at]):.3g} in the last day" if _going_on(look, at) else ""
    way = "above" if look.effect[at] > 0 else "below"
    season = "hour of the week" if family.weekly else "hour of the day, the reference being shorter than four weeks"
    return (
        f"e-value 10^{look.log_e[at] / LOG_TEN:.1f}, alarm from 10^{float(threshold[at]) / LOG_TEN:.1f}; "
        f"since {_moment(look.since[at]):%Y-%m-%d %H:%M} {abs(look.effect[at]):.3g} {way} the usual for the {season}, "
        f"in {unit} ({look.low[at]:.3g} to {look.high[at]:.3g} at 95 %){trend}"
    )


def _evidence(family: Family, look: Look, at: int) -> str:
    numbers = {
        "log10_e": look.log_e[at] / LOG_TEN,
        "log10_threshold": np.broadcast_to(family.monitor.log_a, look.log_e.shape)[at] / LOG_TEN,
        "effect": look.effect[at],
        "low": look.low[at],
        "high": look.high[at],
        "recent": look.recent[at],
    }
    since = _moment(look.since[at]).isoformat()
    return json.dumps(
        {name: round(float(value), 6) for name, value in numbers.items() if np.isfinite(value)} | {"since": since}
    )


def _going_on(look: Look, at: int) -> bool:
    """Whether it is half as far again by now as it was on average."""
    return bool(np.sign(look.effect[at]) * look.recent[at] >= AHEAD * abs(look.effect[at]))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
