"""The round over all LLM services: are the input texts still like those of the reference?"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from math import ceil

import numpy as np

from tidegauge.config import Detectors, Watch
from tidegauge.detectors.embedding.corpus import Corpus, Texts
from tidegauge.detectors.embedding.embedder import Embedder
from tidegauge.detectors.embedding.witness import explain
from tidegauge.detectors.finding import Claim, Context, Finding, Verdict
from tidegauge.detectors.ledger import Ledger
from tidegauge.detectors.references import reference_window
from tidegauge.detectors.schedule import before_first, watch_of, windows
from tidegauge.detectors.statistics import Undetermined, mmd
from tidegauge.detectors.traffic import Index
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

LEAST_TEXTS = 50
MOST_PERMUTATIONS = 1999
MISSING = "no embedder is installed: pip install 'tidegauge[embeddings]', or set detectors.embedder to off"
SILENT = "none of the {calls} calls recorded its input: turn capture_content on, or set detectors.embedder to off"


class ServiceRound:
    """Evaluates every closed window of every watched LLM service once."""

    def __init__(self, store: Store, settings: Detectors, embedder: Embedder | None) -> None:
        self._settings = settings
        self._embedder = embedder
        self._corpus = Corpus(store, embedder, settings.max_texts)
        self._ledger = Ledger(store)

    def subjects(self, now: datetime) -> list[str]:
        """Every service that has a watch; none where embedding is off."""
        if self._settings.embedder == "off":
            return []
        return [name for name in self._corpus.services(now) if watch_of(name, self._settings.services)]

    def run(self, service: str, now: datetime) -> Iterator[Finding]:
        """Evaluate what is due of one service; each window is stored before the next begins."""
        watch = watch_of(service, self._settings.services)
        after = self._after(service, watch, now) if watch else None
        if not watch or after is None:
            return
        due = windows(watch, after, now, self._settings.lag_s)
        for window in islice(due, self._settings.windows_per_run):
            yield from self._evaluate(service, watch, window, now)

    def _after(self, service: str, watch: Watch, now: datetime) -> datetime | None:
        last = self._ledger.last(service, "mmd")
        first = None if last else self._corpus.first(service, now)
        return last or (before_first(watch, first) if first else None)

    def _evaluate(self, service: str, watch: Watch, window: Window, now: datetime) -> list[Finding]:
        span = reference_window(watch.reference, window)
        claims = self._claims(service, watch, window, span)
        ends = (span.start, span.end) if span else (window.start, window.start)
        since = self._ledger.before(service, "texts", window, watch.step_hours)
        context = Context(service, window, watch.reference.kind, *ends, now, since)
        return self._ledger.record(context, claims, "texts")

    def _claims(self, service: str, watch: Watch, window: Window, span: Window | None) -> list[Claim]:
        calls, texts = self._corpus.counts(service, window)
        reason = self._reason(calls, texts, window, span)
        if reason:
            return [_unknown(reason, 0, texts)]
        reference = self._corpus.read(service, span, watch.slices)
        if len(reference.sample) < LEAST_TEXTS:
            return [
                _unknown(
                    f"{len(reference.sample)} texts in the reference are too few: {LEAST_TEXTS} are needed",
                    len(reference.sample),
                    texts,
                )
            ]
        current = self._corpus.read(service, window, watch.slices)
        return _judged(reference, current, watch, self._settings.permutations)

    def _reason(self, calls: int, texts: int, window: Window, span: Window | None) -> str:
        if self._embedder is None:
            return MISSING
        if span and span.end > window.start:
            return "the window lies in or before the fixed reference"
        if not texts:
            return SILENT.format(calls=calls) if calls else "no calls in the window"
        return f"{texts} texts in the window are too few: {LEAST_TEXTS} are needed" if texts < LEAST_TEXTS else ""


def _judged(reference: Texts, current: Texts, watch: Watch, permutations: int) -> list[Claim]:
    """One hypothesis for all texts, and one for each slice that has enough of them on both sides."""
    parts = [ALL, *_parts(reference, current, watch.max_slices)]
    enough = ceil(2 * len(parts) / watch.false_discovery_rate)
    wanted = min(MOST_PERMUTATIONS, max(permutations, enough))
    hypotheses = [_hypothesis(part, reference, current, wanted) for part in parts]
    note = f"{len(current.sample)} of {current.texts} texts, by hash" if len(current.sample) < current.texts else ""
    return [replace(claim, reason=note) for claim in judge(hypotheses, watch.false_discovery_rate)]


def _parts(reference: Texts, current: Texts, most: int) -> Iterator[Slice]:
    for dimension, column in current.dimensions.items():
        before = reference.dimensions[dimension].rows_by_name
        for name, rows in islice(column.rows_by_name.items(), most):
            whole = len(rows) == len(current.sample) and len(before.get(name, ())) == len(reference.sample)
            if not whole and min(len(rows), len(before.get(name, ()))) >= LEAST_TEXTS:
                yield Slice(dimension, name)


def _hypothesis(part: Slice, reference: Texts, current: Texts, permutations: int) -> Hypothesis:
    at, here = _rows(reference, part), _rows(current, part)
    before, now = reference.vectors[at], current.vectors[here]
    rng = np.random.default_rng(zlib.crc32(str(part).encode(errors="surrogatepass")))
    outcome = mmd(before, now, permutations=permutations, rng=rng)
    texts = [reference.sample[row] for row in at], [current.sample[row] for row in here]
    return Hypothesis("input", part, "mmd", outcome, evidence=partial(explain, before, now, *texts))


def _rows(texts: Texts, part: Slice) -> Index:
    if part == ALL:
        return np.arange(len(texts.sample))
    return texts.dimensions[part.dimension].rows_by_name[part.value]


def _unknown(reason: str, reference: int, current: int) -> Claim:
    return Claim("input", "mmd", ALL, Verdict.UNDETERMINED, Undetermined("mmd", reason, reference, current))
