"""Whether bytes are the request they claim to be, in memory that their size bounds.

Decoded, two bytes become up to fifty: 64 MiB of empty attributes would take more than a gigabyte. A large request is
therefore decoded in pieces, which protobuf allows: any run of a message's fields is such a message itself.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tidegauge.collectors.otlp import CONTAINERS, REQUESTS, count
from tidegauge.collectors.receiver.wire import Unusual, fields
from tidegauge.errors import InvalidPayload
from tidegauge.model import Signal

PIECE = 2 * 2**20  # bytes decoded at a time; about 50 MiB of memory at the very worst
MAX_FIELDS = 500_000  # in those messages of one request that are larger than a piece
TEXT_STEP = 2**20


def count_records(signal: Signal, payload: bytes) -> int:
    """Spans, log records, metrics or rows in a serialized request.

    Raises:
        InvalidPayload: it cannot be decoded, or a single message in it has too many fields to be one.
    """
    if len(payload) <= PIECE or signal not in CONTAINERS:
        return count(signal, payload)
    try:
        return _Pieces(CONTAINERS[signal]).count(REQUESTS[signal], memoryview(payload), 0)
    except (DecodeError, Unusual, UnicodeDecodeError) as error:
        raise InvalidPayload(f"not a protobuf {REQUESTS[signal].__name__}: {error}") from error


@dataclass(slots=True)
class _Pieces:
    """Decodes one request. ``level`` counts the containers passed: 0 the request, 1 a resource, 2 a scope, 3 inside."""

    containers: tuple[str, ...]
    fields_left: int = MAX_FIELDS

    def count(self, kind: type[Message], data: memoryview, level: int) -> int:
        found = begun = at = 0
        for number, whole, content in fields(data):
            self._spend()
            end = at + len(whole)
            if len(whole) > PIECE:
                found += self._decoded(kind, data[begun:at], level) + self._inside(kind, number, content, level)
                begun = end
            elif end - begun > PIECE:
                found += self._decoded(kind, data[begun:at], level)
                begun = at
            at = end
        return found + self._decoded(kind, data[begun:], level)

    def _spend(self) -> None:
        self.fields_left -= 1
        if self.fields_left < 0:
            raise InvalidPayload(f"more than {MAX_FIELDS} fields in its large messages; send smaller batches")

    def _inside(self, kind: type[Message], number: int, content: memoryview, level: int) -> int:
        """A field that is larger than a piece by itself."""
        field = kind.DESCRIPTOR.fields_by_number.get(number)
        if field is None:
            return 0
        if field.message_type is not None:
            contained = level < 3 and field.name == self.containers[level]
            inside: Any = field.message_type
            inner = self.count(GetMessageClass(inside), content, level + 1 if contained else 3)
            return inner + (contained and level == 2)
        if field.type == FieldDescriptor.TYPE_STRING:
            decoder = codecs.getincrementaldecoder("utf-8")()
            for at in range(0, len(content), TEXT_STEP):
                decoder.decode(content[at : at + TEXT_STEP])
            decoder.decode(b"", final=True)
        return 0

    def _decoded(self, kind: type[Message], data: memoryview, level: int) -> int:
        found = [kind.FromString(bytes(data))] if len(data) else []
        if level > 2:
            return 0
        for name in self.containers[level:2]:
            found = [each for message in found for each in getattr(message, name)]
        return sum(len(getattr(message, self.containers[2])) for message in found)
