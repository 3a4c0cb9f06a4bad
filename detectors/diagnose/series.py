"""Series whose level tells when something began: one number a row of what is sent, answered and learned later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from tidegauge.detectors.diagnose.case import DAY_S, Case
from tidegauge.detectors.diagnose.design import number_target
from tidegauge.detectors.diagnose.graded import learned
from tidegauge.detectors.diagnose.outputs import score_target
from tidegauge.detectors.diagnose.rows import Floats, Mask, Rows
from tidegauge.detectors.diagnose.skew import differing, paired

Series: TypeAlias = tuple[str, Floats]
"""A name, and one number a row; nan where it does not apply."""
FEWEST = 100
MOST_NAMES = 12
CELLS = 8
FREQUENT_VALUES = 3
FREQUENT = "frequent value of"
FAR_VALUES = "far values"
VOLUME, REPEATED = "the number of predictions", "the share of repeated ids"


def signals(rows: Rows, until: float) -> list[Series]:
    """Series of one number a row whose daily mean says something; nan where it does not apply."""
    found: list[Series] = []
    for name, values in rows.traffic.numeric.items():
        found += of_number(name, values)
    for name, column in {**rows.traffic.categorical, **rows.traffic.dimensions}.items():
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
        for at in np.argsort(-counts)[:MOST_NAMES]:
            if 0 < counts[at] < rows.count:
                found.append((f"the share of {name}={column.names[at]}", (column.codes == at).astype(np.float64)))
        if name in rows.traffic.categorical:
            found.append((f"the share of missing {name}", (column.codes < 0).astype(np.float64)))
    return [
        *found,
        *of_labels(rows, until),
        *_of_parts(rows),
        *of_decisions(rows),
        (VOLUME, np.ones(rows.count)),
        (REPEATED, _repeated(rows)),
    ]


def of_number(name: str, values: Floats) -> list[Series]:
    """Missing, mean, cells, the most frequent values, values far away, values on a grid."""
    finite = np.isfinite(values)
    found = [(f"the share of missing {name}", (~finite).astype(np.float64))]
    if finite.sum() < FEWEST:
        return found
    known = values[finite]
    low, high = np.quantile(known, (0.01, 0.99))
    found.append((f"the mean of {name}", np.where(finite, np.clip(values, low, high), np.nan)))
    width = 10 * max(high - low, 1e-12)
    found.append((f"{FAR_VALUES} of {name}", _share((values > high + width) | (values < low - width), finite)))
    edges = np.unique(np.quantile(known, np.arange(1, CELLS) / CELLS))
    cell = np.searchsorted(edges, values, side="right")
    found += [(f"the distribution of {name}", _share(cell == at, finite)) for at in range(len(edges) + 1)]
    if name == "score":
        return found
    for value in _grown(known):
        found.append((f"{FREQUENT} {name}, {value:g}", _share(values == value, finite)))
    for grid in (1.0, 10.0):
        found.append(
            (f"the precision of {name}", _share(np.abs(np.mod(values + grid / 2, grid) - grid / 2) < 1e-9, finite))
        )
    return found


def _grown(values: Floats) -> Floats:
    """The values whose share grew most from the first half of the rows to the last eighth."""
    seen, places = np.unique(values, return_inverse=True)
    half, late = len(values) // 2, len(values) // 8
    early = np.bincount(places[:half], minlength=len(seen)) / max(1, half)
    growth = np.bincount(places[-late:], minlength=len(seen)) / max(1, late) - early
    found: Floats = seen[np.argsort(-growth)[:FREQUENT_VALUES]]
    return found


def _share(true: Mask, where: Mask) -> Floats:
    return np.where(where, true.astype(np.float64), np.nan)


def of_labels(rows: Rows, until: float) -> list[Series]:
    """Whether labels came, after how long, and what they say."""
    known = rows.label.codes >= 0
    if known.sum() < FEWEST:
        return []
    lags = rows.lag_s[known]
    low, usual, high = np.quantile(lags, (0.01, 0.9, 0.99))
    age = until - rows.seconds
    delay = np.clip(rows.lag_s, low, high) / max(1.0, high - low)
    found = [
        ("the share of labels that came", _share(known, age >= usual)),
        ("the delay of labels", np.where(known & (age >= high), delay, np.nan)),
    ]
    return [*found, *learned(rows)]


def _of_parts(rows: Rows) -> list[Series]:
    """What labels say of each part of the traffic, relative to the day."""
    known = rows.label.codes >= 0
    found = []
    for said, values in learned(rows) if known.sum() >= FEWEST else []:
        relative = _of_the_day(rows, values)
        for name, column in rows.traffic.dimensions.items():
            counts = np.bincount(column.codes[(column.codes >= 0) & known], minlength=len(column.names))
            for at in np.argsort(-counts)[:MOST_NAMES]:
                if FEWEST <= counts[at] < known.sum():
                    found.append(
                        (f"{said} in {name}={column.names[at]}", np.where(column.codes == at, relative, np.nan))
                    )
    return found


def _of_the_day(rows: Rows, values: Floats) -> Floats:
    """Each value less the mean of its day."""
    day = np.floor(rows.seconds / DAY_S).astype(np.int64)
    day -= day.min()
    kept = np.isfinite(values)
    mean = np.bincount(day[kept], values[kept], minlength=int(day.max()) + 1) / np.maximum(
        np.bincount(day[kept], minlength=int(day.max()) + 1), 1
    )
    return values - mean[day]


def of_decisions(rows: Rows) -> list[Series]:
    """Decisions among scores that are decided both ways: one score parts them, until it moves."""
    if rows.decision is None or rows.score is None or not np.isfinite(rows.decision).any():
        return []
    if not np.isin(rows.decision[np.isfinite(rows.decision)], (0.0, 1.0)).all():
        return []
    edges = np.nanquantile(rows.score, np.linspace(0, 1, 101)[1:-1])
    cell = np.searchsorted(edges, rows.score)
    count = np.bincount(cell, minlength=101)
    share = np.bincount(cell, rows.decision == 1, minlength=101) / np.maximum(count, 1)
    mixed = (share > 0.02) & (share < 0.98)
    return [("the score from which decisions are made", np.where(mixed[cell], rows.decision, np.nan))]


def of_copies(rows: Rows, copies: Rows | None, names: Iterable[str]) -> list[Series]:
    """Whether each of these features differs from what training has of the same prediction."""
    if copies is None or (pairs := paired(rows.ids, copies.ids)) is None:
        return []
    found = []
    for name in names:
        differs = np.full(rows.count, np.nan)
        differs[pairs.served] = differing(rows, copies, pairs, name)
        found.append((f"the difference of {name} from training's", differs))
    return found


def _repeated(rows: Rows) -> Floats:
    _, first = np.unique(rows.ids, return_index=True)
    found = np.ones(rows.count)
    found[first] = 0.0
    return np.where(rows.ids == 0, 0.0, found)


def deeper(case: Case) -> list[Series]:
    """How well features, and the score, are foretold by the others: costs more, so only where nothing else tells."""
    return [*of_fit(case, [name for name in case.rows.traffic.numeric if name != "score"]), *of_scores(case)]


def of_fit(case: Case, names: Iterable[str]) -> list[Series]:
    """How well each of these features is foretold by the others."""
    found = []
    for name in names:
        found += _fitted(case, name, number_target(case, name))[:1]
    return found


def of_scores(case: Case) -> list[Series]:
    """How far scores lie from those that the features foretell, and on which side."""
    target = score_target(case)
    return [] if target is None else _fitted(case, "score", target)


def _fitted(case: Case, name: str, target: Floats) -> list[Series]:
    residual, explained = case.design.residual(target, frozenset({name}) - {"score"})
    if explained < 0.3:
        return []
    spread = float(np.nanstd(residual[case.before])) or 1.0
    return [
        (f"the fit of {name} to the features", np.minimum((residual / spread) ** 2, 25.0)),
        (f"the {name}s' level at the same features", np.clip(residual / spread, -5, 5)),
    ]
