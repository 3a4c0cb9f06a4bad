"""The tenant of a request, written into its resources where no client can write it.

Only the ``Resource`` messages are rewritten, on the wire: the spans are neither decoded nor encoded again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tidegauge.collectors.otlp import CONTAINERS, parse
from tidegauge.collectors.receiver.wire import Unusual, fields
from tidegauge.errors import InvalidPayload
from tidegauge.model import Signal
from tidegauge.protobuf import varint

VERIFIED = "tidegauge.tenant.verified"
MAX_RESOURCES = 50_000  # in one request; each of them grows by the attribute
_NAME = VERIFIED.encode()
_TAG = b"\x0a"  # field 1, length-delimited: resource_spans of a request, resource of those, attributes of that


def stamp(signal: Signal, payload: bytes, tenant: str) -> bytes:
    """The request with ``tidegauge.tenant.verified`` = ``tenant`` on every resource, and no other such attribute.

    Args:
        payload: A valid serialized request of ``signal``.

    Raises:
        InvalidPayload: it has more than 50,000 resources.
    """
    pair = KeyValue(key=VERIFIED, value=AnyValue(string_value=tenant))
    try:
        return b"".join(_stamped(memoryview(payload), _field(pair.SerializeToString())))
    except Unusual:  # left to the protobuf package
        request: Any = parse(signal, payload)
        for each in getattr(request, CONTAINERS[signal][0]):
            _strip(each.resource)
            each.resource.attributes.append(pair)
        return bytes(request.SerializeToString())


def _stamped(request: memoryview, attribute: bytes) -> Iterator[bytes | memoryview]:
    seen = 0
    for number, whole, content in fields(request):
        if number != 1:
            yield whole
            continue
        seen += 1
        if seen > MAX_RESOURCES:
            raise InvalidPayload(f"more than {MAX_RESOURCES} resources in one request; send smaller batches")
        yield from _with_resource(content, attribute)


def _with_resource(content: memoryview, attribute: bytes) -> Iterator[bytes | memoryview]:
    """One of resource_spans (or _logs, _metrics), its resource written anew and everything else as it is."""
    inside = list(fields(content))
    resources = [content for number, _, content in inside if number == 1]
    if len(resources) > 1:
        raise Unusual("several resources, which are one")
    resource = _field(_without(resources[0] if resources else memoryview(b"")) + attribute)
    rest = [whole for number, whole, _ in inside if number != 1]
    yield _TAG + varint(len(resource) + sum(map(len, rest))) + resource
    yield from rest


def _without(resource: memoryview) -> bytes:
    raw = bytes(resource)
    if _NAME not in raw:
        return raw
    message = Resource.FromString(raw)
    _strip(message)
    return message.SerializeToString()


def _strip(resource: Resource) -> None:
    kept = [each for each in resource.attributes if each.key != VERIFIED]
    del resource.attributes[:]
    resource.attributes.extend(kept)


def _field(content: bytes) -> bytes:
    return _TAG + varint(len(content)) + content
