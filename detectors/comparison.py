"""The hypotheses about one feature in one part of the traffic."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import sqrt
from typing import Protocol, TypeAlias

import numpy as np

from tidegauge.detectors.integrity import about_names, about_values, too_few
from tidegauge.detectors.profile import CategoryPart, NumericPart
from tidegauge.detectors.questions import STANDARD, Questions
from tidegauge.detectors.statistics import (
    NumericBins,
    Outcome,
    Result,
    chi_squared,
    jensen_shannon,
    kl,
    ks,
    missing_share,
    new_categories,
    non_finite_share,
    psi,
    wasserstein,
)
from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.detectors.statistics.missing import FLOOR, share_shift
from tidegauge.detectors.statistics.new_categories import FLOOR as NEW_FLOOR
from tidegauge.detectors.statistics.result import beyond_noise
from tidegauge.detectors.statistics.shared_cells import Cells, shared_cells
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import ALL, Slice

Compute: TypeAlias = Callable[[], Outcome]
ERROR_FLOOR = 0.02
"""Two points of accuracy: what a gate in front of a deployment refuses, too."""


def about_numeric(
    feature: str,
    part: Slice,
    bins: NumericBins,
    reference: NumericPart,
    current: NumericPart,
    questions: Questions = STANDARD,
) -> list[Hypothesis]:
    """All that is asked about a numeric feature; of one without a value only that they are missing."""
    if not len(current.kept) + current.non_finite:
        return asked(compare_missing(feature, part, reference, current), questions)
    found = compare_numeric(feature, part, bins, reference, current, questions)
    return found + about_values(feature, part, reference, current, questions)


def about_categorical(
    feature: str,
    part: Slice,
    reference: CategoryPart,
    current: CategoryPart,
    questions: Questions = STANDARD,
    tested: Cells | None = None,
) -> list[Hypothesis]:
    """All that is asked about a categorical feature; of the errors of a classifier, how many there are.

    ``tested`` are the cells that p-values are of, where these two sides do not show them.
    """
    if feature == "error":
        return compare_error(part, reference, current)
    if not current.counts:
        return asked(compare_missing(feature, part, reference, current), questions)
    found = compare_categorical(feature, part, reference, current, tested)
    return [*asked(found, questions), *about_names(feature, part, reference, current, questions)]


def asked(hypotheses: Sequence[Hypothesis], questions: Questions) -> list[Hypothesis]:
    """Those that are wanted."""
    return [each for each in hypotheses if each.detector in questions.tests]


def compare_numeric(
    feature: str,
    part: Slice,
    bins: NumericBins,
    reference: NumericPart,
    current: NumericPart,
    questions: Questions = STANDARD,
) -> list[Hypothesis]:
    """Distribution in cells (PSI, KL, Jensen-Shannon), in ranks (KS, Wasserstein), missing and non-finite values.

    In a slice Wasserstein follows KS, so that its cost is paid only where something moved.
    """
    counts = reference.counts, current.counts
    evidence = partial(shares_of, lambda: numeric_labels(bins), *counts)
    first = part == ALL or "ks" not in questions.tests
    moved: Compute = partial(_wasserstein, reference, current, first and questions.exact)
    wanted = "wasserstein" in questions.tests
    followers: tuple[tuple[str, Compute], ...] = (("wasserstein", moved),) if wanted and not first else ()
    found = []
    if "psi" in questions.tests:
        found.append(Hypothesis(feature, part, "psi", psi(*counts), divergences(*counts), evidence))
    if "ks" in questions.tests:
        ranks = _ks(reference, current)
        found.append(Hypothesis(feature, part, "ks", ranks, followers))
    if wanted and first:
        found.append(Hypothesis(feature, part, "wasserstein", moved()))
    shares = [
        *compare_missing(feature, part, reference, current),
        *compare_non_finite(feature, part, reference, current),
    ]
    return found + asked(shares, questions)


def compare_categorical(
    feature: str, part: Slice, reference: CategoryPart, current: CategoryPart, tested: Cells | None = None
) -> list[Hypothesis]:
    """Distribution over the frequent categories, categories never seen before, missing values."""
    counts = _counts(reference, current)
    if tested is None and reference.bins.rare:
        tested = shared_cells(reference.counts, current.counts)
    evidence = partial(shares_of, lambda: reference.bins.labels, *counts)
    first: Compute = partial(psi, *counts, tested=tested)
    followers = (("psi", first), *divergences(*counts, tested))
    return [
        Hypothesis(feature, part, "chi_squared", chi_squared(*counts, tested=tested), followers, evidence),
        Hypothesis(feature, part, "new_categories", _new_categories(part, reference, current)),
        *compare_missing(feature, part, reference, current),
    ]


class Counted(Protocol):
    """The rows of one feature in one part of the traffic."""

    @property
    def rows(self) -> int:
        """All of them."""
        ...

    @property
    def missing(self) -> int:
        """Those without a value."""
        ...


class CountedNumbers(Counted, Protocol):
    """Those of a numeric feature."""

    @property
    def non_finite(self) -> int:
        """Those with an infinity."""
        ...


def compare_missing(feature: str, part: Slice, reference: Counted, current: Counted) -> list[Hypothesis]:
    """The share of missing values; in a slice only where there are any at all, because else nothing can be found."""
    if part != ALL and not reference.missing + current.missing:
        return []
    counts = reference.missing, reference.rows, current.missing, current.rows
    outcome = (part != ALL and _too_small(*counts)) or missing_share(*counts)
    return [Hypothesis(feature, part, "missing", outcome)]


def _new_categories(part: Slice, reference: CategoryPart, current: CategoryPart) -> Outcome:
    """In a slice that has nothing new the answer is known without a test: p is 1."""
    if part == ALL or not current.counts.keys() <= reference.counts.keys():
        return new_categories(reference.counts, current.counts)
    sizes = sum(reference.counts.values()), sum(current.counts.values())
    return Result("new_categories", 0.0, 1.0, 0.0, NEW_FLOOR, *sizes)


def _too_small(reference_hits: int, n: int, current_hits: int, m: int) -> Outcome | None:
    """Stable without a test: a difference under the floor, with a p-value of 1, which errs on the safe side.

    The exact test costs more than all others of a slice together.
    """
    if not n * m:
        return None
    share, value = (reference_hits + current_hits) / (n + m), current_hits / m - reference_hits / n
    effect = beyond_noise(value, sqrt(share * (1 - share) * (1 / n + 1 / m)))
    return Result("missing_share", value, 1.0, effect, FLOOR, n, m) if effect < FLOOR else None


def compare_error(part: Slice, reference: CategoryPart, current: CategoryPart) -> list[Hypothesis]:
    """The share of labelled predictions that were wrong."""
    hits = [each.counts.get("wrong", 0) for each in (reference, current)]
    outcome = share_shift("error_rate", hits[0], reference.rows, hits[1], current.rows, ERROR_FLOOR)
    return [Hypothesis("error", part, "error_rate", outcome)]


def numeric_labels(bins: NumericBins) -> list[str]:
    """The cells in words.

    >>> numeric_labels(NumericBins((1.0, 2.5)))
    ['< 1', '1 to 2.5', '>= 2.5']
    """
    edges = [f"{edge:.6g}" for edge in bins.edges]
    if not edges:
        return ["all"]
    between = [f"{low} to {high}" for low, high in pairwise(edges)]
    return [f"< {edges[0]}", *between, f">= {edges[-1]}"]


def divergences(reference: IntArray, current: IntArray, tested: Cells | None = None) -> tuple[tuple[str, Compute], ...]:
    """What follows PSI: the same in other units."""
    measures = (("kl", kl), ("jensen_shannon", jensen_shannon))
    return tuple((name, partial(measure, reference, current, tested=tested)) for name, measure in measures)


def _counts(reference: CategoryPart, current: CategoryPart) -> tuple[IntArray, IntArray]:
    return np.array(reference.bins.reference, dtype=np.int64), reference.bins.counts(current.counts)


def _ks(reference: NumericPart, current: NumericPart) -> Outcome:
    few = too_few("ks", reference, current)
    return few or ks(reference.ordered, current.ordered, reference_sorted=True, current_sorted=True)


def _wasserstein(reference: NumericPart, current: NumericPart, exact: bool) -> Outcome:
    few = too_few("wasserstein", reference, current)
    rng = np.random.default_rng(0) if exact else None
    return few or wasserstein(reference.ordered, current.ordered, rng=rng, reference_sorted=True, current_sorted=True)


def compare_non_finite(
    feature: str, part: Slice, reference: CountedNumbers, current: CountedNumbers
) -> list[Hypothesis]:
    """The share of infinities, where there are any."""
    if not reference.non_finite + current.non_finite:
        return []
    outcome = non_finite_share(reference.non_finite, reference.rows, current.non_finite, current.rows)
    return [Hypothesis(feature, part, "non_finite", outcome)]


def shares_of(labels: Callable[[], Sequence[str]], reference: IntArray, current: IntArray) -> str:
    """The evidence for a finding: the shares of the cells on both sides, as JSON."""
    return json.dumps({"labels": list(labels()), "reference": _shares(reference), "current": _shares(current)})


def _shares(counts: IntArray) -> list[float]:
    total = int(counts.sum())
    return [round(count / total, 6) if total else 0.0 for count in counts.tolist()]
