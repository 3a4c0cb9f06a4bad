"""Attribute values of every kind and size become the text that ClickHouse or Python makes of them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from otlp_payloads import attributes, logs, record, span, traces, value

from tidegauge.collectors.schema import insert_exports
from tidegauge.model import Signal
from tidegauge.store import Store

VARINTS = [sign * (2**bits + step) for bits in range(7, 63, 7) for step in (-1, 0) for sign in (1, -1)]
LENGTHS = [
    0,
    1,
    7,
    8,
    125,
    126,
    127,
    128,
    129,
    130,
    16_380,
    16_381,
    16_383,
    16_384,
    16_385,
    2**21 - 1,
    2**21,
    2**21 + 5,
]
ARRAYS: dict[str, list[Any]] = {
    "empty": [],
    "one": ["stop"],
    "texts": ["a", "", 'b\n\n"c"', "ß✓"],
    "texts around the lengths of their headers": ["x" * size for size in (123, 124, 125, 126, 127, 128, 129, 130, 300)],
    "every kind": [1, -1, 2**62, True, False, 0.5, "x"],
    "an embedding": [at / 8 for at in range(1536)],
    "more items than are cut one by one": [f"item {at}" for at in range(500)],
    "one long text": ["y" * 20_000],
    "newlines": ["\n" * 500, "\n\t!\n\t!"],
    "what looks like doubles": ["!" * 9, "\t!" * 4],
}


def stored(store: Store, given: dict[str, Any]) -> dict[str, str]:
    """The same values as attributes of a resource, a span, and an event must give the same texts."""
    request = traces(span(attributes=attributes(given)))
    request.resource_spans[0].resource.attributes.extend(attributes(given))
    made = request.resource_spans[0].scope_spans[0].spans[0]
    made.events.add(name="e", time_unix_nano=made.start_time_unix_nano).attributes.extend(attributes(given))
    insert_exports(store, Signal.TRACES, [request.SerializeToString()], uuid.uuid4().hex)
    [row] = store.rows(
        "SELECT SpanAttributes AS s, ResourceAttributes AS r, `Events.Attributes`[1] AS e FROM otel_traces"
    )
    assert {key: row["r"][key] for key in given} == row["s"] == row["e"]
    found: dict[str, str] = row["s"]
    return found


def test_integers_of_every_length_are_what_was_sent(store: Store) -> None:
    given = {f"i{at}": each for at, each in enumerate(VARINTS)}
    assert stored(store, given) == {key: str(each) for key, each in given.items()}


def test_texts_of_every_length_are_what_was_sent(store: Store) -> None:
    given = {f"t{size}": "z" * size for size in LENGTHS}
    assert stored(store, given) == given


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_stored_as_json_whoever_has_to_write_it(store: Store, name: str) -> None:
    assert json.loads(stored(store, {"a": ARRAYS[name], "b": 1})["a"]) == ARRAYS[name]


def test_arrays_that_need_different_ways_are_stored_in_one_batch(store: Store) -> None:
    bodies = [logs(record(body=value(each))) for each in ARRAYS.values()]
    insert_exports(store, Signal.LOGS, [each.SerializeToString() for each in bodies], uuid.uuid4().hex)
    found = [json.loads(row["Body"]) for row in store.rows("SELECT Body FROM otel_logs")]
    assert sorted(found, key=json.dumps) == sorted(ARRAYS.values(), key=json.dumps)


@pytest.mark.parametrize(
    "odd",
    [b"\x0a\x84\x80\x00text", b"\x0a\x01a\x0a\x04text", b"\x18\x05\x0a\x04text", b"\x0a\x04textJ\x02zz"],
    ids=["a longer length than needed", "sent twice", "after a number", "before a field that nobody knows"],
)
def test_a_text_that_is_encoded_oddly_is_what_protobuf_makes_of_it(store: Store, odd: bytes) -> None:
    plain = traces(span(attributes=attributes({"n": "X" * (len(odd) - 2)}))).SerializeToString()
    request = plain.replace(bytes([10, len(odd) - 2]) + b"X" * (len(odd) - 2), odd)
    assert len(request) == len(plain) and b"X" not in request
    insert_exports(store, Signal.TRACES, [request], uuid.uuid4().hex)
    assert store.value("SELECT SpanAttributes['n'] FROM otel_traces") == "text"


@pytest.mark.parametrize(
    "odd", [b"\x18\x86\x80\x00", b"\x18\x05\x18\x06"], ids=["more bytes than needed", "sent twice"]
)
def test_an_integer_that_is_encoded_oddly_is_what_protobuf_makes_of_it(store: Store, odd: bytes) -> None:
    plain = traces(span(attributes=attributes({"n": "XY"}))).SerializeToString()
    request = plain.replace(b"\x0a\x02XY", odd)
    assert len(request) == len(plain) and b"XY" not in request
    insert_exports(store, Signal.TRACES, [request], uuid.uuid4().hex)
    assert store.value("SELECT SpanAttributes['n'] FROM otel_traces") == "6"
