"""How often the detectors speak when nothing happened, and how soon when something did.

    python benchmarks/false_alarms.py methods            every statistic, windows of 50 to 100,000 rows
    python benchmarks/false_alarms.py power              what each finds of shifts in windows of 500 rows, and of names
    python benchmarks/false_alarms.py stream             500 features, 20 slices, a look every 5 minutes for 4 weeks
    python benchmarks/false_alarms.py peers DIR          the same null and shifts for peers installed under DIR
    python benchmarks/false_alarms.py e-processes        sequential tests under their own null

`peers` runs `false_alarms_peers.py` with DIR/<peer>/bin/python (evidently, nannyml, whylogs, frouros, alibi-detect),
one environment each: they cannot share one. Rates are given with Clopper-Pearson intervals.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from tidegauge.detectors.profile import CategoryPart
from tidegauge.detectors.questions import STANDARD
from tidegauge.detectors.sequential.baseline import Baseline, Blocks, slots_of
from tidegauge.detectors.sequential.bets import BettingProcess
from tidegauge.detectors.sequential.conformal import Jumper, p_values, slack_of
from tidegauge.detectors.sequential.e_detectors import log_thresholds
from tidegauge.detectors.sequential.monitor import Monitor, State
from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.counts import MOST_NAMES, Counts
from tidegauge.detectors.sketches.profile import about_capped
from tidegauge.detectors.statistics import (
    NumericBins,
    Result,
    anderson_darling,
    chi_squared,
    duplicates,
    ks,
    lost_categories,
    mean_shift,
    missing_share,
    mmd,
    new_categories,
    out_of_range,
    outliers,
    psi,
    quantile_shift,
    variance_shift,
    volume,
    wasserstein,
    wrong_type,
)
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.model import ALL

Rng = np.random.Generator
SIZES = (50, 200, 1_000, 10_000, 100_000)
RATES = (0.05, 0.01)


@dataclass(frozen=True)
class Case:
    """A method on data of one kind: ``p`` draws a reference and a window from one law and gives the p-value.

    Where several methods are asked of the same draws, ``method`` names them all and ``p`` gives one for each.
    """

    method: str
    data: str
    p: Callable[[Rng, int, int], float | tuple[float | None, ...] | None]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.method.split())


def numbers(kind: str) -> Callable[[Rng, int], np.ndarray]:
    return {
        "normal": lambda rng, n: rng.normal(size=n),
        "ties": lambda rng, n: np.round(rng.normal(size=n) * 2),
        "t(2)": lambda rng, n: rng.standard_t(2, size=n),
        "log-normal": lambda rng, n: rng.lognormal(0, 1, size=n),
    }[kind]


def shares(categories: int) -> np.ndarray:
    weights = 1 / np.arange(1, categories + 1)
    return np.asarray(weights / weights.sum())


def p_of(outcome: object) -> float | None:
    return outcome.p_value if isinstance(outcome, Result) else None


def numeric_case(name: str, kind: str) -> Case:
    draw = numbers(kind)

    def p(rng: Rng, n: int, m: int) -> float | None:
        left, right = draw(rng, n), draw(rng, m)
        return p_of(of_values(name, rng, left, right))

    return Case(name, kind, p)


VALUES = (ks, anderson_darling, mean_shift, variance_shift, quantile_shift, out_of_range, outliers)


def of_values(name: str, rng: Rng, left: np.ndarray, right: np.ndarray) -> object:
    """What one statistic of values says, as the round asks it."""
    if name == "psi":
        bins = NumericBins.fit(left)
        return psi(bins.counts(left), bins.counts(right))
    if name == "wasserstein":
        return wasserstein(left, right, rng=rng)
    return {each.__name__: each for each in VALUES}[name](left, right)


def categorical_case(name: str, categories: int) -> Case:
    law = shares(categories)

    def p(rng: Rng, n: int, m: int) -> float | None:
        left, right = rng.multinomial(n, law), rng.multinomial(m, law)
        if name in ("new_categories", "lost_categories"):
            named = [{str(at): int(count) for at, count in enumerate(each) if count} for each in (left, right)]
            return p_of((new_categories if name == "new_categories" else lost_categories)(*named))
        return p_of({"psi": psi, "chi_squared": chi_squared}[name](left, right))

    return Case(name, f"{categories} categories", p)


OF_NAMES = ("psi", "chi_squared", "risen_category")
MANY = {"100 equal": 100, "1,000 equal": 1_000, "10,000 equal": 10_000, "1,000 Zipf": 1_000, "10,000 Zipf": 10_000}


def names_case(kind: str, *, counted: bool = False) -> Case:
    """Many categories as the round compares them, on cells that the reference chose; ``counted`` keeps 1,000 names."""
    law = np.full(MANY[kind], 1 / MANY[kind]) if kind.endswith("equal") else shares(MANY[kind])
    names = OF_NAMES[1:] if counted else OF_NAMES

    def p(rng: Rng, n: int, m: int) -> tuple[float | None, ...]:
        found = of_names(*(part_of(rng.multinomial(size, law), counted=counted) for size in (n, m)))
        return tuple(p_of(found[name]()) if name in found else None for name in names)

    return Case(" ".join(names), f"{kind} categories{', from counts' if counted else ''}", p)


def of_names(left: CategoryPart, right: CategoryPart) -> dict[str, Callable[[], object]]:
    """What the detectors of a feature of many categories say."""
    found: dict[str, Callable[[], object]] = {}
    for each in about_capped("x", ALL, left, right, STANDARD):
        found |= {each.detector: partial(getattr, each, "outcome"), **dict(each.followers)}
    return found


def part_of(rows: np.ndarray, *, counted: bool) -> CategoryPart:
    if not counted:
        return CategoryPart(int(rows.sum()), {f"n{at}": int(rows[at]) for at in np.flatnonzero(rows)})
    names, codes = tuple(f"n{at}" for at in range(len(rows))), np.repeat(np.arange(len(rows), dtype=np.int32), rows)
    return Counts.of(Traffic(len(codes), {}, {"x": Category(codes, names)}), Binning(3600)).category(ALL, "x")


def rate_case(share: float) -> Case:
    def p(rng: Rng, n: int, m: int) -> float | None:
        return p_of(missing_share(int(rng.binomial(n, share)), n, int(rng.binomial(m, share)), m))

    return Case("missing_share", f"share {share:g}", p)


def fault_case(share: float) -> Case:
    def p(rng: Rng, n: int, m: int) -> float | None:
        return p_of(wrong_type(int(rng.binomial(n, share)), n, int(rng.binomial(m, share)), m))

    return Case("wrong_type", f"share {share:g}", p)


def repeats_case(patterns: int) -> Case:
    """Rows of a law with so many different rows."""

    def p(rng: Rng, n: int, m: int) -> float | None:
        counts = [(rows - len(np.unique(rng.integers(0, patterns, rows))), rows) for rows in (n, m)]
        return p_of(duplicates(*counts[0], *counts[1]))

    return Case("duplicates", f"{patterns} different rows", p)


def volume_case() -> Case:
    def p(rng: Rng, n: int, m: int) -> float | None:
        level = m * np.exp(rng.normal(0, 0.1, size=29))
        return p_of(volume(rng.poisson(level[:28]), int(rng.poisson(level[28]))))

    return Case("volume", "log-normal", p)


def mmd_case() -> Case:
    def p(rng: Rng, n: int, m: int) -> float | None:
        return p_of(mmd(rng.normal(size=(200, 16)), rng.normal(size=(min(m, 200), 16)), rng=rng, permutations=99))

    return Case("mmd", "16 dimensions", p)


def cases() -> Iterator[Case]:
    for kind in ("normal", "ties", "t(2)", "log-normal"):
        for name in ("psi", "wasserstein", *(each.__name__ for each in VALUES)):
            yield numeric_case(name, kind)
    for categories in (2, 10, 100, 10_000):
        yield categorical_case("lost_categories", categories)
        for name in ("chi_squared", "psi", "new_categories"):
            if (name == "new_categories") == (categories == 10_000):  # with few categories none is ever new
                yield categorical_case(name, categories)
    for kind, categories in MANY.items():
        yield names_case(kind)
        if categories > MOST_NAMES:
            yield names_case(kind, counted=True)
    yield rate_case(0.01)
    yield rate_case(0.3)
    yield fault_case(0.001)
    yield fault_case(0.05)
    yield repeats_case(10_000)
    yield repeats_case(10_000_000)
    yield volume_case()
    yield mmd_case()


def repetitions(case: Case, size: int, most: int) -> int:
    many = case.data.startswith("10,000 ") and len(case.names) > 1
    costly = 400 if case.method in ("mmd", "wasserstein") or many else most
    return min(most, costly, max(200, int(20_000_000 / (size + 10_000))))


def interval(hits: int, count: int) -> tuple[float, float]:
    found = binomtest(hits, count).proportion_ci(0.99)
    return float(found.low), float(found.high)


def methods(seed: int, most: int, only: tuple[str, ...] = (), largest: int = SIZES[-1]) -> list[dict[str, object]]:
    """For every method, data and size: how often p <= alpha, of windows in which it gave a p-value."""
    rows: list[dict[str, object]] = []
    for case in cases():
        if only and not set(case.names) & set(only):
            continue
        for size in (each for each in SIZES if each <= largest):
            if case.method == "mmd" and size > 200:
                continue
            rng = np.random.default_rng([seed, size, zlib.crc32(f"{case.method} {case.data}".encode())])
            count = repetitions(case, size, most)
            drawn = [case.p(rng, max(10_000, size), size) for _ in range(count)]
            table = [each if isinstance(each, tuple) else (each,) for each in drawn]
            rows += [
                row_of(name, case.data, size, p) for name, p in zip(case.names, zip(*table, strict=True), strict=True)
            ]
    return rows


def row_of(method: str, data: str, size: int, p_values: Sequence[float | None]) -> dict[str, object]:
    told = np.array([each for each in p_values if each is not None])
    row: dict[str, object] = {"method": method, "data": data, "rows": size, "windows": len(p_values), "told": len(told)}
    for rate in RATES:
        hits = int(np.count_nonzero(told <= rate))
        low, high = interval(hits, len(told)) if len(told) else (0.0, 1.0)
        row[f"at {rate:g}"] = round(hits / len(told), 4) if len(told) else None
        row[f"verdict {rate:g}"] = verdict(len(told), low, high, rate)
    return row


def verdict(told: int, low: float, high: float, rate: float) -> str:
    """Whether the rate lies in the 99 % interval of what was observed; below is on the safe side."""
    if not told:
        return "undetermined"
    return "over" if low > rate else "below" if high < rate else "within"


# --- power -----------------------------------------------------------------------------------------------------------

SHIFTS: dict[str, Callable[[Rng, np.ndarray], np.ndarray]] = {
    "none": lambda _, x: x,
    "mean + 0.2 sd": lambda _, x: x + 0.2,
    "spread x 1.25": lambda _, x: 1.25 * x,
    "tails: 3 % of rows x 5": lambda rng, x: np.where(rng.random(len(x)) < 0.03, 5 * x, x),
    "upper tenth + 1 sd": lambda _, x: np.where(x > 1.2816, x + 1, x),
    "2 % of rows at -9": lambda rng, x: np.where(rng.random(len(x)) < 0.02, -9.0, x),
}


def power(seed: int, windows: int) -> list[dict[str, object]]:
    """Share of windows of 500 normal rows, against 10,000, with p <= 0.01; Cramer-von Mises from scipy."""
    from scipy.stats import cramervonmises_2samp

    names = ["psi", "wasserstein", *(each.__name__ for each in VALUES)]
    rows: list[dict[str, object]] = []
    for shift, change in SHIFTS.items():
        rng, hits = np.random.default_rng(seed), dict.fromkeys([*names, "cramer_von_mises"], 0)
        for _ in range(windows):
            left, right = rng.normal(size=10_000), change(rng, rng.normal(size=500))
            p_values = {name: p_of(of_values(name, rng, left, right)) for name in names}
            p_values["cramer_von_mises"] = cramervonmises_2samp(left, right, method="asymptotic").pvalue
            for name, p in p_values.items():
                hits[name] += p is not None and p <= 0.01
        rows.append(
            {"shift": shift, "windows": windows} | {name: round(found / windows, 3) for name, found in hits.items()}
        )
    return rows


MOVED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda law: law,
    "the first of 20 loses a fifth": lambda law: law * np.where(np.arange(len(law)) == 0, 0.8, 1),
    "5 % of rows from the frequent half to the rare": lambda law: law + 0.05 * halves(law),
    "every share by a factor, sd 0.3": lambda law: law * np.exp(0.3 * np.random.default_rng(7).normal(size=len(law))),
    "a rare name takes 3 %": lambda law: 0.97 * law + 0.03 * (np.arange(len(law)) == len(law) - 1),
    "a new name takes 3 %": lambda law: np.append(0.97 * law, 0.03),
    "50 new names take 3 %": lambda law: np.append(0.97 * law, np.full(50, 0.03 / 50)),
}


def halves(law: np.ndarray) -> np.ndarray:
    first = np.arange(len(law)) < len(law) // 2
    return np.where(first, -law / law[first].sum(), 1 / np.count_nonzero(~first))


def power_of_names(seed: int, windows: int, rows: int) -> list[dict[str, object]]:
    """Share of windows with p <= 0.01, against 10,000 rows; `told` also reach the floor of their effect.

    `alone` is chi-squared of the cells that the reference alone chose.
    """
    columns = ("chi_squared alone", "chi_squared", "psi", "new_categories", "risen_category", "told")
    found: list[dict[str, object]] = []
    for kind in ("100 equal", "1,000 Zipf"):
        law = np.full(MANY[kind], 1 / MANY[kind]) if kind.endswith("equal") else shares(MANY[kind])
        for shift, change in MOVED.items():
            rng, hits = np.random.default_rng(seed), dict.fromkeys(columns, 0)
            now = change(law)
            for _ in range(windows):
                left = part_of(rng.multinomial(10_000, law), counted=False)
                right = part_of(rng.multinomial(rows, now / now.sum()), counted=False)
                said = {name: compute() for name, compute in of_names(left, right).items()}
                said["chi_squared alone"] = chi_squared(np.array(left.bins.reference), left.bins.counts(right.counts))
                sure = {name: each for name, each in said.items() if (p := p_of(each)) is not None and p <= 0.01}
                for name in columns[:-1]:
                    hits[name] += name in sure
                hits["told"] += any(
                    isinstance(each, Result) and each.effect >= each.floor
                    for name, each in sure.items()
                    if name != "chi_squared alone"
                )
            row: dict[str, object] = {"categories": kind, "shift": shift, "rows": rows, "windows": windows}
            found.append(row | {name: round(count / windows, 3) for name, count in hits.items()})
    return found


# --- the stream -------------------------------------------------------------------------------------------------------

PER_DAY, WEEKS = 288, 4
SECONDS = 300


@dataclass(frozen=True)
class World:
    """Clean traffic: rows by the hour of the day and week, features with a season, weather and days of their own."""

    features: int = 500
    slices: int = 20
    weeks: int = WEEKS
    chunk: int = 25

    @property
    def streams(self) -> int:
        return self.features * (self.slices + 1)


def weather(rng: Rng, count: int, width: int, memory: float, deviation: float) -> np.ndarray:
    """An autoregressive wander, in deviations of a row."""
    from scipy.signal import lfilter

    noise = rng.normal(size=(count, width)) * deviation * math.sqrt(1 - memory**2)
    return np.asarray(lfilter([1], [1, -memory], noise, axis=0))


def rows_per_bucket(count: int) -> np.ndarray:
    day = np.arange(count) % PER_DAY / PER_DAY
    weekend = np.where(np.arange(count) // PER_DAY % 7 >= 5, 0.6, 1.0)
    return np.asarray((0.3 + 0.7 * np.sin(np.pi * day) ** 2) * weekend)


def chunk_of(rng: Rng, world: World) -> tuple[np.ndarray, np.ndarray]:
    """Means and their chance variance of a chunk of features in all traffic and every slice, reference and stream.

    A third of the features is heavy-tailed (t(3) rows), a third a rate of 5 %; deviations are 1 and 0.22.
    """
    count, parts = 2 * world.weeks * 7 * PER_DAY, world.slices + 1
    rows = rng.poisson(rows_per_bucket(count)[:, None] * np.r_[1000, np.full(world.slices, 50)]) + 1
    means, noise = [], []
    turn = 2 * np.pi * np.arange(count) / PER_DAY
    for feature in range(world.chunk):
        own = rng.uniform(0.1, 0.5) * np.sin(turn + rng.uniform(0, 6)) + rng.uniform(0, 0.3) * np.sin(turn / 7)
        shared = (
            weather(rng, count, 1, 0.98, 0.05) + np.repeat(rng.normal(0, 0.04, size=count // PER_DAY), PER_DAY)[:, None]
        )
        level = own[:, None] + shared + weather(rng, count, parts, 0.95, 0.03)
        kind = feature % 3
        if kind == 2:
            share = 0.05 * np.exp(0.3 * level)
            means.append(rng.binomial(rows, share) / rows)
            noise.append(np.maximum(means[-1] * (1 - means[-1]), 0.02) / rows)
        else:
            drawn = rng.normal(size=rows.shape) if kind == 0 else rng.standard_t(3, size=rows.shape) / math.sqrt(3)
            means.append(1 + level + drawn / np.sqrt(rows))
            noise.append(1 / rows)
    return np.hstack(means), np.hstack(noise)


FAULTS = {
    "sudden, a quarter of a deviation": lambda days: np.where(days >= 7, 0.25, 0.0),
    "sudden, one deviation": lambda days: np.where(days >= 7, 1.0, 0.0),
    "mean falls 15 % in two weeks": lambda days: -0.15 * np.clip(days / 14, 0, 1),
}


@dataclass
class Tally:
    pages: int = 0
    looks: int = 0
    naive: int = 0
    naive_season: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        self.pages, self.looks = self.pages + other.pages, self.looks + other.looks
        self.naive, self.naive_season = self.naive + other.naive, self.naive_season + other.naive_season
        return self


def watched(monitor: Monitor, means: np.ndarray, noise: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """The bucket of each stream's first alarm, -1 for none, and how often an alarm began."""
    state = State.start(means.shape[1])
    on = np.zeros(means.shape[1], dtype=bool)
    first, began = np.full(means.shape[1], -1), 0
    for at in range(len(means)):
        state = monitor.step(state, means[at], noise[at], int(slots[at]), float(at * SECONDS))
        state, _, now = monitor.settled(state, on)
        began += int(np.count_nonzero(now & ~on))
        first = np.where(now & (first < 0), at, first)
        on = now
    return np.append(first, began)


