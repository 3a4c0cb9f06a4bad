"""One round of the reconciliation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from tidegauge import instruments
from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.reconcile import books
from tidegauge.collectors.reconcile.positions import Position, positions
from tidegauge.collectors.reconcile.report import Account, Gap, Report
from tidegauge.config import Kafka, Reconcile
from tidegauge.model import Signal
from tidegauge.store import Store

log = logging.getLogger(__name__)

DAYS = timedelta(days=1)  # before today, of which tables are counted


class Reconciler:
    """Compares Kafka's offsets, the sink's ledger, ClickHouse's counts and the tables.

    Args:
        kafka: The sink's settings; without servers only what is stored directly is compared.
        direct: The transport of this process, where it stores directly.
    """

    def __init__(
        self, store: Store, settings: Reconcile, kafka: Kafka | None = None, direct: DirectTransport | None = None
    ) -> None:
        self._store, self._settings, self._direct = store, settings, direct
        self._kafka = kafka if kafka and kafka.bootstrap_servers else None
        self._known: set[str] = set()
        self._surplus: dict[str, int] = {}  # rows beyond those counted, by table and day, a round ago

    def run(self, now: datetime) -> Report:
        """One round: the gauges, the table ``reconciliation``, and a line in the log for every new gap.

        Raises:
            StoreError: ClickHouse does not answer.
            KafkaError: Kafka does not.
        """
        report = self.report(now)
        counts = report.gap_records()
        for signal in Signal:
            instruments.RECONCILIATION_GAP.labels(signal.name.lower()).set(counts[signal])
            waiting = sum(each.in_flight for each in report.accounts if each.signal is signal)
            instruments.RECONCILIATION_IN_FLIGHT.labels(signal.name.lower()).set(waiting)
        for gap in report.gaps:
            if str(gap) not in self._known:
                log.error("reconciliation: %s", gap)
        self._known = {str(each) for each in report.gaps}
        self._store.insert("reconciliation", _rows(report, now))
        return report

    def report(self, now: datetime) -> Report:
        """What there is to say at ``now``, without telling anybody. Raises as ``run`` does."""
        known = positions(self._kafka, now) if self._kafka else []  # before the ledger, which is written first
        since = now - timedelta(hours=self._settings.lookback_hours)
        bounds = {"since": since, "until": now - timedelta(seconds=self._settings.grace_s)}
        ends = {_place(row): int(row["end"]) for row in self._store.rows(books.ENDS)}
        skipped = list(_skipped(known, ends))
        gaps = [
            *skipped,
            *self._seams(bounds),
            *self._rows(bounds),
            *self._strays(bounds, ends),
            *self._tables(now),
            *self._stored_directly(),
        ]
        return Report(self._accounts(bounds, known, skipped), gaps)

    def _accounts(self, bounds: dict[str, Any], known: list[Position], skipped: list[Gap]) -> list[Account]:
        rows = {(row["topic"], row["partition"]): row for row in self._store.rows(books.ACCOUNTS, bounds)}
        places = {(each.place.topic, each.place.partition): each for each in known}
        return [
            _account(place, rows.get(place, {}), places.get(place), skipped)
            for place in sorted(rows.keys() | places.keys())
        ]

    def _seams(self, bounds: dict[str, Any]) -> Iterator[Gap]:
        for row in self._store.rows(books.SEAMS, bounds):
            expected, found = int(row["expected"]), int(row["found"])
            if row["missing"]:
                what = "removed from Kafka before they were read; retention is shorter than the sink was behind"
                yield _gap(row, found, int(row["last_offset"]), what)
            elif found > expected > 1:
                yield _gap(row, expected, found - 1, "not in the ledger: skipped, or the ledger has lost a row")
            elif found < expected:
                last = min(expected - 1, int(row["last_offset"]))
                yield _gap(row, found, last, "in the ledger twice: perhaps stored twice")

    def _rows(self, bounds: dict[str, Any]) -> Iterator[Gap]:
        for row in self._store.rows(books.ROWS, bounds):
            what = f"{row['sent']} rows were inserted and ClickHouse counted {row['counted']}"
            yield _gap(row, row["first_offset"], row["last_offset"], what, abs(int(row["sent"]) - int(row["counted"])))

    def _strays(self, bounds: dict[str, Any], ends: dict[tuple[str, int, str], int]) -> Iterator[Gap]:
        for row in self._store.rows(books.STRAY, bounds):
            topic, partition, stretch, of = row["token"].split(":", 3)
            first, last = map(int, stretch.split("-"))
            if last < ends.get((topic, int(partition), of), 0):  # else a crash that nobody has taken over yet
                place = {"topic": topic, "partition": int(partition)}
                what = f"{row['counted']} rows counted that the ledger does not name: perhaps stored twice"
                yield _gap(place, first, last, what, int(row["counted"]))

    def _tables(self, now: datetime) -> Iterator[Gap]:
        days = {"first": (now - DAYS).date(), "last": now.date(), "tables": list(books.TABLES)}
        surplus: dict[str, int] = {}
        for row in self._store.rows(books.COUNTED, days):
            table, counted, where = row["table"], int(row["counted"]), f"{row['table']} {row['day']}"
            found = int(self._store.value(books.there(table), {"day": row["day"]}))
            what = f"{counted} rows were stored and {found} are there"
            surplus[where] = found - counted
            lasting = min(surplus[where], self._surplus.get(where, 0))  # a moment's is an insert under way
            if found < counted:
                yield Gap(books.TABLES[table][0], counted - found, where, f"{what}: deleted, or a part was lost")
            elif lasting > 0:
                much = f"{what}: an insert that failed left some, so they are perhaps stored twice"
                yield Gap(books.TABLES[table][0], lasting, where, much)
        self._surplus = surplus

    def _stored_directly(self) -> Iterator[Gap]:
        """What this process has answered with success, against what ClickHouse counted of its inserts."""
        if self._direct is None:
            return
        told = dict(self._direct.stored)  # before ClickHouse is asked
        rows = self._store.rows(books.DIRECT, {"token": self._direct.token})
        counted = {row["table"]: int(row["counted"]) for row in rows}
        for signal, table in ((Signal.TRACES, "otel_traces"), (Signal.LOGS, "otel_logs")):
            short = told.get(signal, 0) - counted.get(table, 0)
            if short > 0:
                what = f"{told[signal]} records were answered with success and ClickHouse counted {short} less"
                yield Gap(signal, short, f"{table}, stored directly", what)


def _skipped(known: list[Position], ends: dict[tuple[str, int, str], int]) -> Iterator[Gap]:
    for each in known:
        of = [end for (topic, place, of), end in ends.items() if (topic, place) == each.place and _same(of, each.log)]
        if of and each.committed is not None and each.committed > max(of):
            row = {"topic": each.place.topic, "partition": each.place.partition}
            what = "committed and not in the ledger: somebody has moved the group on, or the ledger has lost a row"
            yield _gap(row, max(of), each.committed - 1, what)


def _same(of: str, log_name: str) -> bool:
    return of.split("/")[0] == log_name


def _account(place: tuple[str, int], row: dict[str, Any], position: Position | None, skipped: list[Gap]) -> Account:
    number = {name: int(row.get(name, 0)) for name in ("stored", "repeated", "dead", "lost", "holes", "records")}
    return Account(
        Signal(place[0]),
        *place,
        stored=number["stored"],
        duplicates=number["repeated"],
        dead_letters=number["dead"],
        lost=number["lost"],
        holes=number["holes"],
        in_flight=position.in_flight if position else 0,
        unknown=sum(each.records for each in skipped if (each.topic, each.partition) == place),
        records=number["records"],
        lag_s=position.lag_s if position else 0.0,
    )


def _place(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["topic"], row["partition"], row["log"]


def _gap(row: dict[str, Any], first: int, last: int, what: str, records: int | None = None) -> Gap:
    topic, partition = row["topic"], int(row["partition"])
    where = f"{topic}:{partition} offsets {first}-{last}"
    return Gap(
        Signal(topic), last - first + 1 if records is None else records, where, what, topic, partition, first, last
    )


def _rows(report: Report, now: datetime) -> list[dict[str, Any]]:
    """One row for each partition, and one for each signal with gaps that are no partition's."""
    places = {(each.signal, each.topic, each.partition): each for each in report.accounts}
    missing = {(each.signal, each.topic, each.partition) for each in report.gaps} - places.keys()
    keys = [*places, *sorted(missing), *((signal, "", 0) for signal in Signal if (signal, "", 0) not in missing)]
    out = []
    for key in keys:
        gaps = [each for each in report.gaps if (each.signal, each.topic, each.partition) == key]
        account = places.get(key)
        out.append(
            {
                "checked_at": now,
                "signal": key[0].name.lower(),
                "topic": key[1],
                "partition": key[2],
                "gap_records": sum(each.records for each in gaps),
                "in_flight": account.in_flight if account else 0,
                "lag_s": account.lag_s if account else 0.0,
                "details": [str(each) for each in gaps][:100],
            }
        )
    return out
