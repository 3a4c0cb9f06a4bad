"""The table ``sequential_state``: where each stream stands, so that a restart goes on and does not begin anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegauge.detectors.sequential.monitor import SHAPE, State
from tidegauge.detectors.sequential.rollups import Stream
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray
from tidegauge.model import Slice, Window
from tidegauge.store import Store

READ = "SELECT * FROM sequential_state FINAL WHERE subject = {subject:String} AND family = {family:String}"
MOMENT = pa.timestamp("us", "UTC")
FLAT = {"before": "residual", "looks": "looks", "recent": "recent"}
"""Of the state, by column."""
ARRAYS = ("detector", "chain", "process", "began", "blocks", "moved", "scaled")


@dataclass(frozen=True)
class Standing:
    """What is known of a family of streams after the hour that ended at ``until``."""

    until: datetime
    reference: str
    span: Window
    streams: tuple[Stream, ...]
    state: State
    alarmed: tuple[datetime | None, ...]

    @property
    def since(self) -> datetime | None:
        """Of the longest alarm that is on."""
        return min((each for each in self.alarmed if each), default=None)

    def fitted_to(self, streams: Sequence[Stream]) -> tuple[State, tuple[datetime | None, ...]]:
        """State and alarms of ``streams``; those that are new begin."""
        at = {stream: number for number, stream in enumerate(self.streams)}
        known = np.array([at.get(stream, -1) for stream in streams], dtype=np.intp)
        fresh = State.start(len(streams))
        taken = self.state.take(np.maximum(known, 0)) if self.streams else fresh
        merged = {each.name: _chosen(known >= 0, each.name, taken, fresh) for each in fields(State)}
        return State(**merged), tuple(self.alarmed[number] if number >= 0 else None for number in known)


class Memory:
    """Reads and writes the standing of a model's families."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, subject: str, family: str) -> Standing | None:
        """The last standing, or None. Streams that were dropped since, at an earlier look, are left out."""
        table = self._store.arrow(READ, {"subject": subject, "family": family})
        table = table.filter(pc.equal(table["looked_until"], pc.max(table["looked_until"])))
        arrays = {name: _values(table[name]) for name in ARRAYS}
        if not len(table) or any(len(each) != len(table) * SHAPE[0] * SHAPE[1] for each in arrays.values()):
            return None
        first = table.slice(0, 1).to_pylist()[0]
        parts = (table[name].to_pylist() for name in ("feature", "dimension", "slice"))
        streams = tuple((feature, Slice(dimension, value)) for feature, dimension, value in zip(*parts, strict=True))
        state = State(
            **{name: table[column].to_numpy() for name, column in FLAT.items()},
            **{name: each.reshape(-1, *SHAPE) for name, each in arrays.items()},
        )
        span = Window(first["reference_start"], first["reference_end"])
        alarmed = tuple(table["alarmed_since"].to_pylist())
        return Standing(first["looked_until"], first["reference"], span, streams, state, alarmed)

    def write(self, subject: str, family: str, standing: Standing, now: datetime) -> None:
        """Replace what was there."""
        shared: dict[str, str | datetime] = {
            "subject": subject,
            "family": family,
            "looked_until": standing.until,
            "reference": standing.reference,
            "reference_start": standing.span.start,
            "reference_end": standing.span.end,
            "written_at": now,
        }
        state, count = standing.state, len(standing.streams)
        columns: dict[str, pa.Array] = {name: pa.repeat(_scalar(each), count) for name, each in shared.items()}
        columns["feature"] = pa.array([name for name, _ in standing.streams], pa.string())
        columns["dimension"] = pa.array([part.dimension for _, part in standing.streams], pa.string())
        columns["slice"] = pa.array([part.value for _, part in standing.streams], pa.string())
        columns |= {column: pa.array(getattr(state, name)) for name, column in FLAT.items()}
        ends = pa.array(np.arange(count + 1, dtype=np.int32) * (SHAPE[0] * SHAPE[1]))
        for name in ARRAYS:
            values = np.ascontiguousarray(getattr(state, name), dtype=np.float64).reshape(-1)
            columns[name] = pa.ListArray.from_arrays(ends, pa.array(values))
        columns["alarmed_since"] = pa.array(standing.alarmed, MOMENT)
        self._store.insert_arrow("sequential_state", pa.table(columns))


def _values(column: pa.ChunkedArray) -> FloatArray:
    """Those of all lists, one after the other."""
    return np.asarray(pa.chunked_array([each.flatten() for each in column.chunks], pa.float64()).to_numpy())


def _scalar(value: str | datetime) -> pa.Scalar:
    return pa.scalar(value, MOMENT if isinstance(value, datetime) else pa.string())


def _chosen(known: BoolArray, name: str, taken: State, fresh: State) -> FloatArray:
    old, new = getattr(taken, name), getattr(fresh, name)
    return np.asarray(np.where(known.reshape(-1, *[1] * (new.ndim - 1)), old, new))
