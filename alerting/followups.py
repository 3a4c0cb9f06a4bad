"""What is told of an alert after its first message: that somebody has it, that nobody has, and that it still fires."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tidegauge.alerting.router import Router
from tidegauge.alerting.routes import Leaf
from tidegauge.alerting.states import AlertState, Notice, State, Transition
from tidegauge.alerting.text import plain
from tidegauge.responses import Action, Response

HOLD_S = 3600
"""How long after a resolution by hand the same alert is not told of again."""


def follow_ups(
    states: Mapping[str, AlertState], responses: Sequence[Response], router: Router, now: datetime
) -> list[Transition]:
    """The messages that are due at ``now`` about alerts that were told of and are open.

    An acknowledged alert is neither escalated nor repeated. In the quiet hours of a route its reminders wait, and the
    time until an escalation counts from their end, as the first message itself went out only then.
    """
    acks = {(each.fingerprint, each.fired_at): each for each in responses if each.action is Action.ACK}
    found: list[Transition] = []
    for key, state in states.items():
        if not (state.open and state.fired_at and state.last) or state.muted or state.acknowledged:
            continue
        ack = acks.get((key, state.fired_at))
        found += [_acknowledged(state, ack, now)] if ack else _nobody_has_it(state, router, now)
    return found


def closed_by_hand(
    states: Mapping[str, AlertState], responses: Sequence[Response], now: datetime
) -> Iterator[Transition]:
    """The ends of open alerts that somebody resolved."""
    ends = {(each.fingerprint, each.fired_at): each for each in responses if each.action is Action.RESOLVE}
    for key, state in states.items():
        end = ends.get((key, state.fired_at)) if state.fired_at else None
        if end and state.open and state.last:
            reason = plain(f"resolved by {end.author}" + (f": {end.note}" if end.note else ""))
            yield state.closed(now, reason)


def held_by_hand(responses: Sequence[Response], fingerprint: str, now: datetime) -> str:
    """Why an alert that was resolved by hand a moment ago is not told of again; empty where it was not."""
    for each in responses:
        age = (now - each.written_at).total_seconds()
        if each.action is Action.RESOLVE and each.fingerprint == fingerprint and 0 <= age < HOLD_S:
            return plain(f"resolved by {each.author} at {each.written_at:%H:%M} UTC; told again after an hour")
    return ""


def _acknowledged(state: AlertState, ack: Response, now: datetime) -> Transition:
    assert state.last
    note = plain(ack.author, 100)
    reason = plain(f"acknowledged by {ack.author}" + (f": {ack.note}" if ack.note else ""))
    return _about(state, now, Notice.ACKNOWLEDGE, state.receivers, f"{reason}; {state.last.reason}", note)


def _nobody_has_it(state: AlertState, router: Router, now: datetime) -> list[Transition]:
    assert state.last and state.fired_at
    if state.state is not State.FIRING:
        return []
    for step in router.steps(state.last)[state.steps :][:1]:
        begun = _heard(step.leaf, state.fired_at)
        if now - begun >= step.escalation.after:
            reason = f"nobody acknowledged it since {begun:%Y-%m-%d %H:%M} UTC; {state.last.reason}"
            return [_about(state, now, Notice.ESCALATE, step.escalation.receiver, reason)]
    due = tuple(
        name
        for leaf in router.leaves(state.last)
        for name in leaf.receivers
        if leaf.repeat_interval and not leaf.quiet_until(now)
        if now - _heard(leaf, state.told.get(name, state.fired_at)) >= leaf.repeat_interval
    )
    return [_about(state, now, Notice.REMIND, due, f"still fires; {state.last.reason}")] if due else []


def _heard(leaf: Leaf, told: datetime) -> datetime:
    """When receivers of ``leaf`` heard what was due at ``told``."""
    return leaf.quiet_until(told) or told


def _about(
    state: AlertState, now: datetime, notice: Notice, receivers: tuple[str, ...], reason: str, note: str | None = None
) -> Transition:
    assert state.last
    return replace(
        state.last,
        at=now,
        previous=state.state,
        notice=notice,
        receivers=receivers,
        reason=reason,
        note=state.last.note if note is None else note,
    )
