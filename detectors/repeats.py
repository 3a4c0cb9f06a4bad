"""Rows that repeat another one: the hypotheses about duplicates and repeated ids of one window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from tidegauge.detectors.predictions import Scope
from tidegauge.detectors.questions import Questions
from tidegauge.detectors.references import Datum
from tidegauge.detectors.spans import own_windows, without
from tidegauge.detectors.spread import LEAST_ROWS, MOST_WINDOWS, Own, Spread, phase
from tidegauge.detectors.statistics import Outcome, Result, duplicates, repeated_ids
from tidegauge.detectors.statistics.missing import FLOOR
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

TESTS = {"duplicates": duplicates, "repeated_ids": repeated_ids}
HASH = "cityHash64(features, categories)"
"""In the order in which they were sent: a producer sends a row twice in the same one."""
ROWS = "notEmpty(features) OR notEmpty(categories)"
COUNTS = f"""SELECT countIf({ROWS}) AS duplicates, duplicates - uniqExactIf({HASH}, {ROWS}) AS duplicates_repeats,
  countIf(prediction_id != '') AS repeated_ids,
  repeated_ids - uniqExactIf(cityHash64(prediction_id), prediction_id != '') AS repeated_ids_repeats
FROM predictions WHERE """  # noqa: S608
Counted = dict[str, tuple[int, int]]


@dataclass
class Repeats:
    """Counts repeats in the store, so that a window of any length costs no memory here.

    The reference is counted only if a window repeats itself more than matters, and cut into windows only if it does so
    more than the reference; both are kept while it stays the same.
    """

    store: Store

    def __post_init__(self) -> None:
        self._kept: dict[str, tuple[tuple[Scope, int], Counted]] = {}
        self._cut: dict[str, tuple[tuple[Scope, int, timedelta, int], dict[str, Spread]]] = {}

    def hypotheses(self, window: Scope, reference: Scope, rows: int, questions: Questions) -> Iterator[Hypothesis]:
        """About a window and its reference, which has ``rows`` rows."""
        wanted = [name for name in TESTS if name in questions.tests]
        now = self._count(window) if wanted else {}
        for name in wanted:
            outcome = _few(name, *now[name], rows) or TESTS[name](*self._before(reference, rows)[name], *now[name])
            yield Hypothesis("volume", ALL, name, outcome)

    def own(self, datum: Datum, window: Window) -> Own:
        """How far the windows of a reference, cut like ``window``, lie from the rest of it."""
        return _Own(partial(self._spreads, datum, window))

    def _spreads(self, datum: Datum, window: Window) -> dict[str, Spread]:
        if datum.scope is None:
            return {}
        model, key = datum.scope.model, (datum.scope, datum.rows, window.length, phase(window))
        if model not in self._cut or self._cut[model][0] != key:
            whole, counted = self._before(datum.scope, datum.rows), list(self._windows(datum, datum.scope, window))
            found = {name: [_apart(name, whole[name], each[name]) for each in counted] for name in TESTS}
            effects = {name: [each.effect for each in of if isinstance(each, Result)] for name, of in found.items()}
            self._cut[model] = key, {name: Spread.of(name, each, 1.0) for name, each in effects.items()}
        return self._cut[model][1]

    def _windows(self, datum: Datum, scope: Scope, window: Window) -> Iterator[Counted]:
        spans = without(scope.spans or [Window(datum.start, datum.end)], scope.holes)
        for each in own_windows(spans, window, MOST_WINDOWS):
            counted = self._count(replace(scope, spans=(each,)))
            if all(rows >= LEAST_ROWS for _, rows in counted.values() if rows):
                yield counted

    def _before(self, reference: Scope, rows: int) -> Counted:
        key, kept = (reference, rows), self._kept.get(reference.model)
        if kept is None or kept[0] != key:
            kept = self._kept[reference.model] = key, self._count(reference)
        return kept[1]

    def _count(self, scope: Scope) -> Counted:
        """By test: rows that repeat another, of how many."""
        (row,) = self.store.rows(COUNTS + scope.where, scope.params)
        return {name: (row[f"{name}_repeats"], row[name]) for name in TESTS}


@dataclass(frozen=True, slots=True)
class _Own:
    spreads: Callable[[], Mapping[str, Spread]]

    def spread(self, feature: str, part: Slice, detector: str) -> Spread:
        """Counted when it is asked for the first time."""
        return self.spreads().get(detector, Spread(detector))


def _apart(name: str, whole: tuple[int, int], own: tuple[int, int]) -> Outcome:
    """A window of the reference against the rest of it; that repeats at most what is left."""
    rest = max(0, whole[1] - own[1])
    return TESTS[name](min(rest, max(0, whole[0] - own[0])), rest, *own)


def _few(name: str, repeats: int, rows: int, n_reference: int) -> Outcome | None:
    """Stable without a look at the reference: fewer than matter, with a p-value of 1, which errs on the safe side."""
    if not rows or repeats >= FLOOR * rows:
        return None
    return Result(name, repeats / rows, 1.0, 0.0, FLOOR, n_reference, rows)
