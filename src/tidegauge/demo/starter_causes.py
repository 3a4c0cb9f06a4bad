"""The cause that an alert of the replay would be told with, and whether it is the true one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from tidegauge.alerting.likely import about, begin, look
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import Transition
from tidegauge.alerting.text import plain
from tidegauge.config import AlertDiagnosis
from tidegauge.demo.assistant import diagnose as of_assistant
from tidegauge.demo.assistant import faults as odd
from tidegauge.demo.flights import diagnose as of_flights
from tidegauge.demo.flights.faults import parse_fault
from tidegauge.detectors.diagnose import Asked, Cause, Diagnosis, diagnose
from tidegauge.detectors.diagnose.text import as_json
from tidegauge.detectors.diagnose.verdict import part_text
from tidegauge.diagnoses import Diagnosed, State
from tidegauge.store import Store

IsTrue = Callable[[Cause], bool]
SAID = {State.LIKELY: "told", State.UNSURE: "not sure", State.NOTHING: "none", State.FAILED: "failed"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a diagnosis made for one alert came to, and whether its cause is the true one."""

    made: Diagnosed
    true: bool

    @property
    def cells(self) -> tuple[str, str]:
        """For the table: the cause, and whether it is right; in brackets where receivers do not hear of it."""
        name = " in ".join(filter(None, (self.made.cause, self.made.part)))
        if self.made.state is State.LIKELY:
            return name, "yes" if self.true else "no"
        return f"({SAID[self.made.state]}{f': {name}' if name else ''})", "(yes)" if self.true else "-"


def of_flight(text: str, day: date) -> IsTrue:
    """Whether a cause is the flights' fault ``text`` that began on ``day``."""
    fault = parse_fault(f"{text}@{day}")
    return lambda cause: of_flights.is_true(fault, cause)


def of_question(text: str, since: datetime) -> IsTrue:
    """Whether a cause is the assistant's fault ``text`` that began at ``since``."""
    fault = odd.parse_fault(text, since)
    return lambda cause: of_assistant.is_true(fault, cause)


def told_cause(store: Store, rules: Mapping[str, Rule], fire: Transition, is_true: IsTrue) -> Told:
    """What the diagnosis of one alert finds that is made when it fires, as the alert loop makes it."""
    seen: list[Diagnosis] = []

    def made_by(model: str, since: datetime | None, until: datetime, days: float) -> dict[str, Any]:
        seen.append(diagnose(store, Asked(model, until, since, timedelta(days=days))))
        return as_json(seen[-1])

    rule = rules[fire.rule]
    concerned = about(rule, fire.labels)
    moments = fire.at, fire.at, begin(store, rule, fire.labels, fire.since)
    begun = Diagnosed("", State.BEGUN, concerned.subject, rule.alert, fire.fingerprint, *moments)
    [made] = look(made_by, [begun], {fire.fingerprint: concerned}, AlertDiagnosis().history_days)
    last = seen[-1:] if made.state is State.LIKELY else seen[:1]
    named = [each for found in last for each in found.causes if _name(each) == (made.cause, made.part)]
    return Told(made, any(map(is_true, named)))


def _name(cause: Cause) -> tuple[str, str]:
    finding = cause.finding
    name = ": ".join(filter(None, (finding.cause, finding.subject)))
    return plain(name, 200), plain(part_text(finding.part), 200)
