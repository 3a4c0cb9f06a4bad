"""Alerting: rules over metrics, their states, and notifications that arrive at least once."""

from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.replay import Past, outcomes, replay
from tidegauge.alerting.rules import Rule, check_rules
from tidegauge.alerting.runner import AlertLoop
from tidegauge.alerting.states import State, Transition
from tidegauge.alerting.text import format_transition

__all__ = [
    "AlertLoop",
    "Past",
    "Rule",
    "State",
    "Transition",
    "check_rules",
    "evaluate",
    "format_transition",
    "outcomes",
    "replay",
]
