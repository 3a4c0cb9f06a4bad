"""Data: features that no longer fit the others, though each looks right alone: joined to other rows, or read late."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from tidegauge.detectors.diagnose.case import FEWEST_DAYS, Case
from tidegauge.detectors.diagnose.design import Design, number_target
from tidegauge.detectors.diagnose.rows import Floats
from tidegauge.detectors.diagnose.verdict import (
    BAD_FROM,
    EVERYTHING,
    MOST_STRENGTH,
    SEARCHED,
    SUSPECT_FROM,
    Level,
    Part,
    Stage,
    Verdict,
    level_of,
)

CHECK = "relations"
LEAST_EXPLAINED = 0.3
"""Of a feature's variance by the others: below that there is no relation to break."""
FLOOR = 0.25
"""The log of the ratio of errors that matters: a quarter more."""
NOTHING_LEFT = 0.25
"""Of a usual day's correlation with what the others foretell: at most so much is left where a relation is gone."""
ALSO_BEFORE = 0.1
"""The share of days before that may have had as little: the first of the fault, where it was dated too late."""
ROWS_A_DAY, FEWEST_GONE = 50, 2
"""Rows from which on a day has a correlation, and days since that must have one."""
MOST_CULPRITS = 4
MOST_EXCHANGED, MOST_TOLD_BY = 8, 2
"""Features of which each two are tried, where something is broken; broken ones by which that is judged."""


