"""A day and a half of traffic: halfway the topics change, and a careful new prompt makes the model decline more."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tidegauge.clock import ReplayClock
from tidegauge.demo.assistant.app import Assistant, Question
from tidegauge.demo.assistant.corpus import Index
from tidegauge.demo.assistant.questions import QuestionWriter
from tidegauge.demo.assistant.server import ModelServer

if TYPE_CHECKING:
    from tidegauge.collectors.sdk import Client

HALF_HOUR = timedelta(minutes=30)
TENANTS = {"acme": 0.6, "globex": 0.3, "initech": 0.1}
EARLY_TOPICS = {"text": 3, "collections": 3, "numbers": 2, "files": 2, "data": 2, "time": 1, "code": 1}
LATE_TOPICS = {"concurrency": 5, "network": 4, "processes": 3}
LATE_SHARE = 0.7  # of the questions after the shift
V2_SHARE = 0.9  # of the traffic after the roll-out
STAYS = 0.6  # share of questions that go on in the session before


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of half an hour of questions."""

    requests: int
    answered: int
    refused: int
    blocked: int
    failed: int
    tool_failures: int


class AssistantStream:
    """Questions from ``start`` (aware) on, ``per_hour`` on average, more by day than by night.

    The same arguments give the same questions. The model server and the index are made when first needed.
    """

    def __init__(self, seed: int, start: datetime, hours: int = 36, per_hour: int = 80) -> None:
        if start.tzinfo is None:
            raise ValueError("AssistantStream needs an aware start, such as datetime(2026, 1, 1, tzinfo=UTC)")
        self._seed, self._start, self._per_hour = seed, start, per_hour
        self.half_hours = 2 * hours
        self._assistants: dict[int, Assistant] = {}

    @property
    def shift_at(self) -> datetime:
        """When topics and prompt change."""
        return self._start + self.half_hours // 2 * HALF_HOUR

    @cached_property
    def index(self) -> Index:
        """The documents that answers come from."""
        return Index()

    @cached_property
    def server(self) -> ModelServer:
        """The demo's models; judges can use it too: ``demo-overlap-judge-1`` at ``server.base_url``."""
        return ModelServer(self._seed)

    def questions(self, i: int) -> list[Question]:
        """The questions of half hour ``i`` (0 to ``half_hours`` - 1), in order of time."""
        if not 0 <= i < self.half_hours:
            raise IndexError(f"the stream has half hours 0 to {self.half_hours - 1}, asked for {i}")
        rng = random.Random(f"{self._seed}:{i}")  # noqa: S311 - a replay, not a secret
        begin = self._start + i * HALF_HOUR
        times = sorted(begin + rng.random() * HALF_HOUR for _ in range(self._volume(begin, rng)))
        session, written = "", []
        for number, at in enumerate(times):
            session = session if session and rng.random() < STAYS else f"s{i:03d}-{number:03d}"
            written.append(self._question(f"{i}-{number}", at, session, rng))
        return written

    def run_half_hour(self, i: int, client: Client, clock: ReplayClock, *, flush: bool = True) -> Counts:
        """Play half hour ``i`` through the assistant, its spans at the simulated times.

        ``flush`` waits until they were delivered; without it they follow within seconds, in larger and cheaper batches.
        """
        assistant = self._assistants.get(id(client)) or Assistant(client, clock, self.index, self.server.base_url)
        self._assistants[id(client)] = assistant
        outcomes: Counter[str] = Counter()
        for question in self.questions(i):
            clock.set(question.at)
            reply = assistant.ask(question)
            outcomes[reply.outcome] += 1
            outcomes["tool_failures"] += reply.tool_failed
        if flush:
            client.flush()
        requests = sum(outcomes[name] for name in ("answered", "refused", "blocked", "failed"))
        return Counts(
            requests,
            outcomes["answered"],
            outcomes["refused"],
            outcomes["blocked"],
            outcomes["failed"],
            outcomes["tool_failures"],
        )

    def close(self) -> None:
        """Stop the model server and the connections to it."""
        for each in self._assistants.values():
            each.close()
        self._assistants.clear()
        if "server" in self.__dict__:
            self.server.close()
            del self.server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @cached_property
    def _writer(self) -> QuestionWriter:
        return QuestionWriter(self.index.documents)

    def _volume(self, begin: datetime, rng: random.Random) -> int:
        by_day = 1 - 0.4 * math.cos(2 * math.pi * (begin.hour + begin.minute / 60 - 3) / 24)
        return max(1, round(rng.gauss(1, 0.1) * by_day * self._per_hour / 2))

    def _question(self, identifier: str, at: datetime, session: str, rng: random.Random) -> Question:
        late = at >= self.shift_at
        topics = LATE_TOPICS if late and rng.random() < LATE_SHARE else EARLY_TOPICS
        topic = rng.choices(list(topics), list(topics.values()))[0]
        intent, text = self._writer.write(topic, rng)
        tenant = random.Random(session).choices(list(TENANTS), list(TENANTS.values()))[0]  # noqa: S311 - one per session
        version = "v2" if late and rng.random() < V2_SHARE else "v1"
        return Question(identifier, at, text, intent, tenant, session, version)
