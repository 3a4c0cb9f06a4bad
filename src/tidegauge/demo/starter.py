"""The starter rules over the demo's two streams, with one fault each and with none: which rule tells, when, how often.

    python -m tidegauge.demo.starter [--stream flights] [--fault drop:1 ...] [--causes]

Prints Markdown. Nothing is configured: rules and detectors are those that hold without a file, texts are hashed, as
where no extra is installed. Each fault has a model or a service of its own in one database. See docs/rules.md for what
came out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.likely import about
from tidegauge.alerting.replay import replay
from tidegauge.alerting.rules import Rule, check_rules
from tidegauge.alerting.states import Notice, Transition
from tidegauge.collectors.schema import migrate
from tidegauge.config import DailyDiagnosis, Detectors
from tidegauge.demo.assistant import diagnose
from tidegauge.demo.assistant import faults as odd
from tidegauge.demo.flights import faults
from tidegauge.demo.flights.data import day_end
from tidegauge.demo.flights.replay import AFTER_MIDNIGHT, Direct
from tidegauge.demo.flights.stream import Day, FlightsStream
from tidegauge.demo.flights.tables import markdown
from tidegauge.demo.starter_causes import IsTrue, of_flight, of_question, told_cause
from tidegauge.demo.starter_faults import ASSISTANT, FLIGHTS, OVER_WEEKS
from tidegauge.detectors.embedding import load_embedder
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.model import Window
from tidegauge.store import Store

CLEAN = "clean"
DAY = timedelta(days=1)
FAULTY, DAYS_BEFORE, DAYS_SINCE = date(2013, 8, 22), 30, 8
ASSISTANT_START, SEED, PER_HOUR = datetime(2026, 1, 5, tzinfo=UTC), 3, 60
HOURS, LONG_HOURS = (96, 48), (216, 180)
"""Of the assistant, and of those before a fault; the longer for faults that only rules tell which look back a week."""
MOST_CALM = 48
"""Hours before a fault over which its rules are replayed."""
HEAD = ("fault", "right rule", "told by it", "after", "alerts of it", "other alerts", "pages", "messages")
CAUSE_HEAD = ("cause told with the first", "true")
Causes = Callable[[str, Transition], tuple[str, str]]
"""A fault and its first alert by the right rule, to the two cells of CAUSE_HEAD."""
KEPT = {
    **dict.fromkeys(("predictions", "labels", "performance", "feature_hours"), "model"),
    **dict.fromkeys(("findings", "reference_profiles", "sequential_state"), "subject"),
}
"""Tables with what is known of a model, and the column that names it; those that views fill follow."""
_OF_FLIGHTS = ("predictions", "attempts", "labelled", "labelling", "findings", "schema_changes", "performance")
_OF_ASSISTANT = ("llm_calls", "feedback", "findings")


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is replayed: ``span`` in steps of ``step``, the fault from ``since`` on."""

    span: Window
    step: timedelta
    since: datetime


class Named(Direct):
    """Stores the stream of one fault as a model of its own."""

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(store)
        self._name = name

    def log_predictions(self, model: str, frame: pl.DataFrame, **how: Any) -> list[str]:
        """As the model ``name``."""
        return super().log_predictions(self._name, frame, **how)

    def log_labels(self, model: str, *labels: Any, **how: Any) -> None:
        """As the model ``name``."""
        super().log_labels(self._name, *labels, **how)


def fly(
    store: Store,
    stream: FlightsStream,
    texts: Sequence[str],
    days: tuple[date, date, date],
    loop: DetectorLoop | None = None,
) -> None:
    """Store the flights of ``days`` (first, faulty from, last) for each fault of ``texts``, beside those without one.

    The days before are the same for all, so they are played once and copied with what was found in them.

    Args:
        texts: ``kind[:argument]``, without a day.
        loop: Detectors that look after each day.
    """
    first, faulty, last = days
    streams = {text: stream.with_fault(faults.parse_fault(f"{text}@{faulty}")) for text in texts} | {CLEAN: stream}
    for day in _between(stream, first, faulty - DAY):
        stream.send_day(Named(store, CLEAN), day)
        _look(loop, day.date)
    for text in texts:
        _copy(store, text)
    kept = {text: _between(each, faulty, last) for text, each in streams.items()}
    for number in range((last - faulty).days + 1):
        for text, each in streams.items():
            each.send_day(Named(store, text), kept[text][number])
        _look(loop, faulty + number * DAY)


def _look(loop: DetectorLoop | None, day: date) -> None:
    if loop:
        loop.run(day_end(day) + AFTER_MIDNIGHT)


