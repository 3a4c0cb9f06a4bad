"""When each finding began by itself, so that two faults of different dates are two causes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.concept import compared
from tidegauge.detectors.diagnose.features import present
from tidegauge.detectors.diagnose.graded import LABEL
from tidegauge.detectors.diagnose.ranking import APART
from tidegauge.detectors.diagnose.relations import CHECK as RELATIONS
from tidegauge.detectors.diagnose.series import (
    FAR_VALUES,
    FREQUENT,
    VOLUME,
    Series,
    of_copies,
    of_decisions,
    of_fit,
    of_labels,
    of_number,
    of_scores,
)
from tidegauge.detectors.diagnose.skew import CHECK as SKEW
from tidegauge.detectors.diagnose.turn import Turn, beginning
from tidegauge.detectors.diagnose.verdict import Verdict, part_text

LEVEL = ("the mean", "the distribution")
NUMBERS: Mapping[str, tuple[str, ...]] = {
    "default value": (FREQUENT,),
    "stuck": (FREQUENT,),
    "outliers": (FAR_VALUES,),
    "precision lost": ("the precision",),
    "type changed": ("the share of missing",),
    **dict.fromkeys(("units", "swapped", "moved"), LEVEL),
}
"""By cause, the series of the columns that show it, by how their names begin."""
LABELS: Mapping[str, str] = {
    "labels missing": "the share of labels",
    "labels late": "the delay",
    "labels flipped": "the agreement of labels",
    "label class lost": LABEL,
    "label keys broken": "the share of labels",
}
SHARES = ("part grew", "part shrank", "part gone", "new version", "new category")
"""Causes that show in how many of the rows are of their part."""


def dated(case: Case, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The same, with ``began`` where a finding clearly began at another moment than ``case.since``."""
    return [replace(each, began=_began(case, each)) if each.found else each for each in verdicts]


def _began(case: Case, each: Verdict) -> datetime | None:
    found = own(case, each)
    return found.at if found and abs(found.at - case.since) >= APART else None


def own(case: Case, each: Verdict) -> Turn | None:
    """The moment at which what shows the finding changed most clearly; None where it has no such series."""
    if each.cause in SHARES:
        share = case.rows.rows_in(each.part).astype(np.float64)
        return beginning(case.rows, [(f"the share of {part_text(each.part)}", share)], case.until, case.since)
    if each.cause == "concept":
        return beginning(*compared(case, each.part), case.until, case.since)
    inside = case.only(case.rows.rows_in(each.part)) if each.part else case
    found = beginning(inside.rows, list(_series(inside, each)), case.until, case.since)
    if not found or each.cause not in NUMBERS or abs(found.at - case.since) < APART:
        return found
    # the weather moves values as well; copies know better
    copied = beginning(inside.rows, of_copies(inside.rows, case.copies, sorted(each.columns)), case.until, case.since)
    return copied if copied and abs(copied.at - case.since) < APART else found


def _series(case: Case, each: Verdict) -> Iterator[Series]:
    """What shows the finding among the rows of its part."""
    rows, numeric = case.rows, case.rows.traffic.numeric
    if each.cause in ("volume drop", "volume rise"):
        yield VOLUME, np.ones(rows.count)
    if each.cause == "missing":
        for name in sorted(each.columns):
            yield f"the share of missing {name}", (~present(case, name)).astype(np.float64)
    if each.check == RELATIONS:
        yield from of_fit(case, sorted(each.columns))
    if each.check == SKEW:
        yield from of_copies(rows, case.copies, sorted(each.columns))
    if each.cause == "threshold changed":
        yield from of_decisions(rows)
    if each.cause == "scores off":
        yield from of_scores(case)
    found = of_labels(rows, case.until.timestamp()) if each.cause in LABELS else []
    for name in sorted(each.columns & numeric.keys()) if each.cause in NUMBERS else ():
        found += of_number(name, numeric[name])
    prefixes = NUMBERS.get(each.cause) or LABELS.get(each.cause, "")
    yield from (one for one in found if one[0].startswith(prefixes))