def stream(seed: int, world: World, faults: bool) -> dict[str, object]:
    """False pages in the clean weeks, and with ``faults`` the delays of what is put into three chunks more."""
    rng, started = np.random.default_rng(seed), time.process_time()
    tally, half = Tally(), world.weeks * 7 * PER_DAY
    looks = half * 365.25 / 12 / (world.weeks * 7)
    log_a = thresholds(world, looks)
    slots = slots_of(np.arange(2 * half) * SECONDS, SECONDS, weekly=True)
    found: dict[str, object] = {"streams": world.streams, "looks": half}
    found["log10 A, all traffic and slices"] = [round(each / math.log(10), 2) for each in log_a[:2]]
    delays: dict[str, object] = {}
    for number in range(world.features // world.chunk):
        means, noise = chunk_of(rng, world)
        monitor = fitted(means[:half], noise[:half], slots[:half], log_a)
        tally.pages += int(watched(monitor, means[half:], noise[half:], slots[half:])[-1])
        tally += naive(means, noise, slots, half, 0.05 / world.streams)
        if faults and number < len(FAULTS):
            name, change = list(FAULTS.items())[number]
            delays[name] = delayed(replace(monitor, together=False), means[half:], noise[half:], slots[half:], change)
    found |= {"false pages": tally.pages, "features with drift, z test each look, one law for all hours": tally.naive}
    found |= {"z test each look, same slot of the week": tally.naive_season, "delays": delays}
    return found | {"cpu_s": round(time.process_time() - started, 1)}


def fitted(means: np.ndarray, noise: np.ndarray, slots: np.ndarray, log_a: np.ndarray) -> Monitor:
    floors = np.where(np.nanmedian(means, axis=0) < 0.3, 0.02, 0.1)
    return Monitor(Baseline.fit(Blocks(means, noise, slots), PER_DAY), floors, log_a, PER_DAY)


def thresholds(world: World, looks: float) -> np.ndarray:
    """log A of the streams of a chunk: as in the family of all features."""
    whole = np.arange(world.streams) % (world.slices + 1) == 0
    return log_thresholds(whole, looks, 1.0)[: world.chunk * (world.slices + 1)]


def naive(means: np.ndarray, noise: np.ndarray, slots: np.ndarray, half: int, alpha: float) -> Tally:
    """What independent z tests at a Bonferroni level say: (stream, look) pairs called drift."""
    from scipy.stats import norm

    limit = float(norm.isf(alpha / 2))
    usual = means[:half].mean(axis=0)
    by_slot = means[:half].reshape(WEEKS if half == WEEKS * 7 * PER_DAY else -1, 7 * PER_DAY, -1)
    season, weeks = by_slot.mean(axis=0)[slots[half:]], len(by_slot)
    now, error = means[half:], np.sqrt(noise[half:])
    return Tally(
        naive=int(np.count_nonzero(np.abs(now - usual) > limit * error)),
        naive_season=int(np.count_nonzero(np.abs(now - season) > limit * error * math.sqrt(1 + 1 / weeks))),
    )


def delayed(
    monitor: Monitor,
    means: np.ndarray,
    noise: np.ndarray,
    slots: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray],
) -> dict[str, object]:
    """Of all streams of the chunk with a fault: how many are found, each by itself, and after how many hours."""
    days = np.arange(len(means)) / PER_DAY
    scale = np.where(monitor.floors < 0.05, 0.22, 1.0)
    shifted = means + change(days)[:, None] * scale
    onset = int(np.argmax(change(days) != 0))
    first = watched(monitor, shifted, noise, slots)[:-1]
    after = first[first >= onset] - onset
    hours = np.percentile(after, [50, 90]) * SECONDS / 3600 if len(after) else [math.nan, math.nan]
    return {"found": round(len(after) / len(first), 3), "median h": round(hours[0], 1), "90 % h": round(hours[1], 1)}