def _copy(store: Store, text: str) -> None:
    for table, column in KEPT.items():
        store.execute(
            f"""INSERT INTO {table} SELECT * REPLACE ({{text:String}} AS {column})
            FROM (SELECT * FROM {table} WHERE {column} = {{clean:String}})""",  # noqa: S608 - our own tables
            {"text": text, "clean": CLEAN},
        )


def ask(store: Store, stream: odd.SteadyStream, texts: Sequence[str]) -> None:
    """Store the assistant's spans for each fault of ``texts``, and without one, as services of those names.

    Detectors look when all are stored, at each window that has closed by then.
    """
    for text in (CLEAN, *texts):
        fault = None if text == CLEAN else odd.parse_fault(text, stream.since)
        end = diagnose.play(store, stream, fault, text)
    settings = Detectors(embedder="hashing")
    DetectorLoop(store, settings, load_embedder(settings)).run(end + AFTER_MIDNIGHT)


def rules_on(sources: Sequence[str]) -> list[Rule]:
    """Those starter rules whose metric is read from one of ``sources``: the others have nothing to see."""
    return [rule for rule in check_rules(()) if {each.name for each in rule.measure.sources} & set(sources)]


def told(store: Store, rules: Sequence[Rule], stretch: Stretch, names: Sequence[str]) -> dict[str, list[Transition]]:
    """What receivers would have been told, by fault; of a fault's own only what is not so without one."""
    found: dict[str, list[Transition]] = {}
    names = (CLEAN, *names)
    for each in replay(store, rules, stretch.span, stretch.step):
        if each.notice is Notice.FIRE:
            name = next((value for value in each.labels.values() if value in names), "")
            found.setdefault(name, []).append(each)
    usual = {_identity(each) for each in found.get(CLEAN, [])}
    return {
        name: [each for each in fires if name == CLEAN or (each.at >= stretch.since and _identity(each) not in usual)]
        for name, fires in found.items()
    }


def line(text: str, right: Sequence[str], fires: Sequence[Transition], since: datetime) -> tuple[str, ...]:
    """One fault's line of the table."""
    wanted, same = of_right(right, fires)
    other = Counter(_name(each) for each in fires if each not in same)
    after = format_duration(same[0].at - since) if same else "-"
    said = f"yes, {same[0].severity}" if same else "no"
    pages = sum(each.severity == "page" for each in fires)
    messages = len({each.at for each in fires})
    return text, wanted, said, after, str(len(same)), _counted(other), str(pages), str(messages)


def of_right(right: Sequence[str], fires: Sequence[Transition]) -> tuple[str, list[Transition]]:
    """The first of the right rules to tell, and what it told in order; all their names and nothing where none did."""
    by_right = {wanted: [each for each in fires if _is(each, wanted)] for wanted in right}
    told_by = {wanted: same for wanted, same in by_right.items() if same}
    return min(told_by.items(), key=lambda each: each[1][0].at, default=(" or ".join(right), []))


def table(
    found: Mapping[str, list[Transition]], right: Mapping[str, Sequence[str]], since: datetime, causes: Causes | None
) -> Iterator[str]:
    """Markdown: a line a fault, then what was told without one."""
    yield markdown(HEAD + (CAUSE_HEAD if causes else ()), [])
    for text, wanted in right.items():
        fires = found.get(text, [])
        first = of_right(wanted, fires)[1][:1]
        cells = causes(text, first[0]) if causes and first else ("-", "-") if causes else ()
        yield f"| {' | '.join(line(text, wanted, fires, since) + cells)} |\n"
    clean = found.get(CLEAN, [])
    pages = sum(each.severity == "page" for each in clean)
    yield f"\nWithout a fault: {pages} pages, {len(clean) - pages} alerts for triage.\n\n"
    for each in clean:
        yield f"- {each.at:%m-%d %H:%M} {each.severity}: {_name(each)}: {each.reason}\n"


def _between(stream: FlightsStream, first: date, last: date) -> list[Day]:
    return [day for day in stream.days() if first <= day.date <= last]


def _identity(fire: Transition) -> tuple[Any, ...]:
    own = {key: value for key, value in fire.labels.items() if key not in ("model", "service", "subject")}
    return fire.at, fire.rule, tuple(sorted(own.items()))


def _is(fire: Transition, wanted: str) -> bool:
    rule, _, value = wanted.partition(": ")
    return fire.rule == rule and value in ("", *fire.labels.values())


def _name(fire: Transition) -> str:
    own = [value for key, value in fire.labels.items() if key in ("feature", "name", "prompt_version", "version")]
    return ": ".join([fire.rule, *own])


