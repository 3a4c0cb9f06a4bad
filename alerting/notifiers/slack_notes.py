"""What Slack was told: the table ``slack_messages``, written before each message and again after it.

A message that was begun and of which nothing more is known may be in Slack or not: whoever goes on looks it up there,
by the key in its metadata.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from tidegauge.alerting.states import Transition
from tidegauge.clock import EPOCH
from tidegauge.store import Store

_LATEST = "argMax(tuple(conversation, thread, alerts, events, channel, root, written_at), (ts != '', written_at)) AS m"
SAID = f"""SELECT message, {_LATEST}, max(ts) AS known FROM slack_messages
WHERE receiver = {{receiver:String}} AND hasAny(events, {{events:Array(String)}}) GROUP BY message"""  # noqa: S608
THREAD = f"""SELECT message, {_LATEST}, max(ts) AS known FROM slack_messages
WHERE thread = {{thread:String}} GROUP BY message HAVING known != '' ORDER BY known"""  # noqa: S608
OF_ALERT = """SELECT argMax(thread, (written_at, ts)) FROM slack_messages
WHERE receiver = {receiver:String} AND has(alerts, {alert:String}) AND ts != ''"""
OF_CONVERSATION = """SELECT argMax(thread, (written_at, ts)) FROM slack_messages
WHERE receiver = {receiver:String} AND conversation = {conversation:String} AND ts != ''"""
PICTURES = """SELECT fingerprint, argMax(tuple(event_at, file, words), written_at) AS p FROM slack_pictures
WHERE receiver = {receiver:String} AND fingerprint IN {alerts:Array(String)} GROUP BY fingerprint"""
RECEIVER = "SELECT any(receiver) FROM slack_messages WHERE thread = {thread:String}"


def event_key(alert: Transition) -> str:
    """16 hex digits that stand for one notice of one alert, the same in every process."""
    return digest(f"{alert.fingerprint} {alert.notice} {alert.at.isoformat()}")


def digest(text: str) -> str:
    """16 hex digits of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Said:
    """One message, sent or about to be.

    Attributes:
        message: Its key.
        thread: The key of the first message of its thread.
        ts: Slack's name for it; empty while it is not known to be sent.
        at: When it was begun or sent.
    """

    message: str
    conversation: str
    thread: str
    events: tuple[str, ...]
    alerts: tuple[str, ...]
    channel: str
    root: bool
    ts: str = ""
    at: datetime = EPOCH

    def sent(self, ts: str, channel: str) -> Said:
        """The same once Slack has it."""
        return replace(self, ts=ts, channel=channel or self.channel)


class Picture(NamedTuple):
    """A chart that Slack has; ``at`` is that of the alert for which it was drawn."""

    at: datetime
    file: str
    words: str


class Notes:
    """Reads and writes the table for one receiver."""

    def __init__(self, store: Store, receiver: str, now: Callable[[], datetime]) -> None:
        self.store, self._receiver, self._now = store, receiver, now

    def write(self, said: Said) -> None:
        """Store ``said`` as it is."""
        row = {name: getattr(said, name) for name in Said.__slots__ if name != "at"}
        lists = {"events": list(said.events), "alerts": list(said.alerts)}
        self.store.insert("slack_messages", [row | lists | {"written_at": self._now(), "receiver": self._receiver}])

    def drew(self, alert: Transition, file: str, words: str) -> None:
        """Store that Slack has the chart of ``alert``."""
        row = {"fingerprint": alert.fingerprint, "event_at": alert.at, "file": file, "words": words}
        self.store.insert("slack_pictures", [row | {"written_at": self._now(), "receiver": self._receiver}])

    def pictures(self, alerts: Sequence[Transition]) -> dict[str, Picture]:
        """The charts that Slack has of these alerts since each began, by fingerprint."""
        since = {each.fingerprint: each.since for each in alerts}
        rows = self.store.rows(PICTURES, {"receiver": self._receiver, "alerts": sorted(since)})
        found = {row["fingerprint"]: Picture(_utc(row["p"][0]), *row["p"][1:]) for row in rows}
        return {key: each for key, each in found.items() if each.at >= since[key]}

    def about(self, events: Collection[str]) -> list[Said]:
        """The messages, sent or begun, that hold any of ``events``."""
        rows = self.store.rows(SAID, {"receiver": self._receiver, "events": list(events)})
        return [_said(row["message"], row["m"], row["known"]) for row in rows]

    def thread_of(self, alert: str) -> str:
        """The newest thread that an alert is in, by its fingerprint; empty for none."""
        return str(self.store.value(OF_ALERT, {"receiver": self._receiver, "alert": alert}) or "")

    def thread_in(self, conversation: str) -> str:
        """The newest thread of a conversation; empty for none."""
        asked = {"receiver": self._receiver, "conversation": conversation}
        return str(self.store.value(OF_CONVERSATION, asked) or "")


def messages(store: Store, thread: str) -> list[Said]:
    """What was sent in a thread, its first message first."""
    rows = store.rows(THREAD, {"thread": thread})
    found = [_said(row["message"], row["m"], row["known"]) for row in rows]
    return sorted(found, key=lambda each: not each.root)


def receiver_of(store: Store, thread: str) -> str:
    """Who was told in a thread; empty where there is none such."""
    return str(store.value(RECEIVER, {"thread": thread}) or "")


def alerts_of(said: Sequence[Said]) -> tuple[str, ...]:
    """The fingerprints of all alerts in these messages, in their order."""
    return tuple(dict.fromkeys(alert for each in said for alert in each.alerts))


def _said(message: str, values: Sequence[object], ts: str) -> Said:
    conversation, thread, alerts, events, channel, root, at = values
    assert isinstance(alerts, list | tuple) and isinstance(events, list | tuple) and isinstance(at, datetime)
    return Said(
        message, str(conversation), str(thread), tuple(events), tuple(alerts), str(channel), bool(root), ts,
        _utc(at),
    )  # fmt: skip


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=at.tzinfo or UTC)
