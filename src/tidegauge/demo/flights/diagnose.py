"""Faults put into the flights, one at a time, and what the diagnosis makes of the tables: see docs/diagnosis.md.

    python -m tidegauge.demo.flights.diagnose [--fault units:temp@2013-07-01 ...] [--clean 2013-07-01 ...] [--copies]
    python -m tidegauge.demo.flights.diagnose --draw 20 --day 2013-06-24 --copies

Prints Markdown. The diagnosis reads the tables and nothing else: neither the fault nor its day is told to it, unless
``--given`` tells the day, as ``tidegauge diagnose --since`` does. A cause is the true one where its kind is what the
fault is rightly called, and its feature and its part are the fault's. *Of its date* is its place among the causes said
to have begun within two days of the fault: the record has faults of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from tidegauge.collectors.schema import migrate
from tidegauge.demo.flights import data
from tidegauge.demo.flights.drawn import drawn_faults
from tidegauge.demo.flights.faults import NEW_CODES, Fault, parse_fault
from tidegauge.demo.flights.model import MODEL
from tidegauge.demo.flights.replay import Direct
from tidegauge.demo.flights.stream import Day, FlightsStream, send_predictions
from tidegauge.demo.flights.tables import markdown
from tidegauge.detectors.diagnose import Asked, Cause, Diagnosis, diagnose
from tidegauge.detectors.diagnose.ranking import APART
from tidegauge.detectors.diagnose.verdict import part_text
from tidegauge.store import Store

DAYS_BEFORE, DAYS_SINCE = 60, 10
COPIED = 0.05
RIGHT: Mapping[str, frozenset[str]] = {
    "units": frozenset({"units"}),
    "missing": frozenset({"missing"}),
    "constant": frozenset({"stuck"}),
    "default": frozenset({"default value"}),
    "outliers": frozenset({"outliers"}),
    "precision": frozenset({"precision lost"}),
    "skew": frozenset({"skew"}),
    "swap": frozenset({"swapped"}),
    "stale": frozenset({"stale"}),
    "type": frozenset({"type changed"}),
    "timezone": frozenset({"clock shifted"}),
    "join": frozenset({"joined wrongly"}),
    "labels": frozenset({"labels flipped"}),
    "definition": frozenset({"labels flipped"}),
    "lost": frozenset({"label class lost"}),
    "delay": frozenset({"labels late"}),
    "keys": frozenset({"label keys broken"}),
    "duplicates": frozenset({"duplicates"}),
    "drop": frozenset({"volume drop"}),
    "mix": frozenset({"part grew"}),
    "concept": frozenset({"concept"}),
    "new_category": frozenset({"new category"}),
    "volume": frozenset({"part gone"}),
    "calibration": frozenset({"scores off"}),
    "threshold": frozenset({"threshold changed"}),
    "version": frozenset({"new version"}),
}
"""What each kind of fault is called by the diagnosis."""
EXAMPLES = (
    "units:temp",
    "units:distance:JFK",
    "missing:seats:DL",
    "missing:humid",
    "constant:minute_of_day",
    "default:temp",
    "outliers:distance",
    "precision:pressure",
    "skew:plane_age",
    "swap:temp:humid",
    "stale:temp",
    "type:distance",
    "timezone",
    "join",
    "labels:B6",
    "definition",
    "lost:late",
    "delay:3",
    "keys",
    "duplicates",
    "drop:0.5",
    "mix:UA",
    "concept:DL",
    "new_category:UA",
    "volume:LGA",
    "calibration",
    "threshold",
    "version:0.2",
    "version",
)
HEAD = ("fault", "place", "of its date", "called", "in", "explains", "began", "first, where that is another", "seconds")
CLEAN_HEAD = ("clean until", "bad", "suspect")


@dataclass(frozen=True)
class Outcome:
    """How one fault came out.

    Attributes:
        place: Of the true cause among the causes, None where it is not among them.
        of_its_date: Its place among those said to have begun within two days of the fault, None where it is not.
    """

    place: int | None
    of_its_date: int | None
    found: Diagnosis
    seconds: float

    @property
    def cause(self) -> Cause | None:
        """The true cause."""
        return self.found.causes[self.place - 1] if self.place else None


def fill(store: Store, stream: FlightsStream, sound: FlightsStream, until: date, copies: bool) -> datetime:
    """Store the days up to ``until``; returns the end of the last. ``copies``: training's version of some of them."""
    for table in ("predictions", "labels"):
        store.execute(f"TRUNCATE TABLE {table}")
    first = until - timedelta(days=DAYS_BEFORE + DAYS_SINCE - 1)
    days = [day for day in stream.days() if first <= day.date <= until]
    client = Direct(store)
    for group in _alike(days):
        frame = pl.concat([day.predictions_frame for day in group])
        known = [day for day in group if day.label_ids]
        times = [each for day in known for each in day.label_times]
        ids, labels = [each for day in known for each in day.label_ids], [each for day in known for each in day.labels]
        stream.send_day(client, Day(group[-1].date, group[-1].end, frame, ids, labels, times))
    if copies:
        _copy(client, sound, first, until)
    return days[-1].end


def _alike(days: Sequence[Day]) -> Iterator[list[Day]]:
    """Runs of days whose frames have the same columns of the same types."""
    group: list[Day] = []
    for day in days:
        if group and day.predictions_frame.schema != group[-1].predictions_frame.schema:
            yield group
            group = []
        group.append(day)
    yield group


def _copy(client: Direct, sound: FlightsStream, first: date, until: date) -> None:
    """A twentieth of the flights as the training pipeline has them, as it would be kept for the next training."""
    rows = sound.later.filter(pl.col("date").is_between(first, until))
    chosen = rows.filter(pl.Series(data.draw(rows["prediction_id"], "copy") < COPIED))
    send_predictions(client, chosen.with_columns(version=pl.lit("next")), role="training")


