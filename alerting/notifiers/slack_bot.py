"""A Slack app with a bot token: one thread for each group of alerts, kept up to date, with buttons.

A group's first message shows the present state of each of its alerts and is edited as they go on; below it stands
each step. Which message that is stands in ``slack_messages``, so another process goes on in the same thread. Whoever
died between sending a message and noting it is followed by one who looks the message up by its key.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from slack_sdk.web import SlackResponse

from tidegauge import hooks, responses, silences
from tidegauge.alerting.evidence import Enrich
from tidegauge.alerting.history import last_told
from tidegauge.alerting.http import Delivered, Outcome
from tidegauge.alerting.notifiers import slack_thread
from tidegauge.alerting.notifiers.slack import build
from tidegauge.alerting.notifiers.slack_client import GuardedClient, NotSent
from tidegauge.alerting.notifiers.slack_notes import Notes, Picture, Said, alerts_of, digest, event_key, messages
from tidegauge.alerting.notifiers.slack_thread import Course
from tidegauge.alerting.pictures import alt_text, draw
from tidegauge.alerting.states import Notice, Transition
from tidegauge.config import SlackBotReceiver
from tidegauge.errors import StoreError
from tidegauge.instruments import SLACK_PICTURES, SLACK_REPEATS

logger = logging.getLogger(__name__)
EVENT_TYPE = "tidegauge_alert"
MOST_PAGES = 5
SKEW_S = 600.0
"""How far the database's and Slack's clocks may be apart for a message to be found again."""
_BEGINS = (Notice.FIRE, Notice.PROPOSE, Notice.DIGEST)
_MAY_NOT_LOOK = frozenset({"missing_scope", "not_allowed_token_type", "no_permission", "not_in_channel"})
_MAY_NOT_UPLOAD = _MAY_NOT_LOOK | {"not_allowed", "access_denied", "file_uploads_disabled"}
WAITS_S = (0.5, 1.0, 1.5)
"""Slack works on an uploaded file for a moment before a message can show it."""
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})


@dataclass(frozen=True, slots=True)
class Threads:
    """How threads are made.

    Attributes:
        conversation: What the alerts of one thread have in common; empty where each rule has its own.
        now: The time, for silences.
        enrich: Adds what messages show and the tables do not hold.
        page_url: For links.
    """

    conversation: Callable[[Transition], str]
    now: Callable[[], datetime]
    enrich: Enrich
    page_url: str = ""


class SlackBot:
    """Tells one channel, at most one message a second, as Slack asks.

    Args:
        settings: Channel and token.
        client: Calls Slack.
        notes: What this receiver was told.
        threads: Which alerts share a thread, and what it shows.
    """

    kind = "slack_bot"
    max_groups = 12
    max_alerts = 200
    spacing_s = 1.0
    refresh_s = 0.0

    def __init__(self, settings: SlackBotReceiver, client: GuardedClient, notes: Notes, threads: Threads) -> None:
        self.name = settings.name
        self._settings, self._client, self._notes, self._threads = settings, client, notes, threads
        self._draws = True

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Delivered once every notice stands in its thread and the thread's first message is up to date."""
        try:
            known = self._already_told(alerts)
            fresh = [each for each in alerts if event_key(each) not in known]
            begun = list(self._told(fresh))
            threads = dict.fromkeys(self._notes.thread_of(each.fingerprint) for each in alerts)
            for thread in threads:
                if thread and thread not in begun:
                    self.refresh(thread)
        except NotSent as error:
            return error.outcome
        return Delivered(f"{len(begun)} message(s) in {self._settings.channel}")

    def refresh(self, thread: str) -> None:
        """Bring the first message of a thread up to date. Raises NotSent."""
        said = messages(self._notes.store, thread)
        if not said or not said[0].root:
            return
        first, body = said[0], self._root(alerts_of(said), thread)
        where = {"channel": first.channel, "ts": first.ts, "metadata": _metadata(first)}
        try:
            self._shown(self._client.chat_update, where, body)
        except NotSent as error:
            if error.error not in _GONE:
                raise
            logger.warning("slack: the first message of a thread in %s cannot be edited: %s", self.name, error.error)

    def illustrate(self, alerts: Sequence[Transition]) -> None:
        """Put a chart into each thread that has none yet: upload it, note it, edit the first message."""
        done: set[str] = set()
        for each in alerts if self._draws else ():
            if not each.open or not each.evidence.chart:
                continue
            try:
                thread = self._notes.thread_of(each.fingerprint)
                if thread and thread not in done:
                    done.add(thread)
                    SLACK_PICTURES.labels(self._illustrated(each, thread)).inc()
            except NotSent as error:
                self._draws = error.error not in _MAY_NOT_UPLOAD
                SLACK_PICTURES.labels("failed").inc()
                logger.warning("slack: the chart of %s for %s stays a line of text: %s", each.rule, self.name, error)
            except StoreError:
                SLACK_PICTURES.labels("failed").inc()
                logger.exception("slack: the chart of %s for %s stays a line of text", each.rule, self.name)

    def _illustrated(self, alert: Transition, thread: str) -> str:
        """Upload one chart and show it; what came of it. Raises NotSent and StoreError."""
        told = last_told(self._notes.store, alerts_of(messages(self._notes.store, thread)))
        chart = alert.evidence.chart
        if not chart or self._notes.pictures([each for each, _ in told]):
            return "there already"
        if not (png := draw(chart)):
            return "not drawn"
        words = alt_text(chart)
        self._notes.drew(alert, self._client.upload(f"{alert.fingerprint[:12]}.png", words, png), words)
        self.refresh(thread)
        return "shown"

    def _shown(self, call: Callable[..., SlackResponse], where: Mapping[str, Any], body: Mapping[str, Any]) -> Any:
        """``call`` with ``body``; a picture that Slack is not ready with is waited for a little, and then left out."""
        plainly = [each for each in body["blocks"] if each["type"] != "image"]
        for wait_s in WAITS_S if len(plainly) < len(body["blocks"]) else ():
            try:
                return call(**where, **body)
            except NotSent as error:
                if error.error != "invalid_blocks":
                    raise
                time.sleep(wait_s)
        return call(**where, **{**body, "blocks": plainly})

    def say(self, thread: str, text: str) -> None:
        """Add a line below a thread's first message. Raises NotSent."""
        said = messages(self._notes.store, thread)
        if said:
            self._client.chat_postMessage(channel=said[0].channel, thread_ts=said[0].ts, text=text, parse="none")

    def whisper(self, channel: str, user: str, text: str) -> None:
        """Tell one person alone. Raises NotSent."""
        self._client.chat_postEphemeral(channel=channel, user=user, text=text, parse="none")

    def _place(self, alert: Transition) -> tuple[str, str]:
        """The conversation of an alert that begins, or the thread of one that goes on."""
        if alert.notice not in _BEGINS:
            return "", self._notes.thread_of(alert.fingerprint)
        if alert.notice is Notice.FIRE:
            return self._threads.conversation(alert) or f"rule {alert.rule}", ""
        return f"{alert.notice} {alert.fingerprint} {alert.at.isoformat()}", ""

    def _told(self, alerts: Sequence[Transition]) -> Iterator[str]:
        """Send neighbours of one place as one message, each once those before it are in Slack; as ``_tell``."""
        while alerts:
            place = self._place(alerts[0])
            run = list(takewhile(lambda each, place=place: self._place(each) == place, alerts))  # type: ignore[misc]
            yield self._tell(run)
            alerts = alerts[len(run) :]

    def _tell(self, alerts: list[Transition]) -> str:
        """Send ``alerts``, which belong together, as one message; the thread that they began, or empty."""
        conversation, thread = self._place(alerts[0])
        if conversation:
            thread = self._open_thread(conversation, alerts)
        events = tuple(event_key(each) for each in alerts)
        key = digest(" ".join(events))
        said = Said(
            key, conversation or f"rule {alerts[0].rule}", thread or key, events,
            tuple(dict.fromkeys(each.fingerprint for each in alerts)), self._settings.channel, not thread,
        )  # fmt: skip
        self._notes.write(said)
        self._post(said, alerts)
        return "" if thread else key

    def _open_thread(self, conversation: str, alerts: Sequence[Transition]) -> str:
        """The conversation's newest thread while another alert in it is open, else empty."""
        thread = self._notes.thread_in(conversation)
        others = set(alerts_of(messages(self._notes.store, thread))) if thread else set()
        others -= {each.fingerprint for each in alerts}
        told = last_told(self._notes.store, sorted(others)) if others else []
        return thread if any(each.open for each, _ in told) else ""

    def _post(self, said: Said, alerts: Sequence[Transition]) -> None:
        where: dict[str, Any] = {"channel": said.channel, "metadata": _metadata(said)}
        if said.root:
            body = self._root(said.alerts, said.thread) if alerts[0].notice is not Notice.DIGEST else build(alerts)
        else:
            (first, *_) = messages(self._notes.store, said.thread)
            where |= {"channel": first.channel, "thread_ts": first.ts}
            body = slack_thread.reply(alerts)
        answer = self._shown(self._client.chat_postMessage, where, body)
        self._notes.write(said.sent(str(answer["ts"]), str(answer["channel"] or "")))

    def _root(self, alerts: Sequence[str], thread: str) -> dict[str, Any]:
        store, now = self._notes.store, self._threads.now()
        told = last_told(store, alerts)
        fired = [fired_at for _, fired_at in told if fired_at]
        shown = zip(self._threads.enrich([each for each, _ in told]), told, strict=True)
        courses = [Course(each, fired_at, _matched(each), self._undecided(each)) for each, (_, fired_at) in shown]
        return slack_thread.root(
            courses,
            responses.read(store, min(fired)) if fired else [],
            silences.read(store, now),
            now,
            thread=thread,
            page_url=self._threads.page_url,
            buttons=bool(self._settings.signing_secret.get_secret_value()),
            pictures=self._pictures([each for each, _ in told]),
        )

    def _pictures(self, alerts: Sequence[Transition]) -> dict[str, Picture]:
        try:
            return self._notes.pictures(alerts)
        except StoreError:  # a picture is never worth a message
            logger.exception("slack: a message to %s goes without its chart", self.name)
            return {}

    def _undecided(self, alert: Transition) -> bool:
        if alert.notice is not Notice.PROPOSE:
            return False
        return hooks.one(self._notes.store, alert.fingerprint).state is hooks.State.PROPOSED

    def _already_told(self, alerts: Sequence[Transition]) -> set[str]:
        """The events of ``alerts`` that are in Slack; a message of which that is not known is looked up."""
        found = sorted(self._notes.about([event_key(each) for each in alerts]), key=lambda each: not each.root)
        known = {event for each in found if each.ts for event in each.events}
        for each in found:
            if not each.ts and not known.issuperset(each.events) and (ts := self._look_up(each)):
                self._notes.write(each.sent(ts, each.channel))
                known |= set(each.events)
        return known

    def _look_up(self, said: Said) -> str:
        """The ts of a message that may have been sent; empty when Slack does not have it or may not be asked."""
        asked: dict[str, Any] = {
            "channel": said.channel, "oldest": f"{said.at.timestamp() - SKEW_S:.6f}", "limit": 100,
            "include_all_metadata": True,
        }  # fmt: skip
        look: Callable[..., SlackResponse] = self._client.conversations_history
        if not said.root:
            thread = messages(self._notes.store, said.thread)
            if not thread:
                return ""
            first = thread[0]
            look, asked = self._client.conversations_replies, asked | {"channel": first.channel, "ts": first.ts}
        try:
            for _ in range(MOST_PAGES):
                answer = look(**asked)
                for each in answer["messages"] or ():
                    if _key(each) == said.message:
                        return str(each["ts"])
                asked["cursor"] = (answer["response_metadata"] or {}).get("next_cursor")
                if not asked["cursor"]:
                    return ""
        except NotSent as error:
            if error.error not in _MAY_NOT_LOOK:
                raise
            SLACK_REPEATS.labels(self.name).inc()
            logger.warning("slack: %s may not read %s (%s): a message may stand twice", self.name, said.channel, error)
        return ""


def _metadata(said: Said) -> dict[str, Any]:
    return {"event_type": EVENT_TYPE, "event_payload": {"key": said.message, "thread": said.thread}}


def _key(message: Any) -> str:
    metadata = message.get("metadata") or {}
    return str((metadata.get("event_payload") or {}).get("key", "")) if isinstance(metadata, dict) else ""


def _matched(alert: Transition) -> dict[str, str]:
    return {**alert.labels, "alert": alert.rule, "severity": alert.severity, "owner": alert.owner}
