"""What else is asked about a numeric feature, from counts: the counterpart of ``detectors.integrity``."""

from __future__ import annotations

from tidegauge.detectors.integrity import ALWAYS_MEANS
from tidegauge.detectors.questions import Questions
from tidegauge.detectors.sketches.numeric import NumericSketch, anderson_darling, mean_shift, out_of_range
from tidegauge.detectors.statistics import Undetermined
from tidegauge.detectors.verdicts import Hypothesis
from tidegauge.model import Slice

OF_ROWS = ("variance_shift", "quantile_shift", "outliers")


def about_cells(
    feature: str, part: Slice, reference: NumericSketch, current: NumericSketch, questions: Questions
) -> list[Hypothesis]:
    """Means, Anderson-Darling and the range; of what needs rows, that it does."""
    found: list[Hypothesis] = []
    if feature in ALWAYS_MEANS or "mean_shift" in questions.tests:
        found.append(Hypothesis(feature, part, "mean_shift", mean_shift(reference, current)))
    if "anderson_darling" in questions.tests:
        found.append(Hypothesis(feature, part, "anderson_darling", anderson_darling(reference, current)))
    if "out_of_range" in questions.tests:
        outcome = out_of_range(reference, current, *questions.ends(feature))
        found.append(Hypothesis(feature, part, "out_of_range", outcome))
    for name in (each for each in OF_ROWS if each in questions.tests):
        reason = "is not told from counts; rollups: off compares a sample of the rows"
        refused = Undetermined(name, reason, reference.finite, current.finite)
        found.append(Hypothesis(feature, part, name, refused))
    return found
