"""Receivers of alerts: Slack, PagerDuty, Alertmanager, e-mail and a plain webhook."""

from __future__ import annotations

from tidegauge.alerting.addresses import Refused
from tidegauge.alerting.http import Poster
from tidegauge.alerting.notifiers.alertmanager import Alertmanager
from tidegauge.alerting.notifiers.contract import Notifier
from tidegauge.alerting.notifiers.email import Email
from tidegauge.alerting.notifiers.pagerduty import PagerDuty
from tidegauge.alerting.notifiers.slack import Slack
from tidegauge.alerting.notifiers.webhook import Webhook
from tidegauge.config import (
    Alerting,
    AlertmanagerReceiver,
    AnyReceiver,
    EmailReceiver,
    PagerDutyReceiver,
    SlackReceiver,
)
from tidegauge.errors import ConfigError

__all__ = ["Alertmanager", "Email", "Notifier", "PagerDuty", "Slack", "Webhook", "notifiers"]


def notifiers(settings: Alerting) -> list[Notifier]:
    """A notifier for each configured receiver.

    Raises:
        ConfigError: lists every receiver whose address is refused and every name that stands twice.
    """
    built: list[Notifier] = []
    problems: list[str] = []
    for i, receiver in enumerate(settings.receivers):
        try:
            built.append(_build(receiver, settings))
        except Refused as error:
            problems.append(f"receivers.{i + 1} ({receiver.name}): url {error}")
    names = [each.name for each in settings.receivers]
    problems += [f"receivers: the name {name!r} stands twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise ConfigError("alerting", problems)
    return built


def _build(receiver: AnyReceiver, settings: Alerting) -> Notifier:
    internal = settings.allow_internal_addresses
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