def relations(case: Case, known: frozenset[str]) -> list[Verdict]:
    """Features whose prediction by the others fails, without those of which it is ``known`` what ails them.

    Where several fail, the one that the others need is to blame: each is left out in turn, and the one without which
    least is left is named; then the rest are looked at without it.
    """
    design = case.design
    names = [name for name in case.rows.traffic.numeric if name not in known | {"score"}]
    odd = {name: _broken(case, design, name, known) for name in names}
    broken = {name: each for name, each in odd.items() if each >= BAD_FROM}
    exchanged = _exchanged(case, odd, known)
    if exchanged is not None:
        return [exchanged]
    culprits: dict[str, float] = {}
    while broken and len(culprits) < MOST_CULPRITS:
        worst = min(broken, key=lambda each: (_left(case, design, broken, known | {*culprits, each}), -broken[each]))
        culprits[worst] = broken.pop(worst)
        out = known | culprits.keys()
        broken = {name: each for name in broken if (each := _broken(case, design, name, out)) >= BAD_FROM}
    if not culprits:
        return [Verdict(CHECK, Stage.DATA, Level.OK, "features fit each other as before")]
    named = ", ".join(sorted(culprits))
    strength = max(culprits.values())
    fit = "fits" if len(culprits) == 1 else "fit"
    said = f"{named} no longer {fit} the other features: rows were joined wrongly or read late"
    numbers = {f"error of {name}, log ratio over usual": each for name, each in culprits.items()}
    columns = frozenset(culprits)
    return [
        Verdict(
            CHECK,
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
    """How much the error of predicting a feature grew: see ``_strength``."""
    target = number_target(case, name)
    return _strength(case, target, *design.residual(target, out | {name}))


def broken_outside(case: Case, name: str, part: Part) -> bool:
    """Whether the others no longer foretell a number in the rows outside of a part."""
    target = number_target(case, name)
    residual, explained = case.design.residual(target, frozenset({name}))
    outside = np.where(case.rows.rows_in(part), np.nan, residual)
    broken = _gone(case, target, outside) or grown(case, outside) / SEARCHED >= BAD_FROM
    return explained >= LEAST_EXPLAINED and broken


def _strength(case: Case, target: Floats, residual: Floats, explained: float) -> float:
    """The log of the ratio of errors, over the largest of stretches before.

    Twice as much where nothing is left of the relation: one that explained half of a feature cannot make its error
    grow as far as one that explained all of it.
    """
    if explained < LEAST_EXPLAINED:
        return 0.0
    strength = grown(case, residual) / SEARCHED
    if 1 <= strength < MOST_STRENGTH / 2 and _gone(case, target, residual):
        return 2 * strength
    return strength


def _gone(case: Case, target: Floats, residual: Floats) -> bool:
    """Whether on every day since hardly anything is left of a correlation that nearly all days before had."""
    found = _daily_correlation(case, target, residual)
    zero = -case.first
    before, since = (each[np.isfinite(each)] for each in (found[:zero], found[zero:]))
    if len(before) < FEWEST_DAYS or len(since) < FEWEST_GONE:
        return False
    most = float(since.max())
    return bool(most <= NOTHING_LEFT * np.median(before) and np.mean(before <= most) <= ALSO_BEFORE)


def _daily_correlation(case: Case, target: Floats, residual: Floats) -> Floats:
    """Of a feature with what the others foretell, by day from ``case.first`` on; NaN where few rows are known."""
    known = np.isfinite(residual)
    value, foretold = np.where(known, target, 0.0), np.where(known, target - residual, 0.0)
    products = (value, foretold, value * value, foretold * foretold, value * foretold)
    count = case.sums(known)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y, xx, yy, xy = (case.sums(each) / count for each in products)
        found: Floats = (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))
    return np.where(count >= ROWS_A_DAY, found, np.nan)


def fits_better(case: Case, name: str, part: Part, undone: Callable[[Floats], Floats]) -> bool:
    """Whether the others foretell a number since better as it is than undone; False where they never foretold it."""
    values = case.rows.traffic.numeric[name]
    here = case.after & case.rows.rows_in(part)
    back = _with(case, {name: np.where(here, undone(values), values)})
    weights = case.design.weights(number_target(case, name), frozenset({name}))
    (now, explained), (then, _) = (case.design.rest(number_target(each, name), weights) for each in (case, back))
    return explained >= LEAST_EXPLAINED and bool(np.nansum(now[here] ** 2) <= np.nansum(then[here] ** 2))


def _with(case: Case, numeric: Mapping[str, Floats]) -> Case:
    """The case with other values of some numbers."""
    traffic = replace(case.rows.traffic, numeric={**case.rows.traffic.numeric, **numeric})
    return replace(case, rows=replace(case.rows, traffic=traffic))


def _exchanged(case: Case, odd: Mapping[str, float], known: frozenset[str]) -> Verdict | None:
    """Two of the oddest features with which all that is broken fits again once their values are exchanged.

    Neither need be broken itself: what is read from both is worst off, as the dew point is where temperature and
    humidity are exchanged. Nor need it have begun with the case: it is taken from where most fits.
    """
    oddest = sorted(odd, key=lambda each: -odd[each])[:MOST_EXCHANGED]
    broken = [name for name in oddest if odd[name] >= BAD_FROM]
    if not broken or len(oddest) < 2:
        return None
    worst = {name: case.design.weights(number_target(case, name), known | {name}) for name in broken[:MOST_TOLD_BY]}
    as_it_is = _misfit(case, worst)
    tried = [
        (*_best_from(case, as_it_is, _misfit(_exchange(case, *pair), worst)), pair) for pair in combinations(oddest, 2)
    ]
    _, since, pair = min(tried)
    back = _exchange(case, *pair, since)
    left = {name: _broken(back, back.design, name, known) for name in sorted({*broken, *pair})}
    if max(left.values()) >= SUSPECT_FROM or any(left[name] > odd[name] for name in pair):
        return None
    return _swapped(pair, max(odd.values()), max(left.values()))


def _exchange(case: Case, one: str, two: str, since: float = -np.inf) -> Case:
    """The case with the values of two features exchanged from a moment on, in seconds, but none of the days before.

    Where one is missing they stay: what is not there is no worse foretold, and would seem to fit.
    """
    a, b = (case.rows.traffic.numeric[name] for name in (one, two))
    now = case.after & np.isfinite(a) & np.isfinite(b) & (case.rows.seconds >= since)
    return _with(case, {one: np.where(now, b, a), two: np.where(now, a, b)})


def _misfit(case: Case, weights: Mapping[str, Floats]) -> Floats:
    """By row, the squared errors of features by the others, in units of those before, added up.

    Args:
        weights: By feature, those of the case as it is: the days before are the same.
    """
    total = np.zeros(case.rows.count)
    for name, each in weights.items():
        squares = np.nan_to_num(case.design.rest(number_target(case, name), each)[0]) ** 2
        total += squares / _mean(squares[case.before].sum(), float(np.count_nonzero(squares[case.before])))
    return total


def _best_from(case: Case, as_it_is: Floats, exchanged: Floats) -> tuple[float, float]:
    """What is left where values are exchanged from the best moment on, and that moment in seconds."""
    after = np.flatnonzero(case.after)
    after = after[np.argsort(case.rows.seconds[after], kind="stable")]
    gained = (as_it_is - exchanged)[after][::-1].cumsum()[::-1]
    best = int(gained.argmax())
    return float(as_it_is[after].sum() - gained[best]), float(case.rows.seconds[after[best]])


def _swapped(pair: tuple[str, str], error: float, left: float) -> Verdict:
    one, two = sorted(pair)
    strength = min(MOST_STRENGTH, 2 * error)  # that they no longer fit, and that one exchange mends all of it
    said = f"{one} and {two} fit the other features once their values are exchanged, and do not as they are"
    numbers = {"error as they are": error, "error exchanged": left}
    columns = frozenset(pair)
    return Verdict(
        CHECK,
        Stage.DATA,
        level_of(strength),
        said,
        "swapped",
        f"{one}, {two}",
        EVERYTHING,
        strength,
        columns,
        numbers,
    )


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
        usual = max(usual, np.log(_mean(squares[at].sum(), count[at].sum()) / before) / 2)  # calm weeks hide nothing
    return min(MOST_STRENGTH, max(0.0, float(np.log(since / before)) / 2 / usual))


def _mean(total: float, count: float) -> float:
    return max(float(total) / max(1.0, float(count)), 1e-12)
