"""Model: which version answered, whether scores follow from features, and decisions from scores, as before."""

from __future__ import annotations

import numpy as np

from tidegauge.detectors.diagnose.case import FEWEST_DAYS, Case
from tidegauge.detectors.diagnose.change import shift
from tidegauge.detectors.diagnose.ranking import APART
from tidegauge.detectors.diagnose.relations import grown
from tidegauge.detectors.diagnose.rows import Floats, Mask
from tidegauge.detectors.diagnose.verdict import (
    EVERYTHING,
    MOST_STRENGTH,
    SEARCHED,
    Level,
    Part,
    Stage,
    Verdict,
    level_of,
)
from tidegauge.detectors.traffic import Category
from tidegauge.model import Slice

NEW_FROM = 0.01
FEWEST = 100
AGREES = 0.995
SCORE_FLOOR = 0.15
"""A change of the scores' level or spread, in units of their spread before, that matters."""


def versions(case: Case) -> list[Verdict]:
    """Versions that began with the change; bad where they do worse than the others at the same time, or than before."""
    column = case.rows.traffic.dimensions.get("version")
    if column is None:
        return []
    new, share = begun(case, column)
    if not new:
        return [Verdict("versions", Stage.MODEL, Level.OK, "no version began with the change"), *_tuple(case)]
    return [*(_release(case, column.names[at], float(share[at])) for at in new), *_tuple(case)]


def begun(case: Case, column: Category) -> tuple[list[int], Floats]:
    """Codes of the versions that began with the change or up to two days before, and the share of each version since.

    What a release did may show clearest some hours after it: at the first busy one, or with the first labels.
    """
    earlier = case.rows.seconds < (case.since - APART).timestamp()
    after, before = (
        np.bincount(column.codes[m & (column.codes >= 0)], minlength=len(column.names)) for m in (case.after, earlier)
    )
    share: Floats = after / max(1, after.sum())
    new = np.flatnonzero((share >= NEW_FROM) & (before <= 0.001 * max(1, before.sum())))
    return [int(at) for at in new], share


def young(case: Case) -> Mask:
    """Rows of versions that began in the last three days before: too few say what is usual of them."""
    column = case.rows.traffic.dimensions.get("version")
    if column is None:
        return np.zeros(case.rows.count, dtype=np.bool_)
    first = np.full(len(column.names), np.inf)
    known = column.codes >= 0
    np.minimum.at(first, column.codes[known], case.day[known])
    new = np.flatnonzero((first >= -FEWEST_DAYS) & (first < 0) & (first > case.first))
    return np.isin(column.codes, new)


def _release(case: Case, name: str, share: float) -> Verdict:
    part: Part = (Slice("version", name),)
    mine = case.rows.rows_in(part)
    parts, numbers = [f"version {name} answers {share:.0%} of the traffic since"], {"share": share}
    strength = 1.9
    worse = _worse(case, mine)
    if worse is not None:
        loss, other, beyond = worse
        numbers |= {"loss": loss, "loss of the others": other}
        parts.append(f"its loss is {loss:.3f}, {other:.3f} {'for the others' if share < 0.98 else 'before'}")
        strength = max(strength, beyond)
    moved = _scores_differ(case, mine)
    numbers["scores differ"] = moved
    if moved >= 2:
        parts.append("its scores do not follow from the features as those of before do")
        strength = max(strength, moved)
    columns = frozenset({"version", "score", "prediction", "loss"})
    return Verdict(
        "versions",
        Stage.MODEL,
        level_of(strength),
        "; ".join(parts),
        "new version",
        name,
        part,
        strength,
        columns,
        numbers,
    )


def _worse(case: Case, mine: Mask) -> tuple[float, float, float] | None:
    """Loss of the release, of the others at the same time (or of before), and the difference over what chance gives."""
    loss = losses(case)
    if loss is None:
        return None
    known = np.isfinite(loss)
    others = case.after & ~mine & known
    if others.sum() < FEWEST:
        others = case.before & known
    ours = mine & case.after & known
    if ours.sum() < FEWEST or others.sum() < FEWEST:
        return None
    error = float(np.sqrt(loss[ours].var() / ours.sum() + loss[others].var() / others.sum()))
    difference = float(loss[ours].mean() - loss[others].mean())
    return float(loss[ours].mean()), float(loss[others].mean()), min(MOST_STRENGTH, max(0.0, difference / (3 * error)))


def losses(case: Case) -> Floats | None:
    """Each row's loss, as ``Graded`` has it; nan where it is not known."""
    graded = case.rows.graded
    return graded.loss if graded is not None else None


def _scores_differ(case: Case, mine: Mask) -> float:
    """How much worse the features foretell the release's scores than those of before."""
    target = score_target(case)
    if target is None:
        return 0.0
    residual, explained = case.design.residual(target, frozenset())
    if explained < 0.3:
        return 0.0
    return grown(case.only(case.before | mine), residual[case.before | mine])


def score_target(case: Case) -> Floats | None:
    """Scores on the scale of log odds where they are probabilities; None where there are hardly any."""
    score = case.rows.score
    if score is None or np.isfinite(score).sum() < 2 * FEWEST:
        return None
    known = score[np.isfinite(score)]
    if known.min() < 0 or known.max() > 1:
        return score
    kept = np.clip(score, 1e-4, 1 - 1e-4)
    found: Floats = np.log(kept / (1 - kept))
    return found


