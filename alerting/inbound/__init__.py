"""What comes back from receivers: buttons pressed in Slack, incidents taken in PagerDuty. The page hands it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidegauge.alerting.inbound.contract import Answered
from tidegauge.alerting.inbound.pagerduty import PagerDutyAnswers
from tidegauge.alerting.inbound.slack import SlackAnswers
from tidegauge.clock import Clock
from tidegauge.config import Alerting
from tidegauge.store import Store

__all__ = ["Answered", "PagerDutyAnswers", "SlackAnswers", "inbound"]


def inbound(store: Store, settings: Alerting, clock: Clock) -> Mapping[str, Callable[..., Answered]]:
    """Who takes what is posted to the page, by the name of the service: body and headers -> the answer."""
    slack, pagerduty = SlackAnswers(store, settings, clock), PagerDutyAnswers(store, settings, clock)
    return {"slack": slack.take, "pagerduty": pagerduty.take}
