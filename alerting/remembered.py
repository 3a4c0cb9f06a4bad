"""False pages to be expected of a rule by what it saw in stored data: how often it fired, its metric's own level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from scipy.stats import chi2

from tidegauge.alerting.chances import at_most
from tidegauge.alerting.expected import Basis, Expected, at_level, few, independent
from tidegauge.alerting.incidents import Incident
from tidegauge.alerting.replay import Round
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import QueryFailed, Reading
from tidegauge.alerting.text import amount
from tidegauge.alerting.verdicts import Holds, judge
from tidegauge.metrics import wilson
from tidegauge.model import Window

WEEK = timedelta(weeks=1)
LEAST_WEEKS = 0.99
LEAST_WINDOWS = 20
_TOLD = (Holds.YES, Holds.NO, Holds.UNSURE)
_ONE_SIDED = 1.6448536269514722
_NO_LEVEL = (Basis.FACT, Basis.DETECTORS)


@dataclass
class _Level:
    """Windows of one series that do not overlap: hits and samples of each."""

    last: datetime
    seen: list[tuple[float, int]] = field(default_factory=list)

    @property
    def totals(self) -> tuple[float, int]:
        return sum(hits for hits, _ in self.seen), sum(samples for _, samples in self.seen)

    @property
    def scatter(self) -> float:
        """Pearson's chi-square, which is about the number of windows less 1 where chance alone scatters them."""
        hits, samples = self.totals
        rate = hits / samples
        return sum((x - n * rate) ** 2 / (n * rate * (1 - rate)) for x, n in self.seen) if 0 < rate < 1 else 0.0


def by_events(unexplained: int, weeks: float) -> str:
    """The upper 95 % bound of pages a week as people read it; empty for less than a week.

    >>> by_events(0, 4.0), by_events(2, 4.0), by_events(0, 0.5)
    ('0.75', '1.6', '')
    """
    return few(at_most(unexplained, weeks)) if weeks >= LEAST_WEEKS else ""


def remembered(
    rule: Rule,
    prior: Expected,
    fired: int,
    past: Sequence[Round],
    span: Window,
    incidents: Sequence[Incident] = (),
    every_s: float = 30.0,
) -> Expected:
    """What ``past`` says of ``rule``, or ``prior`` where it says nothing.

    Args:
        prior: What can be said without history.
        fired: How often ``rule`` fired in ``past`` outside of ``incidents``.
        past: The rounds of ``span``.
        every_s: Seconds between two rounds of the alert loop.

    Returns:
        The upper 95 % confidence bound of its pages a week (Poisson); of a rate whose windows scatter as chance alone
        scatters them (Pearson's test at 1 %) what its level gives, and of one that did not fire what ``prior`` gives,
        if that is less. All series together.
    """
    if prior.basis in _NO_LEVEL:
        return prior
    concerning = [each for each in incidents if each.concerns(rule.alert)]
    weeks = _weeks(rule, past, span, concerning)
    if weeks < LEAST_WEEKS:
        return _too_early(prior, weeks)
    most = at_most(fired, weeks)
    what = "all of them taken as false" if not concerning else "outside of known incidents"
    words = f"it fired {fired} times in {weeks:.1f} weeks of history, {what}"
    found = replace(prior, per_week=most, basis=Basis.HISTORY, each="", why=words, fired=fired, weeks=weeks)
    if fired:
        return found
    level = _level(rule, past, concerning, every_s) if _threshold(rule) else None
    if level and level[0] < most:
        return replace(found, per_week=level[0], basis=Basis.LEVEL, why=level[1])
    return _of_all(rule, prior, past, most) or found


def _of_all(rule: Rule, prior: Expected, past: Sequence[Round], most: float) -> Expected | None:
    """``prior`` for all series that there were, where it says less than ``most``."""
    series = {tuple(sorted(each.labels.items())) for seen in past for each in _readings(rule, seen)}
    if prior.per_week is None or prior.per_week * len(series) >= most:
        return None
    return replace(prior, per_week=prior.per_week * len(series), each=f"all {len(series)} series")


def _too_early(prior: Expected, weeks: float) -> Expected:
    if prior.per_week is not None:
        return prior
    seen = f"it has values of {weeks * 7:.1f} days" if weeks else "no history yet"
    return replace(prior, why=f"{seen}, backtest it after a week; {prior.why}")


def _weeks(rule: Rule, past: Sequence[Round], span: Window, incidents: Sequence[Incident]) -> float:
    """How long it saw values that it could judge, in weeks."""
    due = [each for each in past if rule.alert in each.readings]
    told = sum(_told(rule, each) and not _within(each.now, incidents) for each in due)
    return told / len(due) * (span.length / WEEK) if due else 0.0


def _told(rule: Rule, seen: Round) -> bool:
    return any(judge(rule, each).holds in _TOLD for each in _readings(rule, seen))


def _readings(rule: Rule, seen: Round) -> list[Reading]:
    found = seen.readings.get(rule.alert, [])
    return [] if isinstance(found, QueryFailed) else found


def _within(now: datetime, incidents: Sequence[Incident]) -> bool:
    return any(each.holds(now) for each in incidents)


def _threshold(rule: Rule) -> bool:
    return independent(rule) and (rule.above is not None or rule.below is not None)


def _level(
    rule: Rule, past: Sequence[Round], incidents: Sequence[Incident], every_s: float
) -> tuple[float, str] | None:
    """Pages a week of all series at their levels, and words; None where more than chance moves them."""
    levels = list(_levels(rule, past, incidents))
    windows = sum(len(each.seen) for each in levels)
    degrees = windows - len(levels)
    if windows < LEAST_WINDOWS * max(1, len(levels)) or chi2.sf(sum(each.scatter for each in levels), degrees) < 0.01:
        return None
    ends = [wilson(*each.totals, z=_ONE_SIDED)[1 if rule.upward else 0] for each in levels]
    fewest = [min(samples for _, samples in each.seen) for each in levels]
    total = sum(at_level(rule, end, least, every_s) for end, least in zip(ends, fewest, strict=True))
    worst = amount(max(ends) if rule.upward else min(ends), rule.measure.unit)
    words = f"the true rate was no further than {worst} in {windows:,} windows, scattered as chance alone does"
    return total, words


def _levels(rule: Rule, past: Sequence[Round], incidents: Sequence[Incident]) -> Iterator[_Level]:
    found: dict[tuple[tuple[str, str], ...], _Level] = {}
    for seen in past:
        for each in [] if _within(seen.now, incidents) else _readings(rule, seen):
            now, key = each.now, tuple(sorted(each.labels.items()))
            if now is None or now.value is None or now.samples < rule.needed:
                continue
            level = found.setdefault(key, _Level(seen.now - rule.window))
            if seen.now - level.last >= rule.window:
                level.seen.append((now.value * now.samples, now.samples))
                level.last = seen.now
    yield from found.values()
