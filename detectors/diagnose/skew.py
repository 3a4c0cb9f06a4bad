"""Data: train/serve skew. The same predictions, as they were served and as training has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.rows import Ints, Mask, Rows
from tidegauge.detectors.diagnose.verdict import MOST_STRENGTH, Level, Stage, Verdict, level_of

FEWEST_PAIRS = 50
FLOOR = 0.02
NEARLY = 1e-6


@dataclass(frozen=True)
class Pairs:
    """Places of the same prediction in what was served and in the training copy."""

    served: Ints
    copied: Ints


def pairs_of(case: Case) -> Pairs | None:
    """Predictions that have a training copy; None where there are too few since."""
    if case.copies is None:
        return None
    order = np.argsort(case.copies.ids, kind="stable")
    ids = case.copies.ids[order]
    if not len(ids):
        return None
    place = np.minimum(np.searchsorted(ids, case.rows.ids), len(ids) - 1)
    served = np.flatnonzero((ids[place] == case.rows.ids) & (case.rows.ids != 0))
    found = Pairs(served, order[place[served]])
    return found if case.after[served].sum() >= FEWEST_PAIRS else None


def skew(case: Case) -> list[Verdict]:
    """Each feature that differs between serving and training on more of the same predictions than before."""
    pairs = pairs_of(case)
    if pairs is None or case.copies is None:
        why = "no prediction since has a copy with role=training, so features cannot be compared on the same ids"
        return [Verdict("train/serve skew", Stage.DATA, Level.UNKNOWN, why)]
    found = [v for name in case.rows.features for v in [_skewed(case, case.copies, pairs, name)] if v]
    said = f"{len(pairs.served):,} predictions have the same features in training as in serving"
    return found or [Verdict("train/serve skew", Stage.DATA, Level.OK, said)]


def _skewed(case: Case, copies: Rows, pairs: Pairs, name: str) -> Verdict | None:
    differs = _differs(case.rows, copies, pairs, name)
    after = case.after[pairs.served]
    before = float(differs[~after].mean()) if (~after).any() else 0.0
    since = float(differs[after].mean())
    strength = min(MOST_STRENGTH, (since - before) / max(FLOOR, before))
    if strength < 2:
        return None
    said = f"differs from training's value in {since:.0%} of {int(after.sum()):,} same predictions, {before:.0%} before"
    numbers = {"differs before": before, "differs since": since}
    columns = frozenset({name})
    return Verdict(
        "train/serve skew", Stage.DATA, level_of(strength), said, "skew", name, (), strength, columns, numbers
    )


def _differs(served: Rows, copies: Rows, pairs: Pairs, name: str) -> Mask:
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