# --- sequential tests under their own null --------------------------------------------------------------------------


def e_processes(seed: int, runs: int) -> list[dict[str, object]]:
    """Share of runs of 10,000 rows in which a test at alpha = 0.05, looked at after each batch, ever rejects."""
    rng, rows = np.random.default_rng(seed), []
    cases: dict[str, Callable[[], bool]] = {
        "betting, rate 0.02": lambda: ever_bets(rng.random(10_000) < 0.02, 0.02),
        "betting, beta(2, 5)": lambda: ever_bets(rng.beta(2, 5, 10_000), 2 / 7),
        "betting, rate 0.02 become 0.03": lambda: ever_bets(rng.random(10_000) < 0.03, 0.02),
        "z test each batch, rate 0.02": lambda: ever_z(rng.random(10_000) < 0.02, 0.02),
        "conformal, fixed reference of 1000": lambda: ever_jumps(rng, 1000, 0.0, slack=True),
        "conformal without slack, reference of 1000": lambda: ever_jumps(rng, 1000, 0.0, slack=False),
        "conformal, shift of 0.5 deviations": lambda: ever_jumps(rng, 1000, 0.5, slack=True),
    }
    for name, run in cases.items():
        hits = sum(run() for _ in range(runs))
        low, high = interval(hits, runs)
        rows.append({"test": name, "runs": runs, "ever": hits / runs, "low": round(low, 4), "high": round(high, 4)})
    return rows


