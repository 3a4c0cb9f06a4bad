"""Masking in frames of predictions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from tidegauge import instruments
from tidegauge.collectors.frames.layout import Kind, Layout, Roles
from tidegauge.collectors.frames.stream import read, serialize, write
from tidegauge.collectors.masking import Masker
from tidegauge.config import Masking
from tidegauge.model import Signal

MASKER = Masker(Masking(max_attribute_bytes=4096))
AT = datetime(2026, 1, 1, tzinfo=UTC)


def frame(attributes: dict[str, str] | None = None, **columns: Any) -> bytes:
    """A frame of four predictions."""
    given: dict[str, Any] = {
        "id": ["4111111111111111", "5555555555554444", "a", "b"],
        "at": pa.array([AT] * 4, pa.timestamp("us", "UTC")),
        "answer": ["yes", "no", "yes", None],
        "amount": [1.5, 4111111111111111.0, None, 2.0],
        "account": pa.array([4111111111111111] * 4, pa.int64()),
        "carrier": pa.array(["UA", "AA", "UA", None]).dictionary_encode(),
    }
    roles = Roles(prediction="answer", id="id", timestamp="at")
    layout = Layout(Kind.PREDICTIONS, "m", roles, attributes or {"service.name": "shop"})
    return write(pa.table(given | columns), layout)


def test_a_frame_without_anything_is_the_same_object_and_numbers_and_ids_survive() -> None:
    payload = frame()
    assert MASKER.mask(Signal.FRAMES, payload) is payload


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_text_columns_are_masked_and_all_else_is_as_it_was(kind: pa.DataType) -> None:
    texts = ["mail jane@example.com", None, "4111 1111 1111 1111", "fine"]
    payload = frame(note=pa.array(texts).cast(kind))
    before = instruments.MASKED.labels("email", "frames")._value.get()
    masked = MASKER.mask(Signal.FRAMES, payload)
    old, new = read(payload).table, read(masked).table
    assert new.column("note").cast(pa.string()).to_pylist() == ["mail [email]", None, "[card]", "fine"]
    assert new.drop(["note"]).equals(old.drop(["note"]))
    assert new.schema.metadata == old.schema.metadata
    assert instruments.MASKED.labels("email", "frames")._value.get() == before + 1
    assert MASKER.mask(Signal.FRAMES, masked) is masked


def test_a_column_can_be_secret_by_its_name_and_too_long_in_its_values() -> None:
    masked = read(MASKER.mask(Signal.FRAMES, frame(password=["a", "b", "c", None], prompt=["x" * 9000] * 4))).table
    assert masked.column("password").to_pylist() == ["[secret]"] * 3 + [None]
    assert masked.column("prompt").to_pylist()[0] == "x" * 4096 + "...[cut by tidegauge: 9000 bytes]"


def test_what_the_schema_says_of_all_rows_is_masked() -> None:
    masked = read(MASKER.mask(Signal.FRAMES, frame({"service.name": "of jane@example.com", "api_key": "swordfish"})))
    assert masked.layout.attributes == {"service.name": "of [email]", "api_key": "[secret]"}


def test_a_stream_that_cannot_be_stored_is_blotted_out() -> None:
    broken = serialize(pa.table({"note": ["x"]})) + b" jane@example.com"
    assert b"jane@" not in MASKER.mask(Signal.FRAMES, broken)
    assert b"jane@" not in MASKER.mask(Signal.FRAMES, b"no stream, jane@example.com")
