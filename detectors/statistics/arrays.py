"""The array types of the statistics, and the one way that bad numbers are dropped."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Matrix: TypeAlias = NDArray[np.floating[Any]]


def floats(values: ArrayLike) -> FloatArray:
    """The values as one row of float64, without a copy where they are that already; None becomes NaN.

    >>> floats([1, True, None])
    array([ 1.,  1., nan])
    """
    return np.asarray(values, dtype=np.float64).reshape(-1)


def finite(values: ArrayLike) -> tuple[FloatArray, int]:
    """The finite values, and how many were dropped because they are NaN or infinite.

    >>> finite([1.0, float("nan"), float("-inf")])
    (array([1.]), 2)
    """
    array = floats(values)
    kept = np.isfinite(array)
    dropped = len(array) - int(np.count_nonzero(kept))
    return (array[kept] if dropped else array), dropped


def finite_sorted(values: ArrayLike, already: bool = False) -> tuple[FloatArray, int]:
    """As ``finite``, in ascending order; ``already`` promises that they are in the order of ``np.sort``, NaN last.

    >>> finite_sorted([3.0, float("inf"), 1.0])
    (array([1., 3.]), 1)
    """
    if already and len(ordered := floats(values)) and np.isfinite(ordered[0]) and np.isfinite(ordered[-1]):
        return ordered, 0
    array, dropped = finite(values)
    return (array if already else np.sort(array)), dropped
