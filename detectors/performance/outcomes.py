"""Do higher scores still go with better outcomes? The correlation of each kind of outcome, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

import numpy as np

from tidegauge.config import Detectors, Watch
from tidegauge.detectors.drift import LEAST_ROWS
from tidegauge.detectors.finding import Context, Finding
from tidegauge.detectors.ledger import Ledger
from tidegauge.detectors.performance.baseline import chosen
from tidegauge.detectors.performance.book import OUTCOMES, Book, Entry, Page
from tidegauge.detectors.performance.catalogue import CORRELATION
from tidegauge.detectors.performance.correlation import correlation
from tidegauge.detectors.performance.lessons import dimensions
from tidegauge.detectors.performance.measured import Measured, Measurement
from tidegauge.detectors.performance.reading import Outcome, Reader, Rows, outcomes_of
from tidegauge.detectors.performance.verdicts import judged
from tidegauge.detectors.predictions import Predictions
from tidegauge.detectors.schedule import before_first, windows
from tidegauge.detectors.statistics.arrays import FloatArray, IntArray
from tidegauge.model import ALL, Slice, Window

MOST_DELAY = 0.95
"""Share of outcomes that must have had time to come."""
SPARE = 3


@dataclass
class State:
    """Windows that were looked at, and how long outcomes take, once that was seen."""

    last: datetime | None
    ends: list[datetime]
    wait: timedelta


class Outcomes:
    """Correlates predictions with outcomes once these have had time to come."""

    def __init__(
        self, predictions: Predictions, reader: Reader, book: Book, ledger: Ledger, settings: Detectors
    ) -> None:
        self._predictions = predictions
        self._reader = reader
        self._book = book
        self._ledger = ledger
        self._settings = settings
        self._states: dict[str, State] = {}

    def run(self, model: str, watch: Watch, now: datetime) -> Iterator[Finding]:
        """Evaluate what is due of one model."""
        if not self._reader.has_outcomes(now):
            return
        state = self._states.get(model) or self._states.setdefault(model, self._begun(model, now))
        first = None if state.last else self._predictions.first(model, now)
        after = state.last or (before_first(watch, first) if first else None)
        if after is None:
            return
        due = windows(watch, after, now - state.wait, self._settings.lag_s)
        for window in islice(due, self._settings.windows_per_run):
            yield from self._evaluate(model, watch, state, window, now)

    def _begun(self, model: str, now: datetime) -> State:
        ends = [window.end for window in self._book.windows(model, now, OUTCOMES)]
        return State(max(ends, default=None), ends, timedelta(days=self._settings.label_wait_days))

    def _evaluate(self, model: str, watch: Watch, state: State, window: Window, now: datetime) -> Iterator[Finding]:
        events = self._reader.events(model, window, now)
        rows = self._reader.read(model, window, dimensions(watch), now) if len(events) else None
        outcomes = outcomes_of(rows, events) if rows else []
        found = [pair for each in outcomes for pair in correlated(rows, each, watch.max_slices)] if rows else []
        settings = watch.performance
        ends = chosen(window, state.ends, SPARE * settings.baseline_windows, settings.baseline)
        memory = self._book.memory(model, ends, settings.baseline_windows)
        result = judged(found, memory, settings, watch.false_discovery_rate, "outcome")
        page = Page(model, window, now, "realised", "outcomes", "final", 0.0)
        seen = Measured(OUTCOMES, float(len(outcomes)), float(len(outcomes)), float(len(outcomes)), len(events))
        self._book.write(page, [Entry(ALL, seen), *result.entries])
        self._remember(state, window, outcomes)
        if result.claims:
            since = self._ledger.before(model, "outcomes", window, watch.step_hours)
            start = min(ends, default=window.start) - window.length
            context = Context(model, window, "windows", start, max(ends, default=window.start), now, since)
            yield from self._ledger.record(context, result.claims, "outcomes")

    def _remember(self, state: State, window: Window, outcomes: list[Outcome]) -> None:
        """Wait from now on as long as 95 % of the outcomes of this window took, at most as long as for labels."""
        state.last = window.end
        state.ends.append(window.end)
        delays = [each.delay_s[np.isfinite(each.delay_s)] for each in outcomes]
        if delays and sum(map(len, delays)) >= LEAST_ROWS:
            usual = timedelta(seconds=float(np.quantile(np.concatenate(delays), MOST_DELAY)))
            state.wait = min(usual, timedelta(days=self._settings.label_wait_days))


def correlated(rows: Rows, outcome: Outcome, most: int) -> Iterator[tuple[Slice, Measurement]]:
    """The correlation in all traffic and in each slice of 50 rows or more."""
    name, value = f"{CORRELATION}{outcome.name}", filled(outcome.value)
    score = np.where(np.isfinite(rows.score), rows.score, rows.said.numbers())
    usable = np.isfinite(score) & np.isfinite(value)
    parts: list[tuple[Slice, IntArray]] = [(ALL, np.arange(len(rows)))]
    for dimension, column in rows.traffic.dimensions.items():
        parts += [(Slice(dimension, each), own) for each, own in islice(column.rows_by_name.items(), most)]
    for part, own in parts:
        kept = own[usable[own]]
        if part == ALL or len(kept) >= LEAST_ROWS:
            yield part, _named(name, correlation(score[kept], value[kept], np.ones(len(kept))))


def filled(value: FloatArray) -> FloatArray:
    """An outcome that is only ever sent when it happens, always with the same value, did not happen elsewhere: 0.

    >>> filled(np.array([1.0, np.nan, 1.0])).tolist()
    [1.0, 0.0, 1.0]
    """
    known = value[np.isfinite(value)]
    event = len(known) > 0 and known.min() == known.max() and known[0] != 0
    return np.where(np.isfinite(value), value, 0.0) if event else value


def _named(name: str, found: Measurement) -> Measurement:
    if isinstance(found, Measured):
        return replace(found, metric=name, note=found.metric)
    return replace(found, method=name)
