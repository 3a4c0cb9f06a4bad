"""Frames of predictions: their columns of text, and what their metadata says of all rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegauge.collectors.frames import columns
from tidegauge.collectors.frames.layout import COLUMNS, VERIFIED
from tidegauge.collectors.frames.stream import read, serialize
from tidegauge.collectors.masking.checks import opaque
from tidegauge.collectors.masking.cut import cut_text
from tidegauge.collectors.masking.keyed import NAME, placeholder
from tidegauge.collectors.masking.keys import Keys, Meaning
from tidegauge.collectors.masking.scanner import Scanner
from tidegauge.collectors.masking.texts import Texts
from tidegauge.collectors.masking.walk import Found

_OURS = {COLUMNS.encode(), VERIFIED.encode()}


def mask_frame(payload: bytes, scanner: Scanner, texts: Texts, keys: Keys, limit: int) -> tuple[bytes, Found]:
    """The stream with personal data and secrets replaced; the same object where there are none.

    Every distinct text of a column is searched once. Names of columns are left as they are, for the layout refers to
    them.

    Raises:
        InvalidPayload: no stream that can be stored.
    """
    frame = read(payload)
    work = _Frame(scanner, texts, keys, limit)
    table = work.table(frame.table, {frame.roles.id, frame.roles.session, frame.roles.trace_id, frame.roles.span_id})
    return (payload if table is frame.table else serialize(table)), work.found


class _Frame:
    def __init__(self, scanner: Scanner, texts: Texts, keys: Keys, limit: int) -> None:
        self._scanner, self._texts, self._keys, self._limit = scanner, texts, keys, limit
        self.found = Found()

    def table(self, table: pa.Table, identifiers: set[str]) -> pa.Table:
        for at, name in enumerate(table.column_names):
            column = table.column(at)
            said = self._keys.meaning(name.encode())
            if _is_text(column.type) and not said.exempt:
                said = Meaning(False, said.secret, said.opaque, said.identifier or name in identifiers)
                masked = self._column(column, said)
                table = table if masked is column else table.set_column(at, name, masked)
        old = table.schema.metadata or {}
        new = {key: text if key in _OURS else self._value(text, self._keys.meaning(key)) for key, text in old.items()}
        return table if new == old else table.replace_schema_metadata(new)

    def _column(self, column: pa.ChunkedArray, said: Meaning) -> pa.ChunkedArray:
        coded = pc.dictionary_encode(columns.text(column))
        old, places = coded.dictionary, self._touched(coded.dictionary, said)
        new = {at: self._value(old[at].as_py().encode(), said).decode() for at in places}
        if all(old[at].as_py() == text for at, text in new.items()):
            return column
        distinct = pa.array([new.get(at, text) for at, text in enumerate(old.to_pylist())], pa.string())
        texts = pc.take(distinct, coded.indices)
        return pa.chunked_array([pc.if_else(pc.is_valid(column.combine_chunks()), texts, None)])

    def _touched(self, distinct: pa.Array, said: Meaning) -> Iterable[int]:
        """Which of the texts to look at: those that something hits, and those that are too long."""
        if said.secret or not len(distinct):
            return range(len(distinct))
        lengths = pc.binary_length(distinct).to_numpy()
        hits = self._scanner.hits(_characters(distinct))
        if hits is None:
            return range(len(distinct))
        begins = np.concatenate(([0], np.cumsum(lengths + 1)[:-1]))
        hit = np.searchsorted(begins, [place for place, _ in hits], side="right") - 1
        return sorted({*hit.tolist(), *np.flatnonzero(lengths > self._limit).tolist()})

    def _value(self, text: bytes, said: Meaning) -> bytes:
        if said.exempt:
            return text
        if said.secret and not placeholder(text) and (opaque(text) or not said.opaque):
            self.found.rules[NAME] += 1
            return self._texts.marker(NAME, text)
        masked, names = self._texts.mask(text, self._scanner.rules(text), said.identifier)
        self.found.rules.update(names)
        shorter = cut_text(masked, self._limit)
        if shorter is not masked:
            self.found.cut.append("")
        return shorter


def _characters(distinct: pa.Array) -> bytes:
    """All texts, each on a line of its own."""
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(distinct)], distinct), "\n")
    found: bytes = joined[0].as_buffer().to_pybytes()
    return found


def _is_text(kind: pa.DataType) -> bool:
    bare = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(bare) or pa.types.is_large_string(bare) or pa.types.is_string_view(bare))
