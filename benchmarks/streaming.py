"""Change detectors that see rows one by one: rows between false alarms and delay, beside ADWIN and Page-Hinkley.

    python benchmarks/streaming.py [--peer DIR/bin/python]      # an environment with river and numpy

Rows between false alarms: 40 streams of 25,000 rows without a change, every alarm counted, each begins anew. Delay: 100
streams of 2,000 rows and then 3,000 changed ones; rows from the change to the first alarm after it, and the share of
streams that have one; what alarmed before begins anew, as it would. The peers run with their defaults, and with the
setting of a list that comes closest to, and not below, 10,000 rows between false alarms *on that law*, which nobody who
uses them is told. Streams are the same for all. `run` is what each environment is asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

WANTED = 10_000
QUIET, LENGTH = 40, 25_000
STREAMS, BEFORE, AFTER = 100, 2_000, 3_000
Rows = np.ndarray
Feed = Callable[[], Callable[[Rows], list[int]]]
"""Makes a detector; which takes rows and returns the numbers, from 0, of those that it alarmed at."""


def normal(rng: np.random.Generator, n: int, shift: float, spread: float) -> Rows:
    return rng.normal(shift, spread, n)


def heavy(rng: np.random.Generator, n: int, shift: float, spread: float) -> Rows:
    return shift + spread * rng.standard_t(2, n)


def errors(rng: np.random.Generator, n: int, shift: float, spread: float) -> Rows:
    return (rng.random(n) < 0.1 + shift).astype(float)


LAWS = {"normal": normal, "t(2)": heavy, "errors 0.1": errors}
CHANGES = {
    "normal": [(0.25, 1.0), (0.5, 1.0), (1.0, 1.0), (0.0, 1.5)],
    "t(2)": [(0.5, 1.0), (1.0, 1.0)],
    "errors 0.1": [(0.05, 1.0), (0.1, 1.0), (0.3, 1.0)],
}


def ours(law: str) -> Iterator[tuple[str, Feed]]:
    from tidegauge.detectors.streaming import MeanDetector, RankDetector

    def feed(make: Callable[[], RankDetector | MeanDetector]) -> Feed:
        def begin() -> Callable[[Rows], list[int]]:
            detector = make()
            return lambda rows: [alarm.row - 1 for alarm in detector.update_many(rows)]

        return begin

    yield "RankDetector", feed(lambda: RankDetector(WANTED, rng=np.random.default_rng(1)))
    if law.startswith("errors"):
        yield "MeanDetector(0.1)", feed(lambda: MeanDetector(0.1, rows_between_false_alarms=WANTED))


def theirs(law: str) -> Iterator[tuple[str, Feed]]:
    from river import drift

    def feed(make: Callable[[], Any]) -> Feed:
        def begin() -> Callable[[Rows], list[int]]:
            detector = make()

            def take(rows: Rows) -> list[int]:
                found = []
                for at, row in enumerate(rows.tolist()):
                    detector.update(row)
                    if detector.drift_detected:
                        found.append(at)
                return found

            return take

        return begin

    for delta in (0.002, 0.3, 0.1, 0.03, 0.01, 0.0003, 0.00003):
        yield f"ADWIN(delta={delta:g})", feed(partial(drift.ADWIN, delta=delta))
    for most in (50, 15, 25, 100, 200, 400, 800):
        yield f"PageHinkley(threshold={most})", feed(partial(drift.PageHinkley, threshold=most))


def between(begin: Feed, law: str) -> tuple[float, float]:
    """Rows between false alarms, and microseconds a row."""
    alarms, used = 0, 0.0
    for stream in range(QUIET):
        rows = LAWS[law](np.random.default_rng([7, stream]), LENGTH, 0.0, 1.0)
        take, begun = begin(), time.process_time()
        alarms += len(take(rows))
        used += time.process_time() - begun
    return QUIET * LENGTH / max(alarms, 1), used / (QUIET * LENGTH) * 1e6


def delay(begin: Feed, law: str, shift: float, spread: float) -> tuple[float, float]:
    """Mean rows to the alarm after a change in streams that have one, and the share of those."""
    rows_taken = []
    for stream in range(STREAMS):
        rng = np.random.default_rng([8, stream])
        rows = np.concatenate([LAWS[law](rng, BEFORE, 0.0, 1.0), LAWS[law](rng, AFTER, shift, spread)])
        late = [at for at in begin()(rows) if at >= BEFORE]
        rows_taken.append(late[0] - BEFORE + 1 if late else AFTER + 1)
    taken = np.array(rows_taken)
    found = taken[taken <= AFTER]
    return float(found.mean()) if len(found) else float("nan"), len(found) / STREAMS


def run(side: str) -> None:
    """Print a JSON line for each detector and law: the default of each family, and the one tuned to what is wanted."""
    for law in LAWS:
        measured = [(name, begin, *between(begin, law)) for name, begin in (ours if side == "ours" else theirs)(law)]
        for family in dict.fromkeys(name.partition("(")[0] for name, *_ in measured):
            of_family = [each for each in measured if each[0].startswith(family)]
            enough = [each for each in of_family if each[2] >= WANTED]
            tuned = min(enough, key=lambda each: each[2]) if enough else max(of_family, key=lambda each: each[2])
            for name, begin, rows, cost in {each[0]: each for each in (of_family[0], tuned)}.values():
                found = {f"{shift:g}/{spread:g}": delay(begin, law, shift, spread) for shift, spread in CHANGES[law]}
                told = {"law": law, "detector": name, "between": rows, "us": cost, "delay": found}
                print(json.dumps(told), flush=True)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["run"]:
        run(arguments[1])
        return
    peer = arguments[arguments.index("--peer") + 1] if "--peer" in arguments else ""
    for python, side in ((sys.executable, "ours"), (peer, "theirs")):
        if not python:
            continue
        told = subprocess.run([python, __file__, "run", side], check=True, capture_output=True, text=True).stdout
        for line in map(json.loads, told.splitlines()):
            found = "  ".join(f"{name}: {rows:7.1f} ({share:.2f})" for name, (rows, share) in line["delay"].items())
            between_alarms = f"{line['between']:>11,.0f} rows"
            print(f"{line['law']:<11} {line['detector']:<28} {between_alarms}  {line['us']:5.1f} us  {found}")


if __name__ == "__main__":
    main(sys.argv[1:])
