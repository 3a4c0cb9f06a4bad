"""kill -9 of a sink at every step: real processes, each killed by the kernel, and what the next one makes of it."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from oracle import Oracle, Verdict
from processes import Child, ClickHouse, SteppingSink, Tidegauge, until
from results import FULL, publish
from system import LOCAL, post
from topics import Lag, Topics

if TYPE_CHECKING:
    from broker import KafkaBroker

    from tidegauge.store import Store

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1500)]

STEPS = ("plan", "insert", "dead-letter", "ledger", "commit", "done")
BOUNDS = ((10, 1000), (1000, 10), (15, 20))  # records in a batch of the first sink, and of the second
INSIDE = (0.001, 0.005, 0.015, 0.04)  # seconds into an insert
POISON, RECOVERY_LIMIT_S, LANES = 4, 30 if FULL else 60, 3


@dataclass(frozen=True)
class Schedule:
    """Where the first sink dies: at ``step`` for the ``nth`` time, or ``after_s`` later, inside the insert.

    ``first`` and ``second`` bound the two sinks' batches, so that they do not line up. With ``engine`` embedded
    ClickHouse dies with the sink; with server it lives on and finishes what it was doing.
    """

    step: str
    nth: int
    first: int
    second: int
    partitions: int
    engine: str
    after_s: float | None = None

    def __str__(self) -> str:
        where = f"{1000 * self.after_s:g} ms into insert" if self.after_s else self.step
        return f"{where} #{self.nth}, {self.first} then {self.second}, {self.partitions} partitions, {self.engine}"


def schedules() -> list[Schedule]:
    """Every step, first and third time, three ways for the batches to differ, one and four partitions; the engine
    alternates. Then moments inside an insert, on both engines."""
    engines = itertools.cycle(("embedded", "server", "server", "embedded", "embedded"))
    whole = [
        Schedule(step, nth, first, second, partitions, next(engines))
        for partitions, step, nth, (first, second) in itertools.product((1, 4), STEPS, (1, 3), BOUNDS)
        if nth == 1 or first < 1000 or partitions > 1  # one large batch for each topic reaches a step twice
    ]
    inside = [
        Schedule("insert", nth, first, second, partitions, engine, after_s)
        for partitions, engine, after_s, (nth, first, second) in itertools.product(
            (1, 4), ("embedded", "server"), INSIDE, ((1, 1000, 10), (2, 15, 1000))
        )
    ]
    return whole + inside


SAMPLE = [
    Schedule("insert", 1, 1000, 10, 2, "server"),
    Schedule("insert", 2, 15, 20, 2, "embedded", 0.005),
    Schedule("ledger", 2, 1000, 10, 2, "embedded"),
    Schedule("commit", 2, 15, 20, 2, "server"),
]


@dataclass(frozen=True)
class Outcome:
    """What one schedule left behind."""

    schedule: Schedule
    verdict: Verdict
    steps: tuple[str, ...]
    letters: int
    recovered_s: float
    trouble: str = ""

    @property
    def right(self) -> bool:
        """As promised."""
        stored = self.verdict.right and not self.trouble
        return stored and self.letters == POISON and self.recovered_s <= RECOVERY_LIMIT_S

    def line(self) -> str:
        """For the log."""
        word = "ok " if self.right else "BAD"
        return f"{word} {self.schedule!s:<70} {self.recovered_s:4.1f} s, {self.verdict} {self.trouble}"


@dataclass
class Corpus:
    """Requests that were acknowledged, which every schedule with so many partitions reads from the start."""

    topics: Topics
    oracle: Oracle

    @classmethod
    def written(cls, topics: Topics, folder: Path, client: httpx.Client) -> Corpus:
        """Sent through a receiver, with records that are no OTLP in between."""
        oracle = Oracle("matrix", seed=topics.partitions)
        with Tidegauge("receiver", folder, {"receiver": LOCAL, "kafka": topics.plain("nobody")}) as receiver:
            for number in range(24):
                for request in (oracle.logs(5), oracle.traces(3)):
                    assert post(client, receiver.url(), request).status_code == 200
                    oracle.acknowledge(request)
                if number % 6 == 3:
                    topics.send("otlp_logs" if number % 4 == 1 else "otlp_spans", b"\xff no OTLP %d" % number)
            assert receiver.terminate() == 0
        return cls(topics, oracle)


@dataclass
class Trial:
    """One schedule, carried out."""

    corpus: Corpus
    clickhouse: ClickHouse
    folder: Path
    schedule: Schedule
    group: str

    def run(self) -> Outcome:
        """What came of it; a schedule that does not get to its end is one that went wrong."""
        try:
            return self._run()
        except AssertionError as error:
            return Outcome(self.schedule, Verdict(), (self.schedule.step,), 0, 0.0, str(error))

    def _run(self) -> Outcome:
        topics = self.corpus.topics
        ends = topics.all_signals()
        with ExitStack() as stack:
            first = stack.enter_context(self._first())
            until(lambda: not first.alive, 120, f"{self.schedule} kills itself")
            died = time.monotonic()
            assert first.process.returncode == -9, first.text[-3000:]
            second = stack.enter_context(self._second())
            until(lambda: topics.lag(self.group, ends) == Lag(0, 0) or not second.alive, 120, str(self.schedule))
            recovered_s = time.monotonic() - died
            assert second.alive, second.text[-3000:]
            assert second.terminate() == 0, second.text[-3000:]
            verdict = self.corpus.oracle.verify(stack.enter_context(self._read()))
        letters = {each.key for each in topics.records(f"dead_{self.group}")}
        return Outcome(self.schedule, verdict, tuple(first.steps), len(letters), recovered_s)

    def _kafka(self, records: int) -> dict[str, Any]:
        return self.corpus.topics.plain(self.group, max_batch_records=records)

    @property
    def _embedded(self) -> bool:
        return self.schedule.engine == "embedded"

    @property
    def _dsn(self) -> str:
        return f"chdb://{self.folder / self.group}" if self._embedded else self.clickhouse.dsn

    def _first(self) -> SteppingSink:
        plan = {"step": self.schedule.step, "nth": self.schedule.nth, "after_s": self.schedule.after_s}
        plan |= {} if FULL else {"session_s": 2}
        kafka = self._kafka(self.schedule.first)
        return SteppingSink(self.folder, dsn=self._dsn, database=self.group, kafka=kafka, **plan)

    def _second(self) -> Child:
        kafka = self._kafka(self.schedule.second)
        if self._embedded:
            return SteppingSink(self.folder, dsn=self._dsn, database=self.group, kafka=kafka)
        database = {"dsn": self._dsn, "database": self.group}
        return Tidegauge("sink", self.folder, {"clickhouse": database, "kafka": kafka, "sink": {"port": 0}})

    def _read(self) -> Reading:
        return Reading(self.folder / self.group if self._embedded else None, self.clickhouse, self.group)


class Reading(ExitStack):
    """The tables of one schedule; an embedded database is opened by a process of its own."""

    def __init__(self, folder: Path | None, clickhouse: ClickHouse, database: str) -> None:
        super().__init__()
        self._folder, self._clickhouse, self._database = folder, clickhouse, database

    def __enter__(self) -> Store:  # type: ignore[override]
        engine = self.enter_context(ClickHouse(self._folder)) if self._folder else self._clickhouse
        store = engine.store(self._database)
        self.callback(store.close)
        return store


@pytest.mark.sample
def test_a_sink_killed_anywhere_leaves_neither_a_gap_nor_a_duplicate(
    kafka_broker: KafkaBroker, clickhouse: ClickHouse, client: httpx.Client, tmp_path: Path, name: str
) -> None:
    chosen = schedules() if FULL else SAMPLE
    assert len(chosen) >= 72 or not FULL
    outcomes: list[Outcome] = []
    for partitions in sorted({each.partitions for each in chosen}):
        with Topics(kafka_broker, partitions) as topics:
            corpus = Corpus.written(topics, tmp_path, client)
            trials = [
                Trial(corpus, clickhouse, tmp_path, each, f"{name}_{partitions}_{place}")
                for place, each in enumerate(chosen)
                if each.partitions == partitions
            ]
            with ThreadPoolExecutor(LANES) as pool:
                outcomes += pool.map(Trial.run, trials)
    _publish(outcomes)
    assert [each.line() for each in outcomes if not each.right] == []
    assert {step for each in outcomes for step in each.steps} == set(STEPS)


def _publish(outcomes: list[Outcome]) -> None:
    for place, group in itertools.groupby(sorted(outcomes, key=_place), _place):
        found = list(group)
        total = sum((each.verdict for each in found), Verdict())
        engines = Counter(each.schedule.engine for each in found)
        wrong = sum(not each.right for each in found)
        publish(
            "1",
            f"kill -9 {place}",
            total,
            dead_lettered=sum(each.letters for each in found),
            recovered_s=max(each.recovered_s for each in found),
            note=f"{len(found)} schedules ({engines['server']} server, {engines['embedded']} embedded), {wrong} wrong",
        )


def _place(each: Outcome) -> str:
    if each.schedule.after_s is None:
        return f"at {each.schedule.step}"
    return "inside an insert" if each.steps[-1] == "insert" else "just after an insert"
