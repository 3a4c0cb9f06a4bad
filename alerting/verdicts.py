"""One reading against one rule: does the condition hold, and how sure is that?

For metrics with an interval its cautious end must be beyond the threshold: the lower one for ``above``, the upper one
for ``below``. A value that is beyond it while its interval is not gives ``unsure``: too few samples to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegauge.alerting.burning import burning, trending
from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.forms import Compare
from tidegauge.alerting.rules import Rule
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
        return _absence(rule, now, reading.before)
    if rule.slo or rule.trend:
        return _over_windows(rule, reading)
    if now is None or now.value is None:
        return Verdict(Holds.NO_DATA, f"no data in the last {format_duration(rule.window)}")
    if not _enough(rule, now):
        return _with(now, Holds.TOO_FEW, f"{now.samples:,} samples, the rule needs {rule.needed:,}", None)
    if rule.compare:
        return _comparison(rule, rule.compare, now, reading.before)
    return _threshold(rule, now, now.value)


def decisive(rule: Rule, reading: Reading) -> float | None:
    """The number that the threshold of ``rule`` is held against: the cautious end of the value, or of its ratio.

    None where there is none, or where it rests on too few samples.
    """
    now, before, upward = reading.now, reading.before, bool(rule.upward)
    if rule.upward is None or now is None or now.value is None or not _enough(rule, now):
        return None
    value = _cautious(now, now.value, upward)
    if not rule.compare:
        return value
    if before is None or before.value is None or before.samples < rule.needed:
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


def _absence(rule: Rule, now: Observation | None, before: Observation | None) -> Verdict:
    """Where the season was as quiet, silence says nothing: it opens no alert, and ends none that is open."""
    assert rule.absent_for
    if now is None or now.samples == 0:
        said, usual = f"no records in the last {format_duration(rule.absent_for)}", before.samples if before else 0
        if not rule.season:
            return Verdict(Holds.YES, said, 0.0, threshold=0.0)
        told = f"{said}, against {usual:,} {format_duration(rule.season)} before"
        if usual >= rule.needed:
            return Verdict(Holds.YES, told, 0.0, threshold=0.0)
        return Verdict(Holds.UNSURE, f"{told}: the rule needs {rule.needed:,} there to call it unusual", 0.0)
    return _with(now, Holds.NO, f"{now.samples:,} records in the last {format_duration(rule.absent_for)}", 0.0)


def _threshold(rule: Rule, now: Observation, value: float) -> Verdict:
    upward = rule.above is not None
    limit = rule.above if rule.above is not None else rule.below
    assert limit is not None
    word = "above" if upward else "below"
    sure = _beyond(_cautious(now, value, upward), limit, upward)
    holds = _answer(sure, _beyond(value, limit, upward))
    unit = rule.measure.unit
    return _with(now, holds, f"{_described(now, unit)}: {_BUT.get(holds, '')}{word} {amount(limit, unit)}", limit)


def _comparison(rule: Rule, compare: Compare, now: Observation, before: Observation | None) -> Verdict:
    ago = f"{format_duration(compare.offset)} before{_of_another(compare, now, before)}"
    if before is None or before.value is None or before.samples < rule.needed:
        seen = before.samples if before else 0
        return _with(
            now, Holds.TOO_FEW, f"{seen:,} samples {ago}, the rule needs {rule.needed:,} to compare with", None
        )
    if now.value is None or before.value <= 0:
        return _with(now, Holds.TOO_FEW, f"the value {ago} is {before.value:g}: no ratio can be formed", None)
    upward = compare.above_ratio is not None
    limit = compare.above_ratio or compare.below_ratio or 0.0
    ratio = now.value / before.value
    base = _cautious(before, before.value, not upward)
    sure = base > 0 and _beyond(_cautious(now, now.value, upward) / base, limit, upward)
    holds = _answer(sure, _beyond(ratio, limit, upward))
    unit = rule.measure.unit
    found = f"{_described(now, unit)} against {amount(before.value, unit)} {ago}, {ratio:.3g} times"
    text = f"{found}: {_BUT.get(holds, '')}{'above' if upward else 'below'} {limit:g} times"
    return _with(now, holds, text, before.value * limit)


def _of_another(compare: Compare, now: Observation, before: Observation | None) -> str:
    label = label_name(compare.other or "")
    if not compare.other or before is None or before.labels[label] == now.labels[label]:
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