def _tuple(case: Case) -> list[Verdict]:
    """Other parts of the version tuple that changed: prompt, index, embedding model ..."""
    found = []
    for key in dict.fromkeys(each[0] for each in case.notes.versions):
        values = [each for each in case.notes.versions if each[0] == key]
        new = [value for _, value, before, after in values if after and not before]
        total = sum(after for _, _, _, after in values)
        for value in new:
            share = next(after for _, v, _, after in values if v == value) / max(1, total)
            said = f"{key} {value} began with the change and has {share:.0%} of the traffic"
            if key == "embedding_model":
                said += "; vectors of two embedding models cannot be compared, so their drift is not tested"
            columns = frozenset({"version", "score", "prediction", "loss"})
            part = EVERYTHING
            found.append(
                Verdict(
                    "versions",
                    Stage.MODEL,
                    Level.SUSPECT,
                    said,
                    f"new {key}",
                    value,
                    part,
                    1.9,
                    columns,
                    {"share": share},
                )
            )
    return found


def scores(case: Case, data_is_bad: bool) -> Verdict:
    """Whether scores follow from the features as before: their level and spread against those foretold."""
    target = score_target(case)
    if target is None:
        return Verdict("scores", Stage.MODEL, Level.UNKNOWN, "too few scores")
    residual, explained = case.design.residual(target, frozenset())
    if explained < 0.3:
        return Verdict(
            "scores", Stage.MODEL, Level.UNKNOWN, f"features foretell only {explained:.0%} of the scores' variance"
        )
    foretold = target - residual
    level = _level(case, residual, float(np.nanstd(target[case.before])))
    slope = _slopes(case, foretold, target)
    strength = max(level[0], slope[0], 0.0 if data_is_bad else grown(case, residual) / SEARCHED)
    numbers = {"level": level[1], "slope before": slope[1], "slope since": slope[2], "explained": explained}
    said = (
        f"scores lie {level[1]:+.2f} spreads off what the features foretell, and follow them at a slope of "
        f"{slope[2]:.2f} ({slope[1]:.2f} before)"
    )
    named = level_of(strength) in (Level.BAD, Level.SUSPECT)
    columns = frozenset({"score", "prediction", "loss"} if named else set[str]())
    cause = "scores off" if named else ""
    return Verdict("scores", Stage.MODEL, level_of(strength), said, cause, "", EVERYTHING, strength, columns, numbers)


def _level(case: Case, residual: Floats, spread: float) -> tuple[float, float]:
    known = np.isfinite(residual)
    scaled = np.where(known, residual, 0.0) / max(spread, 1e-9)
    found = shift(case, case.sums(scaled), case.sums(known), SCORE_FLOOR, spread=1.0)
    return float(found.strength), float(found.delta)


def _slopes(case: Case, foretold: Floats, target: Floats) -> tuple[float, float, float]:
    """Strength, and the slope of the scores on what was foretold, before and since."""
    known = np.isfinite(target) & np.isfinite(foretold)
    centre = float(foretold[known & case.before].mean())
    x = np.where(known, foretold - centre, 0.0)
    y = np.where(known, target - float(target[known & case.before].mean()), 0.0)
    ones, sx, sy, sxx, sxy = (case.sums(each) for each in (known, x, y, x * x, x * y))
    zero = -case.first
    before, since = (_slope(ones[at], sx[at], sy[at], sxx[at], sxy[at]) for at in (slice(0, zero), slice(zero, None)))
    spans = [slice(a + zero, b + zero) for a, b in case.spans]
    usual = max([SCORE_FLOOR, *(abs(_slope(ones[at], sx[at], sy[at], sxx[at], sxy[at]) - before) for at in spans)])
    return min(MOST_STRENGTH, abs(since - before) / usual), before, since


def _slope(n: Floats, x: Floats, y: Floats, xx: Floats, xy: Floats) -> float:
    rows = max(1.0, float(n.sum()))
    spread = float(xx.sum()) - float(x.sum()) ** 2 / rows
    return (float(xy.sum()) - float(x.sum()) * float(y.sum()) / rows) / spread if spread > 1e-9 else 0.0


def threshold(case: Case) -> Verdict:
    """The score from which the second class is called, where one score parts them; before and since."""
    decision, score = case.rows.decision, case.rows.score
    if decision is None or score is None or not np.isin(decision[np.isfinite(decision)], (0.0, 1.0)).all():
        return Verdict("decisions", Stage.MODEL, Level.UNKNOWN, "decisions are not of two classes with a score")
    old, new = (_threshold(score[m], decision[m]) for m in (case.before, case.after))
    if old is None or new is None:
        return Verdict("decisions", Stage.MODEL, Level.UNKNOWN, "no one score parts the two decisions")
    gap = max(old[0] - new[1], new[0] - old[1], 0.0)
    if gap <= 0:
        said = f"decisions are made from a score of {old[1]:.3f} on, as before"
        return Verdict("decisions", Stage.MODEL, Level.OK, said)
    said = f"decisions are made from a score of {new[1]:.3f} on, {old[1]:.3f} before"
    numbers = {"before": old[1], "since": new[1]}
    columns = frozenset({"prediction"})
    strength = min(MOST_STRENGTH, 4 + 100 * gap)
    return Verdict(
        "decisions", Stage.MODEL, Level.BAD, said, "threshold changed", "", EVERYTHING, strength, columns, numbers
    )


def _threshold(score: Floats, decision: Floats) -> tuple[float, float] | None:
    """The highest score of the first class and the lowest of the second, if nearly all rows are parted by one score."""
    known = np.isfinite(score) & np.isfinite(decision)
    low, high = score[known & (decision == 0)], score[known & (decision == 1)]
    if len(low) < FEWEST or len(high) < 10:
        return None
    edge = float(np.quantile(high, 1 - AGREES)), float(np.quantile(low, AGREES))
    if (low >= edge[0]).mean() > 2 * (1 - AGREES) + 0.01 and (high <= edge[1]).mean() > 2 * (1 - AGREES) + 0.01:
        return None
    return float(np.quantile(low, AGREES)), float(np.quantile(high, 1 - AGREES))
