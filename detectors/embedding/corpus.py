"""The texts of a service and their vectors: all SQL on ``llm_calls`` and ``embeddings``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from tidegauge.detectors.embedding.embedder import Embedder
from tidegauge.detectors.predictions import HISTORY
from tidegauge.detectors.traffic import Category, encoded
from tidegauge.model import Window
from tidegauge.store import Rows, Store

OWN_COLUMNS = ("prompt_version", "prompt_name", "model", "tenant", "intent", "role", "provider")
LONGEST = 8_192
REMEMBERED = 5_000
SERVICES = """SELECT DISTINCT service FROM llm_facts
WHERE kind = 'llm' AND timestamp >= {since:DateTime64(6, 'UTC')} ORDER BY service"""
FIRST = """SELECT count() AS n, min(timestamp) AS first FROM llm_facts
WHERE service = {service:String} AND kind = 'llm' AND role != 'training'
AND timestamp >= {since:DateTime64(6, 'UTC')} AND timestamp < {now:DateTime64(6, 'UTC')}"""
CALLS = "service = {service:String} AND kind = 'llm' AND "
COUNTS = "SELECT count() AS calls, countIf(input != '') AS texts FROM llm_calls WHERE " + CALLS  # noqa: S608
KNOWN = """SELECT text AS t, any(vector) AS v FROM embeddings
PREWHERE service = {service:String} AND embedding_model = {embedder:String} AND xxHash64(text) IN {hashes:Array(UInt64)}
GROUP BY t"""
Spans: TypeAlias = Sequence[Window] | None
"""Stretches of time, or None for the training rows."""


@dataclass(frozen=True)
class Texts:
    """A sample of the texts of one window or reference, one row each, with the vectors of them."""

    sample: tuple[str, ...]
    vectors: NDArray[np.float32]
    dimensions: dict[str, Category]

    def head(self, most: int) -> Texts:
        """Only the first ``most`` rows."""
        dimensions = {name: Category(each.codes[:most], each.names) for name, each in self.dimensions.items()}
        return replace(self, sample=self.sample[:most], vectors=self.vectors[:most], dimensions=dimensions)


@dataclass(frozen=True)
class Stretches:
    """Sampled texts of several stretches of equal length, one row each, with the vectors of them.

    ``at`` is the number of the row's stretch since 1970.
    """

    at: NDArray[np.int64]
    vectors: NDArray[np.float32]
    dimensions: dict[str, Category]


class Corpus:
    """Samples texts by hash, so that the same are taken each time, and embeds each different one once.

    Args:
        store: The database.
        embedder: Turns texts into vectors; without one only counting works.
        mask: Takes out of a text what must not be shown; rows may have come into ClickHouse past the receiver.
    """

    def __init__(self, store: Store, embedder: Embedder | None, mask: Callable[[str], str] = str) -> None:
        self._store = store
        self._embedder = embedder
        self._mask = mask
        self._recent: dict[str, NDArray[np.float32]] = {}

    def services(self, now: datetime) -> list[str]:
        """Every service with LLM calls in the last 400 days."""
        return [row["service"] for row in self._store.rows(SERVICES, {"since": now - HISTORY})]

    def first(self, service: str, now: datetime) -> datetime | None:
        """The service's first LLM call in the last 400 days, or None."""
        found = self._store.rows(FIRST, {"service": service, "since": now - HISTORY, "now": now})[0]
        return found["first"] if found["n"] else None

    def counts(self, service: str, spans: Spans) -> tuple[int, int]:
        """Calls, and calls whose input was recorded, in stretches of time or in the training rows."""
        where, params = _scope(spans)
        found = self._store.rows(COUNTS + where, {"service": service} | params)[0]
        return found["calls"], found["texts"]

    def read(self, service: str, spans: Spans, dimensions: Sequence[str], most: int) -> Texts:
        """A sample of at most ``most`` texts, with vectors; new ones are computed and stored."""
        assert self._embedder
        where, params = _scope(spans)
        sql, params = _sample(where, f"LIMIT {int(most)}", dimensions), _params(service, params, dimensions)
        rows = self._store.rows(sql, params)
        wanted = {row["t"]: self._recent[row["t"]] for row in rows if row["t"] in self._recent}
        wanted |= self._stored(service, [row["t"] for row in rows if row["t"] not in wanted])
        wanted |= self._embed(service, [row for row in rows if row["t"] not in wanted])
        self._remember(wanted)
        vectors = np.array([wanted[row["t"]] for row in rows], dtype=np.float32)
        shown = tuple(self._mask(row["t"]) for row in rows)
        return Texts(shown, vectors, _columns(rows, dimensions))

    def read_each(
        self, service: str, spans: Sequence[Window], length_s: int, dimensions: Sequence[str], most: int
    ) -> Stretches:
        """Of each stretch of ``length_s`` seconds in ``spans`` at most ``most`` texts; their vectors are not stored."""
        assert self._embedder
        where, params = _scope(spans)
        at = "intDiv(toUnixTimestamp(timestamp), {length_s:UInt32}) AS at"
        sql = _sample(where, f"LIMIT {int(most)} BY at", dimensions, at)
        rows = self._store.rows(sql, _params(service, params, dimensions) | {"length_s": length_s})
        wanted = {row["t"]: self._recent.get(row["t"]) for row in rows}
        new = [text for text, vector in wanted.items() if vector is None]
        wanted |= dict(zip(new, np.asarray(self._embedder.encode(new), dtype=np.float32), strict=True)) if new else {}
        self._remember(wanted)
        vectors = np.array([wanted[row["t"]] for row in rows], dtype=np.float32)
        of_row = np.array([row["at"] for row in rows], dtype=np.int64)
        return Stretches(of_row, vectors, _columns(rows, dimensions))

    def _remember(self, used: Mapping[str, Any]) -> None:
        """Keep what was used last in memory: a window is read again as part of references."""
        older = {text: vector for text, vector in self._recent.items() if text not in used}
        kept = [*older.items(), *used.items()][-REMEMBERED:]
        self._recent = dict(kept)

    def _stored(self, service: str, texts: Sequence[str]) -> dict[str, Any]:
        """The vectors of those ``texts`` that were embedded before."""
        if not texts or not self._embedder:
            return {}
        hashes = [xxh64_intdigest(text.encode("utf-8", "surrogatepass")) for text in dict.fromkeys(texts)]
        table = self._store.arrow(KNOWN, {"service": service, "embedder": self._embedder.name, "hashes": hashes})
        if not len(table):
            return {}
        vectors = table["v"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        found = dict(zip(table["t"].to_pylist(), vectors, strict=True))
        return {text: found[text] for text in texts if text in found}

    def _embed(self, service: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Embed each different text once and store its vector with the first call that had it."""
        first = {row["t"]: row for row in reversed(rows)}
        if not first or not self._embedder:
            return {}
        vectors = np.asarray(self._embedder.encode(list(first)), dtype=np.float32)
        stored = [
            {
                "timestamp": row["ts"],
                "trace_id": row["ti"],
                "span_id": row["si"],
                "service": service,
                "embedding_model": self._embedder.name,
                "text": text,
                "vector": vector.tolist(),
                "slices": row["sl"],
            }
            for (text, row), vector in zip(first.items(), vectors, strict=True)
        ]
        self._store.insert("embeddings", stored, _token(service, self._embedder.name, list(first)))
        return dict(zip(first, vectors, strict=True))


def _scope(spans: Spans) -> tuple[str, dict[str, Any]]:
    """A condition and its parameters."""
    if spans is None:
        return "role = 'training'", {}
    parts = [
        f"(timestamp >= {{start{at}:DateTime64(6, 'UTC')}} AND timestamp < {{end{at}:DateTime64(6, 'UTC')}})"
        for at in range(len(spans))
    ]
    params = {f"start{at}": span.start for at, span in enumerate(spans)}
    params |= {f"end{at}": span.end for at, span in enumerate(spans)}
    return f"({' OR '.join(parts) or '0'}) AND role != 'training'", params


def _sample(where: str, limit: str, dimensions: Sequence[str], more: str = "") -> str:
    names = [_column(name, at) for at, name in enumerate(dimensions)]
    columns = ", ".join([*([more] if more else []), *names])
    return f"""SELECT substringUTF8(input, 1, {LONGEST}) AS t, timestamp AS ts, trace_id AS ti, span_id AS si,
        slices AS sl{", " if columns else ""}{columns} FROM llm_calls WHERE {CALLS}{where} AND input != ''
        ORDER BY cityHash64(trace_id, span_id) {limit}"""  # noqa: S608 - whitelisted columns and numbers


def _params(service: str, scope: Mapping[str, Any], dimensions: Sequence[str]) -> dict[str, Any]:
    return {"service": service, **scope} | {f"n{at}": name for at, name in enumerate(dimensions)}


def _columns(rows: Rows, dimensions: Sequence[str]) -> dict[str, Category]:
    return {
        name: encoded(pa.chunked_array([pa.array([row[f"d{at}"] for row in rows], pa.string())]))
        for at, name in enumerate(dimensions)
    }


def _column(name: str, at: int) -> str:
    return f"toString({name}) AS d{at}" if name in OWN_COLUMNS else f"slices[{{n{at}:String}}] AS d{at}"


def _token(service: str, model: str, texts: Sequence[str]) -> str:
    body = "\x1f".join([service, model, *texts])
    return f"embeddings-{hashlib.sha256(body.encode(errors='surrogatepass')).hexdigest()}"
