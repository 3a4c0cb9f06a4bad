"""Verdicts over several windows of one series: burn rates and trends."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import t

from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.text import amount
from tidegauge.metrics import Observation
from tidegauge.metrics.intervals import Z95

if TYPE_CHECKING:
    from tidegauge.alerting.forms import Slo, Trend


class Told(NamedTuple):
    """The answer, its words, the observation that it rests on, and the threshold in the metric's unit."""

    holds: str
    reason: str
    seen: Observation | None
    limit: float | None


class Line(NamedTuple):
    """A fitted line's ends, and their ratio with its 95 % interval."""

    start: float
    end: float
    ratio: float
    low: float
    high: float


def burning(slo: Slo, seen: Sequence[Observation | None], needed: int) -> Told:
    """Whether any burn is faster than its factor in both windows, with the lower ends of their intervals.

    One window that is surely slower settles its burn. ``seen`` goes with ``slo.windows()``.
    """
    pairs = [seen[i : i + 2] for i in range(0, len(seen), 2)]
    found = [
        _burn(f"{format_duration(burn.long)} and {format_duration(burn.short)}", limit, pair, needed, 1 - slo.objective)
        for (burn, limit), pair in zip(slo.limits(), pairs, strict=True)
    ]
    if all(each is None for each in seen):
        return Told("no_data", "no data in any of its windows", None, None)
    for answer in ("yes", "unsure", "no"):
        if chosen := [each for each in found if each.holds == answer]:
            return chosen[0]
    return found[0]


def _burn(name: str, limit: float, pair: Sequence[Observation | None], needed: int, budget: float) -> Told:
    enough = [each for each in pair if each is not None and each.value is not None and each.samples >= needed]
    words = " and ".join(_words(each, budget) for each in pair)
    said = f"over {name}: {words}, {{}}at the pace of {limit / budget:.3g} times what the objective allows"
    first = pair[0] or pair[1]
    if any(each.value is not None and each.value <= limit for each in enough):
        return Told("no", said.format("not "), first, limit)
    if len(enough) < len(pair):
        return Told("too_few", f"over {name}: {words}: too few samples, the rule needs {needed:,}", first, limit)
    sure = all((each.value if each.low is None else each.low) > limit for each in enough)  # type: ignore[operator]
    return Told("yes" if sure else "unsure", said.format("" if sure else "too few samples to be sure "), first, limit)


def _words(seen: Observation | None, budget: float) -> str:
    if seen is None or seen.value is None:
        return "no data"
    return f"{amount(seen.value, 'share')} bad of {seen.samples:,} ({seen.value / budget:.3g} times)"


def trending(trend: Trend, seen: Sequence[Observation | None], needed: int, unit: str) -> Told:
    """Whether the line through ``seen``, oldest first, rises or falls by more than the ratio, with its cautious end.

    Windows with too few samples are left out; a third of them may be missing.
    """
    usable = [(i, each) for i, each in enumerate(seen) if each and each.value is not None and each.samples >= needed]
    newest = next((each for each in reversed(seen) if each), None)
    span = format_duration(trend.step * (trend.steps - 1))
    if newest is None:
        return Told("no_data", f"no data over {span}", None, None)
    if len(usable) < max(4, 2 * trend.steps / 3):
        words = f"{len(usable)} of {trend.steps} windows over {span} have the {needed:,} samples that the rule needs"
        return Told("too_few", words, newest, None)
    line = fit([float(i) for i, _ in usable], [each for _, each in usable], trend.steps - 1)
    if line is None:
        return Told("too_few", f"the line over {span} begins at 0 or below: no ratio can be formed", newest, None)
    beyond, sure = (
        (line.ratio > trend.limit, line.low > trend.limit)
        if trend.upward
        else (line.ratio < trend.limit, line.high < trend.limit)
    )
    holds = ("yes" if sure else "unsure") if beyond else "no"
    but = {"no": "not ", "unsure": "too few samples to be sure that it is "}.get(holds, "")
    reason = (
        f"from {amount(line.start, unit)} to {amount(line.end, unit)} over {span}, {line.ratio:.3g} times "
        f"({line.low:.3g} to {line.high:.3g}): {but}{'above' if trend.upward else 'below'} {trend.limit:g} times"
    )
    return Told(holds, reason, newest, line.start * trend.limit)


def fit(places: Sequence[float], seen: Sequence[Observation], last: float) -> Line | None:
    """Weighted least squares, weights from the intervals where there are; None where the line begins at 0 or below.

    The spread is the larger of what the intervals say and what the residuals show (with n - 2 degrees of freedom), so
    that neither a few sharp windows nor an unlucky calm make it too sure. The interval of the ratio is by the delta
    method.
    """
    x, y = np.asarray(places), np.asarray([each.value for each in seen], float)
    errors = np.asarray([_error(each) for each in seen])
    known = bool(np.all(errors > 0))
    weights = 1 / errors**2 if known else np.ones_like(y)
    design = np.column_stack([np.ones_like(x), x])
    cov = np.linalg.inv(design.T @ (weights[:, None] * design))
    intercept, slope = (float(each) for each in cov @ design.T @ (weights * y))
    degrees = len(y) - 2
    scatter = float(np.sum(weights * (y - intercept - slope * x) ** 2)) / degrees
    cov = cov * (max(1.0, scatter) if known else scatter)
    start, end = intercept, intercept + slope * last
    if start <= 0:
        return None
    gradient = np.asarray([1 / start - end / start**2, last / start])
    spread = sqrt(max(0.0, float(gradient @ cov @ gradient))) * float(t.ppf(0.975, degrees))
    return Line(start, end, end / start, end / start - spread, end / start + spread)


def _error(seen: Observation) -> float:
    if seen.low is None or seen.high is None:
        return 0.0
    return max((seen.high - seen.low) / (2 * Z95), 1e-9)
