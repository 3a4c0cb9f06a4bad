"""A frame as the columns of ``frames_in``, made a column at a time: no Python code touches a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidegauge.collectors.frames import columns
from tidegauge.collectors.frames.layout import SLICE, VERIFIED, VERSION, Kind
from tidegauge.collectors.frames.stream import Frame

EVENTS = {Kind.PREDICTIONS: "tidegauge.prediction", Kind.LABELS: "tidegauge.label"}
SHARED = {
    "version": "tidegauge.model.version",
    "tenant": "tidegauge.tenant",
    "intent": "tidegauge.intent",
    "session": "session.id",
}


def stored(frame: Frame) -> pa.Table:
    """The rows as the columns of the table ``frames_in``, which its views take apart."""
    attributes, roles = frame.layout.attributes, frame.roles
    numeric = [name for name in roles.features or () if columns.is_number(frame.table.schema.field(name).type)]
    categorical = [name for name in roles.features or () if name not in set(numeric)]
    value = roles.label if frame.layout.kind is Kind.LABELS else roles.prediction
    return pa.table(
        {
            "event": _same(frame, EVENTS[frame.layout.kind]),
            "timestamp": pa.array(times(frame)).cast(pa.timestamp("ns", "UTC")),
            "prediction_id": identifiers(frame),
            "trace_id": _encoded(text(frame, roles.trace_id)),
            "span_id": _encoded(text(frame, roles.span_id)),
            "service": _same(frame, attributes.get("service.name", "")),
            "model": _same(frame, frame.layout.model),
            "version": _encoded(text(frame, roles.version, SHARED["version"])),
            "role": _same(frame, attributes.get("tidegauge.role", "")),
            "features": _number_map(frame, numeric),
            "categories": _category_map(frame, categorical),
            "value": text(frame, value).cast(pa.string()),
            "score": scores(frame),
            "slices": _slice_map(frame),
            "session": _encoded(text(frame, roles.session, SHARED["session"])),
            "versions": _same_map(frame, under(VERSION, attributes)),
        }
    )


def times(frame: Frame) -> npt.NDArray[np.int64]:
    """Event times in nanoseconds since 1970."""
    if frame.roles.timestamp:
        return columns.nanoseconds(frame.table.column(frame.roles.timestamp))
    return np.full(frame.table.num_rows, frame.layout.time_ns, np.int64)


def identifiers(frame: Frame) -> pa.Array:
    """The prediction ids: those of the column, else ``{frame}-{row}``."""
    if frame.roles.id:
        return columns.text(frame.table.column(frame.roles.id))
    rows = pa.array(np.arange(frame.layout.first_row, frame.layout.first_row + frame.table.num_rows))
    return pc.binary_join_element_wise(frame.name, rows.cast(pa.string()), "-")


def scores(frame: Frame) -> pa.Array:
    """The scores; missing and NaN are null."""
    if not frame.roles.score:
        return pa.nulls(frame.table.num_rows, pa.float64())
    return pa.array(columns.numbers(frame.table.column(frame.roles.score)), from_pandas=True)


def slices(frame: Frame) -> dict[str, pa.Array]:
    """The slice dimensions by name, for every row; the tenant of the sender's key stands above any other."""
    attributes, roles = frame.layout.attributes, frame.roles
    found = {name: _same(frame, value).dictionary_decode() for name, value in under(SLICE, attributes).items()}
    found |= {name: text(frame, name, SLICE + name) for name in roles.slices}
    for role, column in (("tenant", roles.tenant), ("intent", roles.intent)):
        if column or attributes.get(SHARED[role]):
            found[role] = text(frame, column, SHARED[role]).cast(pa.string())
    if tenant := attributes.get(VERIFIED, ""):
        found["tenant"] = _same(frame, tenant).dictionary_decode()
    return found


def text(frame: Frame, column: str, attribute: str = "") -> pa.Array:
    """The text of ``column``; where it has none, and without a column, what all rows share under ``attribute``."""
    otherwise = frame.layout.attributes.get(attribute, "")
    if not column:
        return _same(frame, otherwise)
    own = columns.text(frame.table.column(column))
    return pc.if_else(pc.equal(own, ""), otherwise, own) if otherwise else own


def under(prefix: str, attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes that begin with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in attributes.items() if key.startswith(prefix)}


def _encoded(values: pa.Array) -> pa.DictionaryArray:
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()


def _same(frame: Frame, value: str) -> pa.DictionaryArray:
    indices = pa.array(np.zeros(frame.table.num_rows, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], pa.string()))


def _number_map(frame: Frame, names: Sequence[str]) -> pa.MapArray:
    cells = np.empty((frame.table.num_rows, len(names)))
    for at, name in enumerate(names):
        cells[:, at] = columns.numbers(frame.table.column(name))
    return _whole_map(frame, names, pa.array(cells.ravel()))


def _category_map(frame: Frame, names: Sequence[str]) -> pa.MapArray:
    encoded = [columns.text(frame.table.column(name)).dictionary_encode() for name in names]
    if not encoded:
        return _whole_map(frame, (), _coded(np.empty(0, np.int32), pa.array([], pa.string())))
    shared = pa.chunked_array(encoded).unify_dictionaries().chunks if frame.table.num_rows else encoded
    cells = np.empty((frame.table.num_rows, len(names)), np.int32)
    for at, each in enumerate(shared):
        cells[:, at] = each.indices.to_numpy()
    return _whole_map(frame, names, _coded(cells.ravel(), shared[0].dictionary))


def _same_map(frame: Frame, pairs: Mapping[str, str]) -> pa.MapArray:
    rows = frame.table.num_rows
    values = pa.array(sorted(set(pairs.values())), pa.string())
    places = pc.index_in(pa.array(list(pairs.values()), pa.string()), values).to_numpy().astype(np.int32)
    return _whole_map(frame, list(pairs), _coded(np.tile(places, rows), values))


def _slice_map(frame: Frame) -> pa.MapArray:
    """Rows lack the dimensions in which they have no value."""
    found, rows = slices(frame), frame.table.num_rows
    if not found:
        return _same_map(frame, {}).cast(pa.map_(pa.dictionary(pa.int32(), pa.string()), pa.string()))
    texts = pa.concat_arrays([each.cast(pa.string()) for each in found.values()])
    filled = pc.not_equal(texts, "").to_numpy(zero_copy_only=False).reshape(len(found), rows)
    places = np.arange(len(texts)).reshape(len(found), rows).T[filled.T]
    keys = np.broadcast_to(np.arange(len(found), dtype=np.int32), (rows, len(found)))[filled.T]
    offsets = np.concatenate([[0], np.cumsum(filled.sum(axis=0))]).astype(np.int32)
    return pa.MapArray.from_arrays(
        pa.array(offsets), _coded(keys, pa.array(list(found), pa.string())), texts.take(pa.array(places))
    )


def _whole_map(frame: Frame, names: Sequence[str], values: pa.Array) -> pa.MapArray:
    """A map with every one of ``names`` in every row; ``values`` row by row."""
    rows, width = frame.table.num_rows, len(names)
    keys = _coded(np.tile(np.arange(width, dtype=np.int32), rows), pa.array(list(names), pa.string()))
    return pa.MapArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * width), keys, values)


def _coded(indices: npt.NDArray[np.int32], values: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(indices), values)
