"""OTLP in its JSON encoding to the protobuf one.

It is the protobuf JSON mapping but for trace and span ids, which are hexadecimal (OTLP specification, JSON encoding).
"""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf import json_format

from tidegauge.collectors.otlp import REQUESTS
from tidegauge.collectors.receiver.body import TooLarge
from tidegauge.errors import InvalidPayload
from tidegauge.model import Signal

IDENTIFIERS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")
MAX_VALUES = 500_000  # as Python objects a hundred bytes each, though three bytes of JSON may be enough for one


def to_protobuf(signal: Signal, body: bytes) -> bytes:
    """The serialized request.

    Raises:
        InvalidPayload: it is no such request; says where.
        TooLarge: more values than this process has memory for.
    """
    if body.count(b",") + body.count(b"{") + body.count(b"[") > MAX_VALUES:
        raise TooLarge(f"more than {MAX_VALUES} values in JSON; send smaller batches, or protobuf")
    try:
        data = json.loads(body, object_hook=_identifiers_to_base64)
        if not isinstance(data, dict):
            raise TypeError("it must be an object")
        return json_format.ParseDict(data, REQUESTS[signal](), ignore_unknown_fields=True).SerializeToString()
    except (ValueError, RecursionError, json_format.ParseError, AttributeError, TypeError) as error:
        raise InvalidPayload(f"not an OTLP/JSON {REQUESTS[signal].__name__}: {error}") from error


def _identifiers_to_base64(data: dict[str, Any]) -> dict[str, Any]:
    for key in IDENTIFIERS:
        if key in data:
            data[key] = _identifier(key, data[key])
    return data


def _identifier(key: str, value: Any) -> str:
    try:
        return base64.b64encode(bytes.fromhex(value)).decode()
    except (TypeError, ValueError) as error:
        raise InvalidPayload(f"{key} must be hexadecimal text, found {str(value)[:80]!r}") from error
