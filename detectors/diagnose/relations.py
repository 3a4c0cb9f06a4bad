"""Data: features that no longer fit the others, though each looks right alone: joined to other rows, or read late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.design import Design, standard
from tidegauge.detectors.diagnose.rows import Floats
from tidegauge.detectors.diagnose.verdict import (
    BAD_FROM,
    EVERYTHING,
    MOST_STRENGTH,
    SEARCHED,
    SUSPECT_FROM,
    Level,
    Stage,
    Verdict,
    level_of,
)

LEAST_EXPLAINED = 0.3
"""Of a feature's variance by the others: below that there is no relation to break."""
FLOOR = 0.25
"""The log of the ratio of errors that matters: a quarter more."""
MOST_CULPRITS = 4


def relations(case: Case, known: frozenset[str]) -> list[Verdict]:
    """Features whose prediction by the others fails, without those of which it is ``known`` what ails them.

    Where several fail, the one that the others need is to blame: each is left out in turn, and the one without which
    least is left is named; then the rest are looked at without it.
    """
    design = case.design
    names = [name for name in case.rows.traffic.numeric if name not in known | {"score"}]
    broken = {name: each for name in names if (each := _broken(case, design, name, known)) >= BAD_FROM}
    exchanged = _exchanged(case, broken, known)
    if exchanged is not None:
        return [exchanged]
    culprits: dict[str, float] = {}
    while broken and len(culprits) < MOST_CULPRITS:
        worst = min(broken, key=lambda each: (_left(case, design, broken, known | {*culprits, each}), -broken[each]))
        culprits[worst] = broken.pop(worst)
        out = known | culprits.keys()
        broken = {name: each for name in broken if (each := _broken(case, design, name, out)) >= BAD_FROM}
    if not culprits:
        return [Verdict("relations", Stage.DATA, Level.OK, "features fit each other as before")]
    named = ", ".join(sorted(culprits))
    strength = max(culprits.values())
    fit = "fits" if len(culprits) == 1 else "fit"
    said = f"{named} no longer {fit} the other features: rows were joined wrongly or read late"
    numbers = {f"error of {name}, log ratio over usual": each for name, each in culprits.items()}
    columns = frozenset(culprits)
    return [
        Verdict(
            "relations",
            Stage.DATA,
            level_of(strength),
            said,
            "joined wrongly",
            named,
            EVERYTHING,
            strength,
            columns,
            numbers,
        )
    ]


def _left(case: Case, design: Design, broken: dict[str, float], out: frozenset[str]) -> float:
    """What remains wrong with the others when ``out`` is not used."""
    return sum(_broken(case, design, name, out) for name in broken if name not in out)


def _broken(case: Case, design: Design, name: str, out: frozenset[str]) -> float:
    """How much the error of predicting a feature grew: log of its ratio, over the largest of stretches before."""
    values = case.rows.traffic.numeric[name]
    target = np.where(np.isfinite(values), standard(values, case).astype(np.float64), np.nan)
    residual, explained = design.residual(target, out | {name})
    if explained < LEAST_EXPLAINED:
        return 0.0
    return grown(case, residual) / SEARCHED


def _exchanged(case: Case, broken: Mapping[str, float], known: frozenset[str]) -> Verdict | None:
    """Two features that fit again once their values since are exchanged."""
    for one, two in combinations(sorted(broken, key=lambda each: -broken[each])[:MOST_CULPRITS], 2):
        numeric = dict(case.rows.traffic.numeric)
        numeric[one], numeric[two] = (np.where(case.after, numeric[b], numeric[a]) for a, b in ((one, two), (two, one)))
        back = replace(case, rows=replace(case.rows, traffic=replace(case.rows.traffic, numeric=numeric)))
        left = max(_broken(back, back.design, name, known) for name in (one, two))
        if left < SUSPECT_FROM:
            strength = min(broken[one], broken[two])
            said = f"{one} and {two} fit the other features once their values are exchanged, and do not as they are"
            name, columns = f"{one}, {two}", frozenset({one, two})
            numbers = {"error as they are": strength, "error exchanged": left}
            return Verdict(
                "relations",
                Stage.DATA,
                level_of(strength),
                said,
                "swapped",
                name,
                EVERYTHING,
                strength,
                columns,
                numbers,
            )
    return None


def grown(case: Case, residual: Floats) -> float:
    """The log of the error since over that before, in units of what stretches before show (0 where it fell)."""
    known = np.isfinite(residual)
    squares = case.sums(np.where(known, residual, 0.0) ** 2)
    count = case.sums(known)
    zero = -case.first
    before = _mean(squares[:zero].sum(), count[:zero].sum())
    since = _mean(squares[zero:].sum(), count[zero:].sum())
    usual = FLOOR
    for start, end in case.spans:
        at = slice(start + zero, end + zero)
        usual = max(usual, abs(np.log(_mean(squares[at].sum(), count[at].sum()) / before)) / 2)
    return min(MOST_STRENGTH, max(0.0, float(np.log(since / before)) / 2 / usual))


def _mean(total: float, count: float) -> float:
    return max(float(total) / max(1.0, float(count)), 1e-12)
