"""Texts compared vector by vector: MMD, a classifier and topics answer one question."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from math import ceil
from typing import Any

import numpy as np

from tidegauge.config import Watch
from tidegauge.detectors.embedding.corpus import Texts
from tidegauge.detectors.embedding.topics import Topic, compare_topics, told
from tidegauge.detectors.embedding.witness import explain
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.spread import LEAST_WINDOWS, Spread
from tidegauge.detectors.statistics import Outcome, Result, c2st, mmd
from tidegauge.detectors.traffic import Category, Index
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.model import ALL, Slice

LEAST_TEXTS = 50
MOST_PERMUTATIONS = 1999
BARS, REST = 7, ["(other topics)"]


@dataclass(frozen=True)
class Pair:
    """The texts of a reference and of a window, and the reference's own windows, read only if asked for.

    ``texts`` counts those of the whole window, of which ``current`` is a sample.
    """

    feature: str
    reference: Texts
    current: Texts
    own: Callable[[], Sequence[Texts]]
    texts: int

    def parts(self, most: int) -> Iterator[Slice]:
        """The slices with 50 texts on both sides, unless they are all of the traffic."""
        for dimension, column in self.current.dimensions.items():
            before = self.reference.dimensions[dimension].rows_by_name
            for name, rows in islice(column.rows_by_name.items(), most):
                sizes = len(rows), len(before.get(name, ()))
                whole = sizes == (len(self.current.sample), len(self.reference.sample))
                if not whole and min(sizes) >= LEAST_TEXTS:
                    yield Slice(dimension, name)


def compare(pair: Pair, watch: Watch, permutations: int) -> list[Claim]:
    """One hypothesis for all texts, and one for each slice that has enough of them on both sides."""
    parts = [ALL, *pair.parts(watch.max_slices)]
    enough = ceil(2 * len(parts) / watch.false_discovery_rate)
    wanted = min(MOST_PERMUTATIONS, max(permutations, enough))
    kept: dict[Slice, list[Topic]] = {}
    hypotheses = [_hypothesis(pair, part, wanted, watch.false_discovery_rate, kept) for part in parts]
    floors = Floors(pair, watch.false_discovery_rate, len(parts) - 1) if watch.floor_from_reference else None
    claims = judge(hypotheses, watch.false_discovery_rate, floors)
    if floors and floors.unknown:
        claims = judge(hypotheses, watch.false_discovery_rate / LEAST_WINDOWS, floors)
    taken = len(pair.current.sample)
    note = f"{taken} of {pair.texts} texts, by hash" if taken < pair.texts else ""
    return [_shown(replace(each, reason="; ".join(filter(None, (each.reason, note)))), kept) for each in claims]


@dataclass
class Floors:
    """The floor of an effect: the statistic's own, or what the reference's own windows differ from the others by.

    Worked out only for what would be drift: the windows are as large as the current one, and embedding them costs.
    """

    pair: Pair
    rate: float
    slices: int
    _known: dict[Slice, Mapping[str, Spread]] = field(default_factory=dict)

    @property
    def unknown(self) -> bool:
        """Whether something would be drift without a word from the reference's own windows: they are too few.

        Chance alone then decides, window after window until there are 4 of them, so each gets a quarter of the rate.
        """
        return any(not spread.known for spreads in self._known.values() for spread in spreads.values())

    def __call__(self, feature: str, part: Slice, detector: str, result: Result) -> Result:
        """The result with its floor, and a note of where that is from."""
        if result.effect < result.floor or (result.p_value or 0) > self.rate:
            return result
        if part not in self._known:
            self._known[part] = _spreads(self.pair.own(), part, self.rate)
        level = self.rate / (1 if part == ALL else max(1, self.slices))
        return raised(result, self._known[part].get(detector, Spread(detector)), level)


def shown(claim: Claim, reference: Texts, current: Texts, rate: float) -> Claim:
    """With the evidence of a claim that is about these texts but was made from others, and topics in its reason."""
    sides = reference.vectors, current.vectors, reference.sample, current.sample
    topics = [each for each in compare_topics(*sides, rate)[1] if each.change]
    evidence = json.loads(explain(*sides)) | {"topics": [each.as_json() for each in topics]}
    reason = "; ".join(each for each in (claim.reason, told(topics)) if each)
    return replace(claim, evidence=json.dumps(evidence, ensure_ascii=False), reason=reason)


def raised(result: Result, spread: Spread, level: float) -> Result:
    """The result with the floor that ``spread`` gives at ``level``, or a note that it gives none."""
    if not spread.known:
        few = f"{len(spread.distances)} of the {LEAST_WINDOWS} reference windows needed"
        note = f"the floor does not know the traffic's own spread: {few}"
        return replace(result, note="; ".join(filter(None, (result.note, note))))
    note = f"floor from {len(spread.distances)} reference windows"
    floor = max(result.floor, spread.floor(level))
    return replace(result, floor=floor, note="; ".join(filter(None, (result.note, note))))


def _spreads(own: Sequence[Texts], part: Slice, rate: float) -> dict[str, Spread]:
    """Each window against the others, by every detector: what they differ by though nothing is known to be wrong."""
    found: dict[str, list[float]] = {"mmd": [], "c2st": [], "topics": []}
    whole = [each for each in own if len(_rows(each, part)) >= LEAST_TEXTS]
    for at, each in enumerate(whole):
        others = [other for number, other in enumerate(whole) if number != at]
        if not others:
            continue
        for detector, outcome in _outcomes(_joined(others, len(each.sample)), each, part, rate):
            if isinstance(outcome, Result):
                found[detector].append(outcome.effect)
    ends = {"c2st": 1.0, "topics": 1.0}
    return {name: Spread.of(name, effects, ends.get(name, np.inf)) for name, effects in found.items()}


def _outcomes(reference: Texts, current: Texts, part: Slice, rate: float) -> Iterator[tuple[str, Outcome]]:
    at, here = _rows(reference, part), _rows(current, part)
    before, now = reference.vectors[at], current.vectors[here]
    rng = _rng(part)
    yield "mmd", mmd(before, now, permutations=1, rng=rng)
    yield "c2st", c2st(before, now, permutations=1, rng=rng)
    yield "topics", compare_topics(before, now, [""] * len(before), [""] * len(now), rate)[0]


def _joined(texts: Sequence[Texts], most: int) -> Texts:
    """Several samples as one of at most ``most`` texts, as many of each: samples are in no order but that of hashes."""
    each = max(1, most // len(texts))
    some = [one.head(each) for one in texts]
    dimensions = {name: _concatenated([one.dimensions[name] for one in some]) for name in texts[0].dimensions}
    return Texts(
        tuple(text for one in some for text in one.sample),
        np.concatenate([one.vectors for one in some]),
        dimensions,
    )


def _concatenated(columns: Sequence[Category]) -> Category:
    names = tuple(dict.fromkeys(name for column in columns for name in column.names))
    place = {name: at for at, name in enumerate(names)}
    codes = [np.array([*(place[name] for name in column.names), -1], np.int32)[column.codes] for column in columns]
    return Category(np.concatenate(codes), names)


def _hypothesis(pair: Pair, part: Slice, permutations: int, rate: float, kept: dict[Slice, list[Topic]]) -> Hypothesis:
    at, here = _rows(pair.reference, part), _rows(pair.current, part)
    before, now = pair.reference.vectors[at], pair.current.vectors[here]
    rng = _rng(part)
    texts = [pair.reference.sample[row] for row in at], [pair.current.sample[row] for row in here]

    def topics() -> Outcome:
        outcome, kept[part] = compare_topics(before, now, *texts, rate)
        return outcome

    return Hypothesis(
        pair.feature,
        part,
        "mmd",
        mmd(before, now, permutations=permutations, rng=rng),
        (("c2st", lambda: c2st(before, now, permutations=permutations, rng=rng)), ("topics", topics)),
        partial(explain, before, now, *texts),
    )


def _shown(claim: Claim, topics: Mapping[Slice, list[Topic]]) -> Claim:
    """With the topics that changed as evidence of drift, and all of them, by share, as that of the topics' own test."""
    found = topics.get(claim.part, [])
    told = claim.part == ALL or claim.verdict is Verdict.DRIFT
    if not found or not told or claim.detector == "c2st" or not isinstance(claim.outcome, Result):
        return claim
    evidence = json.loads(claim.evidence or "{}")
    if claim.detector == "topics":
        evidence |= _bars(found)
    evidence["topics"] = [each.as_json() for each in found if each.change]
    return replace(claim, evidence=json.dumps(evidence, ensure_ascii=False))


def _bars(topics: Sequence[Topic]) -> dict[str, list[Any]]:
    """The shares of the topics that changed most surely, and of the others together, for a chart."""
    bars: dict[str, list[Any]] = {"labels": [", ".join(each.terms[:2]) or each.name for each in topics[:BARS]] + REST}
    for side in ("reference", "current"):
        shares = [getattr(each, side) for each in topics]
        bars[side] = [round(each, 4) for each in [*shares[:BARS], sum(shares[BARS:])]]
    return bars


def _rng(part: Slice) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(str(part).encode(errors="surrogatepass")))


def _rows(texts: Texts, part: Slice) -> Index:
    if part == ALL:
        return np.arange(len(texts.sample))
    return texts.dimensions[part.dimension].rows_by_name.get(part.value, np.empty(0, dtype=np.int64))
