"""What a statistic returns: a result whose numbers are all finite, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison of a current window with its reference.

    ``value`` is the statistic in the field's usual units. ``effect`` is what is left of it after taking away what
    chance alone gives at these sample sizes; under ``floor`` a difference does not matter, however sure it is.
    """

    method: str
    value: float
    p_value: float | None
    effect: float
    floor: float
    n_reference: int
    n_current: int
    dropped_reference: int = 0
    dropped_current: int = 0
    note: str = ""
    interval: tuple[float, float] | None = None
    """What ``value`` would lie in, in 95 of 100 windows like this one, where the statistic says it."""


@dataclass(frozen=True, slots=True)
class Undetermined:
    """There is too little, or too odd, data to say anything; ``reason`` says which."""

    method: str
    reason: str
    n_reference: int
    n_current: int


CONFIDENCE = 0.95
"""Of every interval."""
Outcome: TypeAlias = Result | Undetermined


def settled(result: Result) -> Outcome:
    """The result if all its numbers are finite, else Undetermined: values near 1e308 overflow.

    >>> settled(Result("demo", float("inf"), 0.5, 0.0, 0.1, 9, 9)).reason
    'the values are too large or too small to compute with'
    """
    numbers = [result.value, result.effect, 0.0 if result.p_value is None else result.p_value]
    if all(math.isfinite(number) for number in numbers):
        return result
    reason = "the values are too large or too small to compute with"
    return Undetermined(result.method, reason, result.n_reference, result.n_current)


def beyond_noise(value: float, noise: float) -> float:
    """sqrt(max(0, value² - noise²)): a distance without the part that chance alone gives.

    Distances add up in squares: taking ``noise`` off the distance itself would hide real shifts in small samples.

    >>> beyond_noise(5.0, 3.0), beyond_noise(2.0, 3.0)
    (4.0, 0.0)
    """
    return math.sqrt((value - noise) * (value + noise)) if abs(value) > noise else 0.0
