"""Which values of a dimension the rollups keep apart, once there are too many: the rest is summed up as ``other``.

The views of the rollups look values up in the newest decision of the table ``capped_values`` (macro ``capped``). A
decision changes which key a row is summed under and nothing else, so a batch that is stored again is still known by its
token. Until a dimension is found to have too many values, all of them are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TypeAlias

from tidegauge import instruments
from tidegauge.config import Rollups
from tidegauge.store import Store

Key: TypeAlias = tuple[str, str, str]
"""Rollup, owner and dimension."""


@dataclass(frozen=True, slots=True)
class Capped:
    """A dimension of which only some values are kept apart: what somebody should be told."""

    rollup: str
    owner: str
    dimension: str
    seen: int

    @property
    def key(self) -> Key:
        """What is capped."""
        return self.rollup, self.owner, self.dimension


@dataclass(frozen=True, slots=True)
class Dimension:
    """Columns of a rollup as SQL: what the dimension is called, whose it is, its value, the records of a row."""

    name: str
    owner: str
    value: str
    records: str
    where: str = "1"

    @property
    def counted(self) -> str:
        """How many values each owner has."""
        return self._select("uniqIf(value, value NOT IN ('other', '')) AS seen", "dimension, owner")

    @property
    def ranked(self) -> str:
        """The values with the records of each."""
        return self._select(f"value, sum({self.records}) AS n", "dimension, owner, value")

    def _select(self, shown: str, groups: str) -> str:
        return f"""SELECT dimension, owner, {shown}
            FROM (SELECT {self.name} AS dimension, toString({self.owner}) AS owner, toString({self.value}) AS value, *
                FROM {{rollup}} AS r WHERE {self.where} AND stored_at >= {{since:DateTime64(6)}}) GROUP BY {groups}"""  # noqa: S608 - constants


_CALL = ("name", "model", "prompt_version", "tenant", "intent")
DIMENSIONS: Mapping[str, tuple[Dimension, ...]] = MappingProxyType(
    {
        "predictions_1h": (
            Dimension("'model'", "''", "r.model", "predictions", "r.dimension = ''"),
            Dimension("'version'", "r.model", "r.version", "predictions", "r.dimension = ''"),
            Dimension("'dimension'", "r.model", "r.dimension", "predictions"),
            Dimension("concat('slice.', r.dimension)", "r.model", "r.slice", "predictions"),
        ),
        "llm_calls_1m": (
            Dimension("'service'", "''", "r.service", "calls"),
            *(Dimension(f"'{each}'", "r.service", f"r.{each}", "calls") for each in _CALL),
        ),
        "ingest_1m": (
            Dimension("'service'", "''", "r.service", "records"),
            Dimension("'kind'", "r.service", "r.kind", "records"),
        ),
        "feature_kinds": (Dimension("'feature'", "r.model", "r.feature", "predictions"),),
    }
)
"""Rollup to its dimensions, as the views in the migrations name them."""
NOW = "SELECT rollup, owner, dimension, value FROM capped_now"
TOP = """SELECT value FROM ({ranked}) WHERE dimension = {dimension:String} AND owner = {owner:String}
AND value NOT IN ('other', '') ORDER BY n DESC, value LIMIT {most:UInt32}"""


class CardinalityLoop:
    """Counts the values of every dimension and decides which ones are kept apart.

    A dimension is capped above ``max_values`` values in the time looked back on, at those with the most records then.
    They stay until at most half as many values are left; then it is set free, and may be capped anew.
    """

    def __init__(self, store: Store, settings: Rollups) -> None:
        self._store = store
        self._settings = settings

    def run(self, now: datetime) -> list[Capped]:
        """Decide by what was stored until ``now``; the dimensions that are capped."""
        before: dict[Key, set[str]] = {}
        for row in self._store.rows(NOW):
            if row["rollup"]:
                before.setdefault((row["rollup"], row["owner"], row["dimension"]), set()).add(row["value"])
        capped = list(self._over(before, now))
        if {each.key for each in capped} != before.keys():
            self._write([(each, before.get(each.key) or self._top(each, now)) for each in capped])
        for rollup in DIMENSIONS:
            instruments.CAPPED_DIMENSIONS.labels(rollup).set(sum(each.rollup == rollup for each in capped))
        return capped

    def _over(self, before: Collection[Key], now: datetime) -> Iterator[Capped]:
        most = self._settings.max_values
        for rollup, dimensions in DIMENSIONS.items():
            counts = " UNION ALL ".join(each.counted for each in dimensions).replace("{rollup}", rollup)
            for row in self._store.rows(counts, self._since(now)):
                found = Capped(rollup, row["owner"], row["dimension"], row["seen"])
                if found.seen > (most // 2 if found.key in before else most):
                    yield found

    def _top(self, capped: Capped, now: datetime) -> set[str]:
        ranked = " UNION ALL ".join(each.ranked for each in DIMENSIONS[capped.rollup])
        params = {"dimension": capped.dimension, "owner": capped.owner, "most": self._settings.max_values}
        sql = TOP.replace("{ranked}", ranked.replace("{rollup}", capped.rollup))
        return {row["value"] for row in self._store.rows(sql, params | self._since(now))}

    def _since(self, now: datetime) -> dict[str, datetime]:
        return {"since": now - timedelta(hours=self._settings.look_back_hours)}

    def _write(self, capped: Sequence[tuple[Capped, set[str]]]) -> None:
        """One insert, so that views see the whole decision or the one before; an empty one is a row without rollup."""
        rows = [
            {"rollup": each.rollup, "owner": each.owner, "dimension": each.dimension, "value": value, "seen": each.seen}
            for each, values in capped
            for value in sorted(values | {""})
        ]
        self._store.insert("capped_values", rows or [{"rollup": ""}])