def _counted(names: Counter[str]) -> str:
    return "; ".join(f"{name} ({count})" if count > 1 else name for name, count in names.items()) or "-"


def flights_report(store: Store, texts: Sequence[str], day: date, stored: bool, causes: bool) -> Iterator[str]:
    """The flights' part, with faults from ``day`` on."""
    last = day + DAYS_SINCE * DAY
    if not stored:
        every = DailyDiagnosis(models_per_run=len(texts) + 1)
        loop = DetectorLoop(store, Detectors(embedder="off", diagnosis=every))
        fly(store, FlightsStream(), texts, (day - DAYS_BEFORE * DAY, day, last), loop)
    since = day_end(day - DAY)
    stretch = Stretch(Window(since - DAY, day_end(last)), timedelta(hours=2), since)
    yield f"### Flights, {stretch.span.start:%F} to {stretch.span.end:%F}\n\n"
    rules = rules_on(_OF_FLIGHTS)
    said = partial(_cause, store, rules, lambda text: of_flight(text, day)) if causes else None
    yield from table(told(store, rules, stretch, texts), _expected(texts, FLIGHTS), since, said)


def assistant_report(
    store: Store, texts: Sequence[str], seed: int, hours: tuple[int, int], stored: bool, causes: bool
) -> Iterator[str]:
    """The assistant's part, with the questions of ``seed`` in so many hours, and the fault after so many of them."""
    length, calm = hours
    with odd.SteadyStream(seed, ASSISTANT_START, length, PER_HOUR, calm) as stream:
        if not stored:
            ask(store, stream, texts)
        since, end = stream.since, stream.end
    begin = since - timedelta(hours=min(calm, MOST_CALM) - 1)
    stretch = Stretch(Window(begin, end), timedelta(minutes=5), since)
    yield f"### Assistant, {length} hours\n\n"
    rules = rules_on(_OF_ASSISTANT)
    said = partial(_cause, store, rules, lambda text: of_question(text, since)) if causes else None
    yield from table(told(store, rules, stretch, texts), _expected(texts, ASSISTANT), since, said)


def _cause(
    store: Store, rules: Sequence[Rule], true_of: Callable[[str], IsTrue], text: str, fire: Transition
) -> tuple[str, str]:
    by_name = {each.alert: each for each in rules}
    if not about(by_name[fire.rule], fire.labels).subject:
        return "as the alert says", "-"
    return told_cause(store, by_name, fire, true_of(text)).cells


def _expected(texts: Sequence[str], known: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    return {text: known.get(text, ()) for text in texts}


def _parts(asked: argparse.Namespace) -> Iterator[tuple[str, list[str], tuple[int, int]]]:
    """Which streams: a name for each, its faults, its hours, and how many of them are before the fault."""
    for name in [asked.stream] if asked.stream else ("flights", "assistant"):
        texts = [each for each in asked.fault or (FLIGHTS if name == "flights" else ASSISTANT) if each != CLEAN]
        if name == "flights" or asked.hours:
            yield name, texts, (asked.hours or 0, (asked.hours or 0) // 2)
            continue
        for part, hours, long in (("assistant", HOURS, False), ("assistant-weeks", LONG_HOURS, True)):
            own = [each for each in texts if (each in OVER_WEEKS) == long]
            if own or not (texts or long):
                yield part, own, hours


def main() -> None:
    """Print the tables, or the one asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", choices=("flights", "assistant"), help="only this one")
    parser.add_argument("--fault", action="append", help="of that stream, without a day; clean for none")
    parser.add_argument("--day", type=date.fromisoformat, default=FAULTY, help="first with a fault, of the flights")
    parser.add_argument("--seed", type=int, default=SEED, help="of the assistant's questions")
    parser.add_argument("--hours", type=int, help="of those, half of them before a fault; else as many as it needs")
    parser.add_argument(
        "--causes", action="store_true", help="the cause that the right rule's first alert is told with"
    )
    parser.add_argument("--data", type=Path, help="keep the streams here; where they are, the rules alone are replayed")
    asked = parser.parse_args()
    if asked.fault and not asked.stream:
        parser.error("--fault needs --stream")
    with tempfile.TemporaryDirectory() as temporary:
        for name, texts, hours in _parts(asked):
            folder = (asked.data or Path(temporary)) / name
            stored = folder.exists()
            store = Store(f"chdb://{folder}")
            migrate(store)
            parts = (
                flights_report(store, texts, asked.day, stored, asked.causes)
                if name == "flights"
                else assistant_report(store, texts, asked.seed, hours, stored, asked.causes)
            )
            for part in parts:
                sys.stdout.write(part)
                sys.stdout.flush()
            store.close()


if __name__ == "__main__":
    main()
