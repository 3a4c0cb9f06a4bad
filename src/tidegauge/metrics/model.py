"""What a metric is: a number with a name, and the SQL that gives it for any window, slice and filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """How a metric's columns become a value and an interval."""

    RATE = "rate"  # hits out of samples; Wilson interval
    MEAN = "mean"  # (weighted) mean; normal interval
    RATIO = "ratio"  # quotient of two sums; no interval
    QUANTILE = "quantile"  # from a t-digest; no interval
    SUM = "sum"
    COUNT = "count"
    ESTIMATE = "estimate"  # value and interval as they were stored
    FINDING = "finding"  # number of detector findings, with a note on the largest


@dataclass(frozen=True, slots=True)
class Source:
    """A table or subquery, its time column and the dimensions that may divide it.

    Args:
        name: For messages.
        table: What stands after FROM. It may itself use ``{start}`` and ``{end}``; ``time`` is then empty.
        time: Column of event time.
        dimensions: Name for users -> SQL column. Only these names ever reach a statement.
        maps: Prefix for users -> Map column: ``slice.carrier`` reads ``slices['carrier']``, the key as a parameter.
        minutes: Whether rows are whole minutes, so that only windows of whole minutes are exact.
        merge: ``Merge`` where quantile columns are aggregate states.
    """

    name: str
    table: str
    time: str
    dimensions: Mapping[str, str]
    maps: Mapping[str, str] = field(default_factory=dict)
    minutes: bool = False
    merge: str = ""

    def knows(self, dimension: str) -> bool:
        """Whether ``dimension`` is one of ours, or a key under one of the map prefixes."""
        prefix, dot, key = dimension.partition(".")
        return dimension in self.dimensions or (bool(dot) and prefix in self.maps and 0 < len(key) <= 200)


@dataclass(frozen=True, slots=True)
class Metric:
    """A named number.

    Args:
        name: As rules and panels write it.
        title: For people, without the unit.
        unit: ``share`` (0 to 1), ``s``, ``USD``, ``tokens``, ``tokens/min``, ``records``, ``score`` or ``findings``.
        kind: Decides which ``columns`` there are and how they are read.
        sources: In order of preference; the first one that knows all dimensions asked for is read.
        columns: Column name -> SQL aggregate. Always has ``samples``.
        condition: SQL that selects the metric's own rows; empty for all.
    """

    name: str
    title: str
    unit: str
    kind: Kind
    sources: tuple[Source, ...]
    columns: Mapping[str, str]
    condition: str = ""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Every name that ``by`` and ``where`` may use; ``slice.*`` stands for any key of that map."""
        named = {name: None for each in self.sources for name in each.dimensions}
        return (*named, *{f"{prefix}.*": None for each in self.sources for prefix in each.maps})

    def knows(self, dimension: str) -> bool:
        """Whether some source of this metric can be divided by ``dimension``."""
        return any(each.knows(dimension) for each in self.sources)


@dataclass(frozen=True, slots=True)
class Observation:
    """One metric's value for one combination of labels.

    Attributes:
        labels: The ``by`` dimensions and their values.
        value: Never NaN; None when it cannot be computed.
        samples: How many records it rests on, at least 1 when it comes from ``observe``.
        low: Lower end of the 95 % interval, None for metrics without one.
        high: Upper end.
        note: More for people, such as the largest findings.
    """

    labels: Mapping[str, str]
    value: float | None
    samples: int
    low: float | None = None
    high: float | None = None
    note: str = ""
