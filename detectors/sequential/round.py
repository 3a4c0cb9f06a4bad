"""The round that looks at the hours of every watched model, and may look as often as it likes.

A model has two families of streams: its outputs (score, spread of the score, volume), taken in when an hour has closed,
and its labels (errors, labels), taken in when most of an hour's predictions have theirs. Each family has half of
``detectors.false_pages_per_month``. Baselines come from the hours of the training rows or of the fixed reference, where
those cover a week or more (labels: never from training rows, whose errors flatter), else from the days before, which
move on every day but stand still while an alarm is on, for at most as long as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from tidegauge import instruments
from tidegauge.config import Detectors, Watch
from tidegauge.detectors.finding import Claim, Context, Finding, Verdict
from tidegauge.detectors.schedule import watch_of
from tidegauge.detectors.sequential.family import LEAST, WEEKLY, Family
from tidegauge.detectors.sequential.memory import Memory, Standing
from tidegauge.detectors.sequential.report import DETECTOR, findings_of
from tidegauge.detectors.sequential.rollups import ERRORS, HOUR, MEASURES, REGRESSION, Measure, Rollups, Rows, hour_of
from tidegauge.detectors.statistics import Undetermined
from tidegauge.model import ALL, Window
from tidegauge.store import Store

DAY = timedelta(days=1)
FAMILIES = ("outputs", "labels")
CLASSES = 20
"""Labels with more different numbers than that are measurements."""


class SequentialRound:
    """Looks at what is new since the last look; the same ``now`` again finds nothing new."""

    def __init__(self, store: Store, settings: Detectors) -> None:
        self._store = store
        self._settings = settings
        self._rollups = Rollups(store)
        self._memory = Memory(store)
        self._families: dict[tuple[str, str], Family] = {}
        self._tried: dict[tuple[str, str], datetime] = {}

    def run(self, model: str, now: datetime) -> Iterator[Finding]:
        """Findings of the hours that closed since the last look, of one model."""
        watch = watch_of(model, self._settings.models)
        if watch is None or not self._settings.false_pages_per_month:
            return
        hour = hour_of(now - timedelta(seconds=self._settings.lag_s))
        for name in FAMILIES:
            if self._tried.get((model, name)) != hour:
                yield from self._look(model, name, watch, hour, now)
                self._tried[model, name] = hour

    def family(self, model: str, name: str, watch: Watch, begin: datetime, now: datetime) -> Family | None:
        """The streams of ``outputs`` or ``labels``, compared as from ``begin`` on; None where there is too little."""
        found = self._reference(model, name, watch, begin)
        return self._fitted(model, name, watch, *found, now) if found and self._settings.false_pages_per_month else None

    def _look(self, model: str, name: str, watch: Watch, hour: datetime, now: datetime) -> list[Finding]:
        standing = self._memory.read(model, name)
        begin = standing.until if standing else hour.replace(hour=0) - DAY
        if begin >= hour:
            return []
        family = self._family(model, name, watch, standing, begin, now)
        if family is None:
            return self._not_yet(model, name, Window(hour - HOUR, hour), now)
        rows, span = self._new(model, name, watch, Window(begin, hour), now)
        if span is None:
            return []
        was = dict(zip(standing.streams, standing.alarmed, strict=True)) if standing else {}
        after, look, on = family.taken(standing, rows, span)
        daily = (begin - HOUR).date() != (after.until - HOUR).date()
        findings = findings_of(model, family, after, (look, on), was, now, daily)
        self._keep(findings, f"{model}\x1f{name}\x1f{after.until.isoformat()}")
        self._memory.write(model, name, after, now)
        return findings

    def _family(
        self, model: str, name: str, watch: Watch, standing: Standing | None, begin: datetime, now: datetime
    ) -> Family | None:
        """The family with the reference of the day in which ``begin`` lies; made anew where that has moved on."""
        found = self._reference(model, name, watch, begin)
        if found and standing and standing.reference == found[0] == "trailing" and standing.since:
            held = begin - standing.since < found[1].length
            found = ("trailing", standing.span) if held else found
        if found is None:
            return None
        kept = self._families.get((model, name))
        if kept and (kept.kind, kept.span) == found:
            return kept
        family = self._fitted(model, name, watch, *found, now)
        if family:
            self._families[model, name] = family
        return family

    def _fitted(self, model: str, name: str, watch: Watch, kind: str, span: Window, now: datetime) -> Family | None:
        rows, measures = self._read(model, name, watch, span, now)
        pages = self._settings.false_pages_per_month / len(FAMILIES)
        return Family.fit(kind, span, rows, measures, watch, pages) if rows else None

    def _reference(self, model: str, name: str, watch: Watch, begin: datetime) -> tuple[str, Window] | None:
        wanted = watch.reference
        if wanted.kind == "fixed" and wanted.start and wanted.end and wanted.end - wanted.start >= LEAST:
            return "fixed", Window(hour_of(wanted.start), hour_of(wanted.end))
        trained = self._rollups.trained(model) if wanted.kind == "training" and name == "outputs" else None
        end = min(begin, hour_of(trained.end) + HOUR) if trained else begin
        if trained and end - hour_of(trained.start) >= LEAST:
            return "training", Window(hour_of(trained.start), end)
        first = self._rollups.first(model)
        length = timedelta(days=wanted.days) if wanted.kind == "trailing" else WEEKLY
        end = hour_of(begin.replace(hour=0) - timedelta(days=wanted.gap_days))
        start = max(end - length, hour_of(first) + HOUR) if first else end
        return ("trailing", Window(hour_of(start), end)) if end - start >= LEAST else None

    def _read(
        self, model: str, name: str, watch: Watch, span: Window, now: datetime
    ) -> tuple[Rows, tuple[Measure, ...]]:
        if name == "outputs":
            return self._rollups.outputs(model, watch.slices, span), MEASURES
        rows = self._rollups.labels(model, watch.slices, span, now)
        measured = max((row["kinds"] for row in rows), default=0) > CLASSES
        return rows, REGRESSION if measured else ERRORS

    def _new(self, model: str, name: str, watch: Watch, span: Window, now: datetime) -> tuple[Rows, Window | None]:
        """The rows of the hours that are ready, and those hours; None where there is none."""
        rows = self._read(model, name, watch, span, now)[0]
        if name == "outputs":
            return rows, span
        made = {row["at"]: row["n"] for row in self._rollups.outputs(model, (), span)}
        known = {row["at"]: row["n"] for row in rows if not row["dimension"]}
        end = span.start
        while end < span.end and self._labelled(int(end.timestamp()), made, known, now):
            end += HOUR
        return rows, Window(span.start, end) if end > span.start else None

    def _labelled(self, at: int, made: dict[int, int], known: dict[int, int], now: datetime) -> bool:
        """As for the comparison of labels in windows: most are there, or nobody waits any longer."""
        waited = now.timestamp() - at - 3600 >= self._settings.label_wait_days * 86_400
        return waited or known.get(at, 0) >= self._settings.label_share * made.get(at, 0)

    def _not_yet(self, model: str, name: str, window: Window, now: datetime) -> list[Finding]:
        """Once a day, that a model has no past to be compared with yet."""
        if name != "outputs" or window.end.hour:
            return []
        reason = f"fewer than {LEAST.days} days of hours with predictions to compare new hours with"
        claim = Claim("*", DETECTOR, ALL, Verdict.UNDETERMINED, Undetermined(DETECTOR, reason, 0, 0))
        context = Context(model, window, "trailing", window.start, window.end, now, {})
        findings = [context.finding(claim)]
        self._keep(findings, f"{model}\x1f{name}\x1f{window.end.isoformat()}")
        return findings

    def _keep(self, findings: list[Finding], token: str) -> None:
        for each in findings:
            instruments.FINDINGS.labels(each.detector, each.verdict.value).inc()
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
        self._store.insert("findings", [each.row() for each in findings], f"sequential-{digest}")
