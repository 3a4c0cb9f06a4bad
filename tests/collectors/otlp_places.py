"""Every place in an OTLP request where text can stand, found from the protocol's own description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tidegauge.collectors.otlp import REQUESTS
from tidegauge.model import Signal

DEPTH = 2  # of values in values


@dataclass(frozen=True)
class Place:
    """A field of text, by its path from the request."""

    signal: Signal
    path: tuple[str, ...]

    def request(self, text: str) -> bytes:
        """A serialized request with ``text`` there and nothing else, but for the keys of the attributes on the way."""
        top = message = REQUESTS[self.signal]()
        for name in self.path[:-1]:
            message = _enter(message, name)
        described = message.DESCRIPTOR.fields_by_name[self.path[-1]]
        _set(message, self.path[-1], text.encode() if described.type == FieldDescriptor.TYPE_BYTES else text)
        return top.SerializeToString()

    def __str__(self) -> str:
        return ".".join(self.path)


def places(signal: Signal) -> list[Place]:
    """All of a signal's."""
    return [Place(signal, path) for path in _paths(REQUESTS[signal].DESCRIPTOR, (), 0)]


def _paths(descriptor: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, ...]]:
    for each in descriptor.fields:
        here = (*path, each.name)
        if each.type == FieldDescriptor.TYPE_MESSAGE:
            deeper = depth + (each.message_type.name == "AnyValue")
            if deeper <= DEPTH:
                yield from _paths(each.message_type, here, deeper)
        elif each.type == FieldDescriptor.TYPE_STRING or (each.full_name.endswith("AnyValue.bytes_value")):
            yield here


def _enter(message: Message, name: str) -> Message:
    inside: Any = getattr(message, name)
    entered: Message = inside.add() if hasattr(inside, "add") else inside
    entered.SetInParent()
    if entered.DESCRIPTOR.name == "KeyValue":
        entered.key = "note"  # type: ignore[attr-defined]
    return entered


def _set(message: Message, name: str, text: Any) -> None:
    field: Any = getattr(message, name)
    if hasattr(field, "append"):
        field.append(text)
    else:
        setattr(message, name, text)
