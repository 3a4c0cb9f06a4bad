"""Labels and errors: the same comparison, later, once the truth has come in for most of a window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import gcd

import numpy as np

from tidegauge.config import Detectors, Watch
from tidegauge.detectors import drift
from tidegauge.detectors.finding import Claim, Context, Finding, Verdict
from tidegauge.detectors.ledger import PENDING, Ledger
from tidegauge.detectors.pairs import Beside
from tidegauge.detectors.predictions import Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.questions import Questions
from tidegauge.detectors.references import Datum, References
from tidegauge.detectors.spread import Spreads
from tidegauge.detectors.statistics import Undetermined
from tidegauge.detectors.traffic import Category, Codes, Traffic
from tidegauge.detectors.verdicts import Floors, Hypothesis, judge
from tidegauge.model import ALL, Slice, Window

RIGHT_OR_WRONG = ("right", "wrong")


class LabelRound:
    """Compares label and error of windows whose features were evaluated before."""

    def __init__(self, predictions: Predictions, ledger: Ledger, settings: Detectors) -> None:
        self._predictions = predictions
        self._ledger = ledger
        self._settings = settings
        self._spreads = Spreads()
        self._kept: dict[str, tuple[object, Profile]] = {}
        self._waiting: dict[str, dict[Window, bool]] = {}

    def run(self, model: str, watch: Watch, references: References, now: datetime) -> Iterator[Finding]:
        """Evaluate the windows that have their labels by now; say of new ones that theirs are pending."""
        waiting = self._waiting_for(model, now)
        for window, (rows, labelled) in self._covered(model, watch, waiting, now)[: self._settings.windows_per_run]:
            if not rows:
                del waiting[window]
                continue
            datum = references.locate(model, watch, window)
            if self._ready(window, rows, labelled, now):
                yield from self._evaluate(datum.of_window(model, window), watch, (rows, labelled), datum, now)
                del waiting[window]
            else:
                reason = f"{PENDING}: {labelled} of {rows} predictions have theirs"
                context = Context(model, window, datum.kind, datum.start, datum.end, now, {})
                yield from self._ledger.record(context, [_unknown(reason, datum.rows, 0)], "pending")
                waiting[window] = True

    def expect(self, model: str, window: Window) -> None:
        """A window was evaluated whose labels will come."""
        if model in self._waiting:
            self._waiting[model].setdefault(window, False)

    def _waiting_for(self, model: str, now: datetime) -> dict[Window, bool]:
        """Windows without a comparison of labels, and whether that was said; none while the model has no label."""
        if model not in self._waiting and self._predictions.has_labels(model, now):
            self._waiting[model] = self._ledger.unlabelled(model, now)
        return self._waiting.get(model, {})

    def _covered(
        self, model: str, watch: Watch, waiting: Mapping[Window, bool], now: datetime
    ) -> list[tuple[Window, tuple[int, int]]]:
        """Of each window that is ready, or was not said to be pending: its predictions, and those with a label."""
        if not waiting:
            return []
        span = Window(min(each.start for each in waiting), max(each.end for each in waiting))
        bucket = gcd(round(watch.step_hours * 3600), *(round(each.length.total_seconds()) for each in waiting))
        found = self._predictions.coverage(model, span, bucket, now)
        counted = [(window, _sum(found, window, bucket), pending) for window, pending in waiting.items()]
        return [
            (window, (rows, labelled))
            for window, (rows, labelled), pending in counted
            if not pending or self._ready(window, rows, labelled, now)
        ]

    def _ready(self, window: Window, rows: int, labelled: int, now: datetime) -> bool:
        """Whether most predictions have their labels, or the wait is over."""
        waited = now >= window.end + timedelta(days=self._settings.label_wait_days)
        return waited or labelled >= self._settings.label_share * rows

    def _evaluate(
        self, scope: Scope, watch: Watch, counted: tuple[int, int], datum: Datum, now: datetime
    ) -> list[Finding]:
        assert scope.window
        hypotheses, claims, note, floors, alone = self._compared(scope, watch, *counted, datum, now)
        claims += judge(hypotheses, watch.false_discovery_rate, floors, alone)
        since = self._ledger.before(scope.model, "labels", scope.window, watch.step_hours)
        context = Context(scope.model, scope.window, datum.kind, datum.start, datum.end, now, since, note)
        return self._ledger.record(context, claims, "labels")

    def _compared(
        self, scope: Scope, watch: Watch, rows: int, labelled: int, datum: Datum, now: datetime
    ) -> tuple[list[Hypothesis], list[Claim], str, Floors | None, Beside | None]:
        assert scope.window
        if not labelled:
            reason = f"no labels came within {self._settings.label_wait_days:g} days"
            return [], [_unknown(reason, datum.rows, 0)], "", None, None
        reference = self._reference(datum, watch, now)
        if reference is None:
            return [], [_unknown(datum.reason or "the reference has no labels", 0, labelled)], "", None, None
        dimensions = drift.dimensions_of(watch)
        numeric = reference.is_numeric("label")
        current = Profile(with_error(self._predictions.read_labels(scope, rows, dimensions, now), numeric))
        parts = drift.Parts(reference, current, watch.max_slices, scope.window, watch.max_pairs)
        coverage = _coverage(labelled, rows, self._settings.label_share)
        notes = [datum.note, drift.sampling_note(reference, current), coverage]
        hypotheses = list(_hypotheses(reference, current, parts.tested, Questions.of(watch)))
        floors = self._spreads.floors(reference, scope.window, hypotheses, watch, datum.kind)
        alone = Beside(reference, current, hypotheses, Questions.of(watch))
        return hypotheses, parts.untested, "; ".join(note for note in notes if note), floors, alone

    def _reference(self, datum: Datum, watch: Watch, now: datetime) -> Profile | None:
        """Kept once most of its rows have labels; read again while they are still coming in."""
        if datum.scope is None:
            return None
        key = (datum.scope, datum.rows, watch)
        kept = self._kept.get(datum.scope.model)
        if kept and kept[0] == key:
            return kept[1]
        traffic = self._predictions.read_labels(datum.scope, datum.rows, drift.dimensions_of(watch), now)
        if not traffic.rows:
            return None
        profile = Profile(with_error(traffic, traffic.categorical["label"].numeric))
        if traffic.rows * traffic.every >= self._settings.label_share * datum.rows:
            self._kept[datum.scope.model] = key, profile
        return profile


def with_error(traffic: Traffic, numeric: bool) -> Traffic:
    """Labels with the error next to them: right or wrong for classes, the absolute difference for numbers.

    >>> names = Category(np.array([0, 1], dtype=np.int32), ("a", "b"))
    >>> only_a = Category(np.array([0, 0], dtype=np.int32), ("a",))
    >>> with_error(Traffic(2, {}, {"prediction": only_a, "label": names}), False).categorical["error"].counts()
    {'right': 1, 'wrong': 1}
    """
    prediction, label = traffic.categorical["prediction"], traffic.categorical["label"]
    if numeric:
        return traffic.with_columns({"error": np.abs(prediction.numbers() - label.numbers())}, {"label": label})
    same = {canonical(name): at for at, name in enumerate(dict.fromkeys(map(canonical, prediction.names)))}
    wrong = (_canonical_codes(prediction, same, -3) != _canonical_codes(label, same, -2)).astype(np.int32)
    return traffic.with_columns({}, {"label": label, "error": Category(wrong, RIGHT_OR_WRONG)})


def _canonical_codes(column: Category, positions: Mapping[str, int], unknown: int) -> Codes:
    found = (positions.get(canonical(name), unknown) for name in column.names)
    return np.array([*found, unknown], dtype=np.int32)[column.codes]


def canonical(name: str) -> str:
    """One spelling for one class: 1 and 1.0 are the same, and so are True and true.

    >>> canonical("1.0"), canonical("True"), canonical("late")
    ('1.0', 'true', 'late')
    """
    try:
        return repr(float(name))
    except ValueError:
        return name.strip().lower()


def _sum(found: Mapping[int, tuple[int, int]], window: Window, bucket_s: int) -> tuple[int, int]:
    first, last = (int(moment.timestamp()) // bucket_s for moment in (window.start, window.end))
    inside = [found[at] for at in range(first, last) if at in found]
    return sum(rows for rows, _ in inside), sum(labelled for _, labelled in inside)


def _hypotheses(
    reference: Profile, current: Profile, parts: Sequence[Slice], questions: Questions
) -> Iterator[Hypothesis]:
    for name in ("label", "error"):
        yield from drift.about_feature(name, reference, current, parts, questions)


def _unknown(reason: str, reference: int, current: int) -> Claim:
    outcome = Undetermined("error_rate", reason, reference, current)
    return Claim("error", "error_rate", ALL, Verdict.UNDETERMINED, outcome)


def _coverage(labelled: int, rows: int, wanted: float) -> str:
    return f"only {labelled} of {rows} predictions have labels" if labelled < wanted * rows else ""
