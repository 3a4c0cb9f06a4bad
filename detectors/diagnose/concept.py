"""Concept: whether the same inputs, as scores sum them up, have other outcomes than before.

The outcome less what was seen before at the same score says nothing about how often which score comes: a change of
inputs alone leaves its mean at 0. So P(y given X) is told from P(X), as far as the score holds what X says of y. Of a
model of numbers the outcome is its error and the score its prediction; how far errors lie apart is asked as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.change import Change, shift
from tidegauge.detectors.diagnose.curve import Curve
from tidegauge.detectors.diagnose.outputs import begun
from tidegauge.detectors.diagnose.rows import Floats, Mask, Rows
from tidegauge.detectors.diagnose.series import Series
from tidegauge.detectors.diagnose.slices import Explained, search
from tidegauge.detectors.diagnose.verdict import (
    BAD_FROM,
    EVERYTHING,
    SUSPECT_FROM,
    Level,
    Part,
    Stage,
    Verdict,
    part_text,
    told,
)
from tidegauge.detectors.statistics import Undetermined

FLOOR, PART_FLOOR = 0.1, 0.16
"""The least change that matters, in spreads of one outcome: of two classes 0.05 and 0.08."""
SEED = 20130701
SIGNIFICANT = 0.01
FEW = 200
"""Outcomes of a part since, from which on less of what chance gives is allowed for: the search has done so."""
CHECK = "outcome at the same score"


@dataclass(frozen=True)
class Question:
    """A number of each row, nan where unknown, whose mean before is 0 in every cell; ``said`` of a change of it."""

    values: Floats
    said: str
    rises: bool = False

    def strength(self, found: Change) -> float:
        """That of a change; 0 where only a rise counts and it fell."""
        return 0.0 if self.rises and found.delta < 0 else float(found.strength)


def concept(case: Case) -> list[Verdict]:
    """In all traffic; then in the part that the search over slices finds, alone where the rest is as ever.

    A version that began with the change answers the same inputs by other scores: its rows are left out.
    """
    case = _known(case)
    curve = Curve.of(case)
    if isinstance(curve, Undetermined):
        return [Verdict(CHECK, Stage.CONCEPT, Level.UNKNOWN, curve.reason)]
    questions = list(_questions(curve))
    part = _part(case, curve, questions)
    if part is None:
        return [_whole(case, curve, questions)]
    rest = _whole(case, curve, questions, part.part)
    return [_whole(case, curve, questions) if rest.found else rest, part]


def compared(case: Case, part: Part) -> tuple[Rows, list[Series]]:
    """The rows compared, and what is asked of each: of a part only, each less the mean of the rest on that day."""
    case = _known(case)
    curve = Curve.of(case)
    if isinstance(curve, Undetermined):
        return case.rows, []
    asked = [(each.said, each.values) for each in _questions(curve)]
    return case.rows, [(said, _less_the_rest(case, values, part)) for said, values in asked] if part else asked


def _less_the_rest(case: Case, values: Floats, part: Part) -> Floats:
    here, known = case.rows.rows_in(part), np.isfinite(values)
    others = case.sums(np.where(known & ~here, values, 0.0)) / np.maximum(case.sums(known & ~here), 1)
    return np.where(here & (case.slot >= 0), values - others[np.maximum(case.slot, 0)], np.nan)


def _known(case: Case) -> Case:
    column = case.rows.traffic.dimensions.get("version")
    new = begun(case, column)[0] if column is not None else []
    return case.only(~np.isin(column.codes, new)) if column is not None and new else case


def _questions(curve: Curve) -> Iterable[Question]:
    same = f"at the same {curve.same}"
    yield Question(curve.residual, f"{curve.graded.what} {same}")
    if curve.graded.kind == "numbers":
        yield Question(curve.scatter, f"sizes of errors {same}", rises=True)


def _whole(case: Case, curve: Curve, questions: list[Question], without: Part = EVERYTHING) -> Verdict:
    """The question whose answer changed most, in all traffic or in what lies outside of a part."""
    left_out = case.rows.rows_in(without) if without else np.zeros(case.rows.count, dtype=np.bool_)
    changes = [(each, _change(case, np.where(left_out, np.nan, each.values), curve.spread)) for each in questions]
    asked, found = max(changes, key=lambda each: each[0].strength(each[1]))
    numbers = _losses(case, curve) | _delta(case, curve, asked, found)
    where = f" outside of {part_text(without)}" if without else ""
    said = (
        f"{asked.said}{where} changed by {float(found.delta):+.3f}{_units(curve)} (usual up to "
        f"{float(found.usual):.3f}); the loss of all traffic is {numbers['loss since']:.3g}, "
        f"{numbers['loss expected']:.3g} was to be expected of these inputs"
    )
    return told(CHECK, Stage.CONCEPT, "concept", said, asked.strength(found), {"loss"}, numbers)


def _change(case: Case, values: Floats, spread: float) -> Change:
    known = np.isfinite(values)
    return shift(case, case.sums(np.where(known, values, 0.0)), case.sums(known), FLOOR * spread, spread=spread)


def _units(curve: Curve) -> str:
    return " of their usual spread" if curve.graded.kind == "numbers" else ""


def _delta(case: Case, curve: Curve, asked: Question, found: Change) -> dict[str, float]:
    """By how much, in what ``Question`` counts and, of numbers, in those of the labels."""
    numbers = {"outcome beyond expected": float(found.delta)}
    if curve.graded.kind == "numbers":
        known = case.after & np.isfinite(asked.values)
        numbers["in units of the label"] = float((asked.values * curve.unit)[known].mean())
    return numbers


def _losses(case: Case, curve: Curve) -> dict[str, float]:
    """The loss before and since, and what the inputs since would have had by the outcomes of before."""
    known = np.isfinite(curve.loss)
    before, since = known & case.before, known & case.after
    return {
        "loss before": float(curve.loss[before].mean()),
        "loss since": float(curve.loss[since].mean()),
        "loss expected": float(curve.usual(curve.loss)[since].mean()),
    }


def _part(case: Case, curve: Curve, questions: list[Question]) -> Verdict | None:
    """The part whose outcomes changed otherwise than those of the rest, by the question that says so most clearly."""
    found = [each for asked in questions if (each := _searched(case, curve, asked, len(questions)))]
    return max(found, key=lambda each: each.strength, default=None)


def _searched(case: Case, curve: Curve, asked: Question, questions: int) -> Verdict | None:
    dimensions = {name: column for name, column in case.dimensions.items() if name not in ("version", "role")}
    found = search(asked.values, case.slot, -case.first, dimensions, np.random.default_rng(SEED))
    least = PART_FLOOR * curve.spread
    clear = [each for each in found if each.p_value <= SIGNIFICANT / questions and abs(each.beyond) >= least]
    clear = [each for each in clear if _its_own(each) and (each.beyond > 0 or not asked.rises)]
    if not clear:
        return None
    best = _plainest(clear)
    strength = _strength(case, asked.values, best.part, curve.spread)
    if strength < SUSPECT_FROM:
        return None
    said = (
        f"{asked.said} in {part_text(best.part)} went {best.beyond:+.3f} ({best.low:+.3f} to {best.high:+.3f})"
        f"{_units(curve)} beyond those of the rest; found among all parts and pairs, "
        f"p {best.p_value:.3f} for the search"
    )
    numbers = {
        "beyond": best.beyond,
        "low": best.low,
        "high": best.high,
        "share of change": best.share,
        "p": best.p_value,
    }
    return told("slice search", Stage.CONCEPT, "concept", said, strength, {"loss"}, numbers, best.part)


def _its_own(found: Explained) -> bool:
    """Whether the part changed more than the rest did: else it is the rest that changed."""
    change = found.since - found.before
    return abs(change) >= abs(change - found.beyond)


def _plainest(found: list[Explained]) -> Explained:
    """The most significant part; a single slice rather than a pair within it that has nearly the same change."""
    best = found[0]
    wider = [each for each in found if set(each.part) < set(best.part) and abs(each.beyond) > abs(best.beyond) * 0.6]
    return wider[0] if wider else best


def _strength(case: Case, values: Floats, part: Part, spread: float) -> float:
    """The part's change less that of the rest, over the largest that stretches of the days before show."""
    here, known = case.rows.rows_in(part), np.isfinite(values)
    gap = _daily_gap(case, np.where(known, values, 0.0), here & known, ~here & known)
    few = (here & known & case.after).sum() < FEW
    usual = PART_FLOOR / BAD_FROM * spread
    compared = shift(case, gap, case.sums(here & known), usual, spread=spread * (1.0 if few else 0.7))
    return float(compared.strength)


def _daily_gap(case: Case, values: Floats, here: Mask, rest: Mask) -> Floats:
    """By day: the sum of the part's values, each less the mean of the rest on that day."""
    others = case.sums(np.where(rest, values, 0.0)) / np.maximum(case.sums(rest), 1)
    return case.sums(np.where(here, values, 0.0)) - others * case.sums(here)
