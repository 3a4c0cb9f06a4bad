"""What a stream of a frame may be, what is refused and why; nothing in one is believed before it is checked."""

from __future__ import annotations

import itertools
import random
import struct
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tidegauge.collectors import frames
from tidegauge.collectors.frames import Frame, Kind, Layout, Roles, header
from tidegauge.collectors.frames.columns import MAX_TEXT_BYTES
from tidegauge.collectors.frames.layout import VERIFIED
from tidegauge.collectors.frames.rows import identifiers, slices, stored
from tidegauge.errors import InvalidPayload

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ONE = {"x": pa.array([1.0])}


def layout(kind: Kind = Kind.PREDICTIONS, model: str = "m", time_ns: int = 1, **roles: Any) -> Layout:
    return Layout(kind, model, Roles(**roles), {"service.name": "shop"}, time_ns, "f00d")


def stream(
    table: pa.Table, described: Layout | dict[str, str] | None = None, compression: str | None = None, **options: Any
) -> bytes:
    """A stream as any producer may write it, unchecked."""
    metadata = described if isinstance(described, dict) else (described or layout()).metadata()
    sink = pa.BufferOutputStream()
    written = pa.ipc.IpcWriteOptions(compression=compression, **options)
    with pa.ipc.new_stream(sink, table.schema.with_metadata(metadata), options=written) as out:
        out.write_table(table, max_chunksize=1_000_000)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


# What comes back


def test_a_frame_comes_back_as_it_was_written_without_the_columns_that_mean_nothing() -> None:
    table = pa.table({"x": [1.0, None], "y": ["a", "b"], "unused": [1, 2]})
    frame = frames.read(frames.write(table, layout(features=("x",), prediction="y")))
    assert frame.table.column_names == ["x", "y"]
    assert frame.table.column("x").to_pylist() == [1.0, None]
    assert frame.layout.attributes == {"service.name": "shop"}
    assert (frame.layout.model, frame.roles.prediction, frame.roles.features) == ("m", "y", ("x",))


def test_without_features_every_column_is_one_that_has_no_other_role() -> None:
    table = pa.table({"a": [1], "y": [1], "b": ["t"], "s": ["u"]})
    assert frames.read(stream(table, layout(prediction="y", slices=("s",)))).roles.features == ("a", "b")
    assert frames.read(stream(table, layout(prediction="y", slices=("s",), features=("b", "a")))).roles.features == (
        "b",
        "a",
    )


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_batches_dictionaries_and_compression_of_any_producer_are_read(compression: str | None) -> None:
    coded = pa.array(["red", "blue", "red"]).dictionary_encode()
    batch = pa.table({"c": coded, "x": [1, 2, 3]})
    whole = pa.concat_tables([batch, batch])
    assert frames.count(stream(whole, compression=compression)) == 6
    assert (
        frames.read(stream(whole, compression=compression)).table.column("c").to_pylist() == ["red", "blue", "red"] * 2
    )


def test_made_up_ids_go_on_from_part_to_part_and_follow_from_the_bytes() -> None:
    rows = 50_001
    frame = frames.check(pa.table({"x": np.arange(float(rows))}), layout())
    parts = list(frames.parts(frame))
    made = [name for part in parts for name in identifiers(part).to_pylist()]
    assert len(parts) == 3
    assert made == [f"f00d-{row}" for row in range(rows)]
    bare = stream(pa.table(ONE), layout().metadata() | {"tidegauge.frame.id": ""})
    assert identifiers(frames.read(bare)).to_pylist() == [f"{frames.read(bare).digest}-0"]


@pytest.mark.parametrize(
    ("units", "moment"),
    [("s", NOON), ("ms", NOON + timedelta(milliseconds=1)), ("us", NOON + timedelta(microseconds=1)), ("ns", NOON)],
)
def test_times_of_every_unit_keep_what_they_say(units: str, moment: datetime) -> None:
    table = pa.table({"t": pa.array([moment], pa.timestamp(units, "Asia/Tokyo")), "x": [1]})
    [found] = stored(frames.read(stream(table, layout(timestamp="t")))).column("timestamp").to_pylist()
    assert found == moment


# What is refused

BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not an Arrow IPC stream"),
    "text": (lambda: b"hello, is this the receiver?" * 10, "not an Arrow IPC stream"),
    "a file instead of a stream": (lambda: _file(), "not an Arrow IPC stream"),
    "cut off": (lambda: stream(pa.table({"x": np.arange(1e4)}))[:-40_000], "not an Arrow IPC stream"),
    "no kind": (lambda: stream(pa.table(ONE), {}), "tidegauge.kind = predictions or labels, found ''"),
    "another kind": (lambda: stream(pa.table(ONE), {"tidegauge.kind": "spans"}), "found 'spans'"),
    "no model": (lambda: stream(pa.table(ONE), layout(model="")), "must have tidegauge.model.name"),
    "no time": (lambda: stream(pa.table(ONE), layout(time_ns=0)), "give a column the role timestamp"),
    "a time of letters": (
        lambda: stream(pa.table(ONE), layout().metadata() | {"tidegauge.time_unix_nano": "now"}),
        "tidegauge.time_unix_nano must be a whole number, found 'now'",
    ),
    "roles that are no JSON": (
        lambda: stream(pa.table(ONE), layout().metadata() | {"tidegauge.columns": "{"}),
        "tidegauge.columns must be a JSON object",
    ),
    "a role that is none": (
        lambda: stream(pa.table(ONE), layout().metadata() | {"tidegauge.columns": '{"colour": "x"}'}),
        "colour: Extra inputs",
    ),
    "a missing column": (lambda: stream(pa.table(ONE), layout(score="p")), "has no column 'p'; it has x"),
    "two columns of one name": (
        lambda: stream(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])),
        "column 'x' is there more than once",
    ),
    "a feature named twice": (
        lambda: stream(pa.table(ONE), layout(features=("x", "x"))),
        "'x' is there more than once",
    ),
    "a column that means nothing": (
        lambda: stream(pa.table({"x": [1], "z": ["secret"]}), layout(features=("x",))),
        "column 'z' has no role",
    ),
    "a list": (lambda: stream(pa.table({"l": [[1]]})), "feature column 'l' is list"),
    "a struct": (lambda: stream(pa.table({"s": [{"a": 1}]})), "feature column 's' is struct"),
    "bytes": (lambda: stream(pa.table({"b": [b"a"]})), "feature column 'b' is binary"),
    "a duration": (lambda: stream(pa.table({"d": [timedelta(1)]})), "'d' is duration"),
    "a date as a feature": (lambda: stream(pa.table({"d": [NOON.date()]})), "such as the weekday"),
    "a time without a zone": (
        lambda: stream(pa.table({"t": pa.array([0], pa.timestamp("s"))}), layout(timestamp="t")),
        r"column 't' must hold datetimes with a time zone to be the timestamp, found timestamp\[s\]",
    ),
    "no time in a row": (
        lambda: stream(pa.table({"t": pa.array([None, NOON])}), layout(timestamp="t")),
        r"column 't' has 1 row\(s\) without a time",
    ),
    "no id in a row": (
        lambda: stream(pa.table({"i": ["a", "", None]}), layout(id="i")),
        r"column 'i' has 2 row\(s\) without a prediction id",
    ),
    "a score of text": (lambda: stream(pa.table({"p": ["high"]}), layout(score="p")), "'p' must hold numbers"),
    "labels without ids": (
        lambda: stream(pa.table(ONE), layout(Kind.LABELS, label="x")),
        "needs a column with the role id",
    ),
    "big numbers of rows without a byte": (
        lambda: stream(pa.table({"n": pa.nulls(200_000)})),
        "more than 100,000 rows",
    ),
    "too many cells": (
        lambda: stream(pa.table({f"f{n}": pa.nulls(90_000) for n in range(90)})),
        "rows times features is at most 8,000,000",
    ),
    "too many columns": (lambda: stream(pa.table({f"f{n}": [1] for n in range(2_001)})), "at most 2,000"),
    "a bomb of zeros": (lambda: stream(pa.table(_zeros()), compression="zstd"), "decompressed"),
    "a dictionary that repeats a long text": (lambda: stream(_repeated()), "more than 67,108,864 bytes of text"),
    "views that repeat a long text": (lambda: stream(_viewed()), "more than 67,108,864 bytes of text"),
    "deltas of a dictionary": (lambda: _deltas(), "delta dictionaries"),
    "many messages": (lambda: _many_batches(), "more than 1000 messages"),
    "an old format": (
        lambda: stream(pa.table(ONE), metadata_version=pa.ipc.MetadataVersion.V4),
        "older than Arrow 1.0",
    ),
    "text that is not UTF-8": (lambda: _not_utf8(), "not an Arrow IPC stream"),
}


def _zeros() -> dict[str, Any]:
    return {f"z{n}": np.zeros(80_000) for n in range(120)}


def _file() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.table(ONE).schema) as out:
        out.write_table(pa.table(ONE))
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def _repeated() -> pa.Table:
    indices = pa.array(np.zeros(90_000, np.int8))
    return pa.table({"c": pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 1_000_000]))})


def _viewed() -> pa.Table:
    long = pa.array(["x" * 1_000_000], pa.string_view())
    views = long.buffers()[1].to_pybytes()[:16] * 90_000
    return pa.table(
        {"v": pa.Array.from_buffers(pa.string_view(), 90_000, [None, pa.py_buffer(views), long.buffers()[2]])}
    )


