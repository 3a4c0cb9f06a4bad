"""When it began: the day, then the hour, at which what is sent, answered or learned later changed most clearly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy.special import xlogy

from tidegauge.detectors.diagnose.case import DAY_S, Case, days_of
from tidegauge.detectors.diagnose.graded import LABEL
from tidegauge.detectors.diagnose.ranking import APART
from tidegauge.detectors.diagnose.rows import Floats, Ints, Mask, Rows, no_truth
from tidegauge.detectors.diagnose.series import FAR_VALUES, FEWEST, FREQUENT, VOLUME, Series, deeper, of_copies, signals

HOUR_S = 3600
AROUND_H = 30
"""Hours around the day found, among which the hour is looked for."""
CLEARER = 1.5
"""Another moment is the beginning where a change there is so many times as clear as at the one asked for."""
FEWEST_BEFORE, FEWEST_SINCE = 7, 2
CLEAR, BEYOND_DOUBT = 5.0, 16.0
"""Standard errors, days being dependent, from which a change is looked into, and from which no other is."""
CLEAR_FAR = 3.0
"""As ``CLEAR``, of values far outside of all others: a few are enough, and a walk can tell them closely."""
MOST_TURNS = 3
SPELL = 4
"""Days on which one reading of the weather may be frequent: by so few it is not beyond doubt that it is filled in."""
NEARLY_NONE = 0.005
"""A share of a day below this may be what came in the last minutes before it was no more."""
FLOOR = 0.01
FLOORS = {FAR_VALUES: 0.0015}
"""The least spread of a daily share that is believed."""


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
    rows: Rows,
    until: datetime,
    copies: Rows | None = None,
    doubtful: bool = False,
    fallback: timedelta = timedelta(days=7),
) -> list[Turn]:
    """Moments at which something may have begun, the clearest first; those beyond doubt alone where there are any.

    With ``doubtful`` the others as well. All series of ``rows`` are scanned by day for a change of level, and the
    surroundings of each by hour. Where none is beyond doubt, those of how well features foretell each other follow, and
    last the days of ``fallback``.
    """
    told = signals(rows, until.timestamp())
    found = _clearest(rows, told, until)
    if not found or found[0].clarity < BEYOND_DOUBT:  # copies are few, so they tell the hour less well
        found = _apart([*found, *_clearest(rows, of_copies(rows, copies, rows.features), until)])
    certain = [each for each in found if each.clarity >= BEYOND_DOUBT]
    if certain and not doubtful:
        return certain
    since = until - 2 * fallback
    none = no_truth()
    case = Case("", since, until, rows, (np.zeros(rows.count, np.bool_), days_of(rows.seconds, since)), none, none.ids)
    if -case.first >= FEWEST_BEFORE:
        found = _apart([*found, *_clearest(rows, deeper(case), until)])
    certain = [each for each in found if each.clarity >= BEYOND_DOUBT]
    if certain and not doubtful:
        return certain
    far = _clearest(rows, [each for each in told if each[0].startswith(FAR_VALUES)], until, CLEAR_FAR)
    return [*_apart([*found[:MOST_TURNS], *far[:1]]), Turn(until - fallback, "", 0.0, False)]


def _clearest(rows: Rows, series: Sequence[Series], until: datetime, least: float = CLEAR) -> list[Turn]:
    """The clearest changes of all series, at least two days apart, with as much time before them as since."""
    end = until.timestamp()
    day = np.floor((rows.seconds - end) / DAY_S).astype(np.int64)
    kept = day >= day.min() + 1
    told = [(*_level_change(day[kept], values[kept], name), at) for at, (name, values) in enumerate(series)]
    found: list[Turn] = []
    for clarity, begins, at in sorted(told, reverse=True):
        if clarity < least or len(found) == MOST_TURNS:
            break
        begin = end + begins * DAY_S
        if 2 * begins >= day.min() and all(abs(begin - each.at.timestamp()) >= APART.total_seconds() for each in found):
            name, values = series[at]
            found.append(Turn(datetime.fromtimestamp(_hour(rows.seconds, values, begin), UTC), name, clarity, True))
    return found


def _apart(found: Sequence[Turn]) -> list[Turn]:
    """The clearest first, without those within two days of a clearer one."""
    kept: list[Turn] = []
    for each in sorted(found, key=lambda one: -one.clarity):
        if all(abs(each.at - other.at) >= APART for other in kept):
            kept.append(each)
    return kept


def beginning(rows: Rows, series: Sequence[Series], until: datetime, asked: datetime) -> Turn | None:
    """When the series change most clearly: within two days of ``asked``, unless clearly elsewhere. None if nowhere."""
    day = np.floor((rows.seconds - until.timestamp()) / DAY_S).astype(np.int64)
    kept = day >= day.min() + 1 if rows.count else np.zeros(0, np.bool_)
    near = far = (0.0, 0.0, 0)
    for at, (name, values) in enumerate(series):
        told = _clarities(day[kept], values[kept], name) if kept.any() else np.empty(0)
        begins = until.timestamp() + np.arange(-len(told), 0) * DAY_S
        for clear, begin in zip(told, begins, strict=True):
            if abs(begin - asked.timestamp()) < APART.total_seconds():
                near = max(near, (float(clear), float(begin), at))
            else:
                far = max(far, (float(clear), float(begin), at))
    clear, begin, at = far if far[0] >= CLEARER * near[0] else near
    if clear < CLEAR:
        return None
    name, values = series[at]
    return Turn(datetime.fromtimestamp(_hour(rows.seconds, values, begin), UTC), name, clear, True)


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
    total = np.bincount(slot, weights=values[known], minlength=len(count)).astype(np.float64)
    shares = bool(np.isin(values[known], (0.0, 1.0)).all())
    found = _never_before(total, count) if shares else np.zeros(len(count))
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
        told[-SPELL:] = np.minimum(told[-SPELL:], 0.9 * BEYOND_DOUBT)
    if name == LABEL and shares:
        told = np.maximum.reduce([told, _never_again(mean[at]), _never_again(1 - mean[at])])
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


def _never_again(share: Floats) -> Floats:
    """How clear the first day is without what had come on most days: one rate of days with it against two.

    The root of twice the log likelihood ratio, 0 on all other days.
    """
    found = np.zeros(len(share))
    days = np.flatnonzero(share > NEARLY_NONE)
    first = int(days[-1]) + 1 if len(days) else 0
    if FEWEST_BEFORE <= first <= len(share) - FEWEST_SINCE:
        whole, before = len(days) / len(share), len(days) / first
        without = (first - len(days)) * np.log(max(1 - before, 1e-9) / (1 - whole))
        gained = len(days) * np.log(before / whole) + without - (len(share) - first) * np.log(1 - whole)
        found[first] = np.sqrt(max(0.0, 2 * gained))
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
    """The hour within a day and a half of ``begin`` that parts the values around it best.

    Of shares that is where two rates are the likeliest: a few readings that happen to be what is frequent later are no
    beginning, and the first of what was never seen on any day before is one, however rare it stays.
    """
    near = np.isfinite(values) & (np.abs(seconds - begin) < 3 * DAY_S)
    at, x = seconds[near], values[near]
    if len(x) < 50 or np.ptp(x) == 0:
        return begin
    order = np.argsort(at, kind="stable")
    at, x = at[order], x[order]
    total = np.concatenate([[0.0], np.cumsum(x)])
    edges = np.round(begin / HOUR_S) * HOUR_S + HOUR_S * np.arange(-AROUND_H, AROUND_H + 1)
    places = np.searchsorted(at, edges)
    usable = (places >= 10) & (places <= len(x) - 10)
    if not usable.any():
        return begin
    edges, places = edges[usable], places[usable]
    shares = bool(np.isin(x, (0.0, 1.0)).all())
    earlier = values[np.isfinite(values) & (seconds <= begin - 3 * DAY_S)]
    never = len(earlier) if shares and not earlier.any() else 0
    within = _surprise if shares else _squares
    rest = within(total[places], places + never) + within(total[-1] - total[places], len(x) - places)
    return float(edges[int(np.argmax(rest <= rest.min() + 1e-9))])


def _surprise(hits: Floats, rows: Ints) -> Floats:
    """Less log likelihood of so many hits among the rows, at their own rate."""
    found: Floats = -(xlogy(hits, hits / rows) + xlogy(rows - hits, 1 - hits / rows))
    return found


def _squares(total: Floats, rows: Ints) -> Floats:
    """What squares lie within, but for those of the values themselves."""
    found: Floats = -(total**2) / rows
    return found