def ever_bets(values: np.ndarray, m: float) -> bool:
    process, limit = BettingProcess.start(m), math.log(20)
    for batch in np.split(values.astype(np.float64), 100):
        process = process.after(batch)
        if process.log_e() >= limit:
            return True
    return False


def ever_z(values: np.ndarray, m: float) -> bool:
    count = np.arange(100, 10_001, 100)
    z = (np.cumsum(values)[count - 1] - count * m) / np.sqrt(count * m * (1 - m))
    return bool(np.any(np.abs(z) > 1.96))


def ever_jumps(rng: Rng, k: int, shift: float, *, slack: bool) -> bool:
    reference = np.sort(rng.normal(size=k))
    jumper, limit = Jumper.start(slack_of(k) if slack else 0.0), math.log(20)
    for _ in range(20):
        jumper = jumper.after(p_values(reference, rng.normal(size=500) + shift, rng))
        if jumper.log_e() >= limit:
            return True
    return False


# --- peers ------------------------------------------------------------------------------------------------------------


SILENT = {"NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True", "DO_NOT_TRACK": "1"}
"""Some of them report their use to their makers."""


def peers(directory: Path) -> list[dict[str, object]]:
    """False alarms of each peer's defaults and power at equal false-alarm rate; one process a peer."""
    script, env = Path(__file__).with_name("false_alarms_peers.py"), os.environ | SILENT
    rows: list[dict[str, object]] = []
    for name in ("tidegauge", "tidegauge-wasserstein", "evidently", "nannyml", "whylogs", "frouros", "alibi-detect"):
        python = Path(sys.executable) if name.startswith("tidegauge") else directory / name / "bin" / "python"
        if not python.exists():
            rows.append({"peer": name, "problem": "not installed there"})
            continue
        done = subprocess.run([python, script, name], capture_output=True, text=True, check=False, env=env)
        if done.returncode:
            rows.append({"peer": name, "problem": done.stderr.strip().splitlines()[-1:]})
        else:
            rows += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["methods", "power", "stream", "peers", "e-processes"])
    parser.add_argument("directory", nargs="?", type=Path, default=Path("peers"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--windows", type=int, default=2000, help="most windows for each method, data and size")
    parser.add_argument("--only", nargs="*", default=[], help="of these methods alone")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="rows of the largest window")
    parser.add_argument("--features", type=int, default=500)
    parser.add_argument("--no-faults", action="store_true")
    given = parser.parse_args()
    if given.what == "methods":
        result: object = methods(given.seed, given.windows, tuple(given.only), given.largest)
    elif given.what == "power":
        windows = min(given.windows, 400)
        result = power(given.seed, windows) + [
            row for rows in (1000, 10_000) for row in power_of_names(given.seed, windows, rows)
        ]
    elif given.what == "stream":
        result = stream(given.seed, World(features=given.features), not given.no_faults)
    elif given.what == "e-processes":
        result = e_processes(given.seed, min(given.windows, 400))
    else:
        result = peers(given.directory)
    for row in result if isinstance(result, list) else [result]:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
