"""The hypotheses about a feature beside its distribution: range, outliers, types, lost categories, moments."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping

from tidegauge.detectors.profile import CategoryPart, NumericPart
from tidegauge.detectors.questions import Questions
from tidegauge.detectors.statistics import (
    Outcome,
    Result,
    Undetermined,
    anderson_darling,
    lost_categories,
    mean_shift,
    out_of_range,
    outliers,
    quantile_shift,
    risen_category,
    variance_shift,
    wrong_type,
)
from tidegauge.detectors.statistics.lost_categories import FLOOR as LOST_FLOOR
from tidegauge.detectors.statistics.risen_category import Uncounted, most_risen
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import ALL, Slice

LEAST_VALUES = 30
"""Finite values on each side for statistics of all values."""
ALWAYS_MEANS = ("score", "error")
"""Their mean is what people read."""
SHAPES = {"anderson_darling": anderson_darling, "variance_shift": variance_shift, "quantile_shift": quantile_shift}
Measure = Callable[..., Outcome]


def about_values(
    feature: str, part: Slice, reference: NumericPart, current: NumericPart, questions: Questions
) -> list[Hypothesis]:
    """Means, and what else ``questions`` asks of the values of a numeric feature."""
    found: list[tuple[str, Outcome]] = []
    if feature in ALWAYS_MEANS or "mean_shift" in questions.tests:
        found.append(("mean_shift", _of_enough("mean_shift", mean_shift, reference, current)))
    for name, measure in SHAPES.items():
        if name in questions.tests:
            found.append((name, _of_enough(name, measure, reference, current)))
    if "out_of_range" in questions.tests and feature != "error":
        low, high = questions.ends(feature)
        found.append(("out_of_range", out_of_range(reference.kept, current.kept, low=low, high=high)))
    if "outliers" in questions.tests and feature != "error":
        found.append(
            ("outliers", outliers(reference.ordered, current.ordered, reference_sorted=True, current_sorted=True))
        )
    return [Hypothesis(feature, part, name, outcome) for name, outcome in found]


def about_names(
    feature: str, part: Slice, reference: CategoryPart, current: CategoryPart, questions: Questions
) -> Iterator[Hypothesis]:
    """Whether categories are lost, and whether one has become frequent that has no cell of its own.

    Where none is lost, in a slice, the answer is known without a test: p is 1.
    """
    if "lost_categories" in questions.tests:
        if part == ALL or not reference.counts.keys() <= current.counts.keys():
            outcome = lost_categories(reference.counts, current.counts)
        else:
            sizes = sum(reference.counts.values()), sum(current.counts.values())
            outcome = Result("lost_categories", 0.0, 1.0, 0.0, LOST_FLOOR, *sizes)
        yield Hypothesis(feature, part, "lost_categories", outcome)
    if "risen_category" in questions.tests and reference.bins.rare:
        apart = frozenset(reference.bins.names)
        yield about_risen(feature, part, reference.counts, current.counts, apart)


def about_risen(
    feature: str,
    part: Slice,
    reference: Mapping[str, int],
    current: Mapping[str, int],
    apart: Collection[str],
    uncounted: Uncounted | None = None,
) -> Hypothesis:
    """Whether a category that is not ``apart`` became frequent; its shares are the evidence."""
    outcome = risen_category(reference, current, apart=apart, uncounted=uncounted)
    if not isinstance(outcome, Result) or not outcome.note:
        return Hypothesis(feature, part, "risen_category", outcome)

    def evidence() -> str:
        rise = most_risen(reference, current, apart=apart, uncounted=uncounted)
        return json.dumps({"labels": [rise.name], "reference": [rise.before], "current": [rise.now]}) if rise else ""

    return Hypothesis(feature, part, "risen_category", outcome, evidence=evidence)


def about_types(feature: str, wrong: tuple[int, int], rows: tuple[int, int], questions: Questions) -> list[Hypothesis]:
    """Whether values come as the wrong type, where any do, on either side."""
    if "wrong_type" not in questions.tests or not sum(wrong):
        return []
    return [Hypothesis(feature, ALL, "wrong_type", wrong_type(wrong[0], rows[0], wrong[1], rows[1]))]


def _of_enough(name: str, measure: Measure, reference: NumericPart, current: NumericPart) -> Outcome:
    few = too_few(name, reference, current)
    return few or measure(reference.ordered, current.ordered, reference_sorted=True, current_sorted=True)


def too_few(method: str, reference: NumericPart, current: NumericPart) -> Undetermined | None:
    """Distances and means of a handful of values say where those values happened to lie."""
    sizes = len(reference.kept), len(current.kept)
    return Undetermined(method, f"fewer than {LEAST_VALUES} values", *sizes) if min(sizes) < LEAST_VALUES else None
