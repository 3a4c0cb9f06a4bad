"""Buttons pressed in Slack: who pressed is recorded as the author, ``slack:<name>``.

The signature, over the time and the whole body, stands for the login that the page does not have
(https://docs.slack.dev/authentication/verifying-requests-from-slack): ``v0``, no older than five minutes, compared in
constant time. Within three seconds Slack wants its answer, so the thread is brought up to date after it.
"""

from __future__ import annotations

import glob
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qs

from slack_sdk.signature import Clock as SlackClock
from slack_sdk.signature import SignatureVerifier

from tidegauge import hooks, responses, silences
from tidegauge.addresses import Refused
from tidegauge.alerting.evidence import Enrich, Evidencing, as_they_are
from tidegauge.alerting.history import last_told
from tidegauge.alerting.inbound.contract import Answered, nothing
from tidegauge.alerting.notifiers import SlackBot, Surroundings, slack_bot
from tidegauge.alerting.notifiers.slack import escape
from tidegauge.alerting.notifiers.slack_client import NotSent
from tidegauge.alerting.notifiers.slack_notes import Notes, alerts_of, messages, receiver_of
from tidegauge.alerting.notifiers.slack_thread import ACTIONS
from tidegauge.alerting.rules import check_rules
from tidegauge.alerting.states import Transition
from tidegauge.alerting.text import labels_text, plain
from tidegauge.clock import Clock
from tidegauge.config import Alerting, SlackBotReceiver
from tidegauge.errors import ConfigError, InvalidRecord
from tidegauge.responses import Action
from tidegauge.silences import LONGEST_TEXT, MOST_MATCHERS, Silence
from tidegauge.store import Store

logger = logging.getLogger(__name__)
ANSWERS = {"tidegauge_ack": Action.ACK, "tidegauge_true": Action.TRUE, "tidegauge_false": Action.FALSE}
SILENCES = {"tidegauge_silence_1h": timedelta(hours=1), "tidegauge_silence_4h": timedelta(hours=4)}
DECISIONS = {"tidegauge_approve": hooks.State.APPROVED, "tidegauge_reject": hooks.State.REJECTED}
LONGEST_NAME = 80


class Pressed(NamedTuple):
    """One button pressed: ``value`` is a thread's key or a proposal's id, ``user`` Slack's id of who pressed."""

    action: str
    value: str
    author: str
    user: str
    channel: str


