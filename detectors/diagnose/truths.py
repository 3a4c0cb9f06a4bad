"""Labels and logging, the labels: do they come, in time, of all classes, to the right prediction, and mean the same?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tidegauge.detectors.diagnose.case import DAY_S, Case, days_of
from tidegauge.detectors.diagnose.change import Change, shift
from tidegauge.detectors.diagnose.curve import Curve
from tidegauge.detectors.diagnose.rows import Floats, Mask
from tidegauge.detectors.diagnose.verdict import (
    BAD_FROM,
    EVERYTHING,
    SEARCHED,
    Level,
    Part,
    Stage,
    Verdict,
    level_of,
    told,
)
from tidegauge.detectors.traffic import Category
from tidegauge.model import Slice

COVERAGE_FLOOR, ORPHAN_FLOOR, CONTRADICTED_FLOOR = 0.08, 0.05, 0.02
LATE_QUANTILE = 0.995
LATE_FLOOR = 0.05
FEWEST_EXPECTED, FEWEST_LABELS = 30.0, 50
GONE = 0.1
"""A class that keeps less than this share of its expected labels is lost."""
TURNED, NEARLY_ALL_TURNED, LEAST_RANGE = 0.2, 0.5, 0.1
"""How far rates are from those of before, at least, where labels are turned; from the second on also in a calm week in
which scores foretell nothing: no world changes so much. The range of rates over which a slope says something."""


def coverage(case: Case) -> list[Verdict]:
    """Labels that came, against those that would have by now: the delay of labels before says how many."""
    rows = case.rows
    if not (rows.label.codes >= 0).any():
        return [_unknown("label coverage", "no labels have come for these predictions")]
    expected = arrival_chance(case)
    labelled = _arrived(case)
    found = shift(case, case.sums(labelled), case.sums(expected), COVERAGE_FLOOR)
    if case.sums(expected)[-case.first :].sum() < FEWEST_EXPECTED:
        return [_unknown("label coverage", "too early: hardly any label is due yet")]
    strength = float(found.strength) if found.delta < 0 else 0.0
    numbers = {"share of due labels before": float(found.before), "since": float(found.since)}
    said = f"{found.since:.0%} of the labels that are due have come, {found.before:.0%} before"
    where, strength = _where(case, labelled, expected, strength)
    return [_verdict("label coverage", "labels missing", said, strength, numbers, where)]


def _where(case: Case, labelled: Floats, expected: Floats, strength: float) -> tuple[Part, float]:
    """The one value of a dimension that lost its labels while the rest has them."""
    for dimension, column in case.dimensions.items():
        found = shift(case, case.sums_by(column, labelled), case.sums_by(column, expected), COVERAGE_FLOOR)
        clear = found.strength >= SEARCHED * BAD_FROM
        fallen = np.flatnonzero(clear & (found.delta < 0) & (found.rows >= FEWEST_EXPECTED))
        if len(fallen) == 1 and (found.rows >= FEWEST_EXPECTED).sum() > 1:
            part = (Slice(dimension, column.names[fallen[0]]),)
            return part, max(strength, float(found.strength[fallen[0]]) / SEARCHED)
    return EVERYTHING, strength


def arrival_chance(case: Case) -> Floats:
    """For each row, the share of labels that took no longer, before, than this one has had until now.

    Only of labels that came at all: what never gets one is in the share of due labels before.
    """
    lags = np.sort(case.rows.lag_s[case.before & ~np.isnan(case.rows.lag_s)])
    age = case.until.timestamp() - case.rows.seconds
    found: Floats = np.searchsorted(lags, age, side="right") / max(1, len(lags))
    return found


def _arrived(case: Case) -> Floats:
    """1 for a row whose label came no later than any did before; else 0."""
    lags = case.rows.lag_s[case.before & ~np.isnan(case.rows.lag_s)]
    latest = lags.max() if len(lags) else np.inf
    found: Floats = (case.rows.lag_s <= latest).astype(np.float64)
    return found


def delay(case: Case) -> Verdict:
    """Labels that take longer than nearly all did before."""
    lags = case.rows.lag_s
    old = lags[case.before & ~np.isnan(lags)]
    new = lags[case.after & ~np.isnan(lags)]
    if len(old) < FEWEST_LABELS or len(new) < FEWEST_LABELS:
        return _unknown("label delay", f"{len(old)} labels before and {len(new)} since are too few")
    usual = float(np.quantile(old, LATE_QUANTILE))
    known = ~np.isnan(lags)
    found = shift(case, case.sums(known & (lags > usual)), case.sums(known), LATE_FLOOR)
    strength = float(found.strength) if found.delta > 0 else 0.0
    hours = {"median h before": float(np.median(old)) / 3600, "median h since": float(np.median(new)) / 3600}
    said = f"labels take {hours['median h since']:.0f} h (median), {hours['median h before']:.0f} h before"
    return _verdict("label delay", "labels late", said, strength, hours)


def orphans(case: Case) -> Verdict:
    """Labels whose prediction nobody knows: the two are joined by something that changed."""
    truth = case.truth
    if truth.rows < FEWEST_LABELS:
        return _unknown("label keys", f"{truth.rows} labels are too few")
    known = np.isin(truth.ids, case.rows.ids) | np.isin(truth.ids, case.ids_before)
    found, strength = _rise(case, ~known, ORPHAN_FLOOR)
    said = f"{found.since:.0%} of the labels name a prediction that nobody made, {found.before:.0%} before"
    numbers = {"share before": float(found.before), "since": float(found.since)}
    return _verdict("label keys", "label keys broken", said, strength, numbers)


def contradictions(case: Case) -> Verdict:
    """Predictions that got two different labels."""
    truth = case.truth
    if truth.rows < FEWEST_LABELS:
        return _unknown("label contradictions", f"{truth.rows} labels are too few")
    found, strength = _rise(case, truth.contradicted, CONTRADICTED_FLOOR)
    said = f"{found.since:.1%} of the labelled predictions have two different labels, {found.before:.1%} before"
    numbers = {"share before": float(found.before), "since": float(found.since)}
    return _verdict("label contradictions", "labels contradict", said, strength, numbers)


def _rise(case: Case, wrong: Mask, floor: float) -> tuple[Change, float]:
    """The share of labels that are ``wrong``, by the day on which they came; a fall has no strength."""
    slots = days_of(case.truth.known, case.since) - case.first
    kept = (slots >= 0) & (slots < case.days)
    weight = np.bincount(slots[kept], minlength=case.days).astype(np.float64)
    total = np.bincount(slots[kept], weights=wrong[kept].astype(np.float64), minlength=case.days)
    found = shift(case, total.astype(np.float64), weight, floor)
    return found, float(found.strength) if found.delta > 0 else 0.0


def lost_class(case: Case) -> Verdict:
    """Whether one class of labels stopped coming: of each class, labels found against those that scores foretell."""
    counted = _class_counts(case)
    if counted is None:
        return _unknown("label classes", "labels and scores do not say how many of each class to expect")
    kept = {name: found / max(expected, 1.0) for name, (found, expected) in counted.items()}
    name = min(kept, key=lambda each: kept[each])
    found, expected = counted[name]
    others = min((share for other, share in kept.items() if other != name), default=0.0)
    lost = expected >= FEWEST_EXPECTED and kept[name] < GONE and others > 0.5
    strength = min(32.0, others / max(kept[name], 1 / 32)) if lost else 0.0
    said = f"{found:,.0f} labels {name!r}, about {expected:,.0f} were to come"
    numbers = {f"labels {each}": pair[0] for each, pair in counted.items()} | {"expected": expected}
    return _verdict("label classes", "label class lost", said, strength, numbers)


def _class_counts(case: Case) -> Mapping[str, tuple[float, float]] | None:
    """Labels since, and those expected, for each class of before."""
    curve = Curve.of_two_classes(case)
    if curve is None:
        return None
    due = arrival_chance(case)[case.after]
    usual = float(
        (case.rows.label.codes[case.before] >= 0).mean() / max(1e-9, arrival_chance(case)[case.before].mean())
    )
    positive = curve.expected[case.after]
    label = case.rows.outcome
    assert label is not None
    since = label[case.after]
    expected = np.nansum(due * positive) * usual, np.nansum(due * (1 - positive)) * usual
    return {"1": (float((since == 1).sum()), float(expected[0])), "0": (float((since == 0).sum()), float(expected[1]))}


def flipped(case: Case) -> list[Verdict]:
    """Whether labels mean the opposite: the rate of a score's neighbours turned from p into 1 - p."""
    curve = Curve.of_two_classes(case)
    if curve is None:
        return [_unknown("label meaning", "labels and scores of two classes are needed")]
    whole = _turned(case, curve, EVERYTHING)
    if whole.found:
        return [whole]
    parts = [
        _turned(case, curve, (Slice(dimension, name),))
        for dimension, column in case.dimensions.items()
        for name in _frequent(case, column)
    ]
    return [max([whole, *parts], key=lambda each: each.strength)]


