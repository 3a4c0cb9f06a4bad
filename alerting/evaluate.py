"""The rule evaluator: pure, no clock, no store. States follow Prometheus, with *no data* and *insufficient* added.

``for``: the condition must hold in every evaluation for so long (pending) before the alert fires; one evaluation in
which it does not, or in which nothing can be said, starts that anew. ``keep_firing_for``: a firing alert is resolved
only when the condition has not held for so long. An *open* alert, one that receivers know as firing, stays open while
nothing can be said of it (no_data or insufficient), up to ``stale_after``; a failed query never closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import (
    AlertState,
    Notice,
    QueryFailed,
    Reading,
    Readings,
    State,
    States,
    Transition,
    fingerprint,
)
from tidegauge.alerting.text import labels_text, plain
from tidegauge.alerting.verdicts import Holds, Verdict, judge

Mute = Callable[[Rule, Mapping[str, str]], str]
_RETIRED = "was not seen for {}: taken as retired"
_GONE = "the rule was removed"


@dataclass(frozen=True, slots=True)
class Step:
    """Where a series goes, and what is added to the reason."""

    state: State
    since: datetime
    open: bool = False
    lapsed_since: datetime | None = None
    notice: Notice = Notice.NONE
    words: str = ""
    muted: str = ""


def nobody(rule: Rule, labels: Mapping[str, str]) -> str:
    """Mutes nothing."""
    return ""


def evaluate(
    rules: Sequence[Rule], readings: Readings, states: States, now: datetime, mute: Mute = nobody
) -> tuple[dict[str, AlertState], list[Transition]]:
    """One round.

    Args:
        rules: All rules there are. One that is missing from ``readings`` is not due and keeps its states; a series
            whose rule is not among them is closed.
        readings: For each rule that is due, what it sees of every series, or that its query failed.
        states: From the round before, by fingerprint; left as it is.
        now: Aware, in UTC.
        mute: Says why receivers are not to be told of a series, or the empty text. An alert that fires while it is
            muted is told of once it no longer is, if it still fires then.

    Returns:
        The new states and every change, in the order of the rules. The same round again changes nothing.
    """
    known: dict[str, dict[str, AlertState]] = {}
    for key, each in states.items():
        known.setdefault(each.rule, {})[key] = each
    new: dict[str, AlertState] = {}
    transitions: list[Transition] = []
    for rule in rules:
        mine = known.pop(rule.alert, {})
        if rule.alert not in readings:
            new.update(mine)
            continue
        for labels, verdict in _verdicts(rule, readings[rule.alert], mine):
            _advance(rule, labels, verdict, mine, now, mute, new, transitions)
    for orphans in known.values():
        transitions += [_removed(key, each, now) for key, each in orphans.items() if _unfinished(each)]
    return new, transitions


def _verdicts(
    rule: Rule, seen: list[Reading] | QueryFailed, mine: Mapping[str, AlertState]
) -> Iterator[tuple[Mapping[str, str], Verdict]]:
    if isinstance(seen, QueryFailed):
        for labels in [each.labels for each in mine.values()] or [{}]:
            yield labels, Verdict(Holds.FAILED, f"the query failed: {seen.reason}")
        return
    met = {fingerprint(rule.alert, each.labels) for each in seen}
    for each in seen:
        yield each.labels, judge(rule, each)
    for key, state in mine.items():
        if key not in met:
            yield state.labels, _unseen(rule, state)
    if not rule.by and not met and not mine:
        yield {}, _nothing(rule, {})


def _unseen(rule: Rule, state: AlertState) -> Verdict:
    if rule.by and not state.labels:
        return Verdict(Holds.NO, "the query works again")
    if rule.absent_for and state.open:
        return Verdict(Holds.NO, _RETIRED.format(format_duration(rule.seen_within)))
    return _nothing(rule, state.labels)


def _nothing(rule: Rule, labels: Mapping[str, str]) -> Verdict:
    return Verdict(Holds.NO_DATA, "nothing was seen") if rule.absent_for else judge(rule, Reading(labels, None))


def _advance(
    rule: Rule,
    labels: Mapping[str, str],
    verdict: Verdict,
    mine: Mapping[str, AlertState],
    now: datetime,
    mute: Mute,
    new: dict[str, AlertState],
    transitions: list[Transition],
) -> None:
    key = fingerprint(rule.alert, labels)
    old = mine.get(key) or AlertState(rule.alert, labels, State.INACTIVE, now)
    forgotten = _forgotten(rule, labels, verdict, old, now)
    step = _farewell(rule, now) if forgotten else _step(rule, verdict.holds, old, now)
    step = _muted(step, old, mute(rule, labels)) if step.open or old.muted else step
    lapse_changed = (step.lapsed_since is None) is not (old.lapsed_since is None)
    changed = bool(step.notice) or step.state is not old.state or lapse_changed
    found = _transition(rule, key, labels, verdict, old, step, now) if changed or step.open else None
    if changed and found:
        transitions.append(found)
    if not forgotten and _worth_keeping(rule, labels, step):
        new[key] = _state(rule, labels, step, old, found)


def _muted(step: Step, old: AlertState, why: str) -> Step:
    """``step`` as receivers may hear of it: an end that they were not told the beginning of is no news to them."""
    if step.notice is Notice.FIRE:
        return replace(step, notice=Notice.NONE, muted=why, words=f"not told: {why}") if why else step
    if not old.muted:
        return step
    if step.notice is Notice.RESOLVE:
        return replace(step, notice=Notice.NONE)
    if step.state is State.FIRING and not step.lapsed_since and not why:
        return replace(step, notice=Notice.FIRE, words=f"told now; until now {old.muted}")
    return replace(step, muted=why or old.muted)


def _step(rule: Rule, holds: Holds, old: AlertState, now: datetime) -> Step:
    if holds is Holds.YES or (holds is Holds.UNSURE and old.open):
        return _breached(rule, old, now)
    if holds is Holds.NO:
        return _calm(rule, old, now)
    state = State.INSUFFICIENT if holds in (Holds.UNSURE, Holds.TOO_FEW) else State.NO_DATA
    return _blind(rule, state, old, now, failed=holds is Holds.FAILED)


def _breached(rule: Rule, old: AlertState, now: datetime) -> Step:
    if old.open:
        return Step(State.FIRING, old.since, True, words="" if old.state is State.FIRING else "seen again")
    since = old.since if old.state is State.PENDING else now
    if now - since >= rule.for_:
        return Step(State.FIRING, since, True, None, Notice.FIRE)
    return Step(State.PENDING, since, words=f"fires when it lasts {format_duration(rule.for_)}")


def _calm(rule: Rule, old: AlertState, now: datetime) -> Step:
    if not old.open:
        state = State.RESOLVED if old.state is State.RESOLVED else State.INACTIVE
        return Step(state, old.since if state is old.state else now)
    lapsed = old.lapsed_since or now
    if now - lapsed < rule.keep_firing_for:
        words = f"resolved after {format_duration(rule.keep_firing_for)}"
        return Step(State.FIRING, old.since, True, lapsed, words=words)
    return Step(State.RESOLVED, old.since, False, None, Notice.RESOLVE)


def _blind(rule: Rule, state: State, old: AlertState, now: datetime, *, failed: bool) -> Step:
    if not old.open:
        return Step(state, old.since if state is old.state else now)
    if failed:
        return Step(state, old.since, True, words="stays open")
    lapsed = old.lapsed_since or now
    if now - lapsed < rule.stale_after:
        return Step(state, old.since, True, lapsed, words="stays open")
    words = f"for {format_duration(rule.stale_after)}: closed because there is nothing left to measure"
    return Step(State.RESOLVED, old.since, False, None, Notice.RESOLVE, words)


def _forgotten(rule: Rule, labels: Mapping[str, str], verdict: Verdict, old: AlertState, now: datetime) -> bool:
    silent = verdict.holds is Holds.NO_DATA and old.state is State.NO_DATA and not old.open
    return silent and bool(rule.by and labels) and now - old.since >= rule.stale_after


def _farewell(rule: Rule, now: datetime) -> Step:
    return Step(State.INACTIVE, now, words=f"for {format_duration(rule.stale_after)}: no longer watched")


def _worth_keeping(rule: Rule, labels: Mapping[str, str], step: Step) -> bool:
    """Everything is kept but the stand-in for a rule whose query failed before any series was known."""
    return not (rule.by and not labels and step.state is State.INACTIVE)


def _summary(rule: Rule, labels: Mapping[str, str], verdict: Verdict) -> str:
    head = plain(rule.annotations.get("summary", "")) or rule.measure.title
    return f"{head} for {labels_text(labels)}: {verdict.reason}"


def _state(rule: Rule, labels: Mapping[str, str], step: Step, old: AlertState, found: Transition | None) -> AlertState:
    known = old if step.open else AlertState(rule.alert, labels, step.state, step.since)
    return AlertState(
        rule.alert,
        labels,
        step.state,
        step.since,
        step.open,
        step.lapsed_since,
        rule.severity,
        rule.owner,
        rule.runbook,
        rule.action,
        step.muted,
        old.receivers,
        known.fired_at,
        known.told,
        known.steps,
        known.acknowledged,
        found if step.open else None,
    )


def _transition(
    rule: Rule,
    key: str,
    labels: Mapping[str, str],
    verdict: Verdict,
    old: AlertState,
    step: Step,
    now: datetime,
) -> Transition:
    return Transition(
        at=now,
        rule=rule.alert,
        fingerprint=key,
        labels=labels,
        state=step.state,
        previous=old.state,
        notice=step.notice,
        open=step.open,
        since=step.since,
        lapsed_since=step.lapsed_since,
        severity=rule.severity,
        owner=rule.owner,
        runbook=rule.runbook,
        action=rule.action,
        value=verdict.value,
        low=verdict.low,
        high=verdict.high,
        threshold=verdict.threshold,
        samples=verdict.samples,
        unit=rule.measure.unit,
        reason=f"{verdict.reason}; {step.words}" if step.words else verdict.reason,
        summary=_summary(rule, labels, verdict),
        note=verdict.note,
        muted=step.muted,
        receivers=old.receivers if step.notice is Notice.RESOLVE else (),
    )


def _unfinished(state: AlertState) -> bool:
    return state.open or state.state not in (State.INACTIVE, State.RESOLVED)


def _removed(key: str, old: AlertState, now: datetime) -> Transition:
    return Transition(
        at=now,
        rule=old.rule,
        fingerprint=key,
        labels=old.labels,
        state=State.RESOLVED if old.open else State.INACTIVE,
        previous=old.state,
        notice=Notice.RESOLVE if old.open and not old.muted else Notice.NONE,
        open=False,
        since=old.since,
        lapsed_since=None,
        severity=old.severity,
        owner=old.owner,
        runbook=old.runbook,
        action=old.action,
        reason=_GONE,
        summary=f"{old.rule} for {labels_text(old.labels)}: {_GONE}",
        receivers=old.receivers,
    )
