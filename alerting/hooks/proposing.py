"""From open alerts to proposals, and from decisions to calls and to what people are told of them.

What is due follows from the alerts, the table ``hook_events`` and the ledger alone, and every notice has the time of
what it tells of; so a restart, or another process, finds what is left and nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from tidegauge import decisions, hooks
from tidegauge.alerting.caps import is_summary
from tidegauge.alerting.hooks.caller import receiver_name
from tidegauge.alerting.notifiers.webhook import alert_json
from tidegauge.alerting.router import Router
from tidegauge.alerting.states import AlertState, Notice, State, Transition
from tidegauge.alerting.text import labels_text, moment, plain
from tidegauge.config import Hook
from tidegauge.errors import InvalidRecord
from tidegauge.hooks import Proposal
from tidegauge.store import Store

BACK = timedelta(days=7)
TOLD = """SELECT fingerprint, notice, timestamp, receivers FROM alert_events
WHERE fingerprint IN {ids:Array(String)} AND notice IN ('propose', 'hook', 'call')"""
NOBODY, _ITSELF = "approval: none", "tidegauge"
_ASKED = {"retrain": "Retrain", "rollback": "Roll back", "custom": "Call"}


class Hooks:
    """The configured hooks, round by round.

    Args:
        hooks: As configured.
        router: How receivers are told of the alerts behind proposals.
        receivers: Of all receivers, the names of those that a proposal can go to.
    """

    def __init__(
        self,
        store: Store,
        configured: Sequence[Hook],
        router: Router,
        receivers: Sequence[str],
    ) -> None:
        self._store, self._router = store, router
        self._noted: set[tuple[str, Notice, str]] = set()
        self._hooks = {each.name: each for each in configured}
        self._receivers = frozenset(receivers)
        lengths = [max(each.minimum_interval_s, each.expires_s) for each in configured]
        self._back = BACK + timedelta(seconds=max(lengths, default=0.0))

    def run(self, states: Mapping[str, AlertState], now: datetime) -> list[Transition]:
        """Store new proposals and what expired; everything that somebody is to be told or called of now."""
        if not self._hooks:
            return []
        fired = [each.fired_at for each in states.values() if each.open and each.fired_at]
        known = {each.proposal: each for each in hooks.read(self._store, min([now - self._back, *fired]))}
        for hook in self._hooks.values():
            for state in states.values():
                if made := self._proposed(hook, state, known, now):
                    known[made.proposal] = made
        return self._news([self._without_waiting(each, now) for each in known.values()], now)

    def _proposed(self, hook: Hook, state: AlertState, known: Mapping[str, Proposal], now: datetime) -> Proposal | None:
        """The proposal that an open alert now makes to a hook, stored; None for none."""
        if not (state.open and state.fired_at and state.last) or state.muted or state.state is not State.FIRING:
            return None
        if is_summary(state):  # which stands for alerts that propose for themselves
            return None
        if now - state.fired_at < timedelta(seconds=hook.debounce_s) or not self._fits(hook, state.last):
            return None
        key = _key(hook.name, state.last.fingerprint, state.fired_at.isoformat())
        if key in known:
            return None
        made = self._proposal(hook, state, key, now)
        before = _in_the_way(made, hook, known.values(), now)
        if before is None:
            hooks.propose(self._store, made)
            return made
        key = _key(key, before.proposal)
        if key in known:
            return None
        ends = before.proposed_at + timedelta(seconds=hook.minimum_interval_s)
        note = f"the last one was at {moment(before.proposed_at)}, the next may be at {moment(ends)}"
        made = replace(made, proposal=key, state=hooks.State.SUPPRESSED, note=note)
        hooks.propose(self._store, made)
        return made

    def _fits(self, hook: Hook, alert: Transition) -> bool:
        labels = self._router.matched(alert)
        return all(fnmatchcase(labels.get(name, ""), value) for name, value in hook.match.items())

    def _proposal(self, hook: Hook, state: AlertState, key: str, now: datetime) -> Proposal:
        assert state.last and state.fired_at
        alert, labels = state.last, self._router.matched(state.last)
        tell = hook.tell or tuple(each for each in state.receivers if each in self._receivers)
        leaves = [self._router.nearest(labels, each) for each in tell]
        asked = min((each.quiet_until(now) or now for each in leaves), default=now)
        return Proposal(
            key,
            hooks.State.PROPOSED,
            hook.name,
            hook.kind,
            alert.rule,
            alert.fingerprint,
            alert.labels,
            hooks.scope(hook, labels),
            state.fired_at,
            now,
            asked + timedelta(seconds=hook.expires_s),
            tell,
            _ITSELF,
            plain(alert.summary, 800),
            json.dumps(alert_json(alert)),
        )

    def _without_waiting(self, made: Proposal, now: datetime) -> Proposal:
        """The same, decided where no person is to decide, or has in time."""
        if made.state is not hooks.State.PROPOSED:
            return made
        if now >= made.expires_at:
            return self._decided(made, hooks.State.EXPIRED, _ITSELF, "nobody decided", now)
        hook = self._hooks.get(made.hook)
        if made.fingerprint and hook and hook.approval == "none":
            return self._decided(made, hooks.State.APPROVED, NOBODY, "", now)
        return made

    def _decided(self, known: Proposal, state: hooks.State, author: str, note: str, now: datetime) -> Proposal:
        """Decide it, unless somebody was faster: then what they decided."""
        try:
            return hooks.decide(self._store, known.proposal, state, author, note, now)
        except InvalidRecord:
            return hooks.one(self._store, known.proposal)

    def _news(self, proposals: Sequence[Proposal], now: datetime) -> list[Transition]:
        """What was not told yet and need not wait; of older steps that cannot be known, because alerts' rows expire."""
        made = [each for each in proposals if each.state is not hooks.State.SUPPRESSED]
        wanted = [(each, step) for each in made for step in self._steps(each) if step.at >= now - BACK]
        if not wanted:
            return []
        told: dict[tuple[str, str, datetime], set[str]] = {}
        for row in self._store.rows(TOLD, {"ids": sorted({step.fingerprint for _, step in wanted})}):
            told.setdefault((row["fingerprint"], row["notice"], row["timestamp"]), set()).update(row["receivers"])
        found = []
        for each, step in wanted:
            known = told.get((step.fingerprint, step.notice.value, step.at))
            left = [name for name in step.receivers if name not in (known or ())]
            ready = self._awake(each, step, left, now)
            if ready or (known is None and not left):
                found.append(replace(step, receivers=ready))
        return found

    def _awake(self, made: Proposal, step: Transition, receivers: Sequence[str], now: datetime) -> tuple[str, ...]:
        """Those of ``receivers`` who are told now; for whom it is quiet is written down, once.

        Nobody is asked what is decided. What comes of a person's decision is awaited, and a call disturbs nobody.
        """
        if step.notice is Notice.PROPOSE and made.decided_at:
            return ()
        if step.notice is Notice.CALL or (made.decided_at and made.decided_by not in (NOBODY, _ITSELF)):
            return tuple(receivers)
        alert = json.loads(made.alert)
        labels = self._router.labels(made.rule, alert.get("severity", ""), alert.get("owner", ""), made.labels)
        words = {name: self._router.nearest(labels, name).quiet_words(now) for name in receivers}
        new = [name for name, why in words.items() if why and (made.proposal, step.notice, name) not in self._noted]
        self._noted |= {(made.proposal, step.notice, name) for name in new}
        if new:
            decisions.write(self._store, [_waits(made, step, name, words[name], now) for name in new])
        return tuple(name for name, why in words.items() if not why)

    def _steps(self, made: Proposal) -> Iterator[Transition]:
        """Every notice that a proposal has brought so far, oldest first."""
        if made.decided_by != NOBODY and made.fingerprint:
            yield _notice(made, Notice.PROPOSE, made.proposed_at, _question(made), self._tell(made))
        if made.decided_at:
            word = {hooks.State.REJECTED: "rejected", hooks.State.EXPIRED: "expired"}.get(made.state, "approved")
            said = f"{word} by {made.decided_by}" + (f": {made.said}" if made.said else "")
            yield _notice(made, Notice.HOOK, made.decided_at, said, self._tell(made))
        if made.decided_at and made.wanted and made.hook in self._hooks:
            yield _notice(made, Notice.CALL, made.decided_at, "call it", (receiver_name(made.hook),))
        if made.state in (hooks.State.SUCCEEDED, hooks.State.FAILED) and made.ended_at:
            said = f"the call {made.state.value} after {made.attempts} attempt(s): {made.result}"
            yield _notice(made, Notice.HOOK, made.ended_at, said, self._tell(made))

    def _tell(self, made: Proposal) -> tuple[str, ...]:
        return tuple(each for each in made.tell if each in self._receivers)


