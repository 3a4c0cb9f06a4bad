"""Data: train/serve skew. The same predictions, as they were served and as training has them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import TypeAlias

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.copied import ALIKE, FEWEST_IN_PART, FEWEST_PAIRS, closely
from tidegauge.detectors.diagnose.ranking import CLOSE, closeness
from tidegauge.detectors.diagnose.rows import Hashes, Ints, Mask, Rows
from tidegauge.detectors.diagnose.verdict import (
    BAD_FROM,
    EVERYTHING,
    MOST_STRENGTH,
    SEARCHED,
    Level,
    Part,
    Stage,
    Verdict,
    level_of,
)
from tidegauge.model import Slice

CHECK = "train/serve skew"
FLOOR = 0.02
NEARLY = 1e-6
SOUND = 1.0
"""Growth of the share that differs, over the least that matters, below which the rest is as ever."""


@dataclass(frozen=True)
class Pairs:
    """Places of the same prediction in what was served and in the training copy."""

    served: Ints
    copied: Ints


def pairs_of(case: Case) -> Pairs | None:
    """Predictions that have a training copy; None where there are too few since."""
    found = paired(case.rows.ids, case.copies.ids) if case.copies is not None else None
    return found if found and case.after[found.served].sum() >= FEWEST_PAIRS else None


def paired(ids: Hashes, copied: Hashes) -> Pairs | None:
    """Places of the same id on both sides; None where there is no copy."""
    order = np.argsort(copied, kind="stable")
    known = copied[order]
    if not len(known):
        return None
    place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    served = np.flatnonzero((known[place] == ids) & (ids != 0))
    return Pairs(served, order[place[served]])


def skew(case: Case, so_far: Sequence[Verdict] = ()) -> list[Verdict]:
    """Each feature that differs between serving and training on more of the same predictions than before.

    Where the copies tell what happened to the values, or two features carry each other's, that is what it is called,
    unless a mark said so before: the same predictions say it more surely than distributions do.
    """
    pairs = pairs_of(case)
    if pairs is None or case.copies is None:
        why = "no prediction since has a copy with role=training, so features cannot be compared on the same ids"
        return [Verdict(CHECK, Stage.DATA, Level.UNKNOWN, why)]
    known = [each for each in so_far if each.level is Level.BAD and closeness(each) > CLOSE]
    marked = frozenset().union(*(each.columns for each in known))
    told = {(each.cause, each.subject, each.part) for each in so_far if each.level is Level.BAD}
    all_of = (_skewed(case, case.copies, pairs, name, told, name in marked) for name in case.rows.features)
    found = [each for each in all_of if each]
    found = _together(_exchanged(case, case.copies, pairs, found, {each.columns for each in known}))
    said = f"{len(pairs.served):,} predictions have the same features in training as in serving"
    return found or [Verdict(CHECK, Stage.DATA, Level.OK, said)]


def _skewed(
    case: Case, copies: Rows, pairs: Pairs, name: str, told: Set[tuple[str, str, Part]], marked: bool
) -> Verdict | None:
    differs = differing(case.rows, copies, pairs, name)
    after = case.after[pairs.served]
    part, strength, before, since = _part(case, pairs, differs, (EVERYTHING, *_growth(differs, after)))
    if strength < (SEARCHED * BAD_FROM if part else BAD_FROM):
        return None
    said = f"differs from training's value in {since:.0%} of the same predictions since, {before:.0%} before"
    numbers: dict[str, float | str] = {"differs before": before, "differs since": since}
    cause = "skew"
    closer = None if marked else closely(case, copies, name, pairs.served, pairs.copied, differs & after)
    if closer and (closer.cause, name, part) not in told:
        cause, said, numbers = closer.cause, f"{said}{closer.said}", {**numbers, **closer.evidence}
    return Verdict(CHECK, Stage.DATA, level_of(strength), said, cause, name, part, strength, frozenset({name}), numbers)


def _exchanged(
    case: Case, copies: Rows, pairs: Pairs, found: Sequence[Verdict], known: Set[frozenset[str]]
) -> list[Verdict]:
    """With two features that have each other's value in training's copies named as one; not those already ``known``."""
    numbers = [each for each in found if each.subject in case.rows.traffic.numeric]
    for one, two in combinations(numbers, 2):
        names = frozenset({one.subject, two.subject})
        if names in known or min(_crossed(case, copies, pairs, *each) for each in permutations(names)) < ALIKE:
            continue
        name = ", ".join(sorted(names))
        said = f"{name} have each other's values in training's copies of the same predictions"
        both = replace(one, summary=said, cause="swapped", subject=name, columns=names)
        return [both, *(each for each in found if each not in (one, two))]
    return list(found)


def _crossed(case: Case, copies: Rows, pairs: Pairs, served: str, copied: str) -> float:
    """The share of predictions since, of those served with another value than training's, that have the other's."""
    differs = differing(case.rows, copies, pairs, served) & case.after[pairs.served]
    if copied not in copies.traffic.numeric or not differs.any():
        return 0.0
    a = case.rows.traffic.numeric[served][pairs.served[differs]]
    b = copies.traffic.numeric[copied][pairs.copied[differs]]
    return float(np.isclose(a, b, rtol=NEARLY, atol=NEARLY, equal_nan=True).mean())


def as_in_training(case: Case, names: Set[str]) -> bool:
    """Whether there are copies since, and the features differ from theirs no more than before."""
    pairs, copies = pairs_of(case), case.copies
    if pairs is None or copies is None:
        return False
    after = case.after[pairs.served]
    return all(_growth(differing(case.rows, copies, pairs, name), after)[0] < SOUND for name in names)


def _together(found: Sequence[Verdict]) -> list[Verdict]:
    """Features that one join brings wrongly, or one clock, are one finding."""
    kept = list(found)
    for cause in ("joined wrongly", "clock shifted"):
        alike = [each for each in kept if each.cause == cause and each.part == EVERYTHING]
        if len(alike) < 2:
            continue
        named, columns = ", ".join(each.subject for each in alike), frozenset().union(*(each.columns for each in alike))
        whole = replace(max(alike, key=lambda each: each.strength), subject=named, columns=columns)
        kept = [*(each for each in kept if each not in alike), whole]
    return kept


def _growth(differs: Mask, after: Mask) -> tuple[float, float, float]:
    """Strength, and the share that differs before and since."""
    before = float(differs[~after].mean()) if (~after).any() else 0.0
    since = float(differs[after].mean()) if after.any() else 0.0
    return min(MOST_STRENGTH, (since - before) / max(FLOOR, before)), before, since


Found: TypeAlias = tuple[Part, float, float, float]


def _part(case: Case, pairs: Pairs, differs: Mask, whole: Found) -> Found:
    """The one value of a dimension in which it differs, the rest taken together being the same as ever."""
    after = case.after[pairs.served]
    found = [whole]
    for dimension, column in case.dimensions.items():
        codes = column.codes[pairs.served]
        for at in np.unique(codes[differs & after & (codes >= 0)]):
            here = codes == at
            if (here & after).sum() < FEWEST_IN_PART or _growth(differs[~here], after[~here])[0] >= SOUND:
                continue
            found.append(((Slice(dimension, column.names[at]),), *_growth(differs[here], after[here])))
    return max(found, key=lambda each: each[1])


def differing(served: Rows, copies: Rows, pairs: Pairs, name: str) -> Mask:
    """Whether the value is another one; missing on both sides is the same."""
    one, two = served.traffic.numeric.get(name), copies.traffic.numeric.get(name)
    there = (_present(served, name)[pairs.served], _present(copies, name)[pairs.copied])
    if one is None or two is None:
        return _texts_differ(served, copies, pairs, name, there)
    a, b = one[pairs.served], two[pairs.copied]
    with np.errstate(invalid="ignore"):
        far: Mask = np.abs(a - b) > NEARLY * np.maximum(np.abs(a), np.abs(b))
    found: Mask = np.where(np.isnan(a) & np.isnan(b), False, far | (np.isnan(a) != np.isnan(b))).astype(np.bool_)
    return found


def _texts_differ(served: Rows, copies: Rows, pairs: Pairs, name: str, there: tuple[Mask, Mask]) -> Mask:
    one, two = served.traffic.categorical.get(name), copies.traffic.categorical.get(name)
    if one is None or two is None:
        return np.asarray(there[0] != there[1], dtype=np.bool_)
    names = {text: at for at, text in enumerate(dict.fromkeys((*one.names, *two.names)))}
    a, b = (np.array([*(names[text] for text in each.names), -1])[each.codes] for each in (one, two))
    return np.asarray(a[pairs.served] != b[pairs.copied], dtype=np.bool_)


def _present(rows: Rows, name: str) -> Mask:
    numeric, texts = rows.traffic.numeric.get(name), rows.traffic.categorical.get(name)
    found = np.zeros(rows.count, dtype=np.bool_)
    if numeric is not None:
        found |= np.isfinite(numeric)
    if texts is not None:
        found |= texts.codes >= 0
    return found
