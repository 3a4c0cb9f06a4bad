"""Receivers of alerts: Slack, PagerDuty, Alertmanager, e-mail and a plain webhook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tidegauge.addresses import Refused
from tidegauge.alerting.evidence import Enrich, as_they_are
from tidegauge.alerting.http import Poster
from tidegauge.alerting.notifiers.alertmanager import Alertmanager
from tidegauge.alerting.notifiers.contract import Notifier
from tidegauge.alerting.notifiers.email import Email
from tidegauge.alerting.notifiers.pagerduty import PagerDuty
from tidegauge.alerting.notifiers.slack import Slack
from tidegauge.alerting.notifiers.slack_bot import SlackBot, Threads
from tidegauge.alerting.notifiers.slack_client import GuardedClient
from tidegauge.alerting.notifiers.slack_notes import Notes
from tidegauge.alerting.notifiers.webhook import Webhook
from tidegauge.alerting.states import Transition
from tidegauge.config import (
    Alerting,
    AlertmanagerReceiver,
    AnyReceiver,
    EmailReceiver,
    PagerDutyReceiver,
    SlackBotReceiver,
    SlackReceiver,
)
from tidegauge.errors import ConfigError
from tidegauge.store import Store

__all__ = [
    "Alertmanager",
    "Email",
    "Notifier",
    "PagerDuty",
    "Slack",
    "SlackBot",
    "Surroundings",
    "Webhook",
    "notifiers",
    "slack_bot",
]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a notifier may ask beside the alerts that it is given.

    Attributes:
        store: Where it remembers what it said.
        now: The time.
        group: Receiver and alert -> what the alerts of one message have in common; empty for nothing.
        enrich: For messages that show more alerts than those that are told.
    """

    store: Store
    now: Callable[[], datetime]
    group: Callable[[str, Transition], str] = lambda receiver, alert: ""
    enrich: Enrich = as_they_are


def notifiers(settings: Alerting, around: Surroundings) -> list[Notifier]:
    """A notifier for each configured receiver.

    Raises:
        ConfigError: lists every receiver whose address is refused and every name that stands twice.
    """
    built: list[Notifier] = []
    problems: list[str] = []
    for i, receiver in enumerate(settings.receivers):
        try:
            built.append(_build(receiver, settings, around))
        except Refused as error:
            problems.append(f"receivers.{i + 1} ({receiver.name}): url {error}")
    names = [each.name for each in settings.receivers]
    problems += [f"receivers: the name {name!r} stands twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise ConfigError("alerting", problems)
    return built


def slack_bot(receiver: SlackBotReceiver, settings: Alerting, around: Surroundings) -> SlackBot:
    """The notifier for a Slack app. Raises Refused when its address could never be allowed."""
    internal, token = settings.allow_internal_addresses, receiver.token.get_secret_value()
    client = GuardedClient(token, receiver.url, settings.timeout_s, allow_internal=internal)
    notes = Notes(around.store, receiver.name, around.now)
    about = Threads(lambda alert: around.group(receiver.name, alert), around.now, around.enrich, settings.page_url)
    return SlackBot(receiver, client, notes, about)


def _build(receiver: AnyReceiver, settings: Alerting, around: Surroundings) -> Notifier:
    internal = settings.allow_internal_addresses
    if isinstance(receiver, SlackBotReceiver):
        return slack_bot(receiver, settings, around)
    if isinstance(receiver, EmailReceiver):
        return Email(receiver, settings.timeout_s, settings.page_url, allow_internal=internal)
    url = receiver.url if isinstance(receiver.url, str) else receiver.url.get_secret_value()
    poster = Poster(url, settings.timeout_s, allow_internal=internal)
    if isinstance(receiver, SlackReceiver):
        return Slack(receiver.name, poster, settings.page_url)
    if isinstance(receiver, PagerDutyReceiver):
        return PagerDuty(receiver.name, poster, receiver.routing_key.get_secret_value(), settings.page_url)
    if isinstance(receiver, AlertmanagerReceiver):
        return Alertmanager(receiver.name, poster, settings.page_url, receiver.token.get_secret_value())
    return Webhook(receiver.name, poster, settings.page_url, receiver.secret.get_secret_value())
