"""Embedding drift: power of each test at a 5 % topic shift, false alarms, and what one test costs. CPU only.

The vectors are made: 20 topics on the unit sphere of 384 dimensions with noise about each, as wide as sentence
embeddings of one service are. ``--runs`` is the number of windows behind each rate. Numbers of threads are left as the
machine has them, so set OPENBLAS_NUM_THREADS=1 where others work on it too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from race import race

from tidegauge.collectors.schema import migrate
from tidegauge.detectors.embedding.sums import Summed, Sums
from tidegauge.detectors.statistics import FeatureMap, Outcome, Result, c2st, mmd, random_features
from tidegauge.detectors.statistics.mmd import median_distance
from tidegauge.model import ALL, Window
from tidegauge.store import Store

DIMENSIONS, TOPICS, ROUNDS = 384, 20, 3
START = datetime(2026, 1, 1, tzinfo=UTC)
BUCKETS, WINDOWS = 60, 8
Vectors = NDArray[np.float32]
Draw = Callable[[np.random.Generator, int], Vectors]


def topics(shares: NDArray[np.float64]) -> Draw:
    """Vectors of unit length, topics drawn by ``shares``."""
    centres = np.random.default_rng(7).normal(size=(len(shares), DIMENSIONS))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)

    def draw(rng: np.random.Generator, count: int) -> Vectors:
        chosen = rng.choice(len(shares), size=count, p=shares)
        rows = 0.6 * centres[chosen] + 0.8 / np.sqrt(DIMENSIONS) * rng.normal(size=(count, DIMENSIONS))
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    return draw


def scenarios() -> dict[str, Draw]:
    """What the window is drawn from; the reference always from the first."""
    usual = np.append(np.full(TOPICS, 1 / TOPICS), 0.0)
    grown = usual.copy()
    grown[0] += 0.05
    return {
        "nothing": topics(usual),
        "a new topic, 5 % of the texts": topics(np.append(np.full(TOPICS, 0.95 / TOPICS), 0.05)),
        "a topic from 5 % to 10 %": topics(grown / grown.sum()),
    }


def power(runs: int, rows: int) -> None:
    """Share of windows with p at most 0.05."""
    usual, *_ = scenarios().values()
    names = ("exact, 1 : 1", "sums, 1 : 1", f"sums, 1 : {WINDOWS}", "classifier, 1 : 1")
    print(f"\n{rows:,} texts in the window, {runs} windows; p <= 0.05 in a share of")
    print(f"{'':<32}" + "".join(f"{name:>19}" for name in names))
    for what, draw in scenarios().items():
        found = np.array([_p_values(usual, draw, rows, np.random.default_rng([run, 5])) for run in range(runs)])
        print(f"{what:<32}" + "".join(f"{each:>19.3f}" for each in (found <= 0.05).mean(axis=0)), flush=True)


def _p_values(usual: Draw, draw: Draw, rows: int, rng: np.random.Generator) -> list[float]:
    long, current = usual(rng, rows * WINDOWS), draw(rng, rows)
    reference = long[:rows]
    of = FeatureMap("made", DIMENSIONS, median_distance(reference))
    now = of.buckets(current, np.arange(rows) % BUCKETS, BUCKETS)
    before = of.buckets(reference, np.arange(rows) % BUCKETS, BUCKETS)
    whole = of.buckets(long, np.arange(len(long)) % (BUCKETS * WINDOWS), BUCKETS * WINDOWS)
    outcomes: list[Outcome] = [
        mmd(reference, current, permutations=199, rng=rng),
        random_features(before, now, permutations=199, rng=rng),
        random_features(whole, now, permutations=199, rng=rng),
        c2st(reference, current, permutations=199, rng=rng),
    ]
    return [each.p_value for each in outcomes if isinstance(each, Result) and each.p_value is not None]


def speed(rows: int) -> None:
    """CPU seconds of one test; the fast one reads its sums from ClickHouse each time."""
    rng = np.random.default_rng(1)
    usual, new, _ = scenarios().values()
    reference, current = usual(rng, rows), new(rng, rows)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        of = FeatureMap("made", DIMENSIONS, median_distance(reference))
        window = Window(START + timedelta(hours=WINDOWS), START + timedelta(hours=WINDOWS + 1))
        before = Window(START, START + timedelta(hours=WINDOWS))
        _stored(store, of, reference, before)
        _stored(store, of, current, window)

        def from_sums() -> Outcome:
            found = Sums(store).read("service", of, [before, window], 60, ())
            sides = found.within(ALL, [before], 60), found.within(ALL, [window], 60)
            outcome = random_features(*sides, rng=np.random.default_rng(2))
            assert isinstance(outcome, Result), outcome
            return outcome

        work: dict[str, Callable[[], object]] = {
            f"sums of {BUCKETS * (WINDOWS + 1)} stretches, read and tested, 999": from_sums,
            "summing the window, once": lambda: of.buckets(current, np.arange(rows) % BUCKETS, BUCKETS),
            "exact MMD, 100 permutations": lambda: mmd(reference, current, permutations=100, rng=rng),
            "classifier, 100 permutations": lambda: c2st(reference, current, permutations=100, rng=rng),
            "bound: the Gram matrix's products": lambda: _gram(np.concatenate([reference, current])),
        }
        print(f"\n{rows:,} texts against {rows:,}, least CPU seconds of {ROUNDS} rounds in turns")
        for name, seconds in race(ROUNDS, work).items():
            print(f"{name:<52}{seconds:>9.3f}", flush=True)
        store.close()


def _stored(store: Store, of: FeatureMap, vectors: Vectors, window: Window) -> None:
    first = int(window.start.timestamp()) // 60
    minutes = int(window.length.total_seconds()) // 60
    sums = of.buckets(vectors, np.arange(len(vectors)) % minutes, minutes)
    found = Summed({ALL: np.arange(first, first + minutes)}, {ALL: sums}, of.name)
    Sums(store).write("service", of, 60, [window], found)


def _gram(rows: Vectors) -> None:
    """Products of all pairs, half of them by symmetry, in the tiles that the test takes."""
    for start in range(0, len(rows), 800):
        rows[start : start + 800] @ rows[start:].T


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="windows behind each rate")
    parser.add_argument("--rows", type=int, default=1_000, help="texts in a window, for power")
    parser.add_argument("--speed-rows", type=int, default=10_000, help="texts on each side, for speed; 0: not")
    asked = parser.parse_args()
    power(asked.runs, asked.rows)
    if asked.speed_rows:
        speed(asked.speed_rows)