def examine(store: Store, sound: FlightsStream, fault: Fault, *, copies: bool, given: bool = False) -> Outcome:
    """Store ten days of a fault after sixty without it, and diagnose; ``given`` tells the day it began."""
    until = fault.since + timedelta(days=DAYS_SINCE - 1)
    end = fill(store, sound.with_fault(fault), sound, until, copies)
    begun = time.process_time()
    found = diagnose(store, Asked(MODEL, end, fault.start if given else None))
    seconds = time.process_time() - begun
    of_its_date = [each for each in found.causes if abs(found.began(each) - fault.start) < APART]
    return Outcome(_place(fault, found.causes), _place(fault, of_its_date), found, seconds)


def _place(fault: Fault, causes: Sequence[Cause]) -> int | None:
    return next((at for at, each in enumerate(causes, 1) if is_true(fault, each)), None)


def is_true(fault: Fault, cause: Cause) -> bool:
    """Whether a cause names what the fault did, in which feature, and in which part of the traffic."""
    finding = cause.finding
    if finding.cause not in RIGHT[fault.kind]:
        return False
    if fault.features and fault.kind != "new_category" and finding.columns != frozenset(fault.features):
        return False
    if fault.kind == "version":
        return finding.subject == fault.release
    return part_text(finding.part) in _parts(fault)


def _parts(fault: Fault) -> tuple[str, ...]:
    """How the part may be called: a renamed carrier by its new name, or as all traffic."""
    if fault.kind == "new_category":
        return f"carrier={NEW_CODES[fault.part.value]}", "all traffic"
    return (str(fault.part).replace("all", "all traffic"),)


def report(
    store: Store, sound: FlightsStream, faults: Sequence[str], clean: Sequence[date], copies: bool, given: bool
) -> Iterator[str]:
    """The tables, line by line."""
    said = f"{', with training copies' if copies else ''}{', the day told' if given else ''}"
    yield f"### Faults{said}\n\n" + markdown(HEAD, [])
    places: Counter[str] = Counter()
    dated = 0
    confused: Counter[tuple[str, str]] = Counter()
    for text in faults:
        fault = parse_fault(text)
        found = examine(store, sound, fault, copies=copies, given=given)
        dated += found.of_its_date == 1
        places[str(found.place)] += 1
        first = found.found.causes[0].finding.cause if found.found.causes else "nothing"
        confused[(fault.kind, first)] += 1
        yield f"| {' | '.join(_line(text, fault, found))} |\n"
    if faults:
        yield f"\nTrue cause first: {places['1']} of {len(faults)}; first of those of its date: {dated}.\n\n"
        yield "### Confusion\n\n"
        yield markdown(("fault", "called first", "times"), [(a, b, str(n)) for (a, b), n in sorted(confused.items())])
    if clean:
        yield "\n### Without a fault\n\n" + markdown(CLEAN_HEAD, [])
    for until in clean:
        end = fill(store, sound, sound, until, copies)
        result = diagnose(store, Asked(MODEL, end))
        bad, suspect = (
            [_name(c) for c in result.causes if c.finding.level.value == level] for level in ("bad", "suspect")
        )
        yield f"| {until} | {'; '.join(bad) or '-'} | {'; '.join(suspect) or '-'} |\n"


def _line(text: str, fault: Fault, found: Outcome) -> tuple[str, ...]:
    true, all_causes = found.cause, found.found.causes
    other = _name(all_causes[0]) if all_causes and found.place != 1 else ""
    since = found.found.began(true) if true else found.found.since
    began = f"{(since - fault.start) / timedelta(hours=1):+.0f} h"
    if true is None:
        return text, "-", "-", "-", "-", "-", began, other or "nothing is wrong", f"{found.seconds:.1f}"
    finding = true.finding
    return (
        text,
        f"{found.place} of {len(all_causes)}",
        str(found.of_its_date or "-"),
        " ".join(filter(None, (finding.cause, finding.subject))),
        part_text(finding.part),
        f"{true.share:.0%}",
        began,
        other,
        f"{found.seconds:.1f}",
    )


def _name(cause: Cause) -> str:
    finding = cause.finding
    return " ".join(filter(None, (finding.cause, finding.subject, f"in {part_text(finding.part)}")))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="append", help="as tidegauge demo --fault; given again for more")
    parser.add_argument("--day", default="2013-07-01", help="first day of the examples")
    parser.add_argument("--draw", type=int, help="in place of the examples, so many faults drawn by lot with the day")
    parser.add_argument("--clean", action="append", help="last day of a stretch without a fault; given again for more")
    parser.add_argument("--copies", action="store_true", help="store training's copy of a twentieth of the flights")
    parser.add_argument("--given", action="store_true", help="tell the diagnosis the day on which the fault began")
    asked = parser.parse_args()
    faults = _faults(asked.fault, asked.day, asked.draw, bool(asked.clean))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        clean = [date.fromisoformat(each) for each in asked.clean or ()]
        for part in report(store, FlightsStream(), faults, clean, asked.copies, asked.given):
            sys.stdout.write(part)
            sys.stdout.flush()
        store.close()


def _faults(named: list[str] | None, day: str, draw: int | None, clean: bool) -> list[str]:
    """Those named, or as many as are to be drawn, or else the examples, unless only clean stretches are asked for."""
    if draw:
        return [*(named or []), *drawn_faults(data.load(), date.fromisoformat(day), draw)]
    return named or ([] if clean else [f"{each}@{day}" for each in EXAMPLES])


if __name__ == "__main__":
    main()
