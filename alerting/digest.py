"""The week in one message: how many alerts, how many were right, and how to mend a rule that is mostly wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tidegauge import responses
from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import Notice, State, Transition, fingerprint
from tidegauge.alerting.text import amount, plain
from tidegauge.store import Store

NAME = "Weekly digest"
KEY = fingerprint(NAME, {})
FEWEST = 3
"""Answers that a rule needs before it is called mostly wrong."""
_MONDAY_8 = timedelta(hours=8)
_EPOCH = datetime.fromisoformat("1970-01-05T00:00:00+00:00")  # a Monday
FIRED = """SELECT rule, fingerprint, timestamp AS fired_at, value, low, high, samples
FROM alert_events WHERE notice = 'fire' AND timestamp >= {since:DateTime64(6)} AND timestamp < {until:DateTime64(6)}"""
ENDS = """SELECT fingerprint, timestamp FROM alert_events
WHERE notice = 'resolve' AND timestamp >= {since:DateTime64(6)} AND timestamp < {until:DateTime64(6)}
ORDER BY timestamp"""
SENT = "SELECT max(timestamp) FROM alert_events WHERE fingerprint = {key:String} AND notice = 'digest'"


class Fired(NamedTuple):
    """One time that a rule fired: the number that decided, samples, how long it was open, and whether it was right."""

    rule: str
    decided: float | None
    samples: int
    lasted: timedelta
    right: bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """One rule's week; ``mend`` is empty unless it was mostly wrong."""

    rule: str
    fired: int
    right: int
    wrong: int
    mend: str = ""

    @property
    def mostly_wrong(self) -> bool:
        """Whether enough answers say that more than half of its alerts were false."""
        return self.right + self.wrong >= FEWEST and self.wrong > self.right

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {name: getattr(self, name) for name in ("rule", "fired", "right", "wrong", "mostly_wrong", "mend")}


def week(store: Store, rules: Sequence[Rule], since: datetime, until: datetime) -> list[Line]:
    """One line for each rule that fired in the stretch, those that are most wrong first."""
    fired = _fired(store, {each.alert: each for each in rules}, since, until)
    lines = [
        _line(name, [each for each in fired if each.rule == name], rules) for name in {each.rule for each in fired}
    ]
    return sorted(lines, key=lambda line: (line.right - line.wrong, line.rule))


def mend(rule: Rule, fired: Sequence[Fired]) -> str:
    """The smallest change that would have kept every right alert and the fewest wrong ones, in words.

    Tried are a longer ``for``, a further threshold and more ``min_samples``, each short of the right alerts or, where
    there was none, beyond the wrong ones. What a change would have done is taken from when the alerts fired and
    how long they lasted, so it is an estimate; ``rules backtest`` tells exactly.
    """
    right, wrong = [each for each in fired if each.right], [each for each in fired if each.right is False]
    tried = [_longer(rule, right, wrong), _more_samples(rule, right, wrong), _further(rule, right, wrong)]
    best = max(tried, key=lambda each: each[0])
    if best[0] * 2 < len(wrong):
        return "no single change tells its right alerts from its wrong ones: make it triage, or watch something else"
    return f"{best[1]} would have kept {best[0]} of {len(wrong)} false alarms away and every true one"


def due(store: Store, now: datetime) -> bool:
    """Whether this week's digest, from Monday 08:00 UTC on, is still to be written."""
    sent = store.value(SENT, {"key": KEY})
    start = now - (now - _EPOCH - _MONDAY_8) % timedelta(days=7)
    return sent is None or sent < start


