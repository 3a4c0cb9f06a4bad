"""One summary alert for the slices of a rule that are too many to tell one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from tidegauge.alerting.muting import CAP
from tidegauge.alerting.states import AlertState, Notice, State, Transition, fingerprint

LABEL = "tidegauge.slices"
_LABELS = {LABEL: "more than can be told one by one"}


def is_summary(state: AlertState) -> bool:
    """Whether it stands for slices that are not told of."""
    return LABEL in state.labels


def summaries(
    states: Mapping[str, AlertState], before: Mapping[str, AlertState], now: datetime
) -> tuple[dict[str, AlertState], list[Transition]]:
    """The summary alerts for ``states`` and what changed about them.

    Args:
        before: The summary alerts so far, by fingerprint.
    """
    capped = [each for each in states.values() if each.open and each.muted.startswith(CAP) and each.last]
    counts = Counter(each.rule for each in capped)
    examples = {each.rule: each.last for each in reversed(capped) if each.last}
    begun = [_begun(last, counts[rule], now) for rule, last in examples.items() if _key(rule) not in before]
    ended = {key: each for key, each in before.items() if not counts[each.rule]}
    new = {key: each for key, each in before.items() if key not in ended}
    new |= {each.fingerprint: _state(each) for each in begun}
    return new, [*begun, *(_ended(each, now) for each in ended.values() if each.last)]


def _key(rule: str) -> str:
    return fingerprint(rule, _LABELS)


def _begun(last: Transition, count: int, now: datetime) -> Transition:
    words = f"{count} more slices fire than are told one by one, such as {last.summary}"
    return replace(
        last,
        at=now,
        since=now,
        fingerprint=_key(last.rule),
        labels=_LABELS,
        state=State.FIRING,
        previous=State.INACTIVE,
        notice=Notice.FIRE,
        open=True,
        muted="",
        lapsed_since=None,
        receivers=(),
        summary=words,
        reason=words,
        note="",
    )


def _state(last: Transition) -> AlertState:
    return AlertState(last.rule, last.labels, State.FIRING, last.since, open=True, last=last)


def _ended(state: AlertState, now: datetime) -> Transition:
    return state.closed(now, "every slice that fires is told of again, or over")
