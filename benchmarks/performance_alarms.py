"""How often verdicts on performance speak of a model that does as well as ever.

    python benchmarks/performance_alarms.py                400 windows a cell: about a minute
    python benchmarks/performance_alarms.py --windows 2000

A model of two classes, in all traffic, in 10 tenants, 4 regions and their 40 pairs, judged window by window against its
own past as the detectors do: the same measurements, baselines, verdicts, and the windows that were bad left out of the
past. Its accuracy has a season of the week (two points less on weekends) and weather of its own from window to window;
scores keep their meaning. Labels come late: *final* is judged with all of them; *early* with those that have come, two
days after the window's end, weighted by one over the chance of having come, where wrong predictions are labelled half
as fast as right ones.

Given are windows with drift of any metric in any part, and in all traffic, with 95 % Clopper-Pearson intervals, beside
the false discovery rate that was asked for; and the same with accuracy four points down: what that costs. *Pairs* are
windows with drift in a pair. In the last two worlds one pair alone is 30 points worse: *named* are windows that say so
of that pair, *pairs* those that do of another one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from scipy.stats import binomtest

from tidegauge.config import Performance
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.pairs import candidates
from tidegauge.detectors.performance.answers import Answers, every
from tidegauge.detectors.performance.baseline import Past, chosen
from tidegauge.detectors.performance.book import Memory
from tidegauge.detectors.performance.measured import Measured
from tidegauge.detectors.performance.task import Task
from tidegauge.detectors.performance.verdicts import judged
from tidegauge.detectors.traffic import Traffic, encoded
from tidegauge.model import ALL, Slice, Window

Rng = np.random.Generator
RATE, TENANTS, REGIONS, LEARN = 0.05, 10, 4, 40
TOLD = Slice.pair(Slice("tenant", "0"), Slice("region", "0"))
"""The pair that is worse where one is."""
START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday."""
LABELS_DAYS = 2.0
"""Mean delay of the label of a right prediction."""


@dataclass(frozen=True)
class World:
    """``days`` and ``rows`` of a window, ``weather`` the deviation of its accuracy by itself; ``early``: judged so.

    ``down`` is how much worse it becomes, in all traffic or, ``in_pair``, in one pair.
    """

    days: int
    rows: int
    weather: float
    early: bool = False
    down: float = 0.0
    in_pair: bool = False

    def window(self, number: int) -> Window:
        """The windows follow each other."""
        start = START + timedelta(days=self.days * number)
        return Window(start, start + timedelta(days=self.days))


def drawn(rng: Rng, world: World, number: int, task: Task, down: float = 0.0) -> tuple[Answers, Traffic]:
    """The answers of a window that have labels, and the tenant and region of each."""
    day = START.weekday() + world.days * number + rng.integers(0, world.days, world.rows)
    tenant, region = (rng.integers(0, size, world.rows) for size in (TENANTS, REGIONS))
    struck = (tenant == 0) & (region == 0) if world.in_pair else np.ones(world.rows, dtype=bool)
    bad = 0.1 + 0.02 * (day % 7 >= 5) + rng.normal(0, world.weather) + down * struck
    truth = (rng.random(world.rows) < 0.3).astype(np.float64)
    wrong = rng.random(world.rows) < np.clip(bad, 0.01, 0.99)
    said = np.where(wrong, 1 - truth, truth)
    score = np.where(said == 1, rng.beta(4, 2, world.rows), rng.beta(2, 4, world.rows))
    weights, kept = np.ones(world.rows), np.ones(world.rows, dtype=bool)
    if world.early and number >= LEARN:
        age = LABELS_DAYS + rng.random(world.rows) * world.days
        chance = 1 - np.exp(-age / (LABELS_DAYS * np.where(wrong, 2, 1)))
        weights, kept = 1 / chance, rng.random(world.rows) < chance
    parts = {"tenant": tenant[kept], "region": region[kept]}
    dimensions = {name: encoded(pa.chunked_array([each.astype(str)])) for name, each in parts.items()}
    traffic = Traffic(int(kept.sum()), {}, {}, dimensions).with_pairs([("tenant", "region")])
    return Answers(task, said[kept], truth[kept], score[kept], weights[kept]), traffic


