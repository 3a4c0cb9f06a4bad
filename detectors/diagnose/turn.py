"""When it began: the day, then the hour, at which what is sent, answered or learned later changed most clearly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from tidegauge.detectors.diagnose.case import Case, days_of
from tidegauge.detectors.diagnose.design import standard
from tidegauge.detectors.diagnose.outputs import score_target
from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask, Rows, no_truth
from tidegauge.detectors.diagnose.skew import differing, paired

HOUR_S, DAY_S = 3600, 86_400
FEWEST_BEFORE, FEWEST_SINCE = 7, 2
CLEAR, BEYOND_DOUBT = 5.0, 16.0
"""Standard errors, days being dependent, from which a change is looked into, and from which no other is."""
MOST_TURNS = 3
FLOOR = 0.01
FLOORS = {"far values": 0.0015}
"""The least spread of a daily share that is believed."""
MOST_NAMES = 12
FEWEST = 100
CELLS = 8
FREQUENT_VALUES = 3
FREQUENT = "frequent value of"
VOLUME, REPEATED = "the number of predictions", "the share of repeated ids"


@dataclass(frozen=True)
class Turn:
    """When, by which series, and how clearly (in standard errors); ``found`` is False where nothing stands out."""

    at: datetime
    by: str
    clarity: float
    found: bool

    @property
    def how(self) -> str:
        """In words."""
        if not self.found:
            return "no change stands out; the last days are compared with those before"
        return f"found by scanning: {self.by} changes most clearly there ({self.clarity:.0f} standard errors)"


def turns(
    rows: Rows, until: datetime, copies: Rows | None = None, fallback: timedelta = timedelta(days=7)
) -> list[Turn]:
    """Moments at which something may have begun, the clearest first; one where it is beyond doubt.

    All series of ``rows`` are scanned by day for a change of level, and the surroundings of each by hour. Where none is
    beyond doubt, those of how well features foretell each other follow, and last the days of ``fallback``.
    """
    found = _clearest(rows, signals(rows, until.timestamp()), until)
    if not found or found[0].clarity < BEYOND_DOUBT:  # copies are few, so they tell the hour less well
        found = _apart([*found, *_clearest(rows, _of_copies(rows, copies), until)])
    if found and found[0].clarity >= BEYOND_DOUBT:
        return found[:1]
    since = until - 2 * fallback
    none = no_truth()
    case = Case("", since, until, rows, (np.zeros(rows.count, np.bool_), days_of(rows.seconds, since)), none, none.ids)
    if -case.first >= FEWEST_BEFORE:
        found = _apart([*found, *_clearest(rows, deeper(rows, case), until)])
    if found and found[0].clarity >= BEYOND_DOUBT:
        return found[:1]
    return [*found[:MOST_TURNS], Turn(until - fallback, "", 0.0, False)]


def _clearest(rows: Rows, series: Sequence[tuple[str, Floats]], until: datetime) -> list[Turn]:
    """The clearest changes of all series, at least two days apart, with as much time before them as since."""
    end = until.timestamp()
    day = np.floor((rows.seconds - end) / DAY_S).astype(np.int64)
    kept = day >= day.min() + 1
    told = [(*_level_change(day[kept], values[kept], name), at) for at, (name, values) in enumerate(series)]
    found: list[Turn] = []
    for clarity, begins, at in sorted(told, reverse=True):
        if clarity < CLEAR or len(found) == MOST_TURNS:
            break
        begin = end + begins * DAY_S
        if 2 * begins >= day.min() and all(abs(begin - each.at.timestamp()) >= 2 * DAY_S for each in found):
            name, values = series[at]
            found.append(Turn(datetime.fromtimestamp(_hour(rows.seconds, values, begin), UTC), name, clarity, True))
    return found


def _apart(found: Sequence[Turn]) -> list[Turn]:
    """The clearest first, without those within two days of a clearer one."""
    kept: list[Turn] = []
    for each in sorted(found, key=lambda one: -one.clarity):
        if all(abs((each.at - other.at).total_seconds()) >= 2 * DAY_S for other in kept):
            kept.append(each)
    return kept


def signals(rows: Rows, until: float) -> list[tuple[str, Floats]]:
    """Series of one number a row whose daily mean says something; nan where it does not apply."""
    found: list[tuple[str, Floats]] = []
    for name, values in rows.traffic.numeric.items():
        found += _of_number(name, values)
    for name, column in {**rows.traffic.categorical, **rows.traffic.dimensions}.items():
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
        for at in np.argsort(-counts)[:MOST_NAMES]:
            if 0 < counts[at] < rows.count:
                found.append((f"the share of {name}={column.names[at]}", (column.codes == at).astype(np.float64)))
        if name in rows.traffic.categorical:
            found.append((f"the share of missing {name}", (column.codes < 0).astype(np.float64)))
    return [
        *found,
        *_of_labels(rows, until),
        *_of_decisions(rows),
        (VOLUME, np.ones(rows.count)),
        (REPEATED, _repeated(rows)),
    ]


def _of_number(name: str, values: Floats) -> list[tuple[str, Floats]]:
    """Missing, mean, cells, the most frequent values, values far away, values on a grid."""
    finite = np.isfinite(values)
    found = [(f"the share of missing {name}", (~finite).astype(np.float64))]
    if finite.sum() < FEWEST:
        return found
    known = values[finite]
    low, high = np.quantile(known, (0.01, 0.99))
    found.append((f"the mean of {name}", np.where(finite, np.clip(values, low, high), np.nan)))
    width = 10 * max(high - low, 1e-12)
    found.append((f"far values of {name}", _share((values > high + width) | (values < low - width), finite)))
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


def _of_labels(rows: Rows, until: float) -> list[tuple[str, Floats]]:
    """Whether labels came, after how long, what they say, and what they say of each part relative to the day."""
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
    label = rows.outcome
    if label is None or rows.decision is None:
        return found
    agrees = _share(label == rows.decision, np.isfinite(label))
    found += [("the mean label", label), ("the agreement of labels and predictions", agrees)]
    for relative, said in (
        (_of_the_day(rows, label), "the mean label of"),
        (_of_the_day(rows, agrees), "the agreement in"),
    ):
        for name, column in rows.traffic.dimensions.items():
            counts = np.bincount(column.codes[(column.codes >= 0) & known], minlength=len(column.names))
            for at in np.argsort(-counts)[:MOST_NAMES]:
                if FEWEST <= counts[at] < known.sum():
                    found.append((f"{said} {name}={column.names[at]}", np.where(column.codes == at, relative, np.nan)))
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


def _of_decisions(rows: Rows) -> list[tuple[str, Floats]]:
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


def _of_copies(rows: Rows, copies: Rows | None) -> list[tuple[str, Floats]]:
    """Whether each feature differs from what training has of the same prediction."""
    if copies is None or (pairs := paired(rows.ids, copies.ids)) is None:
        return []
    found = []
    for name in rows.features:
        differs = np.full(rows.count, np.nan)
        differs[pairs.served] = differing(rows, copies, pairs, name)
        found.append((f"the difference of {name} from training's", differs))
    return found


def _repeated(rows: Rows) -> Floats:
    _, first = np.unique(rows.ids, return_index=True)
    found = np.ones(rows.count)
    found[first] = 0.0
    return np.where(rows.ids == 0, 0.0, found)


def deeper(rows: Rows, case: Case) -> list[tuple[str, Floats]]:
    """How well features, and the score, are foretold by the others: costs more, so only where nothing else tells."""
    design = case.design
    found = []
    targets = {
        name: standard(values, case).astype(np.float64)
        for name, values in rows.traffic.numeric.items()
        if name != "score"
    }
    logit = score_target(case)
    for name, target in [*targets.items(), *([("score", logit)] if logit is not None else [])]:
        own = frozenset({name}) if name != "score" else frozenset[str]()
        residual, explained = design.residual(np.where(np.isfinite(rows.traffic.numeric[name]), target, np.nan), own)
        if explained >= 0.3:
            spread = float(np.nanstd(residual[case.before])) or 1.0
            found.append((f"the fit of {name} to the features", np.minimum((residual / spread) ** 2, 25.0)))
            if name == "score":
                found.append(("the scores' level at the same features", np.clip(residual / spread, -5, 5)))
    return found


def _level_change(day: Ints, values: Floats, name: str) -> tuple[float, int]:
    """The clarity of the clearest change of a series, and its day counted back from the end."""
    told = _clarities(day, values, name)
    best = int(np.argmax(told)) if len(told) else 0
    return (float(told[best]), best - len(told)) if len(told) and told[best] > 0 else (0.0, 0)


def _clarities(day: Ints, values: Floats, name: str) -> Floats:
    """How clearly a series changes its level on each day from the first to the last; empty where little is known."""
    known = np.isfinite(values)
    if known.sum() < FEWEST:
        return np.empty(0)
    slot = day[known] - day.min()
    count = np.bincount(slot, minlength=int(-day.min()))
    total = np.bincount(slot, weights=values[known], minlength=len(count))
    found = _never_before(total, count) if np.isin(values[known], (0.0, 1.0)).all() else np.zeros(len(count))
    mean = total / np.maximum(count, 1)
    if name == VOLUME:
        mean = np.log(np.maximum(count, 1) / max(1.0, float(np.median(count))))
        mean -= _weekly(mean)
        found[:] = 0.0
    at = np.flatnonzero(count >= 20 if name != VOLUME else count >= 0)
    floor = FLOORS.get(name.partition(" of ")[0], FLOOR) * max(1.0, float(np.nanstd(values)))
    told = clarity(mean[at], floor)
    if name.startswith(FREQUENT):  # a reading of the weather is frequent for a day, a default on every day
        told[~_above(mean[at])] = 0.0
    found[at] = np.maximum(found[at], told)
    return found


def _never_before(total: Floats, count: Ints) -> Floats:
    """How clear the first day is of what was never seen before: as if its days had been drawn by lot from all.

    The root of twice the log likelihood ratio, 0 on all other days. Days are counted, as the rows of one hang together.
    """
    found = np.zeros(len(count))
    seen = np.flatnonzero(total > 0)
    if len(seen) and FEWEST_BEFORE <= seen[0] <= len(count) - FEWEST_SINCE:
        since = len(count) - seen[0]
        found[seen[0]] = np.sqrt(2 * len(seen) * np.log(len(count) / since))
    return found


def _above(series: Floats) -> Mask:
    """For each place, whether all that follows is above all that is before."""
    highest = np.concatenate([[np.inf], np.maximum.accumulate(series)[:-1]])
    found: Mask = np.minimum.accumulate(series[::-1])[::-1] > highest
    return found


def _weekly(series: Floats) -> Floats:
    """What the weekday does to it, by medians."""
    weekday = np.arange(len(series)) % 7
    return (
        np.array([np.median(series[weekday == each]) for each in range(7)])[weekday]
        if len(series) >= 21
        else np.zeros(len(series))
    )


def clarity(series: Floats, floor: float) -> Floats:
    """For each place to cut: |difference of means| over its standard error, 0 where a side is too short.

    Dependent days count as fewer (lag-1 correlation of the days before).
    """
    days = len(series)
    found = np.zeros(days)
    cuts = np.arange(FEWEST_BEFORE, days - FEWEST_SINCE + 1)
    if not len(cuts):
        return found
    x = series - series.mean()
    total, squares, pairs = (np.concatenate([[0.0], np.cumsum(each)]) for each in (x, x**2, x[1:] * x[:-1]))
    before, since = total[cuts] / cuts, (total[-1] - total[cuts]) / (days - cuts)
    within = squares[cuts] - cuts * before**2
    rest = within + squares[-1] - squares[cuts] - (days - cuts) * since**2
    spread = np.maximum(floor, np.sqrt(np.maximum(rest, 0) / max(1, days - 2)))
    ends = 2 * total[cuts] - x[0] - x[cuts - 1]
    lag = (pairs[cuts - 1] - before * ends + (cuts - 1) * before**2) / np.maximum(within, 1e-12)
    lag = np.clip(lag, 0.0, 0.9)
    found[cuts] = np.abs(since - before) / (spread * np.sqrt((1 / cuts + 1 / (days - cuts)) * (1 + lag) / (1 - lag)))
    return found


def _hour(seconds: Floats, values: Floats, begin: float) -> float:
    """The hour within a day and a half of ``begin`` that parts the values around it best."""
    near = np.isfinite(values) & (np.abs(seconds - begin) < 3 * DAY_S)
    at, x = seconds[near], values[near]
    if len(x) < 50 or np.ptp(x) == 0:
        return begin
    order = np.argsort(at, kind="stable")
    at, x = at[order], x[order]
    total, squares = np.cumsum(x), float((x**2).sum())
    edges = np.round(begin / HOUR_S) * HOUR_S + HOUR_S * np.arange(-30, 31)
    places = np.searchsorted(at, edges)
    best, chosen = np.inf, begin
    for edge, place in zip(edges, places, strict=True):
        if 10 <= place <= len(x) - 10:
            left, right = total[place - 1], total[-1] - total[place - 1]
            rest = squares - left**2 / place - right**2 / (len(x) - place)
            if rest < best - 1e-9:
                best, chosen = rest, float(edge)
    return chosen
