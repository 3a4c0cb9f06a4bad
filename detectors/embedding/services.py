"""The round over all LLM services: are the input texts still like those of the reference?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice

from tidegauge.config import Detectors, Reference, Watch
from tidegauge.detectors.embedding.corpus import Corpus, Spans, Texts
from tidegauge.detectors.embedding.embedder import Embedder
from tidegauge.detectors.embedding.often import DETECTOR, Often, untested
from tidegauge.detectors.embedding.rows import LEAST_TEXTS, Pair, compare, shown
from tidegauge.detectors.embedding.stretches import MOST_WINDOWS, Datum, locate
from tidegauge.detectors.finding import Claim, Context, Finding, Verdict
from tidegauge.detectors.freezing import Freezes
from tidegauge.detectors.ledger import Drifting, Ledger
from tidegauge.detectors.schedule import before_first, watch_of, windows
from tidegauge.detectors.spans import own_windows
from tidegauge.detectors.statistics import Undetermined
from tidegauge.incidents import Incidents
from tidegauge.model import ALL, Window
from tidegauge.store import Store

INPUT, WEEKLY = "input", "input_weekly"
WEEK_H = 168
KEPT = 16
SILENT = "none of the {calls} calls recorded its input: turn capture_content on, or set detectors.embedder to off"


@dataclass(frozen=True)
class Check:
    """One way in which a service's texts are looked at; ``feature`` is its name in findings, ``most`` texts a side."""

    feature: str
    watch: Watch
    most: int
    often: bool = False

    @property
    def detector(self) -> str:
        """Whose findings say which window was the last."""
        return DETECTOR if self.often else "mmd"


class ServiceRound:
    """Evaluates every closed window of every watched LLM service once."""

    def __init__(
        self, store: Store, settings: Detectors, embedder: Embedder | None, mask: Callable[[str], str] = str
    ) -> None:
        self._settings = settings
        self._embedder = embedder
        self._corpus = Corpus(store, embedder, mask)
        self._ledger = Ledger(store)
        self._freezes = Freezes(store)
        self._incidents = Incidents(settings.incidents, settings.incident_files)
        self._first: dict[str, datetime] = {}
        self._past: dict[tuple[str, str, tuple[Window, ...] | None], Texts] = {}
        self._often = Often(store, self._corpus, embedder, settings.max_texts) if embedder else None

    def subjects(self, now: datetime) -> list[str]:
        """Every service that has a watch; none without an embedder."""
        if self._embedder is None:
            return []
        return [name for name in self._corpus.services(now) if watch_of(name, self._settings.services)]

    def run(self, service: str, now: datetime) -> Iterator[Finding]:
        """Evaluate what is due of one service; each window is stored before the next begins."""
        watch = watch_of(service, self._settings.services)
        if not watch:
            return
        self._freezes.refresh(service, watch, now)
        for check in self._checks(watch):
            after = self._after(service, check, now)
            due = windows(check.watch, after, now, self._settings.lag_s) if after else iter(())
            for window in islice(due, self._settings.windows_per_run):
                yield from self._evaluate(service, check, window, now)

    def _checks(self, watch: Watch) -> Iterator[Check]:
        """What the watch asks for, and a week against the week before."""
        yield Check(INPUT, watch, self._settings.max_texts, self._often is not None and self._often.wanted(watch))
        if self._settings.weekly_texts:
            before = Reference(kind="trailing", days=7, gap_days=0, freeze_days=watch.reference.freeze_days)
            times = {"window_hours": WEEK_H, "step_hours": WEEK_H, "reference": before, "floor_from_reference": False}
            yield Check(WEEKLY, watch.model_copy(update=times), self._settings.weekly_texts)

    def _after(self, service: str, check: Check, now: datetime) -> datetime | None:
        last = self._ledger.last(service, check.detector, check.feature)
        if not last and service not in self._first and (first := self._corpus.first(service, now)):
            self._first[service] = first
        return last or (before_first(check.watch, self._first[service]) if service in self._first else None)

    def _evaluate(self, service: str, check: Check, window: Window, now: datetime) -> list[Finding]:
        freeze, incidents = self._freezes.of(service, window), self._incidents.of(service)
        datum = locate(check.watch.reference, window, freeze, incidents)
        phase = "texts" if check.feature == INPUT else "texts-weekly"
        since = self._ledger.before(service, phase, window, check.watch.step_hours)
        claims = self._claims(service, check, window, datum, now)
        if check.often:
            claims = [self._explained(each, service, check, window, datum, since) for each in claims]
        context = Context(service, window, datum.kind, datum.start, datum.end, now, since, datum.note)
        return self._ledger.record(context, claims, phase)

    def _claims(self, service: str, check: Check, window: Window, datum: Datum, now: datetime) -> list[Claim]:
        if datum.reason:
            return [_unknown(check, datum.reason, 0, 0)]
        if check.often and self._often:
            return self._often.compare(service, check.watch, datum.spans or (), window, now)
        return self._by_rows(service, check, window, datum)

    def _by_rows(self, service: str, check: Check, window: Window, datum: Datum) -> list[Claim]:
        current = self._corpus.read(service, [window], check.watch.slices, check.most)
        texts = len(current.sample)
        if texts < LEAST_TEXTS:
            calls = 0 if texts else self._corpus.counts(service, [window])[0]
            silent = SILENT.format(calls=calls) if calls else "no calls in the window"
            few = f"{texts} texts in the window are too few: {LEAST_TEXTS} are needed"
            return [_unknown(check, few if texts else silent, 0, texts)]
        reference = self._known(service, check, datum.spans)
        if (found := len(reference.sample)) < LEAST_TEXTS:
            reason = f"{found} texts in the reference are too few: {LEAST_TEXTS} are needed"
            return [_unknown(check, reason, found, texts)]
        texts = self._corpus.counts(service, [window])[1] if texts == check.most else texts
        own = partial(self._own, service, check, own_windows(datum.spans or (), window, MOST_WINDOWS))
        return compare(Pair(check.feature, reference, current, own, texts), check.watch, self._settings.permutations)

    def _own(self, service: str, check: Check, own: Sequence[Window]) -> list[Texts]:
        return [self._known(service, check, [each]) for each in own]

    def _known(self, service: str, check: Check, spans: Spans) -> Texts:
        """Texts of the past, the last 16 of which are kept: windows of one reference ask for the same ones again."""
        key = (service, check.feature, None if spans is None else tuple(spans))
        found = self._past.pop(key, None)
        if found is None or spans is None:
            found = self._corpus.read(service, spans, check.watch.slices, check.most)
        self._past[key] = found
        while len(self._past) > KEPT:
            del self._past[next(iter(self._past))]
        return found

    def _explained(
        self, claim: Claim, service: str, check: Check, window: Window, datum: Datum, since: Drifting
    ) -> Claim:
        """What the first window of a run of drift is about; the texts are embedded for that once more."""
        begins = (claim.feature, claim.detector, claim.part) not in since
        if claim.verdict is not Verdict.DRIFT or claim.part != ALL or not begins:
            return claim
        sides = [self._corpus.read(service, spans, (), check.most) for spans in (datum.spans, [window])]
        if min(len(each.sample) for each in sides) < LEAST_TEXTS:
            return claim
        return shown(claim, sides[0], sides[1], check.watch.false_discovery_rate)


def _unknown(check: Check, reason: str, reference: int, current: int) -> Claim:
    if check.often:
        return untested(reason, reference, current)
    outcome = Undetermined("mmd", reason, reference, current)
    return Claim(check.feature, "mmd", ALL, Verdict.UNDETERMINED, outcome)