def measured(made: Answers, traffic: Traffic) -> Iterator[tuple[Slice, Measured]]:
    singles = [Slice(name, value) for name in ("tenant", "region") for value in traffic.dimensions[name].rows_by_name]
    for part in (ALL, *singles, *candidates(traffic, singles)):
        for each in every(made.take(traffic.index(part)), ()):
            if isinstance(each, Measured):
                yield part, each


def judged_windows(rng: Rng, world: World, task: Task, count: int) -> Iterator[Sequence[Claim]]:
    """Claims of ``count`` windows, after 40 to begin with; where the model is worse, each beside a past that is not."""
    settings = Performance()
    kept: deque[tuple[datetime, dict[tuple[Slice, str], Past]]] = deque(maxlen=LEARN)
    for number in range(LEARN + count):
        window = world.window(number)
        ends = chosen(window, [end for end, _ in kept], 3 * settings.baseline_windows, settings.baseline)
        past: dict[tuple[Slice, str], list[Past]] = {}
        for end, values in sorted(kept, key=lambda each: each[0], reverse=True):
            for key, each in values.items() if end in ends else ():
                if len(past.setdefault(key, [])) < settings.baseline_windows:
                    past[key].append(each)
        found = list(measured(*drawn(rng, world, number, task)))
        claims = judged(found, Memory(past), settings, RATE).claims
        bad = {(claim.part, claim.detector.partition(":")[2]) for claim in claims if claim.verdict is Verdict.DRIFT}
        if world.down and number >= LEARN:
            worse = list(measured(*drawn(rng, world, number, task, world.down)))
            claims = judged(worse, Memory(past), settings, RATE).claims
        if number >= LEARN:
            yield claims
        values = {
            (part, each.metric): Past(window.end, each.value, each.error, each.n)
            for part, each in found
            if (part, each.metric) not in bad
        }
        kept.append((window.end, values))


def share(hits: int, count: int) -> list[float]:
    found = binomtest(hits, count).proportion_ci(0.95)
    return [round(hits / count, 4), round(float(found.low), 4), round(float(found.high), 4)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task, started = Task("binary", ("no", "yes"), probabilities=True), time.process_time()
    for at, world in enumerate(worlds()):
        rng, anywhere, everywhere, pairs, named = np.random.default_rng([given.seed, at]), 0, 0, 0, 0
        for claims in judged_windows(rng, world, task, given.windows):
            drifting = [claim for claim in claims if claim.verdict is Verdict.DRIFT]
            anywhere += bool(drifting)
            everywhere += any(claim.part == ALL for claim in drifting)
            pairs += any(claim.part.is_pair and not (world.in_pair and claim.part == TOLD) for claim in drifting)
            named += world.in_pair and any(claim.part == TOLD for claim in drifting)
        row = {"days": world.days, "rows": world.rows, "weather": world.weather, "early": world.early}
        row |= {"points down": world.down, "in a pair": world.in_pair, "windows": given.windows, "asked": RATE}
        counts = {"anywhere": anywhere, "all traffic": everywhere, "pairs": pairs}
        counts |= {"named": named} if world.in_pair else {}
        shares = {name: share(hits, given.windows) for name, hits in counts.items()}
        print(json.dumps(row | shares), flush=True)
    print(json.dumps({"cpu_s": round(time.process_time() - started, 1)}))


def worlds() -> Iterator[World]:
    for weather in (0.0, 0.01, 0.03):
        for days, rows in ((1, 2000), (7, 5000)):
            yield World(days, rows, weather)
    yield World(1, 2000, 0.01, early=True)
    yield World(7, 5000, 0.01, early=True)
    yield World(1, 2000, 0.01, down=0.04)
    yield World(7, 5000, 0.01, down=0.04)
    yield World(1, 4000, 0.01, down=0.3, in_pair=True)
    yield World(7, 10_000, 0.01, down=0.3, in_pair=True)


if __name__ == "__main__":
    main()
