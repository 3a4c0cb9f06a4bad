"""Unit tests for rules: series in, expected states out, written in YAML beside the rule files.

.. code-block:: yaml

    rule_files: [rules.yaml]            # beside this file; none: the starter rules
    tests:
      - name: refusals page after half an hour
        every: 5m                       # one round each so long
        series:
          - metric: refusal_rate
            labels: {service: bot, prompt_version: v2}
            values: 1/100x3 20/100x9    # hits/samples, or value@samples; x3 repeats; - is no data
        expect:
          - {at: 10m, alert: High refusal rate, labels: {service: bot, prompt_version: v2}, state: inactive}
          - {at: 45m, alert: High refusal rate, labels: {service: bot, prompt_version: v2}, state: firing}

A value is what the metric reads over the rule's window in that round. A rule with ``compare`` sees the value of
``offset`` earlier in the same series beside it, and one with a ``season`` those of each week before; one with
``absent_for`` sees a series as absent where it has no data. One with ``trend`` sees the values ``step`` apart, and one
with ``slo`` all rounds within each of its windows together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from tidegauge.alerting.documents import Document
from tidegauge.alerting.durations import Duration, format_duration
from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.forms import Strict
from tidegauge.alerting.rules import Name, Rule, check_rules
from tidegauge.alerting.season import WEEK
from tidegauge.alerting.states import AlertState, Reading, State, fingerprint
from tidegauge.alerting.text import labels_text
from tidegauge.errors import ConfigError
from tidegauge.metrics import Observation, wilson

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday; rules do not look at the calendar
TOKEN = re.compile(r"(?P<value>-|\d+/\d+|[-+.\deE]+@\d+)(?:x(?P<times>\d+))?")
MAX_ROUNDS = 100_000
Token = str


def _tokens(text: str) -> str:
    bad = [each for each in text.split() if not TOKEN.fullmatch(each)]
    if bad or not text.strip():
        raise ValueError(f"{bad[0] if bad else 'nothing'!r} is no value: write 5/100, 0.3@200 or -, perhaps with x10")
    for each in text.split():
        _observed({}, str(TOKEN.fullmatch(each)["value"]))  # type: ignore[index]
    if sum(_times(each) for each in text.split()) > MAX_ROUNDS:
        raise ValueError(f"must be no more than {MAX_ROUNDS} rounds")
    return text


def _times(token: Token) -> int:
    match = TOKEN.fullmatch(token)
    return int(match["times"] or 1) if match else 0


def _observed(labels: Mapping[str, str], value: str) -> Observation | None:
    if value == "-":
        return None
    if "/" in value:
        hits, samples = (int(part) for part in value.split("/"))
        if not 0 <= hits <= samples or not samples:
            raise ValueError(f"{value}: hits cannot be more than samples, and samples must be 1 or more")
        return Observation(labels, hits / samples, samples, *wilson(hits, samples))
    number, samples_text = value.split("@")
    return Observation(labels, float(number), int(samples_text))


class Series(Strict):
    """One series of a metric, round by round."""

    metric: str
    labels: Mapping[str, str] = Field(default_factory=dict)
    values: Annotated[str, AfterValidator(_tokens)]

    def observations(self) -> list[Observation | None]:
        """One for each round; None is no data."""
        found: list[Observation | None] = []
        for token in self.values.split():
            match = TOKEN.fullmatch(token)
            assert match
            found += [_observed(self.labels, match["value"])] * _times(token)
        return found


class Expectation(Strict):
    """How an alert must stand at a moment."""

    at: Duration
    alert: Name
    labels: Mapping[str, str] = Field(default_factory=dict)
    state: State


class RuleTest(Strict):
    """One test."""

    name: Name
    every: Duration = timedelta(minutes=1)
    series: tuple[Series, ...] = Field(min_length=1)
    expect: tuple[Expectation, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rounds_are_met(self) -> Self:
        if not self.every:
            raise ValueError("every must be longer than 0s")
        rounds = max(len(each.observations()) for each in self.series)
        for each in self.expect:
            if each.at % self.every or each.at // self.every >= rounds:
                last = format_duration(self.every * (rounds - 1))
                raise ValueError(f"at: {format_duration(each.at)} is no round; there is one every "
                                 f"{format_duration(self.every)} up to {last}")  # fmt: skip
        return self


class TestFile(Strict):
    """The whole file."""

    __test__ = False  # not a test case of pytest's

    rule_files: tuple[Path, ...] = ()
    tests: tuple[RuleTest, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that was not met."""

    test: str
    expected: Expectation
    found: str

    def __str__(self) -> str:
        at, state = format_duration(self.expected.at), self.expected.state
        where = f" for {labels_text(self.expected.labels)}" if self.expected.labels else ""
        return f"{self.test}: at {at} {self.expected.alert}{where} is {self.found}, expected {state}"


