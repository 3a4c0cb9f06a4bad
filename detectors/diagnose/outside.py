"""What is as much so in the rows that a cause does not touch: that has another cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.features import present
from tidegauge.detectors.diagnose.rows import Mask
from tidegauge.detectors.diagnose.verdict import Level, Stage, Verdict

LEAST = 0.2
"""The share of the rows since below which the rest tells nothing."""
AS_MUCH = 0.7
"""What is found in the rest with so much of its strength is as much so there."""


class Asks(Protocol):
    """A check of a stage, as ``diagnosis.Check``."""

    @property
    def stage(self) -> Stage:
        """When it is asked."""

    @property
    def run(self) -> Callable[[Case, Sequence[Verdict]], Iterable[Verdict]]:
        """Its answers about some rows, where these were given before."""


def spared(case: Case, verdicts: Sequence[Verdict], checks: Sequence[Asks]) -> list[Verdict]:
    """The same; a bad cause in some of the rows with the checks that say as much of all others as ``spared``."""
    return [replace(each, spared=frozenset(_spared(case, each, verdicts, checks))) for each in verdicts]


def _spared(case: Case, cause: Verdict, verdicts: Sequence[Verdict], checks: Sequence[Asks]) -> Iterator[str]:
    if cause.level is not Level.BAD or cause.stage in (Stage.CONCEPT, Stage.DOWNSTREAM):
        return
    output = {each.check: each for each in verdicts if each.found and _is_output(each)}
    touched = _touched(case, cause)
    if not output or touched is None or (~touched & case.after).sum() < LEAST * case.after.sum():
        return
    rest, stages = case.only(~touched), {each.stage for each in output.values()}
    for check in checks:
        for again in check.run(rest, verdicts) if check.stage in stages else ():
            was = output.get(again.check)
            if was and again.found and again.cause == was.cause and again.strength >= AS_MUCH * was.strength:
                yield again.check


def _is_output(verdict: Verdict) -> bool:
    """Whether it is about scores, outcomes or decisions of all traffic."""
    return verdict.stage in (Stage.CONCEPT, Stage.MODEL, Stage.DOWNSTREAM) and not verdict.part


def _touched(case: Case, cause: Verdict) -> Mask | None:
    """The rows in which a cause can have done anything; None for all."""
    inside = case.rows.rows_in(cause.part) if cause.part else None
    if cause.cause != "missing":
        return inside
    absent = ~present(case, cause.subject)
    return absent if inside is None else absent & inside
