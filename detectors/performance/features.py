"""Features of predictions as one matrix that trees can read, in the columns of the rows that they were fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidegauge.detectors.performance.reading import Rows
from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.traffic import Category

MOST_VALUES = 200
"""Values of a categorical feature that are told apart, the most frequent; trees take 255."""
OUTPUTS = ("score", "prediction")


@dataclass(frozen=True)
class Encoding:
    """The numeric features, and of each categorical one the place of its values; a new value is missing."""

    numeric: tuple[str, ...]
    values: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, rows: Rows) -> Encoding:
        """The columns of ``rows``."""
        traffic = rows.traffic
        numeric = tuple(sorted(name for name in traffic.numeric if name not in OUTPUTS))
        texts = sorted(name for name in traffic.categorical if name not in OUTPUTS)
        return cls(numeric, {name: _places(traffic.categorical[name]) for name in texts})

    @property
    def categorical(self) -> list[int]:
        """Which columns of the matrix hold places of values."""
        first = len(self.numeric) + 1
        return list(range(first, first + len(self.values)))

    def matrix(self, rows: Rows) -> FloatArray:
        """Rows by features, with the prediction as a number before the categorical ones; NaN is missing."""
        traffic, nothing = rows.traffic, np.full(len(rows), np.nan)
        columns = [traffic.numeric.get(name, nothing) for name in self.numeric]
        columns.append(rows.said.numbers())
        columns += [self._coded(traffic.categorical.get(name), name, nothing) for name in self.values]
        return np.where(np.isinf(found := np.stack(columns, axis=1)), np.nan, found)

    def _coded(self, column: Category | None, name: str, nothing: FloatArray) -> FloatArray:
        if column is None:
            return nothing
        table = np.array([*(self.values[name].get(each, np.nan) for each in column.names), np.nan], dtype=np.float64)
        return np.asarray(table[column.codes], dtype=np.float64)


def _places(column: Category) -> dict[str, int]:
    counts = column.counts()
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_VALUES]
    return {name: at for at, name in enumerate(frequent)}
