"""Rules against series written by hand: tests/alerting/golden/*.txt. The format stands at the top of threshold.txt."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tidegauge.alerting.durations import parse_duration
from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import AlertState, QueryFailed, Reading, fingerprint
from tidegauge.metrics import Observation, wilson

GOLDEN = Path(__file__).parent / "golden"
START = datetime(2026, 3, 1, tzinfo=UTC)
WHO = {"severity": "page", "owner": "o", "runbook": "r", "action": "a"}
DEFAULTS = {"alert": "R", "metric": "refusal_rate", "min_samples": 1, **WHO}


@dataclass
class Case:
    name: str
    rule: Rule | None = None
    moments: list[datetime] = field(default_factory=list)
    every: timedelta = timedelta(minutes=1)
    series: dict[str, list[str]] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)
    notices: dict[str, list[str]] = field(default_factory=dict)


def read(text: str) -> list[Case]:
    cases: list[Case] = []
    for line in text.splitlines():
        word, _, rest = line.partition(":")
        kind, _, labels = word.partition(" ")
        if kind == "case":
            cases.append(Case(rest.strip()))
        elif kind == "rule":
            cases[-1].rule = Rule.model_validate(DEFAULTS | yaml.safe_load(rest))
        elif kind == "every":
            cases[-1].every = parse_duration(rest.strip())
        elif kind == "at":
            cases[-1].moments = [START + timedelta(minutes=int(each)) for each in rest.split()]
        elif kind == "series":
            cases[-1].series[labels] = [each for token in rest.split() for each in repeated(token)]
        elif kind == "expect":
            cases[-1].states[labels] = rest.split()
        elif kind == "notices":
            cases[-1].notices[labels] = rest.split()
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"not a line of a golden file: {line!r}")
    return cases


def repeated(token: str) -> list[str]:
    match = re.fullmatch(r"\((.+)\)x(\d+)", token)
    return [match[1]] * int(match[2]) if match else [token]


def labels_of(text: str) -> dict[str, str]:
    return dict(part.split("=") for part in text.split(",")) if text else {}


def observation(labels: dict[str, str], token: str) -> Observation:
    if "/" in token:
        hits, samples = (int(part) for part in token.split("/"))
        return Observation(labels, hits / samples, samples, *wilson(hits, samples))
    value, samples_text = token.split("@")
    return Observation(labels, float(value), int(samples_text))


def several(labels: dict[str, str], text: str) -> tuple[Observation | None, ...]:
    return tuple(None if each == "-" else observation(labels, each) for each in text.split(",")) if text else ()


def reading(labels: dict[str, str], token: str, weeks: int) -> Reading:
    now, bar, before = token.partition("|")
    if "," in now:
        parts = several(labels, now)
        return Reading(labels, next((each for each in parts if each), None), parts=parts)
    seen = None if now == "absent" else observation(labels, now)
    if weeks:
        return Reading(labels, seen, parts=several(labels, before))
    return Reading(labels, seen, observation(labels, before) if bar else None)


def play(case: Case) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The states of every labels that the case expects, round by round, and its notices."""
    assert case.rule
    rounds = max(len(tokens) for tokens in case.series.values())
    moments = case.moments or [START + i * case.every for i in range(rounds)]
    states: dict[str, AlertState] = {}
    seen: dict[str, list[str]] = {labels: [] for labels in case.states}
    told: dict[str, list[str]] = {}
    for i, now in enumerate(moments):
        tokens = {labels: tokens[i] for labels, tokens in case.series.items()}
        weeks = case.rule.weeks
        found = [
            reading(labels_of(labels), token, weeks) for labels, token in tokens.items() if token not in ("-", "!")
        ]
        answer = QueryFailed("boom") if "!" in tokens.values() else found
        states, transitions = evaluate([case.rule], {"R": answer}, states, now)
        for labels, column in seen.items():
            state = states.get(fingerprint("R", labels_of(labels)))
            column.append(state.state.value if state else "none")
        for each in transitions:
            labels = ",".join(f"{name}={value}" for name, value in each.labels.items())
            told.setdefault(labels, []).extend([f"{i}={each.notice.value}"] if each.notice else [])
    return seen, {labels: column for labels, column in told.items() if column}


CASES = [case for path in sorted(GOLDEN.glob("*.txt")) for case in read(path.read_text())]


def test_there_are_at_least_sixty_golden_cases_with_names_of_their_own() -> None:
    names = [case.name for case in CASES]

    assert len(names) >= 60
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_golden(case: Case) -> None:
    states, notices = play(case)

    assert states == case.states
    assert notices == {labels: column for labels, column in case.notices.items() if column}
