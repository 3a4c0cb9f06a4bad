"""One reading against one rule: does the condition hold, and how sure is that?

For metrics with an interval its cautious end must be beyond the threshold: the lower one for ``above``, the upper one
for ``below``. A value that is beyond it while its interval is not gives ``unsure``: too few samples to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from tidegauge.alerting.burning import burning, trending
from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.forms import Compare
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.season import LEAST_WEEKS, usable, usual
from tidegauge.alerting.states import Reading
from tidegauge.alerting.text import amount, plain
from tidegauge.metrics import Kind, Observation, label_name


class Holds(StrEnum):
    """Whether the condition of a rule holds."""

    YES = "yes"
    NO = "no"
    UNSURE = "unsure"
    TOO_FEW = "too_few"
    NO_DATA = "no_data"
    FAILED = "failed"


_BUT = {Holds.NO: "not ", Holds.UNSURE: "too few samples to be sure that it is "}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, its reason in words and the numbers behind it."""

    holds: Holds
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    samples: int = 0
    note: str = ""


def judge(rule: Rule, reading: Reading) -> Verdict:
    """Hold ``reading`` against the condition of ``rule``."""
    now = reading.now
    if rule.absent_for:
        return _absence(rule, now, reading.parts)
    if rule.slo or rule.trend:
        return _over_windows(rule, reading)
    if now is None or now.value is None:
        return Verdict(Holds.NO_DATA, f"no data in the last {format_duration(rule.window)}")
    if not _enough(rule, now):
        return _with(now, Holds.TOO_FEW, f"{now.samples:,} samples, the rule needs {rule.needed:,}", None)
    if rule.compare:
        return _comparison(rule, rule.compare, now, reading)
    return _threshold(rule, now, now.value)


def decisive(rule: Rule, reading: Reading) -> float | None:
    """The number that the threshold of ``rule`` is held against: the cautious end of the value, or of its ratio.

    None where there is none, or where it rests on too few samples.
    """
    now, before, upward = reading.now, _before(rule, reading), bool(rule.upward)
    if rule.upward is None or now is None or now.value is None or not _enough(rule, now):
        return None
    value = _cautious(now, now.value, upward)
    if not rule.compare:
        return value
    if before is None or before.value is None or before.samples < rule.needed or reading.partial:
        return None
    base = _cautious(before, before.value, not upward)
    return value / base if base > 0 and value > 0 else None


def _over_windows(rule: Rule, reading: Reading) -> Verdict:
    if rule.slo:
        parts = reading.parts or (None,) * len(rule.slo.windows())
        told = burning(rule.slo, parts, rule.needed)
    else:
        assert rule.trend
        told = trending(rule.trend, reading.parts or (None,), rule.needed, rule.measure.unit)
    if told.seen is None:
        return Verdict(Holds(told.holds), told.reason)
    return _with(told.seen, Holds(told.holds), told.reason, told.limit)


def _enough(rule: Rule, now: Observation) -> bool:
    """Whether it rests on enough; where the count itself is watched for having fallen, only what was before must."""
    falling = rule.compare is not None and not rule.upward and rule.measure.kind is Kind.COUNT
    return falling or now.samples >= rule.needed


def _absence(rule: Rule, now: Observation | None, weeks: Sequence[Observation | None]) -> Verdict:
    """Where most weeks of the season were as quiet, silence says nothing: it opens no alert, and ends none."""
    assert rule.absent_for
    length = format_duration(rule.absent_for)
    if now is not None and now.samples:
        return _with(now, Holds.NO, f"{now.samples:,} records in the last {length}", 0.0)
    said = f"no records in the last {length}"
    if not rule.season:
        return Verdict(Holds.YES, said, 0.0, threshold=0.0)
    told = f"{said}, {_against(rule, weeks)}"
    if 2 * sum(each is not None and each.samples >= rule.needed for each in weeks) > len(weeks):
        return Verdict(Holds.YES, told, 0.0, threshold=0.0)
    most = "more than half of those weeks need" if rule.weeks > 1 else "the rule needs"
    return Verdict(Holds.UNSURE, f"{told}: {most} {rule.needed:,} to call it unusual", 0.0)


def _against(rule: Rule, weeks: Sequence[Observation | None]) -> str:
    counts = [f"{each.samples if each else 0:,}" for each in weeks]
    listed = " and ".join([*filter(None, [", ".join(counts[:-1])]), *counts[-1:]]) or "nothing"
    before = f"in the same stretch of the {rule.weeks} weeks before" if rule.weeks > 1 else "a week before"
    return f"against {listed} {before}{_left_out(rule, weeks)}"


def _left_out(rule: Rule, weeks: Sequence[Observation | None]) -> str:
    return f", {rule.weeks - len(weeks)} left out for known incidents" if len(weeks) < rule.weeks else ""