def _waits(made: Proposal, step: Transition, receiver: str, why: str, now: datetime) -> dict[str, object]:
    return {
        "timestamp": now,
        "rule": made.rule,
        "fingerprint": made.fingerprint,
        "labels": dict(made.labels),
        "event_at": step.at,
        "receiver": receiver,
        "reason": "quiet_hours",
        "detail": f"{why}; proposal {made.proposal[:12]} to {made.hook}",
    }


def _in_the_way(made: Proposal, hook: Hook, known: Any, now: datetime) -> Proposal | None:
    """The newest proposal to the same hook about the same thing that is not rejected and not long enough ago."""
    interval = timedelta(seconds=hook.minimum_interval_s)
    others = [
        each
        for each in known
        if each.hook == hook.name and each.scope == made.scope and each.wanted
        if now - each.proposed_at < interval or each.state is hooks.State.PROPOSED
    ]
    return max(others, key=lambda each: each.proposed_at, default=None)


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _question(made: Proposal) -> str:
    return f"{made.rule} for {labels_text(made.labels)}; approve or reject it until {moment(made.expires_at)}"


def _notice(made: Proposal, notice: Notice, at: datetime, reason: str, receivers: tuple[str, ...]) -> Transition:
    asked = _ASKED.get(made.kind, "Call")
    return Transition(
        at=at,
        rule=f"{asked}: {made.hook}",
        fingerprint=made.proposal,
        labels=dict(made.labels),
        state=State.INACTIVE,
        previous=State.INACTIVE,
        notice=notice,
        open=False,
        since=made.proposed_at,
        lapsed_since=None,
        severity="info",
        owner="",
        runbook="",
        action=f"Approve or reject: `tidegauge hooks show {made.proposal[:12]}`, the page, or the buttons in Slack.",
        reason=plain(reason, 600),
        summary=plain(f"{asked} ({made.hook}) for {labels_text(made.labels)}: {reason}; {made.note}", 800),
        receivers=receivers,
    )
