"""Arrow columns of any accepted type as what is stored: numbers, text, times."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidegauge.collectors.frames.layout import MAX_TIME
from tidegauge.errors import InvalidPayload

MAX_TEXT_BYTES = 64 * 2**20  # of one column, with every repeated value written out
PLAIN = (1e-4, 1e15)  # between them Arrow writes a float as Python does
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

Floats = npt.NDArray[np.float64]


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of ``kind`` is a numeric feature."""
    bare = _value(kind)
    return bool(pa.types.is_integer(bare) or pa.types.is_floating(bare) or pa.types.is_decimal(bare))


def is_score(kind: pa.DataType) -> bool:
    """Whether a column of ``kind`` can be a score: a column of nothing can."""
    return is_number(kind) or bool(pa.types.is_null(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of ``kind`` is a categorical feature."""
    bare = _value(kind)
    return _is_string(bare) or bool(pa.types.is_boolean(bare) or pa.types.is_null(bare))


def is_writable(kind: pa.DataType) -> bool:
    """Whether a column of ``kind`` can be a prediction, a label, an id or a slice."""
    return is_number(kind) or is_text(kind) or bool(pa.types.is_date(_value(kind)))


def is_moment(kind: pa.DataType) -> bool:
    """Whether ``kind`` is a timestamp that knows its time zone."""
    return bool(pa.types.is_timestamp(kind)) and kind.tz is not None


def numbers(column: pa.ChunkedArray) -> Floats:
    """A numeric column as doubles; null becomes NaN."""
    plain = _plain(column)
    values = pc.cast(plain, pa.float64(), safe=False)
    found: Floats = pc.fill_null(values, np.nan).to_numpy(zero_copy_only=False)
    return found


def text(column: pa.ChunkedArray) -> pa.Array:
    """A column as text: whole floats without a point, bools in lower case, dates as ISO 8601, null as empty."""
    plain = _plain(column)
    written = _written(plain) if pa.types.is_floating(plain.type) else pc.cast(plain, pa.string())
    return pc.fill_null(written, "")


def nanoseconds(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A column of timestamps in nanoseconds since 1970, held to what 64 bits can say from there: 1970 to 2262."""
    counts = pc.cast(column.combine_chunks(), pa.int64()).to_numpy(zero_copy_only=False)
    factor = 10**9 // PER_SECOND[column.type.unit]
    held: npt.NDArray[np.int64] = np.clip(counts, 0, MAX_TIME // factor) * factor
    return held


def missing(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which rows have no value, or an empty text."""
    plain = _plain(column)
    empty = pc.equal(plain, pa.scalar("", plain.type)) if _is_string(plain.type) else pa.scalar(False)
    found: npt.NDArray[np.bool_] = pc.or_kleene(pc.is_null(plain), empty).to_numpy(zero_copy_only=False)
    return found


def _text_bytes(each: pa.Array) -> int:
    if pa.types.is_dictionary(each.type):
        if not is_text(each.type):
            return 0
        lengths = pc.fill_null(_lengths(each.dictionary), 0)
        return int(pc.sum(pc.take(lengths, each.indices)).as_py() or 0)
    return int(pc.sum(_lengths(each)).as_py() or 0) if is_text(each.type) else 0


def _lengths(each: pa.Array) -> pa.Array:
    if pa.types.is_string_view(each.type):
        views = each.buffers()[1].slice(16 * each.offset, 16 * len(each)) if len(each) else b""
        return pa.array(np.frombuffer(views, dtype=np.uint32)[::4].astype(np.int64))  # a view begins with its length
    if pa.types.is_string(each.type) or pa.types.is_large_string(each.type):
        return pc.cast(pc.binary_length(each), pa.int64())
    return pa.array(np.full(len(each), 5, np.int64))


def refuse_long_views(name: str, column: pa.ChunkedArray) -> None:
    """Raise InvalidPayload where views repeat text beyond MAX_TEXT_BYTES; before they are validated, which reads it."""
    arrays = [each.dictionary if pa.types.is_dictionary(each.type) else each for each in column.chunks]
    views = [each for each in arrays if pa.types.is_string_view(each.type)]
    if sum(int(pc.sum(_lengths(each)).as_py() or 0) for each in views) > MAX_TEXT_BYTES:
        raise _too_long(name)


def refuse_long(name: str, column: pa.ChunkedArray) -> None:
    """Raise InvalidPayload where a column takes more than MAX_TEXT_BYTES, with every repeated text written out."""
    if sum(_text_bytes(each) for each in column.chunks) > MAX_TEXT_BYTES:
        raise _too_long(name)


def _too_long(name: str) -> InvalidPayload:
    return InvalidPayload(f"column {name!r} holds more than {MAX_TEXT_BYTES:,} bytes of text; send smaller frames")


def _written(values: pa.Array) -> pa.Array:
    """Floats as Python writes them, whole ones as integers."""
    doubles = pc.cast(values, pa.float64())
    raw = doubles.to_numpy(zero_copy_only=False)
    size = np.abs(raw)
    whole = (size < PLAIN[1]) & (raw == np.floor(raw))
    usual = whole | ~np.isfinite(raw) | ((size >= PLAIN[0]) & (size < PLAIN[1]))
    integers = pa.array(np.where(whole, raw, 0).astype(np.int64))
    written = pc.if_else(pa.array(whole), pc.cast(integers, pa.string()), pc.cast(doubles, pa.string()))
    if not usual.all():
        odd = [_python(value) if not fine else None for value, fine in zip(raw.tolist(), usual.tolist(), strict=True)]
        written = pc.if_else(pa.array(usual), written, pa.array(odd, pa.string()))
    return pc.if_else(pc.is_valid(doubles), written, pa.scalar(None, pa.string()))


def _python(value: float) -> str:
    return str(int(value)) if value.is_integer() else str(value)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One array without dictionaries."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _value(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
