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
from tidegauge.detectors.sequential.monitor import Look
from tidegauge.detectors.sequential.rollups import Stream
from tidegauge.detectors.statistics import Result, e_benjamini_hochberg
from tidegauge.detectors.statistics.arrays import BoolArray
from tidegauge.model import ALL, Window

DETECTOR = "sequential"
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
    since = {(name, DETECTOR, part): _moment(look.since[at]) for at, (name, part) in enumerate(after.streams) if on[at]}
    window = Window(after.until - timedelta(hours=1), after.until)
    context = Context(model, window, family.kind, family.span.start, family.span.end, now, since)
    return [context.finding(claim) for claim in _claims(family, after, look, on, was, daily)]


def _claims(
    family: Family,
    after: Standing,
    look: Look,
    on: BoolArray,
    was: Mapping[Stream, datetime | None],
    daily: bool,
) -> Iterator[Claim]:
    adjusted = e_benjamini_hochberg(np.exp(np.minimum(look.log_e_process, 700.0)))[1]
    for at, (name, part) in enumerate(after.streams):
        if not (on[at] or was.get((name, part)) or (daily and part == ALL)):
            continue
        verdict = Verdict.DRIFT if on[at] else Verdict.STABLE
        outcome = _result(family, look, at)
        shown = _evidence(family, look, at)
        yield Claim(name, DETECTOR, part, verdict, outcome, float(adjusted[at]), evidence=shown)


def _result(family: Family, look: Look, at: int) -> Result:
    """``value`` is the decimal logarithm of the e-value; both sizes count hours."""
    return Result(
        method=DETECTOR,
        value=float(max(look.log_e[at], -700.0)) / LOG_TEN,
        p_value=exp(-min(700.0, max(0.0, look.log_e_process[at]))),
        effect=abs(float(look.effect[at])),
        floor=float(family.monitor.floors[at]),
        n_reference=int(family.monitor.baseline.blocks[at]),
        n_current=int(look.blocks[at]),
        note=_note(family, look, at),
    )


def _note(family: Family, look: Look, at: int) -> str:
    unit = next(each.unit for each in family.measures if each.name == family.hours.streams[at][0])
    way = "above" if look.effect[at] > 0 else "below"
    season = "hour of the week" if family.weekly else "hour of the day, the reference being shorter than four weeks"
    return (
        f"e-value 10^{look.log_e[at] / LOG_TEN:.1f}, alarm from 10^{family.monitor.log_a / LOG_TEN:.1f}; "
        f"since {_moment(look.since[at]):%Y-%m-%d %H:%M} {abs(look.effect[at]):.3g} {way} the usual for the {season}, "
        f"in {unit} ({look.low[at]:.3g} to {look.high[at]:.3g} at 95 %)"
    )


def _evidence(family: Family, look: Look, at: int) -> str:
    numbers = {
        "log10_e": look.log_e[at] / LOG_TEN,
        "log10_threshold": family.monitor.log_a / LOG_TEN,
        "effect": look.effect[at],
        "low": look.low[at],
        "high": look.high[at],
    }
    since = _moment(look.since[at]).isoformat()
    return json.dumps(
        {name: round(float(value), 6) for name, value in numbers.items() if np.isfinite(value)} | {"since": since}
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
