"""Concept: whether the same inputs, as scores sum them up, have other outcomes than before.

The outcome less what was seen before at the same score says nothing about how often which score comes: a change of
inputs alone leaves its mean at 0. So P(y given X) is told from P(X), as far as the score holds what X says of y.
"""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.change import shift
from tidegauge.detectors.diagnose.curve import Curve
from tidegauge.detectors.diagnose.rows import Floats, Mask
from tidegauge.detectors.diagnose.slices import Explained, search
from tidegauge.detectors.diagnose.verdict import (
    BAD_FROM,
    EVERYTHING,
    SUSPECT_FROM,
    Level,
    Stage,
    Verdict,
    level_of,
    part_text,
)

FLOOR, PART_FLOOR = 0.05, 0.08
SEED = 20130701
SIGNIFICANT = 0.01


def concept(case: Case) -> list[Verdict]:
    """In all traffic; then in the part that the search over slices finds, where it finds one."""
    curve = Curve.of(case)
    if curve is None:
        why = "scores and labels of two classes are needed, 500 of them before the change"
        return [Verdict("outcome at the same score", Stage.CONCEPT, Level.UNKNOWN, why)]
    if (case.after & ~np.isnan(curve.label)).sum() < 100:
        return [Verdict("outcome at the same score", Stage.CONCEPT, Level.UNKNOWN, "hardly any label has come yet")]
    return [_whole(case, curve), *_parts(case, curve)]


def _whole(case: Case, curve: Curve) -> Verdict:
    known = ~np.isnan(curve.label)
    residual = np.where(known, curve.residual, 0.0)
    found = shift(case, case.sums(residual), case.sums(known), FLOOR, spread=0.5)
    numbers = _losses(case, curve) | {"outcome beyond expected": float(found.delta)}
    strength = float(found.strength)
    said = (
        f"outcomes are {float(found.delta):+.3f} off what the same scores had before (usual up to "
        f"{float(found.usual):.3f}); loss {numbers['loss since']:.3f}, {numbers['loss expected']:.3f} was to be "
        "expected of these inputs"
    )
    level = level_of(strength)
    named = level in (Level.BAD, Level.SUSPECT)
    columns = frozenset({"loss"} if named else set[str]())
    cause = "concept" if named else ""
    return Verdict(
        "outcome at the same score", Stage.CONCEPT, level, said, cause, "", EVERYTHING, strength, columns, numbers
    )


def _losses(case: Case, curve: Curve) -> dict[str, float]:
    """Brier's loss before and since, and what the inputs since would have had by the outcomes of before."""
    score = case.rows.score
    assert score is not None
    loss = (score - curve.label) ** 2
    known = ~np.isnan(loss)
    before, since = known & case.before, known & case.after
    sums = np.bincount(curve.cell[before], weights=loss[before], minlength=curve.cells)
    mean = sums / np.maximum(np.bincount(curve.cell[before], minlength=curve.cells), 1)
    return {
        "loss before": float(loss[before].mean()),
        "loss since": float(loss[since].mean()) if since.any() else 0.0,
        "loss expected": float(mean[curve.cell[since]].mean()) if since.any() else 0.0,
    }


def _parts(case: Case, curve: Curve) -> list[Verdict]:
    """The part whose outcomes changed otherwise than those of the rest."""
    dimensions = {name: column for name, column in case.dimensions.items() if name not in ("version", "role")}
    found = search(curve.residual, case.slot, -case.first, dimensions, np.random.default_rng(SEED))
    told = [each for each in found if each.p_value <= SIGNIFICANT and abs(each.beyond) >= PART_FLOOR]
    if not told:
        return []
    best = _plainest(told)
    strength = _strength(case, curve.residual, best)
    if strength < SUSPECT_FROM:
        return []
    said = (
        f"outcomes in {part_text(best.part)} went {best.beyond:+.3f} ({best.low:+.3f} to {best.high:+.3f}) beyond "
        f"those of the rest at the same scores; found among all parts and pairs, p {best.p_value:.3f} for the search"
    )
    numbers = {
        "beyond": best.beyond,
        "low": best.low,
        "high": best.high,
        "share of change": best.share,
        "p": best.p_value,
    }
    columns = frozenset({"loss"})
    return [
        Verdict(
            "slice search",
            Stage.CONCEPT,
            level_of(strength),
            said,
            "concept",
            "",
            best.part,
            strength,
            columns,
            numbers,
        )
    ]


def _plainest(found: list[Explained]) -> Explained:
    """The most significant part; a single slice rather than a pair within it that has nearly the same change."""
    best = found[0]
    wider = [each for each in found if set(each.part) < set(best.part) and abs(each.beyond) > abs(best.beyond) * 0.6]
    return wider[0] if wider else best


def _strength(case: Case, values: Floats, found: Explained) -> float:
    """The part's change less that of the rest, over the largest that stretches of the days before show."""
    here, known = case.rows.rows_in(found.part), np.isfinite(values)
    inside = shift(case, case.sums(np.where(here & known, values, 0.0)), case.sums(here & known), 0.0, spread=0.5)
    gap = _daily_gap(case, np.where(known, values, 0.0), here & known, ~here & known)
    compared = shift(
        case, gap, case.sums(here & known), PART_FLOOR / BAD_FROM, spread=0.5 if inside.rows < 200 else 0.35
    )
    return float(compared.strength)


def _daily_gap(case: Case, values: Floats, here: Mask, rest: Mask) -> Floats:
    """By day: the sum of the part's values, each less the mean of the rest on that day."""
    others = case.sums(np.where(rest, values, 0.0)) / np.maximum(case.sums(rest), 1)
    return case.sums(np.where(here, values, 0.0)) - others * case.sums(here)
