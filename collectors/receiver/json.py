"""OTLP in its JSON encoding to the protobuf one.

It is the protobuf JSON mapping but for trace and span ids, which are hexadecimal (OTLP specification, JSON encoding).
"""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf import json_format

from tidegauge.collectors.otlp import REQUESTS
from tidegauge.errors import InvalidPayload
from tidegauge.model import Signal

IDENTIFIERS = {"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"}


def to_protobuf(signal: Signal, body: bytes) -> bytes:
    """The serialized request. Raises InvalidPayload, saying where, when it is no such request."""
    try:
        data = _identifiers_to_base64(json.loads(body))
        if not isinstance(data, dict):
            raise TypeError("it must be an object")
        return json_format.ParseDict(data, REQUESTS[signal](), ignore_unknown_fields=True).SerializeToString()
    except (ValueError, RecursionError, json_format.ParseError, AttributeError, TypeError) as error:
        raise InvalidPayload(f"not an OTLP/JSON {REQUESTS[signal].__name__}: {error}") from error


def _identifiers_to_base64(data: Any) -> Any:
    if isinstance(data, list):
        return [_identifiers_to_base64(item) for item in data]
    if not isinstance(data, dict):
        return data
    return {
        key: _identifier(key, value) if key in IDENTIFIERS else _identifiers_to_base64(value)
        for key, value in data.items()
    }


def _identifier(key: str, value: Any) -> str:
    try:
        return base64.b64encode(bytes.fromhex(value)).decode()
    except (TypeError, ValueError) as error:
        raise InvalidPayload(f"{key} must be hexadecimal text, found {str(value)[:80]!r}") from error
