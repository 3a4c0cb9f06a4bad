"""Windows with and without pairs: how many calm ones have a finding, whether a hidden fault is found, and CPU time.

    .venv/bin/python benchmarks/pairs.py [--windows 60] [--rows 2000] [--weather 0.15] [--shift 0]

20 days of reference and one day after, each of --rows rows, of three dimensions (8 countries, 4 devices, 3 plans), 4
numbers and a text. Each day, country and device of a day has its own weather, --weather standard deviations wide. With
--shift the first number moves by so many deviations in country=de and device=ios alone, 6 % of the rows.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np

from tidegauge.config import Reference, Watch
from tidegauge.detectors import drift
from tidegauge.detectors.finding import Verdict
from tidegauge.detectors.pairs import Beside
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.spread import Spreads
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.detectors.verdicts import judge
from tidegauge.model import ALL, Slice, Window

START, DAYS = datetime(2026, 1, 1, tzinfo=UTC), 20
COUNTRIES = {"de": 20, "fr": 18, "uk": 15, "us": 15, "it": 12, "es": 10, "pl": 6, "se": 4}
DEVICES = {"ios": 30, "android": 40, "web": 20, "tv": 10}
PLANS = {"free": 60, "pro": 30, "team": 10}
HIDDEN = Slice.pair(Slice("country", "de"), Slice("device", "ios"))
WINDOW = Window(START + timedelta(days=DAYS + 1), START + timedelta(days=DAYS + 2))


def main() -> None:
    """Print one line for windows without pairs and one with."""
    options = _options()
    for pairs in ("off", "all"):
        watch = Watch(reference=Reference(kind="training"), slices=("country", "device", "plan"), pairs=pairs)
        print(json.dumps({"pairs": pairs} | _rates(watch, options)))


def _rates(watch: Watch, options: argparse.Namespace) -> dict[str, object]:
    found: Counter[str] = Counter()
    spent = 0.0
    for seed in range(options.windows):
        rng = np.random.default_rng(seed)
        reference = Profile(_traffic(rng, watch, DAYS * options.rows, DAYS, options.weather))
        current = _traffic(rng, watch, options.rows, 1, options.weather, options.shift)
        began = time.process_time()
        told = _drifting(reference, Profile(current), watch)
        spent += time.process_time() - began
        found["any"] += bool(told)
        found["all_traffic"] += ALL in told
        found["slice"] += any(len(each.sides) == 1 for each in told)
        found["pair"] += any(each.is_pair for each in told)
        found["hidden"] += HIDDEN in told
        found["other_pairs"] += sum(each.is_pair and each != HIDDEN for each in told)
    shares = {name: round(count / options.windows, 3) for name, count in found.items()}
    return shares | {"windows": options.windows, "cpu_ms": round(1000 * spent / options.windows)}


def _drifting(reference: Profile, current: Profile, watch: Watch) -> set[Slice]:
    parts = drift.Parts(reference, current, watch.max_slices, WINDOW, watch.max_pairs)
    asked = list(drift.hypotheses(reference, current, parts.tested))
    floors = Spreads().floors(reference, WINDOW, asked, watch, "training")
    claims = judge(asked, watch.false_discovery_rate, floors, Beside(reference, current, asked))
    return {each.part for each in claims if each.verdict is Verdict.DRIFT}


def _traffic(
    rng: np.random.Generator, watch: Watch, rows: int, days: int, weather: float, shift: float = 0.0
) -> Traffic:
    country, device, plan, text = (_drawn(rng, rows, shares) for shares in (COUNTRIES, DEVICES, PLANS, PLANS))
    day = np.arange(rows) * days // rows
    numbers = {}
    for name in ("a", "b", "c", "d"):
        spells = [rng.normal(0, weather, (days, size)) for size in (1, len(COUNTRIES), len(DEVICES))]
        shared = spells[0][day, 0] + spells[1][day, country.codes] + spells[2][day, device.codes]
        numbers[name] = rng.normal(size=rows) + shared
        numbers[name][rng.random(rows) < 0.02] = np.nan
    numbers["a"][(country.codes == 0) & (device.codes == 0)] += shift
    seconds = (START.timestamp() + 86_400 * days * np.arange(rows) / rows).astype(np.int64)
    dimensions = {"country": country, "device": device, "plan": plan}
    made = Traffic(rows, numbers, {"text": text}, dimensions, seconds=seconds)
    return made.with_pairs([each for each in watch.paired if "version" not in each])


def _drawn(rng: np.random.Generator, rows: int, shares: dict[str, int]) -> Category:
    codes = rng.choice(len(shares), rows, p=np.array(list(shares.values())) / 100)
    return Category(codes.astype(np.int32), tuple(shares))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--weather", type=float, default=0.15)
    parser.add_argument("--shift", type=float, default=0.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