class SlackAnswers:
    """Takes what Slack posts for the apps that are configured with a signing secret."""

    def __init__(self, store: Store, settings: Alerting, clock: Clock) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._bots = {each.name: each for each in settings.receivers if isinstance(each, SlackBotReceiver)}
        self._enrich = _evidencing(store, settings) if self._bots else as_they_are

    def take(self, body: bytes, headers: Mapping[str, str]) -> Answered:
        """401 for a bad signature, 400 for what is no button of ours, else 200; a refusal goes to who pressed."""
        now = self._clock.now()
        names = [name for name, each in self._bots.items() if self._signed(each, body, headers, now)]
        if not names:
            return Answered(401, "the signature is missing, old, or not of a configured Slack app")
        try:
            pressed = _pressed(body)
            thread = self._thread(pressed, names)
        except InvalidRecord as error:
            return Answered(400, str(error))
        name = receiver_of(self._store, thread) if thread else ""
        if thread and name not in names:
            return Answered(400, "the button belongs to another app")
        try:
            said = self._work(pressed, thread, now)
        except InvalidRecord as error:
            return Answered(200, "refused", partial(self._after, name or names[0], _whisper(pressed, str(error))))
        return Answered(200, "stored", partial(self._after, name, _told(thread, said)) if thread else nothing)

    def _signed(self, bot: SlackBotReceiver, body: bytes, headers: Mapping[str, str], now: datetime) -> bool:
        secret = bot.signing_secret.get_secret_value()
        if not secret:
            return False
        try:
            return SignatureVerifier(secret, _At(now)).is_valid_request(body, dict(headers))
        except (ValueError, TypeError, OverflowError):  # no number or far too large a one, no UTF-8, no ASCII
            return False

    def _thread(self, pressed: Pressed, names: Sequence[str]) -> str:
        """The thread that the button stands in; empty where a proposal has none."""
        if pressed.action not in ACTIONS:
            raise InvalidRecord(f"there is no action {pressed.action[:60]!r}")
        if pressed.action not in DECISIONS:
            if not receiver_of(self._store, pressed.value):
                raise InvalidRecord(f"no message of ours has the key {pressed.value[:40]!r}")
            return pressed.value
        found = [Notes(self._store, name, self._clock.now).thread_of(pressed.value) for name in names]
        return next(filter(None, found), "")

    def _work(self, pressed: Pressed, thread: str, now: datetime) -> str:
        """Store what the button means; what is said of it in the thread, or nothing. Raises InvalidRecord."""
        if pressed.action in DECISIONS:
            decision = DECISIONS[pressed.action]
            found = hooks.decide(self._store, pressed.value, decision, pressed.author, "by its button in Slack", now)
            return f"{pressed.author} {decision.value} {found.hook}"
        told = [each for each, fired in last_told(self._store, alerts_of(messages(self._store, thread))) if fired]
        if pressed.action in SILENCES:
            return self._silence(told, SILENCES[pressed.action], pressed.author, now)
        return self._answer(told, ANSWERS[pressed.action], pressed.author, now)

    def _answer(self, alerts: Sequence[Transition], action: Action, author: str, now: datetime) -> str:
        wanted = [each for each in alerts if each.open] if action is Action.ACK else alerts
        if not wanted:
            raise InvalidRecord("all of it is over already; it can still be called true or false")
        for each in wanted:
            responses.respond(self._store, each.fingerprint, action, author, "", now)
        if action is Action.ACK:
            return ""  # of which the alert loop tells all receivers
        return f"{author} calls it a {action} alarm"

    def _silence(self, alerts: Sequence[Transition], length: timedelta, author: str, now: datetime) -> str:
        """One silence for each rule, about the labels that its alerts in this thread have in common."""
        rules: dict[str, list[Transition]] = {}
        for each in alerts:
            rules.setdefault(each.rule, []).append(each)
        if not rules:
            raise InvalidRecord("there is nothing to silence")
        made = [
            Silence(_matchers(rule, members), now, now + length, author, "by its button in Slack")
            for rule, members in rules.items()
        ]
        for silence in made:
            silences.write(self._store, silence, now)
        about = "; ".join(labels_text(each.matchers) for each in made)
        return f"{author} silenced it until {now + length:%Y-%m-%d %H:%M} UTC: {about}"

    def _after(self, name: str, work: Callable[[SlackBot], None]) -> None:
        """Tell Slack what came of it; what is stored is stored, whatever Slack says now."""
        try:
            around = Surroundings(self._store, self._clock.now, enrich=self._enrich)
            work(slack_bot(self._bots[name], self._settings, around))
        except (NotSent, Refused) as error:
            logger.warning("slack: an answer is stored, and %s could not be told so: %s", name, error)


def _evidencing(store: Store, settings: Alerting) -> Enrich:
    try:
        return Evidencing(store, check_rules(settings.rules))
    except ConfigError as error:  # this process need not have the rule files
        logger.warning("slack: messages that are edited here show no course of their metric: %s", error)
        return as_they_are


class _At(SlackClock):
    """A moment, as slack_sdk asks for it."""

    def __init__(self, moment: datetime) -> None:
        self._seconds = moment.timestamp()

    def now(self) -> float:
        return self._seconds


def _told(thread: str, said: str) -> Callable[[SlackBot], None]:
    def work(bot: SlackBot) -> None:
        if said:
            bot.say(thread, escape(plain(said, 1000)))
        bot.refresh(thread)

    return work


def _whisper(pressed: Pressed, said: str) -> Callable[[SlackBot], None]:
    return lambda bot: bot.whisper(pressed.channel, pressed.user, escape(plain(said, 500)))


def _pressed(body: bytes) -> Pressed:
    try:
        data = json.loads(parse_qs(body.decode(), max_num_fields=10)["payload"][0])
        (action, *_) = data["actions"]
        user, channel = data["user"], data["channel"]["id"]
        name = plain(str(user.get("username") or user.get("name") or user["id"]), LONGEST_NAME)
        return Pressed(str(action["action_id"]), str(action["value"]), f"slack:{name}", str(user["id"]), str(channel))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRecord(f"this is no pressed button: {type(error).__name__}") from error


def _matchers(rule: str, alerts: Sequence[Transition]) -> dict[str, str]:
    """The rule and the labels that all of ``alerts`` share, each value meant as it stands."""
    first, *others = (dict(each.labels) for each in alerts)
    shared = {name: value for name, value in first.items() if all(each.get(name) == value for each in others)}
    kept = {name: _literal(value) for name, value in shared.items() if name != "alert" and len(name) <= LONGEST_TEXT}
    return {"alert": _literal(rule), **dict(list(kept.items())[: MOST_MATCHERS - 1])}


def _literal(value: str) -> str:
    whole = glob.escape(value)
    return whole if len(whole) <= LONGEST_TEXT else glob.escape(value[: LONGEST_TEXT // 3 - 1]) + "*"
