"""Texts compared from sums: a test every minute embeds and reads only what is new."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

import numpy as np

from tidegauge.config import Watch
from tidegauge.detectors.embedding.corpus import Corpus, Stretches
from tidegauge.detectors.embedding.embedder import Embedder
from tidegauge.detectors.embedding.rows import LEAST_TEXTS, raised
from tidegauge.detectors.embedding.stretches import MOST_WINDOWS, stretch_of
from tidegauge.detectors.embedding.sums import Summed, Sums
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.spans import joined, own_windows
from tidegauge.detectors.spread import Spread
from tidegauge.detectors.statistics import Buckets, FeatureMap, Result, Undetermined, random_features
from tidegauge.detectors.statistics.mmd import median_distance
from tidegauge.detectors.statistics.random_features import LEAST_BUCKETS, effect_between
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

PERMUTATIONS = 999
BATCH = 240
"""Stretches that are read, embedded and written at once."""
OTHER = "(other)"
DETECTOR = "random_features"


class Often:
    """Compares windows with references from sums of random features by stretch of time.

    The reference is up to 8 whole windows drawn from it, the same as long as it stays. Each stretch is embedded and
    summed once, when it has closed; vectors are not kept.
    """

    def __init__(self, store: Store, corpus: Corpus, embedder: Embedder, most: int) -> None:
        self._sums = Sums(store)
        self._corpus = corpus
        self._embedder = embedder
        self._most = most
        self._maps: dict[str, FeatureMap] = {}

    def wanted(self, watch: Watch) -> bool:
        """Whether the texts of ``watch`` are compared from sums: with steps below an hour, or because it says so."""
        if watch.rollups == "off" or watch.reference.kind == "training" or not stretch_of(watch):
            return False
        return watch.rollups == "always" or watch.step_hours < 1

    def compare(
        self, service: str, watch: Watch, spans: Sequence[Window], window: Window, now: datetime
    ) -> list[Claim]:
        """The claims of one window."""
        length_s = stretch_of(watch)
        own = own_windows(spans, window, MOST_WINDOWS)
        features = self._features(service, window, now)
        if features is None:
            return [untested(f"fewer than {LEAST_TEXTS} texts were recorded in the window", 0, 0)]
        each = max(1, self._most * length_s // int(window.length.total_seconds()))
        due = self._sums.due(service, features, [*own, window], length_s)
        for start in range(0, len(due), BATCH):
            self._sum(service, features, due[start : start + BATCH], length_s, watch, each)
        found = self._sums.read(service, features, [*own, window], length_s, watch.slices)
        if reason := self._not_comparable(service, found, own, length_s):
            return [untested(reason, 0, int(found.within(ALL, [window], length_s).rows.sum()))]
        return judged(found, own, window, length_s, watch)

    def _features(self, service: str, window: Window, now: datetime) -> FeatureMap | None:
        """Frozen on the first window with texts enough, for good: the width follows from how far they are apart."""
        if service not in self._maps:
            found = self._sums.frozen(service, self._embedder.name)
            if found is None:
                texts = self._corpus.read(service, [window], (), self._most)
                width = median_distance(texts.vectors) if len(texts.sample) >= LEAST_TEXTS else 0.0
                if not width:
                    return None
                found = FeatureMap(self._embedder.name, texts.vectors.shape[1], width)
                found = self._sums.freeze(service, found, now)
            self._maps[service] = found
        return self._maps[service]

    def _sum(
        self, service: str, features: FeatureMap, due: Sequence[Window], length_s: int, watch: Watch, each: int
    ) -> None:
        read = self._corpus.read_each(service, joined(due), length_s, watch.slices, each)
        self._sums.write(service, features, length_s, due, summed(features, read, watch.max_slices))

    def _not_comparable(self, service: str, found: Summed, own: Sequence[Window], length_s: int) -> str:
        """Where the reference's texts are gone, and what is left of them was made by another embedding model."""
        if len(found.within(ALL, own, length_s).rows) >= LEAST_BUCKETS or not own:
            return ""
        others = self._sums.others(service, self._embedder.name, own)
        names = f"the reference was embedded by {', '.join(others)}, the window by {self._embedder.name}"
        return f"not comparable: {names}; vectors of two models have nothing in common" if others else ""


