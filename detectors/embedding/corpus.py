"""The texts of a service and their vectors: all SQL on ``llm_calls`` and ``embeddings``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidegauge.detectors.embedding.embedder import Embedder
from tidegauge.detectors.predictions import HISTORY
from tidegauge.detectors.traffic import Category, encoded
from tidegauge.model import Window
from tidegauge.store import Store

OWN_COLUMNS = ("prompt_version", "prompt_name", "model", "tenant", "intent", "role", "provider")
LONGEST = 8_192
SERVICES = """SELECT DISTINCT service FROM llm_facts
WHERE kind = 'llm' AND timestamp >= {since:DateTime64(6, 'UTC')} ORDER BY service"""
FIRST = """SELECT count() AS n, min(timestamp) AS first FROM llm_facts
WHERE service = {service:String} AND kind = 'llm' AND role != 'training'
AND timestamp >= {since:DateTime64(6, 'UTC')} AND timestamp < {now:DateTime64(6, 'UTC')}"""
WITHIN = "timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')} AND role != 'training'"
CALLS = "service = {service:String} AND kind = 'llm' AND "
COUNTS = "SELECT count() AS calls, countIf(input != '') AS texts FROM llm_calls WHERE " + CALLS  # noqa: S608
KNOWN = """SELECT text AS t, any(vector) AS v FROM embeddings
PREWHERE service = {service:String} AND embedding_model = {embedder:String} AND text IN (SELECT t FROM (SAMPLE))
GROUP BY t"""


@dataclass(frozen=True)
class Texts:
    """A sample of the texts of one window or reference, one row each, with the vectors of them.

    ``calls`` and ``texts`` count all of the stretch: the calls, and those whose input was recorded.
    """

    calls: int
    texts: int
    sample: tuple[str, ...]
    vectors: NDArray[np.float32]
    dimensions: dict[str, Category]


class Corpus:
    """Samples texts by hash, so that the same are taken each time, and embeds each different one once."""

    def __init__(self, store: Store, embedder: Embedder | None, most: int) -> None:
        self._store = store
        self._embedder = embedder
        self._most = most

    def services(self, now: datetime) -> list[str]:
        """Every service with LLM calls in the last 400 days."""
        return [row["service"] for row in self._store.rows(SERVICES, {"since": now - HISTORY})]

    def first(self, service: str, now: datetime) -> datetime | None:
        """The service's first LLM call in the last 400 days, or None."""
        found = self._store.rows(FIRST, {"service": service, "since": now - HISTORY, "now": now})[0]
        return found["first"] if found["n"] else None

    def counts(self, service: str, window: Window | None) -> tuple[int, int]:
        """Calls, and calls whose input was recorded, in a window or in the training rows."""
        found = self._store.rows(COUNTS + _scope(window), _params(service, window))[0]
        return found["calls"], found["texts"]

    def read(self, service: str, window: Window | None, dimensions: Sequence[str]) -> Texts:
        """The sample of a window, or of the training rows, with vectors; new ones are computed and stored."""
        assert self._embedder
        calls, texts = self.counts(service, window)
        names = ", ".join(_column(name, at) for at, name in enumerate(dimensions))
        params = _params(service, window) | {f"n{at}": name for at, name in enumerate(dimensions)}
        sql = f"""SELECT substringUTF8(input, 1, {LONGEST}) AS t, timestamp AS ts, trace_id AS ti, span_id AS si,
            slices AS sl{", " if names else ""}{names} FROM llm_calls WHERE {CALLS}{_scope(window)} AND input != ''
            ORDER BY cityHash64(trace_id, span_id) LIMIT {self._most}"""  # noqa: S608
        rows = self._store.rows(sql, params)
        known = self._vectors(service, sql, params | {"embedder": self._embedder.name})
        known |= self._embed(service, [row for row in rows if row["t"] not in known])
        vectors = np.array([known[row["t"]] for row in rows], dtype=np.float32)
        columns = {
            name: encoded(pa.chunked_array([pa.array([row[f"d{at}"] for row in rows], pa.string())]))
            for at, name in enumerate(dimensions)
        }
        return Texts(calls, texts, tuple(row["t"] for row in rows), vectors, columns)

    def _vectors(self, service: str, sample: str, params: dict[str, Any]) -> dict[str, Any]:
        table = self._store.arrow(KNOWN.replace("SAMPLE", sample), params)
        if not len(table):
            return {}
        vectors = table["v"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        return dict(zip(table["t"].to_pylist(), vectors, strict=True))

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


def _scope(window: Window | None) -> str:
    return WITHIN if window else "role = 'training'"


def _params(service: str, window: Window | None) -> dict[str, Any]:
    ends = {"start": window.start, "end": window.end} if window else {}
    return {"service": service, **ends}


def _column(name: str, at: int) -> str:
    return f"toString({name}) AS d{at}" if name in OWN_COLUMNS else f"slices[{{n{at}:String}}] AS d{at}"


def _token(service: str, model: str, texts: Sequence[str]) -> str:
    body = "\x1f".join([service, model, *texts])
    return f"embeddings-{hashlib.sha256(body.encode(errors='surrogatepass')).hexdigest()}"
