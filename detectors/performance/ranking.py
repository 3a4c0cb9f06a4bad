"""How well a ranked list puts what is relevant first: recall@k, precision@k, MRR and nDCG@k.

A ranking prediction is a list of ids, best first (``prediction=["b", "a"]``, stored as JSON). Its label is the list of
ids that turned out relevant, or an object of id to gain (``{"a": 3, "b": 1}``). Every metric is a mean over lists of a
number in 0..1, with the normal interval of that mean, cut to 0..1. Lists with nothing relevant are dropped and counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tidegauge.detectors.performance.measured import Measured, Measurement, mean
from tidegauge.detectors.statistics.arrays import FloatArray

Gains = Mapping[str, float]


def parsed(text: str) -> list[str] | None:
    """A stored ranking; None where it is none. An id that comes twice counts where it comes first.

    >>> parsed('["b", 7, "b"]'), parsed("late")
    (['b', '7'], None)
    """
    found = _json(text)
    return list(dict.fromkeys(map(_name, found))) if isinstance(found, list) else None


def relevant(text: str) -> Gains | None:
    """A stored label as id to gain, those of no gain left out; a single id is a list of one. None for anything else.

    >>> relevant('{"a": 2, "b": 0}'), relevant("a"), relevant('["a", "c"]'), relevant('{"a": "x"}')
    ({'a': 2.0}, {'a': 1.0}, {'a': 1.0, 'c': 1.0}, None)
    """
    found = _json(text)
    if isinstance(found, list):
        return dict.fromkeys(map(_name, found), 1.0)
    if not isinstance(found, dict):
        return {text: 1.0} if text else None
    if not all(isinstance(gain, int | float) and math.isfinite(gain) for gain in found.values()):
        return None
    return {name: float(gain) for name, gain in found.items() if gain > 0}


def measures(said: Sequence[str], gains: Gains, k: int) -> tuple[float, float, float, float]:
    """Of one list recall@k, precision@k, reciprocal rank (within k) and nDCG@k, with gains as they are (linear).

    Sources: Järvelin and Kekäläinen, ACM TOIS 2002; Voorhees, TREC 1999.

    >>> measures(["x", "a", "b"], {"a": 1.0, "c": 1.0}, 2)
    (0.5, 0.5, 0.5, 0.38685280723454163)
    """
    top = [gains.get(each, 0.0) for each in said[:k]]
    hits = sum(gain > 0 for gain in top)
    first = next((1 / (at + 1) for at, gain in enumerate(top) if gain > 0), 0.0)
    best = _discounted(sorted(gains.values(), reverse=True)[:k])
    return hits / len(gains), hits / k, first, min(1.0, _discounted(top) / best)


def names(k: int) -> tuple[str, str, str, str]:
    """The names of the four metrics, in the order of ``measures``."""
    return f"recall@{k}", f"precision@{k}", f"mrr@{k}", f"ndcg@{k}"


def mean_of(metric: str, values: FloatArray, weights: FloatArray) -> Measurement:
    """The mean over lists; NaN marks a list that had nothing relevant."""
    kept = ~np.isnan(values)
    found = mean(metric, values[kept], weights[kept])
    if not isinstance(found, Measured):
        return found
    low, high = max(0.0, found.low), min(1.0, found.high)
    return Measured(metric, found.value, low, high, found.n, len(values) - found.n)


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(at + 2) for at, gain in enumerate(gains))


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _name(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
