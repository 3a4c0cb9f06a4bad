"""The round that looks at the hours of every watched model, and may look as often as it likes.

A model has three families of streams: its outputs (score, spread of the score, volume) and its features (means, shares
of texts, missing values), taken in when an hour has closed, and its labels (errors, labels), taken in when most of an
hour's predictions have theirs. Each has a third of ``detectors.false_pages_per_month``. Baselines come from the hours
of the training rows or of the fixed reference, where those cover a week or more (labels: never from training rows,
whose errors flatter), else from the days before. Those move on every day but stand still while an alarm is on, for at
most as long as they are, and end two weeks before, once the past is long enough: what falls slowly must not be learned
while it falls.
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
from tidegauge.detectors.sequential.report import findings_of
from tidegauge.detectors.sequential.rollups import DETECTOR, HOUR, Hours, hour_of
from tidegauge.detectors.sequential.sources import FAMILIES, Sources
from tidegauge.detectors.statistics import Undetermined
from tidegauge.model import ALL, Window
from tidegauge.store import Store

DAY = timedelta(days=1)
SLOW = timedelta(days=14)
"""Before an hour a reference that moves ends so long, where its past is long enough to be whole all the same."""


class SequentialRound:
    """Looks at what is new since the last look; the same ``now`` again finds nothing new."""

    def __init__(self, store: Store, settings: Detectors) -> None:
        self._store = store
        self._settings = settings
        self._sources = Sources(store, settings)
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
                findings = self._look(model, name, watch, hour, now)
                if findings is not None:
                    self._tried[model, name] = hour
                    yield from findings

    def past(
        self, model: str, name: str, watch: Watch, begin: datetime, now: datetime
    ) -> tuple[Family, Iterator[Hours]] | None:
        """A family as from ``begin`` on, and the hours that it was learned from; None where there is too little."""
        found = self._reference(model, name, watch, begin)
        if found is None:
            return None
        while not self._sources.ready(model, name, watch, [found[1]], now):
            pass
        family = self._sources.learned(model, name, *found, watch, now)
        return (family, self._sources.hours(model, name, found[1], watch, now)[1]) if family else None

    def _look(self, model: str, name: str, watch: Watch, hour: datetime, now: datetime) -> list[Finding] | None:
        """What the hours up to ``hour`` say; None where they are still to be counted, in further rounds."""
        standing = self._memory.read(model, name)
        begin = standing.until if standing else hour.replace(hour=0) - DAY
        if begin >= hour:
            return []
        reference = self._held(model, name, watch, standing, begin)
        if reference and not self._sources.ready(model, name, watch, [reference[1], Window(begin, hour)], now):
            return None
        family = self._family(model, name, watch, reference, now)
        if family is None:
            return self._not_yet(model, name, Window(hour - HOUR, hour), now)
        new = self._sources.new(model, name, family, watch, Window(begin, hour), now)
        if new is None:
            return []
        was = dict(zip(standing.streams, standing.alarmed, strict=True)) if standing else {}
        after, look, on = family.taken(standing, new, Window(begin, new.end))
        daily = (begin - HOUR).date() != (after.until - HOUR).date()
        findings = findings_of(model, family, after, (look, on), was, now, daily)
        self._keep(findings, f"{model}\x1f{name}\x1f{after.until.isoformat()}")
        self._memory.write(model, name, after, now)
        return findings

    def _held(
        self, model: str, name: str, watch: Watch, standing: Standing | None, begin: datetime
    ) -> tuple[str, Window] | None:
        """The reference of the day in which ``begin`` lies, or that of an alarm that is on."""
        found = self._reference(model, name, watch, begin)
        if found and standing and standing.reference == found[0] == "trailing" and standing.since:
            held = begin - standing.since < found[1].length
            return ("trailing", standing.span) if held else found
        return found

    def _family(
        self, model: str, name: str, watch: Watch, found: tuple[str, Window] | None, now: datetime
    ) -> Family | None:
        """The family with this reference; made anew where that has moved on."""
        kept = self._families.get((model, name))
        if kept and (kept.kind, kept.span) == found:
            return kept
        family = self._sources.learned(model, name, *found, watch, now) if found else None
        if family:
            self._families[model, name] = family
        return family

    def _reference(self, model: str, name: str, watch: Watch, begin: datetime) -> tuple[str, Window] | None:
        wanted = watch.reference
        if wanted.kind == "fixed" and wanted.start and wanted.end and wanted.end - wanted.start >= LEAST:
            return "fixed", Window(hour_of(wanted.start), hour_of(wanted.end))
        trained = self._sources.rollups.trained(model) if wanted.kind == "training" and name != "labels" else None
        end = min(begin, hour_of(trained.end) + HOUR) if trained else begin
        if trained and end - hour_of(trained.start) >= LEAST:
            return "training", Window(hour_of(trained.start), end)
        first = self._sources.rollups.first(model)
        length = timedelta(days=wanted.days) if wanted.kind == "trailing" else WEEKLY
        day = begin.replace(hour=0)
        spare = day - hour_of(first) - HOUR - length if first else timedelta()
        end = hour_of(day - max(timedelta(days=wanted.gap_days), min(SLOW, spare)))
        start = max(end - length, hour_of(first) + HOUR) if first else end
        return ("trailing", Window(hour_of(start), end)) if end - start >= LEAST else None

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