def message(lines: Sequence[Line], receivers: Sequence[str], now: datetime) -> Transition:
    """The digest as something that receivers are told."""
    fired, right, wrong = (sum(getattr(each, name) for each in lines) for name in ("fired", "right", "wrong"))
    bad = [each for each in lines if each.mostly_wrong]
    silent = fired - right - wrong
    words = f"{fired} alerts in seven days: {right} called true, {wrong} false, {silent} not answered"
    worst = "; ".join(f"{each.rule}: {each.wrong} of {each.right + each.wrong} were false; {each.mend}" for each in bad)
    return Transition(
        at=now,
        rule=NAME,
        fingerprint=KEY,
        labels={},
        state=State.INACTIVE,
        previous=State.INACTIVE,
        notice=Notice.DIGEST,
        open=False,
        since=now - timedelta(days=7),
        lapsed_since=None,
        severity="info",
        owner="",
        runbook="",
        action="Mend the rules that are mostly wrong; answer alerts with `tidegauge alerts true` and `false`.",
        samples=fired,
        reason=plain(worst or "no rule is mostly wrong", 1000),
        summary=words,
        receivers=tuple(receivers),
    )


def _fired(store: Store, rules: dict[str, Rule], since: datetime, until: datetime) -> list[Fired]:
    times = {"since": since, "until": until}
    marks = responses.marks(responses.read(store, since))
    ends: dict[str, list[datetime]] = {}
    for row in store.rows(ENDS, times):
        ends.setdefault(row["fingerprint"], []).append(row["timestamp"])
    found = []
    for row in store.rows(FIRED, times):
        end = next((each for each in ends.get(row["fingerprint"], ()) if each > row["fired_at"]), until)
        mark = marks.get((row["fingerprint"], row["fired_at"]))
        rule = rules.get(row["rule"])
        cautious = (row["low"] if rule.upward else row["high"]) if rule else None
        decided = row["value"] if cautious is None else cautious
        found.append(Fired(row["rule"], decided, row["samples"], end - row["fired_at"], mark))
    return found


def _line(name: str, fired: Sequence[Fired], rules: Sequence[Rule]) -> Line:
    right, wrong = sum(each.right is True for each in fired), sum(each.right is False for each in fired)
    line = Line(name, len(fired), right, wrong)
    rule = next((each for each in rules if each.alert == name), None)
    return replace(line, mend=mend(rule, fired)) if rule and line.mostly_wrong else line


def _longer(rule: Rule, right: Sequence[Fired], wrong: Sequence[Fired]) -> tuple[int, str]:
    """What is over within the added time would not have fired."""
    lasted = [each.lasted - rule.keep_firing_for for each in right]
    most = min(lasted) if lasted else max(each.lasted for each in wrong) - rule.keep_firing_for + timedelta(minutes=1)
    gone = [each.lasted - rule.keep_firing_for for each in wrong if each.lasted - rule.keep_firing_for < most]
    if not gone:
        return 0, ""
    extra = timedelta(minutes=max(gone) // timedelta(minutes=1) + 1)
    return len(gone), f"for: {format_duration(rule.for_ + extra)} (now {format_duration(rule.for_)})"


def _more_samples(rule: Rule, right: Sequence[Fired], wrong: Sequence[Fired]) -> tuple[int, str]:
    most = min((each.samples for each in right), default=max(each.samples for each in wrong) + 1)
    gone = [each.samples for each in wrong if each.samples < most]
    return (len(gone), f"min_samples: {max(gone) + 1} (now {rule.needed})") if gone else (0, "")


def _further(rule: Rule, right: Sequence[Fired], wrong: Sequence[Fired]) -> tuple[int, str]:
    if rule.limit is None:
        return 0, ""
    sign = 1 if rule.upward else -1
    values = [sign * each.decided for each in right if each.decided is not None]
    bad = [sign * each.decided for each in wrong if each.decided is not None]
    gone = [each for each in bad if not values or each < min(values)]
    if not gone:
        return 0, ""
    word, unit = ("above" if rule.upward else "below"), rule.measure.unit
    return len(gone), f"{word}: {sign * max(gone):.3g} ({amount(sign * max(gone), unit)}, now {rule.limit:g})"