def run_rule_tests(path: Path) -> tuple[int, list[Failure]]:
    """How many expectations the tests of ``path`` have, and those that are not met.

    Raises:
        ConfigError: the file or its rules are wrong; lists every problem with its line.
    """
    document, file = _read(path)
    rules = check_rules([path.parent / each for each in file.rule_files])
    unknown = [
        f"{path}:{document.line(('tests', i, 'expect', k))}: there is no rule {each.alert!r}"
        for i, test in enumerate(file.tests)
        for k, each in enumerate(test.expect)
        if each.alert not in {rule.alert for rule in rules}
    ]
    if unknown:
        raise ConfigError("rule tests", unknown)
    failures = [failure for test in file.tests for failure in _failures(test, rules)]
    return sum(len(test.expect) for test in file.tests), failures


def _read(path: Path) -> tuple[Document, TestFile]:
    problems: list[str] = []
    document = Document.read(path, problems)
    if document is None:
        raise ConfigError("rule tests", problems)
    try:
        return document, TestFile.model_validate(document.data)
    except ValidationError as error:
        lines = [_problem(path, document, each) for each in error.errors()]
        raise ConfigError("rule tests", lines) from None


def _problem(path: Path, document: Document, error: Any) -> str:
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error["loc"])
    return f"{path}:{document.line(error['loc'])}: {place}: {error['msg'].removeprefix('Value error, ')}"


def _failures(test: RuleTest, rules: list[Rule]) -> Iterator[Failure]:
    states: dict[str, AlertState] = {}
    seen = {id(each): each.observations() for each in test.series}
    for place in range(max(map(len, seen.values()))):
        readings = {rule.alert: list(_readings(test, rule, seen, place)) for rule in rules}
        states, _ = evaluate(rules, readings, states, START + place * test.every)
        for each in test.expect:
            if each.at == place * test.every:
                state = states.get(fingerprint(each.alert, each.labels))
                found = state.state if state else State.INACTIVE
                if found is not each.state:
                    yield Failure(test.name, each, found)


def _readings(
    test: RuleTest, rule: Rule, seen: Mapping[int, list[Observation | None]], place: int
) -> Iterator[Reading]:
    for series in test.series:
        if series.metric == rule.metric:
            now = _at(seen[id(series)], place)
            offset = rule.compare.offset if rule.compare else None
            before = _at(seen[id(series)], place - offset // test.every) if offset else None
            if now is not None or rule.absent_for:
                yield Reading(series.labels, now, before, _parts(rule, seen[id(series)][: place + 1], test.every))


def _parts(rule: Rule, values: list[Observation | None], every: timedelta) -> tuple[Observation | None, ...]:
    last = len(values) - 1
    if rule.trend:
        back = range(rule.trend.steps - 1, -1, -1)
        return tuple(_at(values, last - each * rule.trend.step // every) for each in back)
    if rule.slo:
        return tuple(_pooled(values[-max(1, length // every) :]) for length in rule.slo.windows())
    return tuple(_at(values, last - back * WEEK // every) for back in range(1, rule.weeks + 1))


def _pooled(values: list[Observation | None]) -> Observation | None:
    """All records of several rounds as one value."""
    seen = [each for each in values if each is not None and each.value is not None]
    samples = sum(each.samples for each in seen)
    if not samples:
        return None
    hits = sum((each.value or 0.0) * each.samples for each in seen)
    return Observation(seen[-1].labels, hits / samples, samples, *wilson(min(hits, samples), samples))


def _at(values: list[Observation | None], place: int) -> Observation | None:
    return values[place] if 0 <= place < len(values) else None
