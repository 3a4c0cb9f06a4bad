"""Faults put into the flights, and what the daily diagnosis tells of them, and tells falsely: see docs/diagnosis.md.

    python -m tidegauge.demo.flights.daily [--fault stale:temp@2013-10-10 ...] [--clean 2013-10-01:2013-12-31 ...]

    python -m tidegauge.demo.flights.daily --day 2013-10-10

Prints Markdown. The diagnosis is as it is without configuration, and no other detector runs. It looks at each day when
it is over, up to eight days after a fault began; *after* counts from its first hour. Without a fault all that is told
is false.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from tidegauge.collectors.schema import migrate
from tidegauge.config import Detectors
from tidegauge.demo.flights.faults import Fault, parse_fault
from tidegauge.demo.flights.model import MODEL
from tidegauge.demo.flights.replay import AFTER_MIDNIGHT, Direct
from tidegauge.demo.flights.stream import FlightsStream
from tidegauge.demo.flights.tables import markdown
from tidegauge.detectors.daily import DAY, LOOKS, DailyRound
from tidegauge.detectors.finding import Finding, Verdict
from tidegauge.model import Slice
from tidegauge.store import Store

KINDS = ("swap:temp:humid", "precision:pressure", "stale:temp", "labels:UA", "concept:DL")
"""Those of which no window test of the starter rules tells."""
DAYS_SINCE = 8
HEAD = ("fault", "told first", "after", "all that is told in eight days", "CPU s a day")
CLEAN_HEAD = ("month", "days", "told", "what")


@dataclass(frozen=True)
class Told:
    """One cause that was told: the first finding of it, as it goes on on later days."""

    on: date
    finding: Finding

    @property
    def words(self) -> str:
        """The day's end, what, and for whom."""
        part = Slice(self.finding.dimension, self.finding.slice)
        cause = self.finding.reason.partition(" (")[0]
        return f"{self.on:%m-%d} {cause}{f' in {part}' if part != Slice() else ''} ({self.finding.effect:.1f} times)"


def told(store: Store, stream: FlightsStream, first: date, last: date, begin: date) -> tuple[list[Told], float]:
    """What the daily diagnosis tells from ``begin`` to ``last`` of a stream stored from ``first`` on; CPU s a day."""
    for table in ("predictions", "labels", "findings"):
        store.execute(f"TRUNCATE TABLE {table}")
    client = Direct(store)
    for day in stream.days():
        if first <= day.date <= last:
            stream.send_day(client, day)
    daily = DailyRound(store, Detectors())
    found: list[Told] = []
    known: set[tuple[object, ...]] = set()
    begun = time.process_time()
    for number in range((last - begin).days + 1):
        on = begin + number * DAY
        drifts = [each for each in daily.run(MODEL, _midnight(on) + AFTER_MIDNIGHT) if each.verdict is Verdict.DRIFT]
        found += [Told(on, each) for each in drifts if each.key not in known]
        known = {each.key for each in drifts}
    return found, (time.process_time() - begun) / ((last - begin).days + 1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def report(
    store: Store, sound: FlightsStream, faults: Sequence[str], clean: Sequence[tuple[date, date]]
) -> Iterator[str]:
    """The tables, line by line."""
    if faults:
        yield markdown(HEAD, [])
    for text in faults:
        fault = parse_fault(text)
        yield f"| {' | '.join(_line(store, sound, fault, text))} |\n"
    if clean:
        yield "\n" + markdown(CLEAN_HEAD, [])
    for start, end in clean:
        found, _ = told(store, sound, start - _needed(), end, start)
        for month in _months(start, end):
            mine = [each.words for each in found if month[0] <= each.on < month[1]]
            days = (min(month[1], end + DAY) - max(month[0], start)).days
            yield f"| {month[0]:%Y-%m} | {days} | {len(mine)} | {'; '.join(mine) or '-'} |\n"


def _needed() -> timedelta:
    settings = Detectors().diagnosis
    return timedelta(days=settings.history_days + LOOKS[-1] + 14)


def _line(store: Store, sound: FlightsStream, fault: Fault, text: str) -> tuple[str, ...]:
    last = fault.since + DAYS_SINCE * DAY
    found, seconds = told(store, sound.with_fault(fault), fault.since - _needed(), last, fault.since - 2 * DAY)
    since = [each for each in found if each.on > fault.since]
    if not since:
        return text, "no", "-", "; ".join(each.words for each in found) or "-", f"{seconds:.1f}"
    first = since[0]
    after = f"{(_midnight(first.on) - fault.start) / timedelta(days=1):.1f} days"
    return text, first.words, after, "; ".join(each.words for each in found), f"{seconds:.1f}"


def _months(start: date, end: date) -> list[tuple[date, date]]:
    firsts = [start.replace(day=1)]
    while firsts[-1] <= end:
        firsts.append((firsts[-1] + timedelta(days=32)).replace(day=1))
    return list(pairwise(firsts))


def _stretch(text: str) -> tuple[date, date]:
    first, _, last = text.partition(":")
    return date.fromisoformat(first), date.fromisoformat(last)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="append", help="as tidegauge demo --fault; given again for more")
    parser.add_argument("--day", help="the five kinds that no window test tells of, from this day on")
    parser.add_argument(
        "--clean", action="append", type=_stretch, help="FIRST:LAST day without a fault; again for more"
    )
    asked = parser.parse_args()
    faults = [*(asked.fault or ()), *(f"{each}@{asked.day}" for each in KINDS if asked.day)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"chdb://{folder}")
        migrate(store)
        for part in report(store, FlightsStream(), faults, asked.clean or ()):
            sys.stdout.write(part)
            sys.stdout.flush()
        store.close()


if __name__ == "__main__":
    main()
