"""What a streaming detector says, and the words of what it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tidegauge.detectors.statistics.arrays import FloatArray

Direction: TypeAlias = Literal["both", "up", "down"]
Change: TypeAlias = Literal["up", "down", "wider", "narrower"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something changed.

    Attributes:
        row: Rows seen until now, the first is 1; those that were left out count.
        since: The row from which the evidence adds up: an estimate of the first one after the change.
        change: What the strongest bet was on.
        log10_e: Decimal logarithm of the e-detector, at least that of the wanted rows between false alarms.
    """

    row: int
    since: int
    change: Change
    log10_e: float


def one_dimension(values: ArrayLike) -> FloatArray:
    """``values`` as floats. Raises ValueError unless they are numbers in one dimension."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"values must be numbers, one dimension of them: {error}") from error
    if found.ndim != 1:
        raise ValueError(f"values must have one dimension, got {found.ndim}")
    return found


def loaded(text: str, kind: str) -> Mapping[str, Any]:
    """The state of a ``kind`` of detector. Raises ValueError when ``text`` is none."""
    try:
        state = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not the state of a {kind}: {error}") from error
    if not isinstance(state, dict) or state.get("kind") != kind:
        raise ValueError(
            f"not the state of a {kind}: its kind is {state.get('kind') if isinstance(state, dict) else '-'}"
        )
    return state
