"""What is put into a window to see whether it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.statistics.arrays import FloatArray
from tidegauge.detectors.traffic import Category, Codes, Traffic

Rng = np.random.Generator
NEW = "a category never seen"


@dataclass(frozen=True)
class Shift:
    """One kind of change of one size; ``numeric`` takes values and the reference's deviation, ``text`` codes."""

    kind: str
    size: float
    numeric: Callable[[FloatArray, float, Rng], FloatArray] | None = None
    text: Callable[[Category, Rng], Category] | None = None

    def fits(self, traffic: Traffic, feature: str) -> bool:
        """Whether it can happen to this feature."""
        return bool(self.numeric) if feature in traffic.numeric else bool(self.text) and feature in traffic.categorical

    def into(self, traffic: Traffic, feature: str, deviation: float, rng: Rng) -> Traffic:
        """The same rows with ``feature`` changed."""
        if self.numeric and feature in traffic.numeric:
            changed = self.numeric(traffic.numeric[feature], deviation, rng)
            return traffic.with_columns({**traffic.numeric, feature: changed}, traffic.categorical)
        assert self.text
        text = self.text(traffic.categorical[feature], rng)
        return traffic.with_columns(traffic.numeric, {**traffic.categorical, feature: text})


def _moved(size: float) -> Callable[[FloatArray, float, Rng], FloatArray]:
    return lambda values, deviation, _: values + size * deviation


def _scaled(factor: float) -> Callable[[FloatArray, float, Rng], FloatArray]:
    def change(values: FloatArray, _: float, __: Rng) -> FloatArray:
        middle = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
        return middle + factor * (values - middle)

    return change


def _gone(share: float) -> Callable[[FloatArray, float, Rng], FloatArray]:
    return lambda values, _, rng: np.where(rng.random(len(values)) < share, np.nan, values)


def _recoded(
    share: float, code: Callable[[Category], tuple[int, tuple[str, ...]]]
) -> Callable[[Category, Rng], Category]:
    def change(column: Category, rng: Rng) -> Category:
        to, names = code(column)
        hit: NDArray[np.bool_] = rng.random(len(column.codes)) < share
        codes: Codes = np.where(hit, to, column.codes).astype(np.int32)
        return Category(codes, names)

    return change


def _second(column: Category) -> tuple[int, tuple[str, ...]]:
    """Rows move to the second most frequent category, or the only one."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=max(1, len(column.names)))
    return int(np.argsort(-counts, kind="stable")[min(1, len(counts) - 1)]), column.names


def _unseen(column: Category) -> tuple[int, tuple[str, ...]]:
    return len(column.names), (*column.names, NEW)


def moved_by(size: float) -> Shift:
    """A mean moved by ``size`` deviations of the reference."""
    return Shift("mean, deviations", size, numeric=_moved(size))


def shifts() -> tuple[Shift, ...]:
    """Those that are tried: means and scales in deviations of the reference, shares in shares of the rows."""
    return (
        *map(moved_by, (0.1, 0.25, 0.5, 1.0)),
        *(Shift("scale, times", size, numeric=_scaled(size)) for size in (1.25, 2.0)),
        *(
            Shift("missing, share", size, _gone(size), _recoded(size, lambda column: (-1, column.names)))
            for size in (0.01, 0.05, 0.2)
        ),
        *(Shift("category, share moved", size, text=_recoded(size, _second)) for size in (0.05, 0.2)),
        *(Shift("new category, share", size, text=_recoded(size, _unseen)) for size in (0.02, 0.1)),
    )
