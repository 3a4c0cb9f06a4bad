"""The round over all models: which windows are due, what each is compared with, what came out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice

from tidegauge.config import Detectors, Watch
from tidegauge.detectors import drift
from tidegauge.detectors.finding import Claim, Context, Finding
from tidegauge.detectors.freezing import Freezes
from tidegauge.detectors.labels import LabelRound
from tidegauge.detectors.ledger import Ledger
from tidegauge.detectors.pairs import Beside
from tidegauge.detectors.predictions import Predictions, Scope
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.questions import Questions
from tidegauge.detectors.references import Datum, References
from tidegauge.detectors.repeats import Repeats
from tidegauge.detectors.schedule import before_first, watch_of, windows
from tidegauge.detectors.sketches import Rollup
from tidegauge.detectors.spread import Spreads
from tidegauge.detectors.strata import explained
from tidegauge.detectors.vanished import without_vanished
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.incidents import Incidents
from tidegauge.model import ALL, Window
from tidegauge.store import Store


@dataclass(frozen=True)
class Compared:
    """What is asked about one window, what cannot be, and the window itself where it was read."""

    hypotheses: list[Hypothesis] = field(default_factory=list)
    untested: list[Claim] = field(default_factory=list)
    note: str = ""
    reference: drift.Side | None = None
    current: drift.Side | None = None


class ModelRound:
    """Evaluates every closed window of every watched model once."""

    def __init__(self, store: Store, settings: Detectors) -> None:
        self._store = store
        self._settings = settings
        self._predictions = Predictions(store, settings.max_rows)
        self._incidents = Incidents(settings.incidents, settings.incident_files)
        self._references = References(self._predictions, self._incidents, Freezes(store), self._keep_profile)
        self._ledger = Ledger(store)
        self._rollup = Rollup(store, self._predictions, settings.max_rows, settings.windows_per_run)
        self._repeats = Repeats(store)
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
        self._references.refresh(model, watch, now)
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
        holes = [Window(each.start, each.end) for each in self._incidents.of(model)]
        rows, before = self._predictions.volumes(model, window, drift.history(window), holes)
        datum = self._references.locate(model, watch, window)
        found = self._compared(model, watch, window, rows, datum, now)
        reference = found.reference
        rows_apart = self._repeats.own(datum, window)
        floors = (
            self._spreads.floors(reference, window, found.hypotheses, watch, datum.kind, rows_apart)
            if reference
            else None
        )
        hypotheses = [drift.compare_volume(rows, before), *found.hypotheses]
        alone = (
            Beside(reference, found.current, hypotheses, Questions.of(watch)) if reference and found.current else None
        )
        claims = found.untested + judge(hypotheses, watch.false_discovery_rate, floors, alone)
        if isinstance(reference, Profile) and isinstance(found.current, Profile):
            claims = without_vanished(claims, reference, found.current, partial(self._again, watch, window, datum.kind))
            if watch.reference.context:
                claims = explained(claims, reference, found.current, watch.reference.context)
        since = self._ledger.before(model, "inputs", window, watch.step_hours)
        context = Context(model, window, datum.kind, datum.start, datum.end, now, since, found.note)
        return self._ledger.record(context, claims, "inputs")

    def _again(self, watch: Watch, window: Window, kind: str, reference: Profile, current: Profile) -> list[Claim]:
        hypotheses = list(drift.hypotheses(reference, current, [ALL], Questions.of(watch)))
        floors = self._spreads.floors(reference, window, hypotheses, watch, kind)
        return judge(hypotheses, watch.false_discovery_rate, floors)

    def _compared(self, model: str, watch: Watch, window: Window, rows: int, datum: Datum, now: datetime) -> Compared:
        if datum.scope is None or not rows:
            reason = datum.reason or "no predictions in the window"
            return Compared(untested=[drift.untested(reason, datum.rows, rows)])
        scope = datum.of_window(model, window)
        if claim := self._incompatible(scope, datum, rows):
            return Compared(untested=[claim], note=datum.note)
        reference, current = self._sides(model, watch, window, rows, datum, now)
        parts = drift.Parts(reference, current, watch.max_slices, window, watch.max_pairs)
        questions = Questions.of(watch)
        hypotheses = list(drift.hypotheses(reference, current, parts.tested, questions))
        hypotheses += self._repeats.hypotheses(scope, datum.scope, datum.rows, questions)
        notes = datum.note, drift.sampling_note(reference, current)
        note = "; ".join(each for each in notes if each)
        return Compared(hypotheses, parts.untested, note, reference, current)

    def _sides(
        self, model: str, watch: Watch, window: Window, rows: int, datum: Datum, now: datetime
    ) -> tuple[drift.Side, drift.Side]:
        """The reference and the window, as counts where there are many rows, else as rows."""
        dimensions, scope = drift.dimensions_of(watch), datum.of_window(model, window)
        counted = self._rollup.wanted(watch, datum, window, rows)
        if counted and (pair := self._rollup.pair(model, watch, window, datum, rows, dimensions, now)):
            return pair
        reference = self._references.of(model, watch, window, dimensions).profile
        assert reference
        extent = self._predictions.extent(scope) if scope.version else None
        return reference, Profile(self._predictions.read(scope, extent.rows if extent else rows, dimensions))

    def _incompatible(self, scope: Scope, datum: Datum, rows: int) -> Claim | None:
        """Vectors of two embedding models have nothing in common, nor do features made of them."""
        assert datum.scope
        now = self._predictions.embedded_by(scope)
        before = self._predictions.embedded_by(datum.scope) if now else now
        if not before or before == now:
            return None
        names = [", ".join(sorted(each)) for each in (now, before)]
        reason = f"not comparable: the window's embedding model is {names[0]}, the reference's {names[1]}"
        return drift.untested(reason, datum.rows, rows)

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
