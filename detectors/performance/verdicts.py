"""From measurements to claims: each held against its baseline, all of one evaluation together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t

from tidegauge.config import Performance
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.pairs import TIMES
from tidegauge.detectors.performance.baseline import Baseline, baseline, compared, tail
from tidegauge.detectors.performance.book import Entry, Key, Memory
from tidegauge.detectors.performance.catalogue import bounds
from tidegauge.detectors.performance.measured import Measured, Measurement
from tidegauge.detectors.performance.pooling import pooled
from tidegauge.detectors.statistics import Undetermined
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.metrics.intervals import Z95
from tidegauge.model import ALL, Slice

FEATURES = {"performance": "performance", "estimated": "estimated performance", "outcome": "outcome"}
"""What findings are about, by the prefix of their detector: each of these is told at its own time."""
SCORED = 3
"""Estimates that were compared with what came, from which their error is part of the interval."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The measurements of one evaluation as rows of the table, and what they amount to."""

    entries: list[Entry]
    claims: list[Claim]


def judged(
    found: Sequence[tuple[Slice, Measurement]],
    memory: Memory,
    settings: Performance,
    rate: float,
    prefix: str = "performance",
    estimates: Mapping[Key, float] | None = None,
    silent: bool = False,
) -> Judged:
    """Hold every measurement against its baseline, with the false discovery rate ``rate`` over all of them.

    ``estimates`` are what was estimated of the same window before. ``silent``: only the rows are wanted, because it is
    too early to judge. Of pairs only those that did not just what the rest of their slices did are claimed.
    """
    measured = [(part, each) for part, each in found if isinstance(each, Measured)]
    bases = _bases(measured, memory)
    hypotheses = [] if silent else list(_hypotheses(measured, bases, memory, settings, prefix))
    claims = judge(hypotheses, rate, alone=Beside(measured, bases), everywhere_apart=True)
    claims += [] if silent else list(_untold(found, bases, memory, prefix))
    verdicts = {(claim.part, claim.detector): claim.verdict.value for claim in claims}
    entries = [
        Entry(
            part,
            each,
            bases[part, each.metric],
            verdicts.get((part, f"{prefix}:{each.metric}"), ""),
            (estimates or {}).get((part, each.metric)),
            *(memory.error((part, each.metric)) if prefix == "estimated" else (None, 0)),
        )
        for part, each in measured
    ]
    return Judged(entries, claims)


class Beside:
    """Tells what pairs did from what the rest of their slices did, by the two changes since the baselines.

    A pair is a part of its slice: with a share w of its rows, the two differ by 1 - w times what the pair and the rest
    of the slice do, and the variance of that is 1 - w times the pair's (both exact of means, near enough of the rest).
    """

    def __init__(self, measured: Sequence[tuple[Slice, Measured]], bases: Mapping[Key, Baseline | None]) -> None:
        self._measured = {(part, each.metric): each for part, each in measured}
        self._bases = bases

    def __call__(self, asked: Hypothesis) -> float:
        """The p-value that a pair did as the rest of one of its slices; 1 where that went half as far or is unknown."""
        metric = asked.detector.partition(":")[2]
        return max(self._p_value(asked.part, side, metric) for side in asked.part.sides)

    def _p_value(self, pair: Slice, side: Slice, metric: str) -> float:
        now, all_now = self._measured[pair, metric], self._measured.get((side, metric))
        base, all_base = self._bases[pair, metric], self._bases.get((side, metric))
        if base is None or all_now is None or all_base is None or all_now.n <= now.n:
            return 1.0
        moved, all_moved = now.value - base.value, all_now.value - all_base.value
        further, share = moved - all_moved, now.n / all_now.n
        rest = moved - further / (1 - share)
        if abs(moved) < TIMES * rest * math.copysign(1.0, moved):
            return 1.0
        return tail(abs(further) / math.sqrt(1 - share), now.error, base)


def widened(part: Slice, found: Measurement, memory: Memory) -> Measurement:
    """An estimate whose interval also holds how far off the last ones were, if three or more have been scored.

    >>> estimate = Measured("accuracy", 0.8, 0.79, 0.81, 1000)
    >>> widened(ALL, estimate, Memory({}, {(ALL, "accuracy"): (0.05, -0.05, 0.05)})).note
    'the last 3 estimates were off by 0.05 (root mean square)'
    """
    if not isinstance(found, Measured):
        return found
    error, count = memory.error((part, found.metric))
    if error is None:
        return _with(found, found.error * Z95, "no estimate has been scored yet")
    reach = float(t.ppf(0.975, count)) * error if count >= SCORED else math.hypot(error, found.error) * Z95
    text = f"the last {count} estimates were" if count > 1 else "the last estimate was"
    return _with(found, max(reach, found.error * Z95), f"{text} off by {error:.2g} (root mean square)")


def _with(found: Measured, reach: float, note: str) -> Measured:
    least, most = bounds(found.metric)
    low, high = max(least, found.value - reach), min(most, found.value + reach)
    return Measured(
        found.metric, found.value, min(low, found.value), max(high, found.value), found.n, found.dropped, note
    )


def _bases(measured: Sequence[tuple[Slice, Measured]], memory: Memory) -> Mapping[Key, Baseline | None]:
    own = {(part, each.metric): _base(part, each.metric, memory) for part, each in measured}
    return {**own, **pooled({key: base for key, base in own.items() if base})}


def _base(part: Slice, metric: str, memory: Memory) -> Baseline | None:
    """Of the same part; of a version that has no past, that of all versions."""
    own = baseline(memory.past.get((part, metric), ()))
    return own or (baseline(memory.past.get((ALL, metric), ())) if part.dimension == "version" else None)


def _hypotheses(
    measured: Sequence[tuple[Slice, Measured]],
    bases: Mapping[Key, Baseline | None],
    memory: Memory,
    settings: Performance,
    prefix: str,
) -> Iterator[Hypothesis]:
    rows = {each.metric: each.n for part, each in measured if part == ALL}
    for part, each in measured:
        base = bases[part, each.metric]
        if base and (part == ALL or each.n != rows.get(each.metric)):
            error = _base(part, "mae", memory)
            outcome = compared(each, base, settings, error.value if error else 0.0)
            yield Hypothesis(FEATURES[prefix], part, f"{prefix}:{each.metric}", outcome)


def _untold(
    found: Sequence[tuple[Slice, Measurement]],
    bases: Mapping[Key, Baseline | None],
    memory: Memory,
    prefix: str,
) -> Iterator[Claim]:
    """Of all traffic: what has a value and no past, and what could be measured before and no longer can."""
    for part, each in found:
        name = each.metric if isinstance(each, Measured) else each.method
        if part != ALL:
            continue
        if isinstance(each, Measured) and bases[part, name] is None:
            outcome = Undetermined(name, "no earlier windows with labels to compare with", 0, each.n)
        elif isinstance(each, Undetermined) and memory.past.get((part, name)):
            outcome = each
        else:
            continue
        yield Claim(FEATURES[prefix], f"{prefix}:{name}", part, Verdict.UNDETERMINED, outcome)
