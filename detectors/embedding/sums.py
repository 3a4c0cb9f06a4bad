"""Sums of random features by stretch of time and slice: all SQL on ``text_feature_maps`` and ``text_sums``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from tidegauge.detectors.statistics import Buckets, FeatureMap
from tidegauge.detectors.statistics.arrays import IntArray
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

FROZEN = """SELECT dimensions, width, seed, frequencies FROM text_feature_maps
WHERE service = {service:String} AND embedding_model = {embedder:String}
ORDER BY stored_at, created_at, features LIMIT 1"""
CALLED = """SELECT DISTINCT intDiv(toUnixTimestamp(minute), {length_s:UInt32}) AS at FROM llm_calls_1m
WHERE service = {service:String} AND kind = 'llm' AND (SPANS) ORDER BY at"""
KEY = "service = {service:String} AND features = {features:String} AND length_s = {length_s:UInt32}"
SUMMED = f"""SELECT DISTINCT intDiv(toUnixTimestamp(bucket), {{length_s:UInt32}}) AS at FROM text_sums
WHERE {KEY} AND dimension = '' AND (SPANS)"""  # noqa: S608 - constants
READ = f"""SELECT intDiv(toUnixTimestamp(bucket), {{length_s:UInt32}}) AS at, dimension, slice, rows, sums
FROM text_sums
WHERE {KEY} AND (dimension = '' OR dimension IN {{dimensions:Array(String)}}) AND (SPANS) AND rows > 0
ORDER BY at, dimension, slice LIMIT 1 BY at, dimension, slice"""  # noqa: S608 - constants
OTHERS = """SELECT DISTINCT embedding_model FROM text_sums WHERE service = {service:String} AND rows > 0
AND embedding_model != {embedder:String} AND (SPANS) ORDER BY embedding_model"""


@dataclass(frozen=True)
class Summed:
    """The stretches of some spans, by slice: the number since 1970 of each, and their sums."""

    at: Mapping[Slice, IntArray]
    buckets: Mapping[Slice, Buckets]
    features: str

    def within(self, part: Slice, windows: Sequence[Window], length_s: int) -> Buckets:
        """The stretches of ``part`` in any of ``windows``."""
        if part not in self.buckets:
            return Buckets(self.features, np.zeros(0, np.int64), np.zeros((0, 1)))
        at, found = self.at[part], self.buckets[part]
        kept = np.isin(at, np.array([each for window in windows for each in numbers(window, length_s)], dtype=np.int64))
        return Buckets(self.features, found.rows[kept], found.sums[kept])


class Sums:
    """Reads and writes sums."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def frozen(self, service: str, embedder: str) -> FeatureMap | None:
        """The features of this service and embedding model: the first that anybody froze."""
        found = self._store.rows(FROZEN, {"service": service, "embedder": embedder})
        if not found:
            return None
        row = found[0]
        return FeatureMap(embedder, row["dimensions"], row["width"], row["seed"], row["frequencies"])

    def freeze(self, service: str, features: FeatureMap, now: datetime) -> FeatureMap:
        """Freeze these unless somebody did before; returns those that hold."""
        row = {
            "created_at": now,
            "service": service,
            "embedding_model": features.embedding_model,
            "features": features.name,
            "dimensions": features.dimensions,
            "width": features.width,
            "seed": features.seed,
            "frequencies": features.count,
        }
        token = hashlib.sha256(f"{service}\x1f{features.embedding_model}".encode(errors="surrogatepass")).hexdigest()
        self._store.insert("text_feature_maps", [row], f"features-{token}")
        return self.frozen(service, features.embedding_model) or features

    def due(self, service: str, features: FeatureMap, windows: Sequence[Window], length_s: int) -> list[Window]:
        """The stretches of ``windows`` that had calls and are not summed yet, in order."""
        params = {"service": service, "features": features.name, "length_s": length_s}
        where, ends = _in_any(windows, "minute")
        called = {row["at"] for row in self._store.rows(CALLED.replace("SPANS", where), params | ends)}
        where, ends = _in_any(windows, "bucket")
        summed = {row["at"] for row in self._store.rows(SUMMED.replace("SPANS", where), params | ends)}
        wanted = {each for window in windows for each in numbers(window, length_s)}
        return [_window(at, length_s) for at in sorted(wanted & called - summed)]

    def write(
        self, service: str, features: FeatureMap, length_s: int, stretches: Sequence[Window], found: Summed
    ) -> None:
        """Store the sums of ``stretches``, also of those that have none, so that nobody looks again."""
        key = {"service": service, "embedding_model": features.embedding_model, "features": features.name}
        rows = [
            (int(at), part, int(buckets.rows[number]), buckets.sums[number])
            for part, buckets in found.buckets.items()
            for number, at in enumerate(found.at[part].tolist())
        ]
        known = {at for at, part, _, _ in rows if part == ALL}
        wanted = [number for each in stretches for number in numbers(each, length_s)]
        rows += [(at, ALL, 0, np.zeros(0)) for at in wanted if at not in known]
        if not rows:
            return
        columns: dict[str, Any] = {name: pa.array([value] * len(rows)) for name, value in key.items()}
        columns["length_s"] = pa.array([length_s] * len(rows), pa.uint32())
        columns["bucket"] = pa.array([at * length_s for at, *_ in rows], pa.timestamp("s", "UTC"))
        columns["dimension"] = pa.array([part.dimension for _, part, *_ in rows])
        columns["slice"] = pa.array([part.value for _, part, *_ in rows])
        columns["rows"] = pa.array([count for *_, count, _ in rows], pa.uint64())
        columns["sums"] = pa.array([sums for *_, sums in rows], pa.list_(pa.float64()))
        token = "\x1f".join([service, features.name, str(length_s), *map(str, sorted(wanted))])
        self._store.insert_arrow(
            "text_sums", pa.table(columns), f"sums-{hashlib.sha256(token.encode(errors='surrogatepass')).hexdigest()}"
        )

    def read(
        self, service: str, features: FeatureMap, windows: Sequence[Window], length_s: int, dimensions: Sequence[str]
    ) -> Summed:
        """All sums in ``windows``, of all traffic and of the slices of ``dimensions``."""
        where, ends = _in_any(windows, "bucket")
        params = {"service": service, "features": features.name, "length_s": length_s, "dimensions": list(dimensions)}
        table = self._store.arrow(READ.replace("SPANS", where), params | ends)
        at = np.asarray(table["at"].to_numpy(), dtype=np.int64)
        rows = np.asarray(table["rows"].to_numpy(), dtype=np.int64)
        flat = table["sums"].combine_chunks().flatten().to_numpy() if len(table) else np.zeros(0)
        sums = np.asarray(flat, dtype=np.float64).reshape(len(table), -1 if len(table) else 2 * features.count)
        places: dict[Slice, list[int]] = {}
        for number, key in enumerate(zip(table["dimension"].to_pylist(), table["slice"].to_pylist(), strict=True)):
            places.setdefault(Slice(*key), []).append(number)
        return Summed(
            {part: at[chosen] for part, chosen in places.items()},
            {part: Buckets(features.name, rows[chosen], sums[chosen]) for part, chosen in places.items()},
            features.name,
        )

    def others(self, service: str, embedder: str, windows: Sequence[Window]) -> list[str]:
        """Embedding models, less this one, that texts in ``windows`` were summed with."""
        where, ends = _in_any(windows, "bucket")
        params = {"service": service, "embedder": embedder} | ends
        return [row["embedding_model"] for row in self._store.rows(OTHERS.replace("SPANS", where), params)]


def numbers(window: Window, length_s: int) -> range:
    """The stretches of a window, on multiples of their length, as numbers since 1970."""
    return range(int(window.start.timestamp()) // length_s, int(window.end.timestamp()) // length_s)


def _window(at: int, length_s: int) -> Window:
    return Window(datetime.fromtimestamp(at * length_s, UTC), datetime.fromtimestamp((at + 1) * length_s, UTC))


def _in_any(windows: Sequence[Window], column: str) -> tuple[str, dict[str, Any]]:
    """A condition on a column of whole seconds, and its parameters."""
    parts = [
        f"({column} >= {{a{at}:DateTime('UTC')}} AND {column} < {{z{at}:DateTime('UTC')}})"
        for at in range(len(windows))
    ]
    params = {f"a{at}": _whole(each.start) for at, each in enumerate(windows)}
    return " OR ".join(parts) or "0", params | {f"z{at}": _whole(each.end) for at, each in enumerate(windows)}


def _whole(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