def summed(features: FeatureMap, read: Stretches, most: int) -> Summed:
    """The sums of some stretches, of all texts and of each slice; of a dimension the ``most`` frequent values apart."""
    places, bucket = np.unique(read.at, return_inverse=True)
    whole = {ALL: np.arange(len(read.at))}
    for dimension, column in read.dimensions.items():
        ranked = list(column.rows_by_name.items())
        whole |= {Slice(dimension, name): rows for name, rows in ranked[:most]}
        if ranked[most:]:
            whole[Slice(dimension, OTHER)] = np.concatenate([rows for _, rows in ranked[most:]])
    at, found = {}, {}
    for part, rows in whole.items():
        if len(rows):
            sums = features.buckets(read.vectors[rows], bucket.reshape(-1)[rows], len(places))
            kept = sums.rows > 0
            at[part], found[part] = places[kept], Buckets(features.name, sums.rows[kept], sums.sums[kept])
    return Summed(at, found, features.name)


def judged(found: Summed, own: Sequence[Window], window: Window, length_s: int, watch: Watch) -> list[Claim]:
    """One hypothesis for all texts, and one for each slice that has enough of them on both sides."""
    enough = {part: _enough(found, part, own, window, length_s) for part in found.buckets}
    per_dimension = [
        list(
            islice(
                sorted(p for p in enough if enough[p] and p.dimension == name and p.value != OTHER), watch.max_slices
            )
        )
        for name in watch.slices
    ]
    parts = [ALL, *(part for each in per_dimension for part in each)]
    hypotheses = [_hypothesis(found, part, own, window, length_s, len(parts)) for part in parts]

    def floors(feature: str, part: Slice, detector: str, result: Result) -> Result:
        level = watch.false_discovery_rate / (1 if part == ALL else max(1, len(parts) - 1))
        return raised(result, _spread(found, part, own, length_s), level)

    return judge(hypotheses, watch.false_discovery_rate, floors if watch.floor_from_reference else None)


def untested(reason: str, reference: int, current: int) -> Claim:
    """One claim that nothing could be told."""
    outcome = Undetermined(DETECTOR, reason, reference, current)
    return Claim("input", DETECTOR, ALL, Verdict.UNDETERMINED, outcome)


def _enough(found: Summed, part: Slice, own: Sequence[Window], window: Window, length_s: int) -> bool:
    sides = [found.within(part, windows, length_s) for windows in (own, [window])]
    return all(len(each.rows) >= LEAST_BUCKETS and each.rows.sum() >= LEAST_TEXTS for each in sides)


def _hypothesis(
    found: Summed, part: Slice, own: Sequence[Window], window: Window, length_s: int, parts: int
) -> Hypothesis:
    rng = np.random.default_rng(zlib.crc32(str(part).encode(errors="surrogatepass")))
    sides = found.within(part, own, length_s), found.within(part, [window], length_s)
    wanted = max(PERMUTATIONS, 40 * parts)
    return Hypothesis("input", part, DETECTOR, random_features(*sides, permutations=wanted, rng=rng))


def _spread(found: Summed, part: Slice, own: Sequence[Window], length_s: int) -> Spread:
    """What each of the reference's own windows differs from the others by."""
    effects = []
    for at, each in enumerate(own):
        others = [other for number, other in enumerate(own) if number != at]
        sides = found.within(part, others, length_s), found.within(part, [each], length_s)
        if (effect := effect_between(*sides)) is not None:
            effects.append(effect)
    return Spread.of(DETECTOR, effects)
