"""Metrics that users write themselves, in SQL over the tables and views that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tidegauge.metrics.catalogue import METRICS, mean_of, rate_of, value_of
from tidegauge.metrics.model import Kind, Metric, Source

Sql = Annotated[str, Field(min_length=1, max_length=5000)]


class OwnMetric(BaseModel):
    """One entry of ``metrics`` in a rule file.

    ``value`` is of one row for a mean (``basket``), else an aggregate (``sum(amount)``). ``from`` is a table, a view,
    or a SELECT in parentheses; without ``time`` it must itself keep to ``{start:DateTime64(6)}`` and
    ``{end:DateTime64(6)}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")
    title: str = Field(min_length=1, max_length=120)
    unit: str = Field("score", min_length=1, max_length=20, description="share, s, USD, tokens, records, score ...")
    kind: Literal["rate", "mean", "ratio", "quantile", "sum", "count"]
    table: Sql = Field(alias="from")
    time: str = Field("timestamp", max_length=200, description="column of event time; empty: see from")
    dimensions: Mapping[str, Sql] = Field(default_factory=dict, description="names, or name: SQL")
    where: str = Field("", max_length=5000, description="SQL that selects its rows; empty: all")
    hits: Sql | None = Field(None, description="of a rate: SQL of one row, true where it counts")
    value: Sql | None = Field(None, description="of all other kinds")

    @field_validator("dimensions", mode="before")
    @classmethod
    def _names_are_columns(cls, given: Any) -> Any:
        return {each: each for each in given} if isinstance(given, list) else given

    @field_validator("name")
    @classmethod
    def _is_not_taken(cls, name: str) -> str:
        if name in METRICS:
            raise ValueError("is the name of a metric that there is already")
        return name

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        needed, other = ("hits", "value") if self.kind == "rate" else ("value", "hits")
        if getattr(self, needed) is None or getattr(self, other) is not None:
            raise ValueError(f"a {self.kind} needs {needed}, and no {other}")
        if not self.time and not ("{start:" in self.table and "{end:" in self.table):
            raise ValueError("without time, from must use {start:DateTime64(6)} and {end:DateTime64(6)}")
        return self

    def metric(self) -> Metric:
        """As the built-in ones are."""
        source = Source(self.name, self.table, self.time, self.dimensions)
        if self.kind == "rate":
            return rate_of(self.name, self.title, (source,), f"countIf({self.hits})", "count()", self.where)
        value = self.value or ""
        if self.kind == "mean":
            return mean_of(self.name, self.title, self.unit, source, f"toFloat64({value})", self.where)
        return value_of(self.name, self.title, self.unit, Kind(self.kind), (source,), value, "count()", self.where)
