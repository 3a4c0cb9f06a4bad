"""The rows that a diagnosis looks at, as columns, with what became known of each later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.diagnose.verdict import Part
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.model import Slice

if TYPE_CHECKING:
    from tidegauge.detectors.diagnose.graded import Graded

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
Hashes: TypeAlias = NDArray[np.uint64]
FALSE_TEXTS, TRUE_TEXTS = ("0", "0.0", "false", "no"), ("1", "1.0", "true", "yes")


@dataclass(frozen=True)
class Truth:
    """Labels as they came, the last value of each prediction: ``known`` is when its first copy did, in seconds."""

    ids: Hashes
    values: Category
    known: Floats
    contradicted: Mask

    @property
    def rows(self) -> int:
        """How many predictions have one."""
        return len(self.ids)


def no_truth() -> Truth:
    """No labels at all."""
    return Truth(np.empty(0, np.uint64), Category(np.empty(0, np.int32), ()), np.empty(0), np.empty(0, np.bool_))


@dataclass(frozen=True)
class Rows:
    """Predictions as columns, in order of time.

    Attributes:
        ids: Hashes of the prediction ids, 0 for a prediction without one.
        seconds: When, since 1970.
        label: The labels as codes, -1 where none is known.
        lag_s: From prediction to label, nan where none is known.
        every: k, where only one id in k was read.
    """

    traffic: Traffic
    ids: Hashes
    seconds: Floats
    label: Category
    lag_s: Floats
    every: int = 1

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.ids)

    @property
    def features(self) -> list[str]:
        """All features, sorted."""
        found = {*self.traffic.numeric, *self.traffic.categorical}
        return sorted(found - {"score", "prediction"})

    @property
    def score(self) -> Floats | None:
        """The scores, nan where one is missing; None where there are none."""
        return self.traffic.numeric.get("score")

    @property
    def prediction(self) -> Category | None:
        """What was predicted, or None."""
        return self.traffic.categorical.get("prediction")

    @cached_property
    def outcome(self) -> Floats | None:
        """Labels as numbers, nan where none is known: two classes become 0 and 1. None where they are neither."""
        return as_numbers(self.label)

    @cached_property
    def decision(self) -> Floats | None:
        """Predictions as numbers, as ``outcome`` has labels."""
        return None if self.prediction is None else as_numbers(self.prediction)

    @cached_property
    def graded(self) -> Graded | None:
        """How right each prediction was; None where predictions or labels are missing altogether."""
        from tidegauge.detectors.diagnose.graded import Graded

        return Graded.of(self)

    def rows_in(self, part: Part) -> Mask:
        """Which rows are in all slices of ``part``."""
        found = np.ones(self.count, dtype=np.bool_)
        for each in part:
            found &= self._in(each)
        return found

    def _in(self, one: Slice) -> Mask:
        column = self.traffic.dimensions[one.dimension]
        code = column.names.index(one.value) if one.value in column.names else -2
        found: Mask = column.codes == code
        return found

    def take(self, keep: Mask) -> Rows:
        """Only these rows."""
        traffic = self.traffic
        taken = Traffic(
            int(keep.sum()),
            {name: values[keep] for name, values in traffic.numeric.items()},
            {name: Category(values.codes[keep], values.names) for name, values in traffic.categorical.items()},
            {name: Category(values.codes[keep], values.names) for name, values in traffic.dimensions.items()},
            traffic.every,
        )
        label = Category(self.label.codes[keep], self.label.names)
        return replace(
            self, traffic=taken, ids=self.ids[keep], seconds=self.seconds[keep], label=label, lag_s=self.lag_s[keep]
        )


def as_numbers(column: Category) -> Floats | None:
    """Classes 0 and 1, or numbers; None for classes of any other name.

    >>> as_numbers(Category(np.array([1, 0, -1], dtype=np.int32), ("no", "yes")))
    array([ 1.,  0., nan])
    """
    table = [_as_number(name) for name in column.names]
    if any(np.isnan(each) for each in table):
        return None
    found: Floats = np.array([*table, np.nan])[column.codes]
    return found


def _as_number(text: str) -> float:
    known = text.strip().lower()
    if known in FALSE_TEXTS or known in TRUE_TEXTS:
        return float(known in TRUE_TEXTS)
    try:
        return float(known)
    except ValueError:
        return float("nan")
