"""The round over all models: a window is estimated when it closes, measured as labels come, judged when they are in."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, islice

import numpy as np

from tidegauge.config import Detectors, Watch
from tidegauge.detectors.drift import LEAST_ROWS
from tidegauge.detectors.finding import Claim, Context, Finding
from tidegauge.detectors.ledger import Ledger
from tidegauge.detectors.pairs import candidates
from tidegauge.detectors.performance import answers, lessons, training
from tidegauge.detectors.performance.arrival import POSSIBLE
from tidegauge.detectors.performance.baseline import chosen
from tidegauge.detectors.performance.book import LABELS, Book, Entry, Kind, Memory, Page, Seen, Stage
from tidegauge.detectors.performance.lessons import Lesson
from tidegauge.detectors.performance.measured import Measured, Measurement
from tidegauge.detectors.performance.outcomes import Outcomes
from tidegauge.detectors.performance.reading import Reader, Rows
from tidegauge.detectors.performance.verdicts import Judged, judged, widened
from tidegauge.detectors.predictions import Predictions
from tidegauge.detectors.schedule import before_first, watch_of, windows
from tidegauge.detectors.statistics.arrays import BoolArray, IntArray
from tidegauge.incidents import Incidents
from tidegauge.metrics.intervals import wilson
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

GROWN = 0.1
"""More of the labels than when a window was written last, for which it is measured again."""
LOOKS = 12
"""How often in a step open windows are looked at."""
AS_EXPECTED = 0.8
"""Of the labels that are expected by now so many must be there; with fewer their delays are not what they were."""
SPARE = 3
"""Earlier windows are looked for so many times as far back as are wanted, because bad ones do not count."""


@dataclass
class State:
    """What is remembered of a model between rounds; all of it can be read again."""

    windows: dict[Window, Seen]
    lesson: Lesson | None = None
    looked: datetime | None = None
    judged_early: set[Window] = field(default_factory=set)
    trained: bool = False


@dataclass(frozen=True)
class Case:
    """One window at one moment: its rows and what is known beside them."""

    model: str
    watch: Watch
    window: Window
    now: datetime
    rows: Rows
    lesson: Lesson
    memory: Memory

    @property
    def share(self) -> float:
        """Of predictions that have a label."""
        return float(self.rows.labelled.mean()) if len(self.rows) else 0.0

    @property
    def expected(self) -> float | None:
        """The share that should have one by now."""
        arrival = self.lesson.arrival
        return arrival.share(lessons.ages(self.rows, self.now)) if arrival else None

    @property
    def weighable(self) -> bool:
        """Whether weights make the labels that have come stand for all: enough of each kind, and as fast as before."""
        arrival, expected = self.lesson.arrival, self.expected
        if not arrival or not expected or self.share < AS_EXPECTED * expected:
            return False
        return arrival.lowest(lessons.ages(self.rows, self.now)) >= POSSIBLE

    def parts(self) -> Iterator[tuple[Slice, IntArray | None]]:
        """All rows, and each slice of 50 or more."""
        yield ALL, None
        for name, column in self.rows.traffic.dimensions.items():
            for value, rows in islice(column.rows_by_name.items(), self.watch.max_slices):
                if len(rows) >= LEAST_ROWS:
                    yield Slice(name, value), rows

    def pairs(self) -> Iterator[tuple[Slice, IntArray]]:
        """The pairs of these slices that can be told from both, those with the most rows first."""
        traffic = self.rows.traffic.with_pairs(self.watch.paired)
        for part in candidates(traffic, [part for part, _ in self.parts() if part != ALL])[: self.watch.max_pairs]:
            yield part, traffic.dimensions[part.dimension].rows_by_name[part.value]


class PerformanceRound:
    """Measures, estimates and judges the performance of every watched model that has labels or outcomes."""

    def __init__(self, store: Store, settings: Detectors) -> None:
        self._settings = settings
        self._predictions = Predictions(store, settings.max_rows)
        self._reader = Reader(store, settings.max_rows)
        self._book = Book(store)
        self._ledger = Ledger(store)
        self._incidents = Incidents(settings.incidents, settings.incident_files)
        self._outcomes = Outcomes(self._predictions, self._reader, self._book, self._ledger, settings)
        self._states: dict[str, State] = {}

    def subjects(self, now: datetime) -> list[str]:
        """Every model that has a watch whose performance is on."""
        watches = ((name, watch_of(name, self._settings.models)) for name in self._predictions.models(now))
        return [name for name, watch in watches if watch and watch.performance.enabled]

    def run(self, model: str, now: datetime) -> Iterator[Finding]:
        """What is due of one model: windows that closed, those whose labels came, and those whose outcomes did."""
        watch = watch_of(model, self._settings.models)
        if watch is None:
            return
        if self._reader.has_labels(model, now):
            state = self._states.get(model) or self._states.setdefault(model, State(self._book.windows(model, now)))
            yield from self._closed(model, watch, state, now)
            yield from self._open(model, watch, state, now)
        yield from self._outcomes.run(model, watch, now)

    def _closed(self, model: str, watch: Watch, state: State, now: datetime) -> Iterator[Finding]:
        first = None if state.windows else self._predictions.first(model, now)
        after = max((each.end for each in state.windows), default=before_first(watch, first) if first else None)
        due = windows(watch, after, now, self._settings.lag_s) if after else iter(())
        for window in islice(due, self._settings.windows_per_run):
            yield from self._evaluate(model, watch, state, window, now)

    def _open(self, model: str, watch: Watch, state: State, now: datetime) -> Iterator[Finding]:
        if state.looked and now - state.looked < timedelta(hours=watch.step_hours) / LOOKS:
            return
        state.looked = now
        for window in [each for each, seen in state.windows.items() if seen.stage == "open"]:
            rows, labelled = self._reader.counts(model, window, now)
            share = labelled / rows if rows else 0.0
            if self._ready(window, share, state.lesson, now) or share >= state.windows[window].labels_share + GROWN:
                yield from self._evaluate(model, watch, state, window, now)

    def _ready(self, window: Window, share: float, lesson: Lesson | None, now: datetime) -> bool:
        """Whether most of the labels that will ever come are there, or the wait is over."""
        eventual = lesson.arrival.eventual if lesson and lesson.arrival else 1.0
        waited = now >= window.end + timedelta(days=self._settings.label_wait_days)
        return waited or share >= self._settings.label_share * eventual

    def _evaluate(self, model: str, watch: Watch, state: State, window: Window, now: datetime) -> Iterator[Finding]:
        closing = window not in state.windows
        lesson = self._learned(model, watch, state, window, now)
        if lesson is None:
            self._mark(model, state, window, now, 0.0, self._ready(window, 0.0, None, now), None)
            return
        features = watch.performance.estimate and lesson.task.kind == "regression"
        rows = self._reader.read(model, window, lessons.dimensions(watch), now, features)
        case = Case(model, watch, window, now, rows, lesson, self._memory(model, watch, window, now))
        ready = self._ready(window, case.share, lesson, now) or not len(rows)
        if closing and len(rows):
            yield from self._estimate(case, told=not ready)
        if len(rows):
            yield from self._measure(case, state, ready)
        self._mark(model, state, window, now, case.share, ready, case)

    def _learned(self, model: str, watch: Watch, state: State, window: Window, now: datetime) -> Lesson | None:
        if state.lesson is None or not state.lesson.holds_for(window):
            state.lesson = lessons.learned(
                self._reader, model, watch.performance, window, now, self._settings.label_wait_days
            )
            if state.lesson and not state.trained and not self._book.ends(model, now)[1]:
                training.measured(self._reader, self._book, model, watch, state.lesson, window, now)
            state.trained = state.trained or state.lesson is not None
        return state.lesson

    def _memory(self, model: str, watch: Watch, window: Window, now: datetime) -> Memory:
        settings = watch.performance
        ends, training_ends = self._book.ends(model, now)
        holes = self._incidents.of(model)
        ends = [end for end in ends if not any(end - window.length < each.end and each.start < end for each in holes)]
        found = chosen(window, ends, SPARE * settings.baseline_windows, settings.baseline)
        found += sorted(training_ends, reverse=True)[: max(0, settings.baseline_windows - len(found))]
        return self._book.memory(model, found, settings.baseline_windows)

    def _estimate(self, case: Case, told: bool) -> Iterator[Finding]:
        estimator, settings = case.lesson.estimator, case.watch.performance
        if isinstance(estimator, str):
            return
        parts = [*case.parts(), *case.pairs()]
        seed = zlib.crc32(f"{case.model} {case.window.start} {case.window.end}".encode(errors="surrogatepass"))
        made = estimator.estimate(case.rows, [rows for _, rows in parts], settings.metrics, np.random.default_rng(seed))
        found = [
            (part, widened(part, each, case.memory)) for (part, _), own in zip(parts, made, strict=True) for each in own
        ]
        result = judged(found, case.memory, settings, case.watch.false_discovery_rate, "estimated", silent=not told)
        page = _page(case, "estimated", estimator.method, "final")
        self._book.write(page, result.entries)
        yield from self._record(case, result.claims, "estimated performance")

    def _measure(self, case: Case, state: State, ready: bool) -> Iterator[Finding]:
        arrival = None if ready else case.lesson.arrival
        made, kept = lessons.measurable(case.lesson.task, case.rows, case.watch.performance, arrival, case.now)
        if len(made) < lessons.FEWEST:
            return
        early = not ready and case.weighable and case.window not in state.judged_early
        found = list(_by_part(case, made, kept))
        estimates = self._book.estimates(case.model, case.window) if ready else None
        result = self._judged(case, found, estimates, silent=not (ready or early))
        method = "weighted" if arrival else "labels"
        self._book.write(_page(case, "realised", method, "final" if ready else "open"), result.entries)
        if early:
            state.judged_early.add(case.window)
        yield from self._record(case, result.claims, "performance" if ready else "performance early")

    def _judged(
        self,
        case: Case,
        found: Sequence[tuple[Slice, Measurement]],
        estimates: dict[tuple[Slice, str], float] | None,
        silent: bool,
    ) -> Judged:
        watch = case.watch
        return judged(
            found, case.memory, watch.performance, watch.false_discovery_rate, estimates=estimates, silent=silent
        )

    def _record(self, case: Case, claims: Sequence[Claim], phase: str) -> Iterator[Finding]:
        if not claims:
            return
        past = [each.end for own in case.memory.past.values() for each in own]
        start, end = (min(past) - case.window.length, max(past)) if past else (case.window.start, case.window.end)
        since = self._ledger.before(case.model, phase, case.window, case.watch.step_hours)
        note = "" if case.share >= self._settings.label_share else f"{case.share:.0%} of the predictions have labels"
        context = Context(case.model, case.window, "windows", start, end, case.now, since, note)
        yield from self._ledger.record(context, claims, phase)

    def _mark(
        self, model: str, state: State, window: Window, now: datetime, share: float, ready: bool, case: Case | None
    ) -> None:
        """Write down how many labels the window had, and remember it."""
        rows = len(case.rows) if case else 0
        low, high = wilson(share * rows, rows) if rows else (0.0, 1.0)
        entry = Entry(ALL, Measured(LABELS, share, min(low, share), max(high, share), rows))
        page = Page(model, window, now, "realised", "labels", "final" if ready else "open", share)
        expected = case.expected if case else None
        self._book.write(replace(page, expected_share=expected), [entry])
        state.windows[window] = Seen(page.stage, share)


def _page(case: Case, kind: Kind, method: str, stage: Stage) -> Page:
    return Page(case.model, case.window, case.now, kind, method, stage, case.share, case.expected)


def _by_part(case: Case, made: answers.Answers, kept: BoolArray) -> Iterator[tuple[Slice, Measurement]]:
    """Every metric of every part and pair with 50 labelled rows; of all traffic with what there is."""
    places = np.cumsum(kept) - 1
    for part, rows in chain(case.parts(), case.pairs()):
        own = None if rows is None else places[rows[kept[rows]]]
        if own is None or len(own) >= LEAST_ROWS:
            for each in answers.every(made.take(own), case.watch.performance.metrics):
                yield part, each
