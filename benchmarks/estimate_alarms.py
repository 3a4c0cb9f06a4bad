"""How often estimates speak of a model that does as well as ever, and of one whose rows became harder.

    python benchmarks/estimate_alarms.py                200 windows a world: about 12 minutes
    python benchmarks/estimate_alarms.py --windows 50

A model of two classes, in all traffic, in 10 tenants, 4 regions and their 40 pairs, estimated from its scores window by
window as the detectors do: learned from the last 14 windows that have labels, held against the past that labels told,
each estimate widened by how far off the last ones were. Labels come after so many windows, so every window is judged
without any. The score is too sure of itself, and says less of some tenants and regions than of others: their log odds
are off by ``meaning`` (a standard deviation, the same in all windows). With ``weather`` the log odds of a whole
window are off by 0.1, and how far apart its rows' scores lie varies by 5 %.

Given are windows with drift of any metric in any part, in all traffic, and in pairs, with 95 % Clopper-Pearson
intervals, beside the false discovery rate that was asked for; and the same where every second window has rows that are
harder, in all traffic or in one pair: *named* are windows that say so of that pair, *pairs* those that do of another.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from performance_alarms import LEARN, RATE, REGIONS, TENANTS, TOLD, measured, share

from tidegauge.config import Performance
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.labels import canonical
from tidegauge.detectors.pairs import candidates
from tidegauge.detectors.performance.answers import Answers
from tidegauge.detectors.performance.baseline import Past, chosen
from tidegauge.detectors.performance.book import Key, Memory
from tidegauge.detectors.performance.estimators import fitted
from tidegauge.detectors.performance.measured import Measured
from tidegauge.detectors.performance.reading import Rows
from tidegauge.detectors.performance.task import Task
from tidegauge.detectors.performance.verdicts import judged, widened
from tidegauge.detectors.traffic import Category, Traffic, encoded
from tidegauge.model import ALL, Slice, Window

Rng = np.random.Generator
LEARNED_FROM = 14
START = datetime(2026, 1, 5, tzinfo=UTC)
TASK = Task("binary", (canonical("0"), canonical("1")), probabilities=True)
SETTINGS = Performance()


@dataclass(frozen=True)
class World:
    """``days`` and ``rows`` of a window, whose labels come ``late`` windows after it; ``harder`` is 0 to 1."""

    days: int
    rows: int
    late: int
    meaning: float = 0.3
    weather: bool = True
    harder: float = 0.0
    in_pair: bool = False

    def window(self, number: int) -> Window:
        """The windows follow each other."""
        start = START + timedelta(days=self.days * number)
        return Window(start, start + timedelta(days=self.days))


@dataclass
class Told:
    """A window that is over: what its labels said, and what had been estimated."""

    end: datetime
    answers: Answers
    values: dict[Key, Measured]
    estimates: dict[Key, float] = field(default_factory=dict)


class Model:
    """Draws windows of one model."""

    def __init__(self, rng: Rng, world: World) -> None:
        self._rng, self._world = rng, world
        self._tenants, self._regions = (rng.normal(0, world.meaning, size) for size in (TENANTS, REGIONS))

    def rows(self, harder: float) -> tuple[Rows, Answers]:
        """A window's rows as the estimator reads them, and its answers once the labels are in."""
        rng, n = self._rng, self._world.rows
        tenant, region = rng.integers(0, TENANTS, n), rng.integers(0, REGIONS, n)
        struck = (tenant == 0) & (region == 0) if self._world.in_pair else np.ones(n, dtype=bool)
        apart = 1.5 * (1 + 0.05 * self._world.weather * rng.normal()) * np.where(struck, 1 - harder, 1)
        x = rng.normal(0, 1, n) * apart
        odds = 1.2 * x + self._tenants[tenant] + self._regions[region] + 0.1 * self._world.weather * rng.normal()
        score, truth = 1 / (1 + np.exp(-1.6 * x)), (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(np.float64)
        said = (score >= 0.5).astype(np.float64)
        parts = {"tenant": tenant.astype(str), "region": region.astype(str)}
        traffic = Traffic(n, {}, {}, {name: _column(each) for name, each in parts.items()})
        nothing = pa.chunked_array([pa.array([""] * n)])
        names = _column(said.astype(int).astype(str)), _column(truth.astype(int).astype(str))
        traffic = traffic.with_pairs([("tenant", "region")])
        rows = Rows(*names, score, np.arange(n), np.zeros(n), traffic, (nothing, nothing))
        return rows, Answers(TASK, said, truth, score, np.ones(n))


def judged_windows(rng: Rng, world: World, count: int) -> Iterator[tuple[bool, Sequence[Claim]]]:
    """Of ``count`` windows whether its rows were harder, and the claims; those are in nobody's past."""
    model, past = Model(rng, world), list[Told]()
    for number in range(LEARN + count):
        window, harder = world.window(number), world.harder if number >= LEARN and number % 2 else 0.0
        rows, answers = model.rows(harder)
        told = Told(window.end, answers, {})
        known = [each for each in past if each.end <= window.end - timedelta(days=world.days * world.late)]
        if known:
            claims, told.estimates = _estimated(rows, window, known, number)
            if number >= LEARN:
                yield bool(harder), claims
        if not harder:
            told.values = {(part, each.metric): each for part, each in measured(answers, rows.traffic)}
            past = [*past, told][-LEARN:]


def _estimated(rows: Rows, window: Window, known: list[Told], seed: int) -> tuple[list[Claim], dict[Key, float]]:
    memory = _memory(window, known)
    last = [each.answers for each in known[-LEARNED_FROM:]]
    said, truth, score = (np.concatenate([getattr(each, name) for each in last]) for name in ("said", "truth", "score"))
    estimator = fitted(TASK, rows, Answers(TASK, said, truth, score, np.ones(len(said))), None, ())
    assert not isinstance(estimator, str), estimator
    singles = [Slice(name, value) for name in ("tenant", "region") for value in rows.traffic.dimensions[name].names]
    parts = [ALL, *singles, *candidates(rows.traffic, singles)]
    places = [None if part == ALL else rows.traffic.index(part) for part in parts]
    made = estimator.estimate(rows, places, (), np.random.default_rng(seed))
    found = [(part, widened(part, each, memory)) for part, own in zip(parts, made, strict=True) for each in own]
    estimates = {(part, each.metric): each.value for part, each in found if isinstance(each, Measured)}
    return judged(found, memory, SETTINGS, RATE, "estimated").claims, estimates


def _memory(window: Window, known: list[Told]) -> Memory:
    wanted = SETTINGS.baseline_windows
    ends = chosen(window, [each.end for each in known], 3 * wanted, SETTINGS.baseline)
    past, errors = dict[Key, list[Past]](), dict[Key, list[float]]()
    for told in (each for each in reversed(known) if each.end in ends):
        for key, each in told.values.items():
            past.setdefault(key, []).append(Past(told.end, each.value, each.error, each.n))
            if key in told.estimates:
                errors.setdefault(key, []).append(told.estimates[key] - each.value)
    return Memory({key: own[:wanted] for key, own in past.items()}, {key: own[:wanted] for key, own in errors.items()})


def _column(values: np.ndarray) -> Category:
    return encoded(pa.chunked_array([pa.array(values)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.process_time()
    for at, world in enumerate(worlds()):
        counts = {harder: dict.fromkeys(("anywhere", "all traffic", "pairs", "named"), 0) for harder in (False, True)}
        looked = {False: 0, True: 0}
        for harder, claims in judged_windows(np.random.default_rng([given.seed, at]), world, given.windows):
            drifting = [claim.part for claim in claims if claim.verdict is Verdict.DRIFT]
            struck = harder and world.in_pair
            looked[harder] += 1
            counts[harder]["anywhere"] += bool(drifting)
            counts[harder]["all traffic"] += ALL in drifting
            counts[harder]["pairs"] += any(part.is_pair and not (struck and part == TOLD) for part in drifting)
            counts[harder]["named"] += struck and TOLD in drifting
        for harder in (False, True):
            row = {"days": world.days, "rows": world.rows, "late": world.late, "meaning": world.meaning}
            row |= {"weather": world.weather, "harder": world.harder * harder, "in a pair": world.in_pair and harder}
            if looked[harder]:
                shares = {name: share(hits, looked[harder]) for name, hits in counts[harder].items()}
                print(json.dumps(row | {"windows": looked[harder], "asked": RATE} | shares), flush=True)
    print(json.dumps({"cpu_s": round(time.process_time() - started, 1)}))


def worlds() -> Iterator[World]:
    for meaning in (0.0, 0.3, 1.0):
        yield World(1, 2000, 7, meaning)
        yield World(7, 5000, 2, meaning)
    yield World(1, 2000, 7, harder=0.3)
    yield World(7, 5000, 2, harder=0.3)
    yield World(1, 4000, 7, harder=0.8, in_pair=True)
    yield World(7, 10_000, 2, harder=0.8, in_pair=True)


if __name__ == "__main__":
    main()
