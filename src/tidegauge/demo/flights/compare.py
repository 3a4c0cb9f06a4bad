"""What Tidegauge finds in the year, held against the truth: of each feature week by week, and of faults put in.

    python -m tidegauge.demo.flights.compare [--fault units:temp@2013-07-01 ...]

Prints Markdown. The truth of a feature is computed by ``truth`` from the data, in the same windows: it is beyond where
its PSI is above that of every whole window of the training set, and matters where it is 0.1 or more as well. A fault is
found where something about it drifts that does not drift in the same window of the year without it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median

import polars as pl

from tidegauge.collectors.schema import migrate
from tidegauge.demo.flights.data import FEATURES
from tidegauge.demo.flights.faults import Fault, parse_fault
from tidegauge.demo.flights.replay import replay
from tidegauge.demo.flights.stream import FlightsStream
from tidegauge.demo.flights.tables import markdown
from tidegauge.demo.flights.truth import Shift, shifts
from tidegauge.demo.settings import FLIGHTS_WATCH
from tidegauge.detectors.finding import Finding, Verdict
from tidegauge.model import ALL, Slice
from tidegauge.store import Store

WEEK = timedelta(days=7)
MATTERS = 0.1
COUNTED = ("feature", "windows found", "beyond", "of these it matters in", "found there", "agreement")
AMOUNTS = ("in", "windows with drift", "most pairs", "median", "median rows")
FAULTS = ("fault", "found", "feature", "in", "detector", "since", "place", "of those that began then")
EXAMPLES = (
    "units:temp@2013-07-01",
    "units:temp@2013-11-01",
    "units:distance:JFK@2013-07-01",
    "missing:seats@2013-07-01",
    "missing:pressure:LGA@2013-07-01",
    "constant:minute_of_day@2013-07-01",
    "labels:B6@2013-07-01",
    "new_category:UA@2013-07-01",
    "version@2013-07-01",
    "version:0.2@2013-07-01",
    "volume:LGA@2013-07-01",
)


@dataclass(frozen=True, slots=True)
class Mark:
    """How one fault came out: what named it in the first window in which it was found, which ended ``at``.

    ``place`` is its rank among the pairs of a feature and a part of the traffic that drift in that window, the one
    farthest beyond its floor first, and how many there are; ``place_of_new`` the same among those that began then.
    """

    at: datetime
    since: datetime
    feature: str
    part: Slice
    detector: str
    place: tuple[int, int]
    place_of_new: tuple[int, int]


def by_feature(findings: Sequence[Finding], training: pl.DataFrame, later: pl.DataFrame) -> list[tuple[str, ...]]:
    """For each feature: windows found in all traffic, those beyond, those of them that matter, and the agreement."""
    starts = sorted({each.window_start for each in findings})
    own = shifts(training, _cut(training, _training_starts(training, starts[0])))
    found, largest = _found(findings), {name: max(s.psi for s in own if s.feature == name) for name in FEATURES}
    beyond = [each for each in shifts(training, _cut(later, starts)) if each.psi > largest[each.feature]]
    return [_line(name, found[name], [s for s in beyond if s.feature == name], len(starts)) for name in FEATURES]


def mark(fault: Fault, findings: Sequence[Finding], clean: Sequence[Finding]) -> Mark | None:
    """The first window in which the fault was found, and how; None where it never was."""
    before = {(each.window_end, each.key) for each in _drifting(clean)}
    new = [each for each in _drifting(findings) if each.window_end > fault.start and _is_about(fault, each)]
    told = [each for each in new if (each.window_end, each.key) not in before]
    if not told:
        return None
    at = min(each.window_end for each in told)
    best = max((each for each in told if each.window_end == at), key=lambda each: (_wanted(fault, each), _times(each)))
    beside = [each for each in _drifting(findings) if each.window_end == at]
    places = _place(best, beside), _place(best, [each for each in beside if each.since == best.since])
    since = best.since or best.window_start
    return Mark(at, since, best.feature, Slice(best.dimension, best.slice), best.detector, *places)


def _is_about(fault: Fault, found: Finding) -> bool:
    """Whether a finding names what the fault changed, in its part of the traffic or in all."""
    names = {
        "label": {"label", "error"},
        "version": {"score", "prediction", "error"},
        "volume": {"volume", fault.part.dimension},
    }
    part = Slice(found.dimension, found.slice)
    return found.feature in names.get(str(fault.truth["changes"]), {fault.feature}) and part in (ALL, fault.part)


def _wanted(fault: Fault, found: Finding) -> bool:
    return Slice(found.dimension, found.slice) == fault.part


def _times(found: Finding) -> float:
    return (found.effect or 0.0) / (found.effect_floor or 1.0)


def _place(found: Finding, among: Sequence[Finding]) -> tuple[int, int]:
    times: dict[tuple[str, str, str], float] = defaultdict(float)
    for each in among:
        key = each.feature, each.dimension, each.slice
        times[key] = max(times[key], _times(each))
    ranked = sorted(times, key=lambda key: -times[key])
    return ranked.index((found.feature, found.dimension, found.slice)) + 1, len(ranked)


def _drifting(findings: Sequence[Finding]) -> Iterator[Finding]:
    return (each for each in findings if each.verdict is Verdict.DRIFT)


def _found(findings: Sequence[Finding]) -> defaultdict[str, set[date]]:
    found = defaultdict[str, set[date]](set)
    for each in _drifting(findings):
        if not each.dimension:
            found[each.feature].add(each.window_start.date())
    return found


def _training_starts(training: pl.DataFrame, later: datetime) -> list[datetime]:
    """Starts of the whole windows of the training set, a number of weeks before ``later``."""
    first, last = training["timestamp"].min(), training["timestamp"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    weeks = range(1, (later - first) // WEEK + 1)
    return sorted(start for start in (later - WEEK * each for each in weeks) if start + WEEK <= last)


def _cut(rows: pl.DataFrame, starts: Sequence[datetime]) -> dict[date, pl.DataFrame]:
    at = pl.col("timestamp")
    return {start.date(): rows.filter((at >= start) & (at < start + WEEK)) for start in starts}


def _line(feature: str, found: set[date], beyond: Sequence[Shift], windows: int) -> tuple[str, ...]:
    matter = {each.week for each in beyond if each.psi >= MATTERS}
    agree = windows - len(found ^ matter)
    counts = len(found), len(beyond), len(matter), len(found & matter)
    return (feature, *map(str, counts), f"{agree / windows:.0%}")


def _fault_line(text: str, fault: Fault, found: Mark | None) -> tuple[str, ...]:
    if found is None:
        return text, "no", *["-"] * 6
    days = f"{(found.at - fault.start) / timedelta(days=1):.0f}"
    places = [f"{at} of {among}" for at, among in (found.place, found.place_of_new)]
    where = found.feature, str(found.part), found.detector, f"{found.since:%m-%d}"
    return text, f"after {days} days", *where, *places


def report(store: Store, stream: FlightsStream, faults: Sequence[str]) -> Iterator[str]:
    """The tables, one after the other."""
    clean = replay(store, stream, FLIGHTS_WATCH)
    windows = len({each.window_end for each in clean})
    lines = by_feature(clean, stream.training, stream.later)
    yield f"### {windows} windows without a fault\n\n" + markdown(COUNTED, lines)
    yield "\n### Outputs and labels without a fault\n\n" + markdown(("output", "windows found"), _outputs(clean))
    amounts = [_amounts(name, sides, clean) for sides, name in enumerate(("all traffic", "slices", "pairs of slices"))]
    yield "\n### Drift without a fault\n\n" + markdown(AMOUNTS, amounts)
    yield "\n### Faults\n\n" + markdown(FAULTS, [])
    for text in faults:
        fault = parse_fault(text)
        found = mark(fault, replay(store, stream.with_fault(fault), FLIGHTS_WATCH), clean)
        yield f"| {' | '.join(_fault_line(text, fault, found))} |\n"


def _outputs(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    found = _found(findings)
    return [(name, str(len(found[name]))) for name in ("score", "prediction", "label", "error", "volume")]


def _amounts(name: str, sides: int, findings: Sequence[Finding]) -> tuple[str, ...]:
    """How many pairs of a feature and a part of the traffic drift in a window, and how many rows say so."""
    told = [each for each in _drifting(findings) if len(Slice(each.dimension, each.slice).sides) == sides]
    ends = sorted({each.window_end for each in findings})
    pairs = Counter(end for end, _ in {(each.window_end, (each.feature, each.slice)) for each in told})
    rows = Counter(each.window_end for each in told)
    middle = [f"{median(counts[end] for end in ends):.0f}" for counts in (pairs, rows)]
    return name, str(len(pairs)), str(max(pairs.values(), default=0)), *middle


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="append", help="as tidegauge demo --fault; given again for more")
    faults = parser.parse_args().fault or EXAMPLES
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        for part in report(store, FlightsStream(), faults):
            sys.stdout.write(part)
            sys.stdout.flush()
        store.close()


if __name__ == "__main__":
    main()