def _frequent(case: Case, column: Category) -> list[str]:
    known = case.after & (case.rows.label.codes >= 0)
    counts = np.bincount(column.codes[known & (column.codes >= 0)], minlength=len(column.names))
    return [column.names[at] for at in np.flatnonzero(counts >= FEWEST_LABELS)]


def _turned(case: Case, curve: Curve, part: Part) -> Verdict:
    """How much nearer the labels since lie to the opposite of what was to be expected than to that itself."""
    here = case.rows.rows_in(part) & np.isfinite(curve.residual)
    before, since = curve.binned(case.before & here), curve.binned(case.after & here)
    said, numbers = "the label means what it did", dict[str, float]()
    both = (before.rows >= 20) & (since.rows >= 20)
    if both.sum() >= 2 and since.rows.sum() >= FEWEST_LABELS:
        weight = since.rows[both]
        as_ever = float(np.average((since.rate[both] - before.rate[both]) ** 2, weights=weight)) ** 0.5
        turned = float(np.average((since.rate[both] - (1 - before.rate[both])) ** 2, weights=weight)) ** 0.5
        slope = _slope(before.rate[both], since.rate[both], weight)
        numbers = {"distance": as_ever, "distance if turned": turned, "slope": slope}
        falls = slope < 0 and np.ptp(before.rate[both]) >= LEAST_RANGE
        plain = falls and turned < as_ever / 2 and as_ever > TURNED
        nearly_all = turned < as_ever / 4 and as_ever > NEARLY_ALL_TURNED
        if plain or (nearly_all and _both_classes(before.rate[both], since.rate[both], weight)):
            said = f"labels are the opposite of what scores foretell (off by {as_ever:.2f}, turned by {turned:.2f})"
            return _verdict(
                "label meaning", "labels flipped", said, min(32.0, as_ever / max(turned, 0.02)), numbers, part
            )
    return _verdict("label meaning", "labels flipped", said, 0.0, numbers, part)


def _both_classes(before: Floats, since: Floats, weight: Floats) -> bool:
    """Whether the rarer outcome is as rare as turned labels make it, and not gone as where a class is lost."""
    usual, now = (float(np.average(np.minimum(rate, 1 - rate), weights=weight)) for rate in (before, since))
    return now >= usual / 4


def _slope(x: Floats, y: Floats, weight: Floats) -> float:
    """The weighted slope of y on x."""
    mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float(np.average((x - mean_x) ** 2, weights=weight))
    return float(np.average((x - mean_x) * (y - mean_y), weights=weight)) / spread if spread else 0.0


def age_days(case: Case) -> Floats:
    """How long ago each prediction was, in days."""
    found: Floats = (case.until.timestamp() - case.rows.seconds) / DAY_S
    return found


def _unknown(check: str, why: str) -> Verdict:
    return Verdict(check, Stage.LOGGING, Level.UNKNOWN, why)


def _verdict(
    check: str, cause: str, said: str, strength: float, numbers: Mapping[str, float], part: Part = EVERYTHING
) -> Verdict:
    where = part if level_of(strength) is not Level.OK else EVERYTHING
    return told(check, Stage.LOGGING, cause, said, strength, {"label"}, numbers, where)