def _deltas() -> bytes:
    first, second = (pa.array(each).dictionary_encode() for each in (["a"], ["a", "b"]))
    sink = pa.BufferOutputStream()
    schema = pa.schema({"c": first.type}).with_metadata(layout().metadata())
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)) as out:
        out.write(pa.record_batch([first], schema=schema))
        out.write(pa.record_batch([second], schema=schema))
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def _many_batches() -> bytes:
    table = pa.table({"x": np.arange(1_100)}).replace_schema_metadata(layout().metadata())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table, max_chunksize=1)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def _not_utf8() -> bytes:
    return stream(pa.table({"t": ["abcdefgh"]})).replace(b"abcdefgh", b"abc\xffefgh")


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_frame_is_refused_with_the_reason(case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(InvalidPayload, match=message):
        frames.count(make())


def test_a_buffer_that_claims_to_become_huge_is_refused_before_it_is_opened() -> None:
    payload = bytearray(stream(pa.table({"x": np.zeros(50_000)}), compression="lz4"))
    at = payload.index(struct.pack("<q", 400_000))
    payload[at : at + 8] = struct.pack("<q", 2**40)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    with pytest.raises(InvalidPayload, match="decompressed"):
        frames.count(bytes(payload))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pa.total_allocated_bytes() == before
    assert peak < 2**20


def test_what_headers_declare_is_what_pyarrow_allocates() -> None:
    table = pa.table({"x": np.zeros(5_000), "t": ["ab"] * 5_000, "c": pa.array(["u", "v"] * 2_500).dictionary_encode()})
    for compression in (None, "lz4", "zstd"):
        declared = header.measure(stream(table, compression=compression))
        assert declared.rows == 5_000
        assert declared.size == pytest.approx(table.nbytes, rel=0.02)


def test_damaged_streams_are_refused_or_read_and_nothing_else_happens(rng: np.random.Generator) -> None:
    table = pa.table(
        {
            "a": [1.5, None, 3.0],
            "b": pa.array(["x", "y", None]).dictionary_encode(),
            "c": pa.array(["q", "w", "a text of more than twelve bytes"], pa.string_view()),
            "i": ["1", "2", "3"],
            "t": pa.array([1, 2, 3], pa.timestamp("ms", "UTC")),
        }
    )
    described = layout(id="i", timestamp="t", slices=("b",))
    whole = [stream(table, described, compression) for compression in (None, "lz4")]
    draw = random.Random(int(rng.integers(2**32)))
    outcomes = {True: 0, False: 0}
    for _ in range(1_500):
        damaged = bytearray(draw.choice(whole))
        for _ in range(draw.choice([1, 1, 2, 5])):
            at = draw.randrange(len(damaged) - 8)
            number = draw.choice([0, -1, 1, 2**31, 2**62, 2**63 - 1, draw.randrange(256)])
            damaged[at : at + draw.choice([1, 8])] = struct.pack("<q", number)[: draw.choice([1, 8])]
        outcomes[_read(bytes(damaged))] += 1
    assert min(outcomes.values()) > 50


def _read(payload: bytes) -> bool:
    try:
        frame = frames.read(payload)
    except InvalidPayload:
        return False
    stored(frame)
    frames.stamp(payload, "acme")
    return True


# The tenant


@pytest.mark.parametrize("coded", [False, True])
def test_the_verified_tenant_is_the_one_of_the_stamp_and_the_rest_is_as_it_was(coded: bool) -> None:
    texts = pa.array(["a", "b"])
    table = pa.table({"x": [1.0, 2.0], "c": texts.dictionary_encode() if coded else texts})
    payload = stream(table, layout().metadata() | {VERIFIED: "mallory", "tidegauge.tenant": "mallory"}, "lz4")
    marked = frames.read(frames.stamp(payload, "acme"))
    assert marked.layout.attributes[VERIFIED] == "acme"
    assert slices(marked)["tenant"].to_pylist() == ["acme", "acme"]
    assert marked.table.equals(frames.read(payload).table)
    assert VERIFIED not in frames.read(frames.stamp(payload, "")).layout.attributes
    assert frames.stamp(payload, "mallory") is payload


def test_a_stream_whose_dictionaries_are_numbered_otherwise_is_stamped_too() -> None:
    table = pa.table({"a": pa.array(["p", "q"]).dictionary_encode(), "b": pa.array(["r", "s"]).dictionary_encode()})
    other = _renumbered(stream(table), 1, 7)
    assert header.measure(other).dictionaries == (0, 7)
    marked = frames.read(frames.stamp(other, "acme"))
    assert marked.layout.attributes[VERIFIED] == "acme"
    assert marked.table.equals(table)


def _renumbered(payload: bytes, old: int, new: int) -> bytes:
    """As a writer with numbers of its own has it: a dictionary's id in the schema and before its values."""
    places = [n for n in range(len(payload) - 8) if struct.unpack_from("<q", payload, n)[0] == old]
    for one, other in itertools.combinations(places, 2):
        changed = bytearray(payload)
        struct.pack_into("<q", changed, one, new)
        struct.pack_into("<q", changed, other, new)
        try:
            if header.measure(bytes(changed)).dictionaries == (0, new) and frames.count(bytes(changed)) == 2:
                return bytes(changed)
        except InvalidPayload:
            continue
    raise AssertionError("no two places hold the id")


def test_the_largest_text_that_is_taken_is_stated() -> None:
    assert MAX_TEXT_BYTES == 64 * 2**20
    frame: Frame = frames.read(stream(_repeated().slice(0, 60)))
    assert frame.table.num_rows == 60