def _threshold(rule: Rule, now: Observation, value: float) -> Verdict:
    upward, limit = rule.above is not None, rule.limit
    assert limit is not None
    word = "above" if upward else "below"
    sure = _beyond(_cautious(now, value, upward), limit, upward)
    holds = _answer(sure, _beyond(value, limit, upward))
    unit = rule.measure.unit
    return _with(now, holds, f"{_described(now, unit)}: {_BUT.get(holds, '')}{word} {amount(limit, unit)}", limit)


def _comparison(rule: Rule, compare: Compare, now: Observation, reading: Reading) -> Verdict:
    before = _before(rule, reading)
    if before is None or before.value is None or before.samples < rule.needed:
        return _with(now, Holds.TOO_FEW, _too_few_before(rule, compare, reading), None)
    ago = _ago(rule, compare, now, reading)
    if reading.partial:
        part = f"it began within the {format_duration(rule.window)} that ended {ago}"
        return _with(now, Holds.TOO_FEW, f"{part}: not a whole one to compare with", None)
    if now.value is None or before.value <= 0:
        return _with(now, Holds.TOO_FEW, f"the value {ago} is {before.value:g}: no ratio can be formed", None)
    upward = compare.above_ratio is not None
    limit = compare.above_ratio or compare.below_ratio or 0.0
    ratio = now.value / before.value
    base = _cautious(before, before.value, not upward)
    sure = base > 0 and _beyond(_cautious(now, now.value, upward) / base, limit, upward)
    holds = _answer(sure, _beyond(ratio, limit, upward))
    unit = rule.measure.unit
    expected = _described(before, unit) if compare.season else amount(before.value, unit)
    found = f"{_described(now, unit)} against {expected} {ago}, {ratio:.3g} times"
    text = f"{found}: {_BUT.get(holds, '')}{'above' if upward else 'below'} {limit:g} times"
    return _with(now, holds, text, before.value * limit)


def _before(rule: Rule, reading: Reading) -> Observation | None:
    """What the value now is compared with; of a season None where it has too few weeks."""
    if not (rule.compare and rule.compare.season):
        return reading.before
    kind = rule.measure.kind
    weeks = usable(reading.parts, kind, rule.needed)
    return usual(weeks, kind) if len(weeks) >= LEAST_WEEKS else None


def _ago(rule: Rule, compare: Compare, now: Observation | None, reading: Reading) -> str:
    if compare.offset:
        return f"{format_duration(compare.offset)} before{_of_another(compare, now, reading.before)}"
    used = len(usable(reading.parts, rule.measure.kind, rule.needed))
    return f"in {_same(rule)} of {'' if used == rule.weeks else f'{used} of '}the last {rule.weeks} weeks"


def _too_few_before(rule: Rule, compare: Compare, reading: Reading) -> str:
    if compare.offset:
        ago, seen = _ago(rule, compare, reading.now, reading), reading.before
        return f"{seen.samples if seen else 0:,} samples {ago}, the rule needs {rule.needed:,} to compare with"
    used = len(usable(reading.parts, rule.measure.kind, rule.needed))
    left_out, least = _left_out(rule, reading.parts), f"the rule needs {rule.needed:,} in {LEAST_WEEKS} or more"
    return f"enough samples in {_same(rule)} of only {used} of the last {rule.weeks} weeks{left_out}; {least}"


def _same(rule: Rule) -> str:
    if rule.window > timedelta(days=1):
        return "the same days"
    return "the same hour" if rule.window <= timedelta(hours=1) else "the same hours"


def _of_another(compare: Compare, now: Observation | None, before: Observation | None) -> str:
    label = label_name(compare.other or "")
    if not compare.other or not now or not before or before.labels[label] == now.labels[label]:
        return ""
    return f" with {label} {plain(before.labels[label], 60)}"


def _answer(sure: bool, likely: bool) -> Holds:
    if sure and likely:
        return Holds.YES
    return Holds.UNSURE if likely else Holds.NO


def _beyond(value: float, limit: float, upward: bool) -> bool:
    return value > limit if upward else value < limit


def _cautious(seen: Observation, value: float, upward: bool) -> float:
    end = seen.low if upward else seen.high
    return value if end is None else end


def _described(seen: Observation, unit: str) -> str:
    if seen.low is None or seen.high is None:
        return amount(seen.value, unit)
    return f"{amount(seen.value, unit)} of {seen.samples:,} ({amount(seen.low, unit)} to {amount(seen.high, unit)})"


def _with(seen: Observation, holds: Holds, reason: str, threshold: float | None) -> Verdict:
    return Verdict(holds, reason, seen.value, seen.low, seen.high, threshold, seen.samples, seen.note)
