"""How soon a mean that falls 15 % in two weeks is found, hour by hour, and what a clean month costs.

    python benchmarks/slow_drift.py                 100 features in 20 slices: about a minute
    python benchmarks/slow_drift.py --features 500
    python benchmarks/slow_drift.py --mean 4        confidences of 0.8 that deviate by 0.2

Four weeks of hours to learn from, four weeks watched, one false page a month wanted over all streams. Each feature has
a season of its own, weather of hours and days that its slices share, and a mean of ``--mean`` deviations of its rows.
With a mean of 1, the hardest, 15 % are 0.15 deviations, one and a half floors: it reaches the floor after 224 h. The
fall is put into one feature at a time, in all of its slices. Beside the monitor stands an oracle that looks at days,
and knows season, deviation and the shape of the fall, and not when it began: what weather costs whoever looks.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.sequential.baseline import Baseline, Blocks, slots_of
from tidegauge.detectors.sequential.e_detectors import log_thresholds
from tidegauge.detectors.sequential.monitor import Monitor, State

Rng = np.random.Generator
PER_DAY, HALF, SLICES = 24, 28 * 24, 20
LOOKS = 730.5
WEATHER = (0.01, 0.02, 0.04)
"""Deviation of a day's weather, in deviations of a row; the weather of hours (half a day's memory) has as much."""


@dataclass(frozen=True)
class Feature:
    """Hours of one feature in all traffic and 20 slices."""

    means: np.ndarray
    noise: np.ndarray


def drawn(rng: Rng, weather: float) -> Feature:
    """Eight weeks; all traffic has 12,000 rows an hour at noon and a slice 600."""
    count, parts = 2 * HALF, SLICES + 1
    hour = np.arange(count)
    busy = (0.3 + 0.7 * np.sin(np.pi * (hour % PER_DAY) / PER_DAY) ** 2) * np.where(hour // PER_DAY % 7 >= 5, 0.6, 1.0)
    rows = rng.poisson(busy[:, None] * np.r_[12_000, np.full(SLICES, 600)]) + 1
    season = rng.uniform(0.1, 0.5) * np.sin(2 * np.pi * (hour / PER_DAY + rng.random()))
    season = season + rng.uniform(0, 0.3) * np.sin(2 * np.pi * hour / PER_DAY / 7)
    shared = wander(rng, count, 1, weather) + np.repeat(rng.normal(0, weather, (count // PER_DAY, 1)), PER_DAY, axis=0)
    own = wander(rng, count, parts, 0.01)
    return Feature(1 + season[:, None] + shared + own + rng.normal(size=rows.shape) / np.sqrt(rows), 1 / rows)


def wander(rng: Rng, count: int, width: int, deviation: float) -> np.ndarray:
    """Autoregressive weather of hours."""
    from scipy.signal import lfilter

    noise = rng.normal(size=(count, width)) * deviation * math.sqrt(1 - 0.8**2)
    return np.asarray(lfilter([1], [1, -0.8], noise, axis=0))


def fall(mean: float) -> np.ndarray:
    """15 % of a mean in two weeks, and then for good."""
    return -0.15 * mean * np.clip(np.arange(HALF) / (14 * PER_DAY), 0, 1)


@dataclass
class Watched:
    """First alarms, in hours (infinite: none), and how many began."""

    first: np.ndarray
    began: int


def watched(monitor: Monitor, means: np.ndarray, noise: np.ndarray, slots: np.ndarray) -> Watched:
    state, on = State.start(means.shape[1]), np.zeros(means.shape[1], dtype=bool)
    found = Watched(np.full(means.shape[1], math.inf), 0)
    for at in range(len(means)):
        state = monitor.step(state, means[at], noise[at], int(slots[at]), at * 3600.0)
        state, _, now = monitor.settled(state, on)
        found.began += int(np.count_nonzero(now & ~on))
        found.first = np.where(now & np.isinf(found.first), at + 1.0, found.first)
        on = now
    return found


def oracle_h(rng: Rng, weather: float, mean: float, log_a: float, runs: int = 400) -> float:
    """Median hours of a Shiryaev-Roberts test on days that knows all but when the fall began."""
    hours = PER_DAY * (1 + 0.8) / (1 - 0.8)
    deviation = weather * math.sqrt(1 + hours / PER_DAY**2)
    shift = -fall(mean).reshape(-1, PER_DAY).mean(axis=1)
    found = []
    for _ in range(runs):
        days = (shift + rng.normal(0, deviation, len(shift))) / deviation
        found.append(_oracle(days, shift / deviation, log_a - math.log(PER_DAY)))
    return float(np.median(found))


def _oracle(days: np.ndarray, shape: np.ndarray, log_a: float) -> float:
    for day in range(1, len(days) + 1):
        logs = [float((shape[: day - at] * days[at:day] - shape[: day - at] ** 2 / 2).sum()) for at in range(day)]
        if np.logaddexp.reduce(logs) >= log_a:
            return 24.0 * day
    return math.inf


def told(first: np.ndarray) -> dict[str, float]:
    found = first[np.isfinite(first)]
    hours = np.percentile(first, [50, 90], method="higher") if len(first) else [math.nan, math.nan]
    return {"found": round(len(found) / len(first), 3), "median h": float(hours[0]), "90 % h": float(hours[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--mean", type=float, default=1.0, help="in deviations of a row")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, started = np.random.default_rng(given.seed), time.process_time()
    slots = slots_of(np.arange(2 * HALF) * 3600, 3600, weekly=True)
    streams = given.features * (SLICES + 1)
    log_a = log_thresholds(np.arange(streams) % (SLICES + 1) == 0, LOOKS, 1.0)
    for weather in WEATHER:
        clean, first = 0, []
        for _ in range(given.features):
            feature = drawn(rng, weather)
            learned = Blocks(feature.means[:HALF], feature.noise[:HALF], slots[:HALF])
            monitor = Monitor(Baseline.fit(learned, PER_DAY), np.full(SLICES + 1, 0.1), log_a[: SLICES + 1])
            means, noise, after = feature.means[HALF:], feature.noise[HALF:], slots[HALF:]
            clean += watched(monitor, means, noise, after).began
            first.append(watched(monitor, means + fall(given.mean)[:, None], noise, after).first)
        hours = np.array(first)
        row = {"a day's weather": weather, "test": "sequential", "streams": streams, "false pages": clean}
        print(json.dumps(row | {"all traffic": told(hours[:, 0]), "slices": told(hours[:, 1:].ravel())}))
        best = oracle_h(rng, weather, given.mean, log_a[0])
        print(json.dumps({"a day's weather": weather, "test": "oracle", "all traffic": best}))
    print(json.dumps({"cpu_s": round(time.process_time() - started, 1)}))


if __name__ == "__main__":
    main()
