"""What a metric is compared with: its own past windows, their mean and how much they differ anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from scipy.stats import norm, t

from tidegauge.config import Performance
from tidegauge.detectors.performance.catalogue import CORRELATION, nature
from tidegauge.detectors.performance.measured import Measured
from tidegauge.detectors.statistics.result import Outcome, Result, settled
from tidegauge.model import Window

WEEK = timedelta(days=7)
KNOWS_SPREAD = 3
"""Windows from which their spread is known; with fewer only the sampling error of each side is."""


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier window of a metric: its value, its standard error, its rows."""

    end: datetime
    value: float
    error: float
    n: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """Mean of ``windows`` earlier windows and the standard deviation of one more such window around it.

    Attributes:
        deviation: Known with ``freedom`` degrees of freedom; 0 of these where it is only that of sampling.
        sampling: Root mean square of the windows' standard errors.
        rows: Of all windows.
    """

    value: float
    deviation: float
    windows: int
    rows: int
    sampling: float = 0.0
    freedom: float = 0.0

    @property
    def ends(self) -> tuple[float, float]:
        """Where one more window lies in 95 of 100 cases."""
        reach = self.quantile(0.975) * self.deviation * math.sqrt(1 + 1 / self.windows)
        return self.value - reach, self.value + reach

    def quantile(self, level: float) -> float:
        """Of Student's law where the spread was measured, else of the normal law."""
        return float(t.ppf(level, self.freedom) if self.freedom else norm.ppf(level))

    def beyond(self, units: float) -> float:
        """The chance of more than so many standard deviations."""
        return float(t.sf(units, self.freedom) if self.freedom else norm.sf(units))


def chosen(window: Window, ends: Sequence[datetime], wanted: int, kind: str) -> list[datetime]:
    """The latest ``wanted`` ends of earlier windows that overlap neither ``window`` nor each other.

    ``same_weekday``, and ``auto`` for windows shorter than a week where there are 4 of them, takes only windows at the
    same time of the week.

    >>> from datetime import UTC
    >>> day = datetime(2026, 3, 2, tzinfo=UTC)
    >>> ends = [day - timedelta(days=at) for at in range(40)]
    >>> [f"{each:%m-%d}" for each in chosen(Window(day, day + timedelta(days=1)), ends, 3, "auto")]
    ['02-24', '02-17', '02-10']
    """
    before = sorted((end for end in ends if end <= window.start), reverse=True)
    weekly = [end for end in before if (window.end - end) % WEEK == timedelta(0)]
    short = window.length < WEEK
    if kind == "same_weekday" or (kind == "auto" and short and len(weekly) >= 4):
        before = weekly
    found: list[datetime] = []
    for end in before:
        if len(found) < wanted and (not found or end <= found[-1] - window.length):
            found.append(end)
    return found


def baseline(past: Sequence[Past]) -> Baseline | None:
    """The mean of earlier windows, or None without any."""
    if not past:
        return None
    values = np.array([each.value for each in past])
    known = len(past) >= KNOWS_SPREAD
    sampling = float(np.sqrt(np.mean([each.error**2 for each in past])))
    deviation = float(values.std(ddof=1)) if known else sampling
    rows, freedom = sum(each.n for each in past), float(len(past) - 1) if known else 0.0
    return Baseline(float(values.mean()), deviation, len(past), rows, sampling, freedom)


def compared(now: Measured, base: Baseline, settings: Performance, scale: float = 1.0) -> Outcome:
    """Is it worse than its baseline? The effect is by how much the whole interval is.

    The p-value is that of one more window, whose variance is that of the windows (at least its own sampling error)
    and of their mean: Student's t, one-sided (of a bias two-sided). ``scale`` is what a bias is a share of.
    """
    kind = nature(now.metric)
    sign = -1 if now.metric.startswith(CORRELATION) and base.value < 0 else kind.sign
    floor = settings.relative_floor * abs(base.value) if kind.relative else settings.floor
    if sign == 0:
        floor = settings.relative_floor * scale
    worse = _worse(now.value - base.value, sign)
    near = _worse((now.high if sign > 0 else now.low) - base.value, sign)
    beyond = near if sign else worse - (now.high - now.low) / 2
    p_value = min(1.0, tail(worse, now.error, base) * (2 if sign == 0 else 1))
    note, sizes = _text(now, base, worse), (base.rows, now.n, 0, now.dropped)
    return settled(Result(now.metric, now.value, p_value, max(0.0, beyond), floor, *sizes, note))


def _worse(difference: float, sign: int) -> float:
    return -sign * difference if sign else abs(difference)


def tail(worse: float, error: float, base: Baseline) -> float:
    """The chance of a window at least so much worse; ``error`` is its own standard error."""
    spread = math.hypot(max(base.deviation, error), base.deviation / math.sqrt(base.windows))
    if spread <= 0:
        return 0.0 if worse > 0 else 1.0
    return base.beyond(worse / spread)


def _text(now: Measured, base: Baseline, worse: float) -> str:
    low, high = base.ends
    count = f"{base.windows} earlier window{'s' if base.windows > 1 else ''}"
    text = f"{now.value:.4g} ({now.low:.4g} to {now.high:.4g}) against {base.value:.4g} in {count}"
    if base.windows >= KNOWS_SPREAD:
        text += f", one more of which lies within {low:.4g} to {high:.4g}"
    return text + ("; better than before" if worse < 0 and -worse > now.error else "")
