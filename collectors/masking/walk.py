"""Requests opened only where something is.

A walk goes from the request down to those fields that a hit lies in and passes by all others, by their length: of 500
spans the 499 clean ones are neither decoded nor written anew, and stay what they were to the byte.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tidegauge.collectors.masking.checks import opaque
from tidegauge.collectors.masking.cut import cut_text, cut_value
from tidegauge.collectors.masking.keyed import NAME, placeholder
from tidegauge.collectors.masking.keys import Keys, Meaning
from tidegauge.collectors.masking.scanner import Hit, Scanner
from tidegauge.collectors.masking.texts import Texts
from tidegauge.collectors.masking.wire import ROOTS, TEXT, Chunks, Malformed, Node, fields, past, read_varint, written
from tidegauge.model import Signal

MASKED, TRUNCATED = "tidegauge.masked", "tidegauge.truncated"
MAX_DEPTH = 200
NOWHERE = 1 << 62
_PLAIN = Meaning()


@dataclass(slots=True)
class Found:
    """What a walk did: findings by rule, and attributes cut."""

    rules: Counter[str] = field(default_factory=Counter)
    cut: list[str] = field(default_factory=list)


class Walk:
    """One pass over one request."""

    def __init__(
        self, payload: bytes, hits: list[Hit] | None, scanner: Scanner, texts: Texts, keys: Keys, limit: int
    ) -> None:
        self._view = memoryview(payload)
        self._data, self._scanner, self._texts, self._keys = payload, scanner, texts, keys
        self._limit = limit if len(payload) > limit else NOWHERE
        self._flood = hits is None
        self._places = [place for place, _ in hits or ()]
        self._rules = [rule for _, rule in hits or ()]
        self._record = self.found = Found()

    def run(self, signal: Signal) -> bytes:
        """The request without what must not be stored; the same object where that is nothing. Raises Malformed."""
        try:
            changed = self._message(ROOTS[signal], 0, len(self._data), _PLAIN, 0)
        except (IndexError, DecodeError) as error:
            raise Malformed from error
        return self._data if changed is None else b"".join(changed)

    def _message(self, node: Node, start: int, end: int, meaning: Meaning, depth: int) -> Chunks | None:
        """The message anew, or None where it stays as it is."""
        data, limit, copied = self._data, self._limit, start
        parts: Chunks = []
        at, following = start, self._next(start)
        while at < end:
            begun = at
            tag = data[at]
            at += 1
            if tag > 0x7F:
                tag, at = read_varint(data, begun)
            kind = tag & 7
            if kind == 2:
                size, high = data[at], data[at + 1] if at + 1 < end else 0
                if size < 0x80:
                    at += 1
                elif high < 0x80:  # most spans: read here, because a call takes as long as all the rest
                    size, at = size & 0x7F | high << 7, at + 2
                else:
                    size, at = read_varint(data, at)
                stop = at + size
                if stop > end:
                    raise Malformed
                if following < stop or size > limit:
                    changed = self._field(node, tag >> 3, at, stop, meaning, depth)
                    if changed is not None:
                        parts += [self._view[copied:begun], *written(tag, changed)]
                        copied = stop
                    following = self._next(stop)
                at = stop
            else:
                at = past(data, at, kind)
        if at != end:
            raise Malformed
        return [*parts, self._view[copied:end]] if parts else None

    def _field(self, node: Node, number: int, start: int, stop: int, meaning: Meaning, depth: int) -> Chunks | None:
        """A field's content anew; None: as it is; empty: without the field."""
        if depth > MAX_DEPTH:
            raise Malformed
        if number not in node.fields:  # of a later OTLP; nothing here reads it
            return [] if self._hit(start, stop) else None
        name, inside = node.fields[number]
        if inside is None:
            return None
        if inside is TEXT:
            return self._text(node, name, start, stop, meaning)
        if inside.name == "KeyValue":
            changed = self._pair(inside, start, stop, meaning, depth)
            return changed if node.name == "KeyValueList" else self._short_pair(changed, start, stop)
        if inside.attributes:
            return self._noted(inside, start, stop, meaning, depth)
        changed = self._message(inside, start, stop, meaning, depth + 1)
        if node.name == "LogRecord" and stop - start > self._limit:
            return self._short_body(changed, start, stop)
        return changed

    def _text(self, node: Node, name: str, start: int, stop: int, meaning: Meaning) -> Chunks | None:
        text = self._data[start:stop]
        rules = self._hit(start, stop)
        if name == "bytes_value" and not _is_utf8(text):
            return None
        masked, names = self._texts.mask(text, rules, meaning.identifier) if rules else (text, [])
        self._record.rules.update(names)
        if len(masked) > self._limit and node.name != "AnyValue":
            masked = cut_text(masked, self._limit)
            self._record.cut.append(name)
        return None if masked is text else [masked]

    def _pair(self, node: Node, start: int, stop: int, meaning: Meaning, depth: int) -> Chunks | None:
        key = next((self._data[at:end] for number, at, end in fields(self._data, start, stop) if number == 1), b"")
        said = self._keys.meaning(key)
        if said.exempt:
            return None
        if said.secret and (concealed := self._concealed(start, stop, said)) is not None:
            return concealed
        inner = said if said.identifier or not meaning.identifier else meaning
        return self._message(node, start, stop, inner, depth + 1)

    def _short_pair(self, changed: Chunks | None, start: int, stop: int) -> Chunks | None:
        if stop - start <= self._limit:
            return changed
        pair = KeyValue.FromString(self._data[start:stop] if changed is None else b"".join(changed))
        shorter = cut_value(pair.value, self._limit)
        if shorter is pair.value:
            return changed
        self._record.cut.append(pair.key[:200])
        return [KeyValue(key=pair.key, value=shorter).SerializeToString()]

    def _short_body(self, changed: Chunks | None, start: int, stop: int) -> Chunks | None:
        value = AnyValue.FromString(self._data[start:stop] if changed is None else b"".join(changed))
        shorter = cut_value(value, self._limit)
        if shorter is value:
            return changed
        self._record.cut.append("body")
        return [shorter.SerializeToString()]

    def _concealed(self, start: int, stop: int, said: Meaning) -> Chunks | None:
        """A pair with its whole value masked; None where there is nothing to mask in it."""
        pair = KeyValue.FromString(self._data[start:stop])
        found = sum(self._conceal(each, said) for each in _leaves(pair.value))
        if not found:
            return None
        self._record.rules[NAME] += found
        self._conceal_key(pair)
        return [pair.SerializeToString()]

    def _conceal(self, value: AnyValue, said: Meaning) -> int:
        kind = value.WhichOneof("value")
        if kind == "string_value":
            text = value.string_value.encode()
        elif kind == "bytes_value":
            text = value.bytes_value
        elif kind == "int_value" and not said.opaque:
            text = str(value.int_value).encode()
        else:
            return 0
        if placeholder(text) or (said.opaque and not opaque(text)):
            return 0
        value.string_value = self._texts.marker(NAME, text).decode()
        return 1

    def _conceal_key(self, pair: KeyValue) -> None:
        """Names can hold personal data, too: ``sessions.jane@example.com.token``."""
        key = pair.key.encode()
        masked, names = self._texts.mask(key, self._scanner.rules(key))
        self._record.rules.update(names)
        pair.key = masked.decode()

    def _noted(self, node: Node, start: int, stop: int, meaning: Meaning, depth: int) -> Chunks | None:
        """A span, log record, resource or scope, with a note of what was done to it."""
        around, self._record = self._record, Found()
        try:
            changed = self._message(node, start, stop, meaning, depth + 1)
            done = self._record
        finally:
            self._record = around
        self.found.rules.update(done.rules)
        self.found.cut.extend(done.cut)
        if changed is None:
            return None
        notes = ((MASKED, sorted(done.rules)), (TRUNCATED, done.cut))
        return changed + [_note(node.attributes, key, names) for key, names in notes if names]

    def _next(self, at: int) -> int:
        """The place of the first hit from ``at`` on."""
        if self._flood:
            return -1
        found = bisect_left(self._places, at)
        return self._places[found] if found < len(self._places) else NOWHERE

    def _hit(self, start: int, stop: int) -> Collection[int]:
        """The rules that may find something between."""
        if self._flood:
            return self._scanner.rules(self._data[start:stop])
        return set(self._rules[bisect_left(self._places, start) : bisect_left(self._places, stop)])


def _note(number: int, key: str, names: list[str]) -> bytes:
    pair = KeyValue(key=key, value=AnyValue(string_value=",".join(names))).SerializeToString()
    return b"".join(written(number << 3 | 2, [pair]))


def _leaves(value: AnyValue) -> Iterator[AnyValue]:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        for each in value.array_value.values:
            yield from _leaves(each)
    elif kind == "kvlist_value":
        for pair in value.kvlist_value.values:
            yield from _leaves(pair.value)
    else:
        yield value


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
