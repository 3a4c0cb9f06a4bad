"""Rows that repeat another one: the hypotheses about duplicates and repeated ids of one window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tidegauge.detectors.predictions import Scope
from tidegauge.detectors.questions import Questions
from tidegauge.detectors.statistics import Outcome, Result, duplicates, repeated_ids
from tidegauge.detectors.statistics.missing import FLOOR
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import ALL
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

    The reference is counted only if a window repeats itself more than matters, and kept while it stays the same.
    """

    store: Store

    def __post_init__(self) -> None:
        self._kept: dict[str, tuple[tuple[Scope, int], Counted]] = {}

    def hypotheses(self, window: Scope, reference: Scope, rows: int, questions: Questions) -> Iterator[Hypothesis]:
        """About a window and its reference, which has ``rows`` rows."""
        wanted = [name for name in TESTS if name in questions.tests]
        now = self._count(window) if wanted else {}
        for name in wanted:
            outcome = _few(name, *now[name], rows) or TESTS[name](*self._before(reference, rows)[name], *now[name])
            yield Hypothesis("volume", ALL, name, outcome)

    def _before(self, reference: Scope, rows: int) -> Counted:
        key, kept = (reference, rows), self._kept.get(reference.model)
        if kept is None or kept[0] != key:
            kept = self._kept[reference.model] = key, self._count(reference)
        return kept[1]

    def _count(self, scope: Scope) -> Counted:
        """By test: rows that repeat another, of how many."""
        (row,) = self.store.rows(COUNTS + scope.where, scope.params)
        return {name: (row[f"{name}_repeats"], row[name]) for name in TESTS}


def _few(name: str, repeats: int, rows: int, n_reference: int) -> Outcome | None:
    """Stable without a look at the reference: fewer than matter, with a p-value of 1, which errs on the safe side."""
    if not rows or repeats >= FLOOR * rows:
        return None
    return Result(name, repeats / rows, 1.0, 0.0, FLOOR, n_reference, rows)
