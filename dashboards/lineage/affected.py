"""What a version touched: how much, whose, where, when - and each record of it, for a file."""

# ruff: noqa: S608 - the pieces are constants of this file; every value is a bound parameter

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from tidegauge.dashboards.lineage.versions import CALLS, PREDICTIONS, Selection
from tidegauge.errors import InvalidRecord
from tidegauge.model import Window
from tidegauge.store import Store

FORMATS = (".csv", ".parquet", ".jsonl")
_WITHIN = "timestamp >= {start:DateTime64(6)} AND timestamp < {end:DateTime64(6)}"
_PREDICTIONS = """SELECT 'prediction' AS kind, timestamp, prediction_id AS id, trace_id, span_id, service, model,
  version, slices['tenant'] AS tenant, session FROM predictions WHERE {within} AND {condition}"""
_CALLS = """SELECT kind, timestamp, span_id AS id, trace_id, span_id, service, model, prompt_version AS version,
  tenant, session FROM llm_facts WHERE {within} AND {condition}"""
_HOURS = """SELECT toStartOfHour(timestamp) AS hour, service, tenant, kind = 'prediction' AS predicted,
  count() AS records, uniqExact(trace_id) AS traces, min(timestamp) AS first, max(timestamp) AS last
FROM ({records}) GROUP BY hour, service, tenant, predicted ORDER BY hour, service, tenant"""
_TRACES = "SELECT uniqExact(trace_id) FROM ({records}) WHERE trace_id != ''"
_LABELS = """SELECT uniqExact(prediction_id) FROM labels WHERE prediction_id IN (
  SELECT prediction_id FROM predictions WHERE {within} AND {condition})"""


@dataclass(frozen=True, slots=True)
class Touched:
    """Records of one hour, service and tenant."""

    hour: datetime
    service: str
    tenant: str
    predictions: int
    calls: int


@dataclass(frozen=True, slots=True)
class Affected:
    """What a selection of versions touched within a window of event time."""

    selection: dict[str, str]
    start: datetime
    end: datetime
    predictions: int
    calls: int
    traces: int
    labelled: int
    first: datetime | None
    last: datetime | None
    groups: tuple[Touched, ...]

    def by(self, *names: str) -> dict[tuple[Any, ...], tuple[int, int]]:
        """Predictions and calls by some of hour, service and tenant, the most first (by hour: in order)."""
        totals: dict[tuple[Any, ...], tuple[int, int]] = {}
        for each in self.groups:
            key = tuple(getattr(each, name) for name in names)
            before = totals.get(key, (0, 0))
            totals[key] = (before[0] + each.predictions, before[1] + each.calls)
        if names == ("hour",):
            return totals
        return dict(sorted(totals.items(), key=lambda item: (-sum(item[1]), item[0])))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Affected:
        """The inverse of :meth:`as_json`, whose times may have become text on the way."""
        groups = tuple(Touched(**each | {"hour": _moment(each["hour"])}) for each in data["groups"])
        moments = {name: _moment(data[name]) for name in ("start", "end", "first", "last")}
        return cls(**data | moments | {"groups": groups})

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def _moment(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def affected(store: Store, selection: Selection, window: Window) -> Affected:
    """Count what ``selection`` touched in ``window``; only GenAI spans and predictions carry versions."""
    names = {"start": window.start, "end": window.end, **selection.parameters()}
    rows = store.rows(_HOURS.format(records=_records(selection)), names)
    counted = [
        Touched(
            row["hour"],
            row["service"],
            row["tenant"],
            row["records"] if row["predicted"] else 0,
            0 if row["predicted"] else row["records"],
        )
        for row in rows
    ]
    condition = selection.condition(PREDICTIONS)
    return Affected(
        dict(selection.wanted),
        window.start,
        window.end,
        sum(each.predictions for each in counted),
        sum(each.calls for each in counted),
        store.value(_TRACES.format(records=_records(selection)), names) if rows else 0,
        store.value(_LABELS.format(within=_WITHIN, condition=condition), names) if rows else 0,
        min((row["first"] for row in rows), default=None),
        max((row["last"] for row in rows), default=None),
        _merged(counted),
    )


def export(store: Store, found: Affected, out: Path) -> int:
    """Write each touched record to ``out`` (.csv, .parquet or .jsonl), an hour at a time; returns how many.

    Raises:
        InvalidRecord: the name of ``out`` ends in none of these.
    """
    check_format(out)
    written = 0
    with ExitStack() as stack:
        write = _writer(out, stack)
        for hour in _hours(store, found):
            write(hour)
            written += hour.height
    return written


def check_format(out: Path) -> None:
    """Raises InvalidRecord when ``out`` is no file that :func:`export` can write."""
    if out.suffix not in FORMATS:
        raise InvalidRecord(f"{out}: the name must end in one of {', '.join(FORMATS)}")


def _writer(out: Path, stack: ExitStack) -> Callable[[pl.DataFrame], None]:
    """Appends frames to ``out``, which ``stack`` closes."""
    if out.suffix == ".parquet":
        return _parquet_writer(out, stack)
    file = stack.enter_context(out.open("wb"))
    if out.suffix == ".csv":
        return lambda frame: frame.write_csv(file, include_header=not file.tell())
    return lambda frame: frame.write_ndjson(file)


def _parquet_writer(out: Path, stack: ExitStack) -> Callable[[pl.DataFrame], None]:
    opened: list[pq.ParquetWriter] = []

    def write(frame: pl.DataFrame) -> None:
        table = frame.to_arrow()
        if not opened:
            opened.append(stack.enter_context(pq.ParquetWriter(out, table.schema)))
        opened[0].write_table(table)

    return write


def _hours(store: Store, found: Affected) -> Iterator[pl.DataFrame]:
    selection = Selection(found.selection)
    sql = f"SELECT * FROM ({_records(selection)}) ORDER BY timestamp, kind, id"
    for hour in sorted({each.hour for each in found.groups}):
        names = {"start": max(hour, found.start), "end": min(hour + timedelta(hours=1), found.end)}
        frame = pl.from_arrow(store.arrow(sql, names | selection.parameters()))
        assert isinstance(frame, pl.DataFrame)
        yield frame.with_columns(pl.col(pl.Categorical).cast(pl.String))


def _records(selection: Selection) -> str:
    predictions = _PREDICTIONS.format(within=_WITHIN, condition=selection.condition(PREDICTIONS))
    calls = _CALLS.format(within=_WITHIN, condition=selection.condition(CALLS))
    return f"{predictions} UNION ALL {calls}"


def _merged(counted: list[Touched]) -> tuple[Touched, ...]:
    """Predictions and calls of the same hour, service and tenant in one."""
    found: dict[tuple[datetime, str, str], Touched] = {}
    for each in counted:
        key = (each.hour, each.service, each.tenant)
        before = found.get(key, Touched(*key, 0, 0))
        found[key] = Touched(*key, before.predictions + each.predictions, before.calls + each.calls)
    return tuple(found.values())
