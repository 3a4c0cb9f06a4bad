"""The round over all models: which windows are due, what each is compared with, what came out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from tidegauge.config import Detectors, Watch
from tidegauge.detectors import drift
from tidegauge.detectors.finding import Claim, Context, Finding
from tidegauge.detectors.labels import LabelRound
from tidegauge.detectors.ledger import Ledger
from tidegauge.detectors.predictions import Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.references import Datum, References
from tidegauge.detectors.schedule import before_first, watch_of, windows
from tidegauge.detectors.spread import Spreads
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.model import Window
from tidegauge.store import Store


class ModelRound:
    """Evaluates every closed window of every watched model once."""

    def __init__(self, store: Store, settings: Detectors) -> None:
        self._store = store
        self._settings = settings
        self._predictions = Predictions(store, settings.max_rows)
        self._references = References(self._predictions, self._keep_profile)
        self._ledger = Ledger(store)
        self._spreads = Spreads()
        self._labels = LabelRound(self._predictions, self._ledger, settings)
        self._last: dict[str, datetime] = {}

    def subjects(self, now: datetime) -> list[str]:
        """Every model that has a watch."""
        return [name for name in self._predictions.models(now) if watch_of(name, self._settings.models)]

    def run(self, model: str, now: datetime) -> Iterator[Finding]:
        """Evaluate what is due of one model; each window is stored before the next begins."""
        watch = watch_of(model, self._settings.models)
        after = self._after(model, watch, now) if watch else None
        if not watch or after is None:
            return
        self._references.refresh()
        due = windows(watch, after, now, self._settings.lag_s)
        for window in islice(due, self._settings.windows_per_run):
            yield from self._evaluate(model, watch, window, now)
            self._last[model] = window.end
            self._labels.expect(model, window)
        yield from self._labels.run(model, watch, self._references, now)

    def _after(self, model: str, watch: Watch, now: datetime) -> datetime | None:
        last = self._last.get(model) or self._ledger.last(model, "volume")
        first = None if last else self._predictions.first(model, now)
        return last or (before_first(watch, first) if first else None)

    def _evaluate(self, model: str, watch: Watch, window: Window, now: datetime) -> list[Finding]:
        rows, before = self._predictions.volumes(model, window, drift.history(window))
        datum = self._references.of(model, watch, window, drift.dimensions_of(watch))
        hypotheses, claims, note = self._compared(model, watch, window, rows, datum)
        floors = self._spreads.floors(datum.profile, window, hypotheses, watch, datum.kind) if datum.profile else None
        hypotheses.insert(0, drift.compare_volume(rows, before))
        claims += judge(hypotheses, watch.false_discovery_rate, floors)
        since = self._ledger.before(model, "inputs", window, watch.step_hours)
        context = Context(model, window, datum.kind, datum.start, datum.end, now, since, note)
        return self._ledger.record(context, claims, "inputs")

    def _compared(
        self, model: str, watch: Watch, window: Window, rows: int, datum: Datum
    ) -> tuple[list[Hypothesis], list[Claim], str]:
        if datum.profile is None or not rows:
            return [], [drift.untested(datum.reason or "no predictions in the window", datum.rows, rows)], ""
        current = Profile(self._predictions.read(Scope(model, window), rows, drift.dimensions_of(watch)))
        parts = drift.Parts(datum.profile, current, watch.max_slices)
        hypotheses = list(drift.hypotheses(datum.profile, current, parts.tested))
        return hypotheses, parts.untested, drift.sampling_note(datum.profile, current)

    def _keep_profile(self, model: str, datum: Datum) -> None:
        """Write the frozen cells of a lasting reference down, for people to look at."""
        if datum.profile is None:
            return
        features = [*datum.profile.traffic.numeric, *datum.profile.traffic.categorical]
        rows = [
            {
                "created_at": datum.end,
                "subject": model,
                "kind": datum.kind,
                "reference_start": datum.start,
                "reference_end": datum.end,
                "feature": name,
                "profile": datum.profile.description(name),
            }
            for name in dict.fromkeys(features)
        ]
        token = f"profile-{model}-{datum.kind}-{datum.start}-{datum.end}-{datum.rows}"
        self._store.insert("reference_profiles", rows, token)
