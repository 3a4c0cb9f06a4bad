"""The demonstration: two real streams, faster than real time, through everything that Tidegauge is made of."""

from __future__ import annotations

import fcntl
import heapq
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby, islice
from pathlib import Path

from tidegauge.app import Service
from tidegauge.clock import ReplayClock
from tidegauge.collectors.sdk import Client, init
from tidegauge.demo.assistant.stream import AssistantStream
from tidegauge.demo.flights.data import LAST_TRAINING_DAY, day_end
from tidegauge.demo.flights.faults import CHOICES, Fault, parse_fault
from tidegauge.demo.flights.stream import Day, FlightsStream
from tidegauge.demo.inbox import Inbox
from tidegauge.demo.screen import Screen
from tidegauge.demo.settings import ASSISTANT, demo_settings
from tidegauge.errors import TidegaugeError
from tidegauge.model import Window

DATA = Path("tidegauge-data").absolute() / "demo"
START = datetime(2013, 4, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
DAYS_SENT_TOGETHER = 7
ASSISTANT_HOURS = 16
QUESTIONS_PER_HOUR = 90
AFTER_THE_WINDOW = timedelta(minutes=2)  # a detector waits for late records before it looks


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """Something that the replay does at a moment of simulated time."""

    at: datetime
    order: int
    play: Callable[[], None] = field(compare=False)


def run_demo(*, stay: bool, fault: str = "", days: int = 275, light: bool = False) -> int:
    """Replay, report, and serve the page until Ctrl-C unless ``stay`` is off; returns the exit status.

    Args:
        stay: Keep the page up afterwards.
        fault: A fault to inject into the flights, as ``parse_fault`` reads it; ``list`` prints the choices.
        days: Days of flights from 2013-04-01.
        light: Leave out sentence embeddings.
    """
    screen = Screen()
    if fault == "list":
        screen.choices(CHOICES)
        return 0
    injected = parse_fault(fault) if fault else None
    with ExitStack() as stack:
        _alone(stack)
        replay = Replay(stack, screen, injected, days, light)
        replay.run()
        with screen.phase("propose failures for the golden set"):
            replay.propose()
        screen.summary(replay.service)
        if stay:
            screen.stays(replay.service.page_url)
            _until_interrupted()
    return 0


class Replay:
    """The service, the two streams and the clock that drives them."""

    def __init__(self, stack: ExitStack, screen: Screen, fault: Fault | None, days: int, light: bool) -> None:
        self._screen, self._days = screen, days
        self._inbox = Inbox()
        stack.callback(self._inbox.close)
        self.clock = ReplayClock(START)
        self._asked_at = ReplayClock(START)  # of the assistant, which is ahead of the rounds
        self._assistant = AssistantStream(0, _assistant_start(days), ASSISTANT_HOURS, QUESTIONS_PER_HOUR)
        stack.callback(self._assistant.close)
        settings = demo_settings(
            DATA, self._inbox.url, self._assistant.server.base_url, self._assistant.shift_at, light
        )
        self.service = Service(settings, clock=self.clock, manual=True)
        stack.callback(self.service.close)
        self._flights = FlightsStream(fault)
        flights, assistant = self.service.receiver_url, self.service.grpc_url
        self._flights_client = self._client(stack, "flight-delay-service", flights, self.clock, grpc=False)
        self._assistant_client = self._client(stack, ASSISTANT, assistant, self._asked_at, grpc=True)
        screen.start(self.service, fault)

    def run(self) -> None:
        """Train, then replay every event in order of simulated time."""
        with self._screen.phase("train the model on January to March"):
            fitted = self._flights.fitted
        self._screen.model(fitted)
        with self._screen.phase("log the training set, the reference that later days are compared with"):
            self._flights.send_training(self._flights_client)
            self._flights_client.flush(120)
        events = list(heapq.merge(self._flight_events(), self._assistant_events()))
        with self._screen.replaying(len(events)) as advance, ThreadPoolExecutor(1) as rounds:
            last: Future[None] = rounds.submit(lambda: None)
            for at, group in groupby(events, lambda event: event.at):
                last = self._play(at, list(group), rounds, last)
                advance(at)
            last.result()
        self._screen.loss(self._flights_client, self._assistant_client)

    def propose(self) -> None:
        """What the worker does once a week, for the last days of the replay."""
        now = self.clock.now()
        self.service.propose(Window(now - timedelta(days=self.service.settings.golden.look_back_days), now), 0)

    def _play(self, at: datetime, events: list[Event], rounds: ThreadPoolExecutor, last: Future[None]) -> Future[None]:
        """Send what happens at ``at`` while the round before runs, then start the next; it reads nothing newer."""
        for event in events:
            event.play()
        last.result()
        return rounds.submit(self._tick, at)

    def _client(self, stack: ExitStack, name: str, url: str, clock: ReplayClock, *, grpc: bool) -> Client:
        client = init(
            name,
            url,
            protocol="grpc" if grpc else "http/protobuf",
            capture_content=True,
            clock=clock,
            strict=True,
            on_full="wait",
        )
        stack.callback(client.shutdown)
        return client

    def _flight_events(self) -> Iterator[Event]:
        days = islice(self._flights.days(), self._days)
        while week := list(islice(days, DAYS_SENT_TOGETHER)):
            for day in week:  # rounds look at what was known by their time, so a week may be sent ahead
                send = partial(self._fly, week) if day is week[0] else _nothing
                yield Event(day.end + AFTER_THE_WINDOW, 0, send)

    def _assistant_events(self) -> Iterator[Event]:
        begin = self._assistant.shift_at - timedelta(hours=ASSISTANT_HOURS / 2)
        for i in range(self._assistant.half_hours):
            yield Event(begin + (i + 1) * HALF_HOUR + AFTER_THE_WINDOW, i, partial(self._ask, i))

    def _fly(self, days: Sequence[Day]) -> None:
        for day in days:
            self._flights.send_day(self._flights_client, day)
        self._flights_client.flush(60)

    def _ask(self, half_hour: int) -> None:
        self._assistant.run_half_hour(half_hour, self._assistant_client, self._asked_at)

    def _tick(self, now: datetime) -> None:
        self.clock.set(now)
        done = self.service.tick(now)
        self._screen.findings(done.get("detectors", []))
        self._screen.transitions(done.get("alerting", []))
        self._screen.deliveries(self._inbox.take())


def _nothing() -> None:
    pass


def _alone(stack: ExitStack) -> None:
    """Start from nothing, unless another demonstration is at work on the same data."""
    DATA.parent.mkdir(parents=True, exist_ok=True)
    lock = stack.enter_context((DATA.parent / "demo.lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TidegaugeError(f"another demo is running on {DATA}: end it first, or start in another folder") from None
    shutil.rmtree(DATA, ignore_errors=True)


def _assistant_start(days: int) -> datetime:
    """So that the assistant's traffic ends with the last day of flights."""
    return day_end(LAST_TRAINING_DAY + timedelta(days=days)) - timedelta(hours=ASSISTANT_HOURS)


def _until_interrupted() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        time.sleep(0.2)
