"""How many false pages a rule must be expected to bring, said before it goes live.

A page is false when nothing is beyond the threshold in truth and chance alone carried the values there. What a number
rests on is said with it; where there is none to rest on, the reason is said instead of a number.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from enum import StrEnum
from math import ceil, exp, floor, inf, log10
from typing import Any

import numpy as np

from tidegauge.alerting.chances import (
    WEEK_S,
    Chance,
    Pace,
    at_most,
    burns,
    of_mean,
    of_rate,
    of_ratio,
    of_season,
    pages,
    trend_window,
)
from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.forms import Compare
from tidegauge.alerting.rules import Rule, Severity
from tidegauge.alerting.season import AMOUNTS
from tidegauge.alerting.text import amount
from tidegauge.config import Detectors, Watch
from tidegauge.metrics import Kind

SELDOM = 0.1
"""Pages a week that are few: up to which level, or from which traffic on, a rule keeps to it is said."""
LOGGED = 100
_HISTORY = "`tidegauge rules backtest` says it from a week of history or more"
_BATCHES = ("findings",)  # sources whose records come in batches that are alike


logger = logging.getLogger(__name__)


class Basis(StrEnum):
    """What a number rests on."""

    INTERVAL = "interval"  # the level of the metric's interval and windows that do not overlap
    DETECTORS = "detectors"  # the stated rate of the detectors
    FACT = "fact"  # what was counted is there: no chance in it
    LEVEL = "level"  # the metric's own level in stored data
    HISTORY = "history"  # how often it fired over stored data
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Expected:
    """The answer for one rule.

    Attributes:
        per_week: At most so many false pages a week; None where it cannot be said.
        each: Of what: ``each service``, or of all series.
        why: What the number rests on, or the reason that there is none.
        fired, weeks: With history: how often it fired in how many weeks, outside of known incidents.
    """

    rule: str
    severity: str
    per_week: float | None
    basis: Basis
    each: str
    why: str
    fired: int = 0
    weeks: float = 0.0

    def line(self) -> str:
        """In words."""
        what = "pages" if self.severity == Severity.PAGE else "alerts"
        if self.per_week is None:
            return f"{self.rule}: false {what} a week unknown: {self.why}"
        where = f" for {self.each}" if self.each else ""
        return f"{self.rule}: at most {few(self.per_week)} false {what} a week{where}: {self.why}"

    def as_json(self) -> dict[str, Any]:
        """For machines; ``most`` is the number as people read it."""
        found = asdict(self)
        weeks = {name: found.pop(name) for name in ("fired", "weeks")}
        most = few(self.per_week) if self.per_week is not None else ""
        return found | {"most": most} | (weeks if self.weeks else {})


def expectations(rules: Sequence[Rule], detectors: Detectors, every_s: float) -> list[Expected]:
    """What can be said of each of ``rules`` without history, evaluated every ``every_s`` seconds or by its group."""
    return [expected(rule, detectors, every_s) for rule in rules]


def expected(rule: Rule, detectors: Detectors, every_s: float) -> Expected:
    """What can be said of ``rule`` without history."""
    found = _said(rule, detectors, max(every_s, rule.interval.total_seconds()))
    per_week, basis, why = found
    each = "each model or service" if basis is Basis.DETECTORS else _each(rule)
    return Expected(rule.alert, rule.severity, per_week, basis, "" if basis is Basis.FACT else each, why)


def together(found: Sequence[Expected]) -> list[str]:
    """A line for all rules that page and one for the others: the sum, and how many rules it leaves out."""
    parts = {
        "pages": [each for each in found if each.severity == Severity.PAGE],
        "alerts that page nobody": [each for each in found if each.severity != Severity.PAGE],
    }
    return [_sum(what, mine) for what, mine in parts.items() if mine]


def announce(found: Sequence[Expected]) -> None:
    """Say in the log what was loaded: each rule, up to :data:`LOGGED` of them, and all together."""
    for text in [each.line() for each in found[:LOGGED]] + together(found):
        logger.info("alerting: %s", text)


def few(number: float) -> str:
    """Two digits, rounded up, because it is a bound.

    >>> few(0.2401), few(31.2), few(1e-9), few(0)
    ('0.25', '32', '0.0001', '0')
    """
    if 0 < number < 1e-4:
        return "0.0001"
    if number <= 0:
        return "0"
    digits = max(0, 1 - floor(log10(number)))
    scaled = ceil(number * 10**digits - 1e-9) / 10**digits
    return f"{scaled:,.{digits}f}".rstrip("0").rstrip(".") if digits else f"{scaled:,.0f}"


def pace(rule: Rule, every_s: float, window: timedelta | None = None) -> Pace:
    """How ``rule`` looks at its values."""
    length = rule.window if window is None else window
    seconds = (length, rule.for_, rule.keep_firing_for)
    window_s, for_s, rest_s = (each.total_seconds() for each in seconds)
    return Pace(window_s, for_s, every_s, rest_s)


def at_level(rule: Rule, level: float, needed: int, every_s: float) -> float:
    """At most so many pages a week from one series of a threshold on a rate whose true level is ``level``."""
    assert rule.limit is not None
    return pages(of_rate(rule.limit, level, needed, upward=bool(rule.upward)), pace(rule, every_s))


def independent(rule: Rule) -> bool:
    """Whether the metric is a rate over records that come one by one."""
    return rule.measure.kind is Kind.RATE and not any(each.name in _BATCHES for each in rule.measure.sources)


Said = tuple[float | None, Basis, str]


def _said(rule: Rule, detectors: Detectors, every_s: float) -> Said:
    kind = rule.measure.kind
    if rule.absent_for:
        return _absence(rule, rule.absent_for)
    if rule.trend:
        return _trend(rule, every_s)
    if kind is Kind.FINDING:
        return _findings(rule, detectors)
    if any(each.name in _BATCHES for each in rule.measure.sources):
        return _unknown("its records, the tests of one evaluation, are not independent")
    if rule.compare and rule.compare.season and kind is not Kind.ESTIMATE:
        return _season(rule, every_s)
    if kind not in (Kind.RATE, Kind.MEAN, Kind.ESTIMATE):
        return _plain(rule)
    if kind is Kind.ESTIMATE:
        return _estimate(rule, detectors)
    if rule.slo:
        return _slo(rule, every_s)
    return _compare(rule, every_s) if rule.compare else _threshold(rule, every_s)


def _threshold(rule: Rule, every_s: float) -> Said:
    limit, upward = _limit(rule), bool(rule.upward)
    if limit < 0 if upward else limit > 1 and rule.measure.unit == "share":
        return _unknown("every value is beyond the threshold, so it fires in every series and stays open")
    if rule.measure.kind is Kind.MEAN:
        found = pages(_mean(rule, limit, limit, upward), pace(rule, every_s))
        return found, Basis.INTERVAL, f"while the true mean is no further than {_shown(rule, limit)}{_normal(rule)}"
    if limit in (0.0, 1.0):
        return 0.0, Basis.FACT, "chance does not carry a rate beyond this threshold: one such record is enough"
    found = at_level(rule, limit, rule.needed, every_s)
    words = f"while the true rate is no further than {_shown(rule, limit)} and records are independent"
    if found > SELDOM and (calm := _calm(rule, every_s)) is not None:
        side = "below" if upward else "above"
        words += f"; {few(SELDOM)} while it stays {side} {_shown(rule, calm)}"
    return found, Basis.INTERVAL, words


def _calm(rule: Rule, every_s: float) -> float | None:
    """The level nearest to the threshold that keeps to :data:`SELDOM`, to a fiftieth; None where there is none."""
    limit = _limit(rule)
    shares = np.arange(49, 0, -1) / 50
    levels = limit * shares if rule.upward else 1 - (1 - limit) * shares
    near, far = 0, len(levels)
    while near < far:
        middle = (near + far) // 2
        if at_level(rule, float(levels[middle]), rule.needed, every_s) <= SELDOM:
            far = middle
        else:
            near = middle + 1
    return float(levels[near]) if near < len(levels) else None


def _slo(rule: Rule, every_s: float) -> Said:
    assert rule.slo
    spent, total = 1 - rule.slo.objective, 0.0
    for burn, limit in rule.slo.limits():
        paces = [pace(rule, every_s, each) for each in (burn.long, burn.short)]
        chance = _mean(rule, limit, spent, True) if rule.measure.kind is Kind.MEAN else None
        chance = chance or of_rate(limit, spent, rule.needed)
        total += burns(chance, chance, *paces)
    return total, Basis.INTERVAL, (
        f"while the true share of bad records is no more than the objective allows, {_shown(rule, spent)}"
        f"{_normal(rule) or ', and records are independent'}"
    )  # fmt: skip


def _compare(rule: Rule, every_s: float) -> Said:
    assert rule.compare and rule.compare.offset
    ratio = rule.compare.limit
    chance = of_mean(rule.needed)
    if rule.measure.kind is Kind.RATE:
        chance = of_ratio(ratio, rule.needed, upward=rule.compare.upward)
    used = pace(rule, every_s)
    if used.for_s > rule.compare.offset.total_seconds():  # later windows are compared with earlier ones of the same
        used = Pace(used.window_s, rule.compare.offset.total_seconds(), every_s, used.rest_s)
    ago = format_duration(rule.compare.offset)
    return pages(chance, used), Basis.INTERVAL, (
        f"{_at_most_times(rule.compare)} that of {ago} before{_normal(rule) or ' and records are independent'}"
    )  # fmt: skip


def _season(rule: Rule, every_s: float) -> Said:
    """A week that is unlike the others may be so for all of ``for``: no more than one window of it counts."""
    assert rule.compare
    chances = [of_season(rule.weeks)]
    if rule.measure.kind is Kind.RATE:
        chances.append(of_ratio(rule.compare.limit, rule.needed, upward=rule.compare.upward))
    used = pace(rule, every_s)
    used = replace(used, for_s=min(used.for_s, used.window_s))
    return max(pages(each, used) for each in chances), Basis.INTERVAL, (
        f"{_at_most_times(rule.compare)} that of one more week like the {rule.weeks} before, whose values are about "
        "normal around their mean"
    )  # fmt: skip


def _at_most_times(compare: Compare) -> str:
    return f"while the true value is {'no more than' if compare.upward else 'at least'} {compare.limit:g} times"


def _trend(rule: Rule, every_s: float) -> Said:
    trend = rule.trend
    assert trend
    window_s = trend_window(trend.steps, trend.step, trend.limit)
    used = Pace(window_s, rule.for_.total_seconds(), every_s, rule.keep_firing_for.total_seconds())
    found = pages(Chance(np.asarray([0.03]), np.asarray([0.5])), used)
    span = format_duration(trend.step * (trend.steps - 1))
    return found, Basis.INTERVAL, (
        f"while the true line over {span} ends at no {'more' if trend.upward else 'less'} than {trend.limit:g} of its "
        "beginning, and windows scatter around it independently; a season longer than a step makes more"
    )  # fmt: skip


def _absence(rule: Rule, gap: timedelta) -> Said:
    """Gaps of Poisson traffic: ``rate * exp(-rate * gap)`` of them begin per unit of time."""
    length, rows = gap.total_seconds(), 1.0
    while WEEK_S / length * rows * exp(-rows) > SELDOM:
        rows += 1
    return _unknown(
        f"that depends on the traffic; {few(SELDOM)} for each series with at least {rows:.0f} records in "
        f"{format_duration(gap)} that come at random, and no hours without traffic"
    )


def _findings(rule: Rule, detectors: Detectors) -> Said:
    if rule.above is None or rule.above < 0:
        return _unknown("only above a number of findings has the detectors' stated rate")
    if rule.metric == "diagnosed_causes":
        return _unknown(f"a diagnosis has no stated rate; what it told on calm days: docs/diagnosis.md; {_HISTORY}")
    most = max((_per_week(each) for each in (*detectors.models, *detectors.services)), default=0.0)
    found = most + detectors.false_pages_per_month * 7 / 30
    return found, Basis.DETECTORS, "the detectors' stated rate, while nothing drifts"


def _per_week(watch: Watch) -> float:
    """Where nothing drifts, the expected share of false findings is the probability of any (Benjamini and Hochberg)."""
    return watch.false_discovery_rate * WEEK_S / 3600 / watch.step_hours


def _estimate(rule: Rule, detectors: Detectors) -> Said:
    if rule.compare or rule.slo:
        return _unknown("two stored intervals of the same model are not independent")
    steps = [each.step_hours for each in detectors.models]
    if not steps:
        return _unknown("no model is watched")
    return 0.025 * WEEK_S / 3600 / min(steps), Basis.DETECTORS, (
        f"one end of the stored 95 % interval fails in 2.5 % of evaluations, one each {min(steps):g} hours, while the "
        f"true value is no further than {_shown(rule, _limit(rule))}"
    )  # fmt: skip


def _plain(rule: Rule) -> Said:
    if rule.above == 0 and rule.measure.kind in AMOUNTS:
        return 0.0, Basis.FACT, "no chance in it: what it counts is there"
    return _unknown(f"{rule.measure.title} has no interval, so its own course must say; {_HISTORY}")


def _unknown(reason: str) -> Said:
    return None, Basis.UNKNOWN, reason


def _mean(rule: Rule, limit: float, level: float, upward: bool) -> Chance:
    if rule.measure.unit == "share" and 0 < limit < 1:
        return of_rate(limit, level, max(2, rule.needed), upward=upward, wilson=False)
    return of_mean(rule.needed)


def _normal(rule: Rule) -> str:
    if rule.measure.kind is not Kind.MEAN:
        return ""
    if rule.measure.unit == "share":
        return ", and scores are independent and weigh alike"
    return f", and means of {rule.needed:,} scores are about normal"


def _limit(rule: Rule) -> float:
    return inf if rule.limit is None else rule.limit


def _shown(rule: Rule, value: float) -> str:
    return amount(value, rule.measure.unit)


def _each(rule: Rule) -> str:
    return f"each {' and '.join(rule.by)}" if rule.by else ""


def _sum(what: str, found: Sequence[Expected]) -> str:
    known = [each for each in found if each.per_week is not None]
    if not known:
        return f"{len(found)} rules together: false {what} a week unknown"
    seen = [each for each in known if each.basis is Basis.HISTORY]
    total = sum(each.per_week or 0.0 for each in known if each.basis is not Basis.HISTORY)
    if seen:  # one bound of their sum, which is less than the sum of their bounds
        total += at_most(sum(each.fired for each in seen), min(each.weeks for each in seen))
    words = f"{len(found)} rules together: at most {few(total)} false {what} a week"
    if any(each.basis is Basis.INTERVAL for each in known):
        words += " from a series of each, were every true value right on its threshold"
    left = len(found) - len(known)
    return words + f"; of {left} it is unknown" * bool(left)
