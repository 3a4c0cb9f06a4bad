"""Values beyond ``max_attribute_bytes``: cut off, with a marker that says how long they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tidegauge.collectors.otlp import plain

MARKER_BYTES = 64
SHORTEST = 128  # characters of one text in JSON; where there is room for less, the JSON itself is cut


def cut_value(value: AnyValue, limit: int) -> AnyValue:
    """``value`` in about ``limit`` bytes; lists and arrays become JSON text. The same object where that is short."""
    kind = value.WhichOneof("value")
    if kind == "bytes_value":
        return AnyValue(bytes_value=value.bytes_value[:limit] + _marker(len(value.bytes_value)))
    text = value.string_value if kind == "string_value" else _json(plain(value))
    shorter = cut_text(text.encode(), limit)
    return value if len(shorter) == len(text.encode()) else AnyValue(string_value=shorter.decode())


def cut_text(text: bytes, limit: int) -> bytes:
    """``text`` in at most ``limit`` bytes and a marker. JSON stays JSON: the longest texts in it are shortened.

    >>> cut_text(b"0123456789", 4)
    b'0123...[cut by tidegauge: 10 bytes]'
    """
    if len(text) <= limit:
        return text
    return _cut_json(text, limit) or text[:limit].decode("utf-8", "ignore").encode() + _marker(len(text))


def _marker(length: int) -> bytes:
    return b"...[cut by tidegauge: %d bytes]" % length


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _cut_json(text: bytes, limit: int) -> bytes:
    """Empty where ``text`` is no JSON, or not its texts make it long."""
    if text[:64].lstrip()[:1] not in (b"[", b"{"):
        return b""
    try:
        value = json.loads(text)
        longest = _longest(sorted(_lengths(value)), limit - (len(_json(value).encode()) - sum(_lengths(value))))
        written = _json(_shortened(value, longest)).encode() if longest >= SHORTEST else b""
    except (ValueError, RecursionError):
        return b""
    return written if len(written) <= limit else b""


def _longest(lengths: list[int], room: int) -> int:
    """The greatest length L for which all of ``lengths``, none counted as more than L, fit into ``room``."""
    for at, length in enumerate(lengths):
        share = room // (len(lengths) - at)
        if length > share:
            return share - MARKER_BYTES
        room -= length
    return lengths[-1] if lengths else 0


def _lengths(value: Any) -> Iterator[int]:
    if isinstance(value, str):
        yield _size(value)
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _lengths(each)


def _size(text: str) -> int:
    """Bytes of ``text`` in JSON, without its quotation marks."""
    return len(_json(text).encode()) - 2


def _shortened(value: Any, longest: int) -> Any:
    if isinstance(value, list):
        return [_shortened(each, longest) for each in value]
    if isinstance(value, dict):
        return {key: _shortened(each, longest) for key, each in value.items()}
    if not isinstance(value, str) or _size(value) <= longest:
        return value
    return _fitting(value, longest) + _marker(len(value.encode())).decode()


def _fitting(text: str, room: int) -> str:
    """The longest beginning that takes at most ``room`` bytes as JSON."""
    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _size(text[:middle]) <= room else (low, middle - 1)
    return text[:low]
