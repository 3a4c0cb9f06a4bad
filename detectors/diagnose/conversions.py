"""Units that changed: which usual conversion, when undone, brings a feature back to what it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tidegauge.detectors.diagnose.rows import Floats
from tidegauge.detectors.diagnose.signatures import Mark, Values

FACTORS: Mapping[str, float] = {
    "miles to km": 1.609344,
    "inches to cm": 2.54,
    "inches to mm": 25.4,
    "feet to m": 0.3048,
    "lb to kg": 0.45359237,
    "mph to m/s": 0.44704,
    "knots to m/s": 0.514444,
    "km/h to m/s": 1 / 3.6,
    "minutes to hours": 1 / 60,
    "hours to days": 1 / 24,
    "hPa to inHg": 0.02953,
    "thousands": 1e-3,
    "share to percent": 100.0,
    "units to millions": 1e-6,
}
"""Units are multiplied by this; each is tried both ways."""
RATIO_SPREAD = 0.02
LEAST_GAIN = 2.0
LEAST_MOVE = 1.8
SEARCHED_GAIN = 2.0
"""In a part of the traffic the gain must be so many times larger: many parts are looked at."""

Undo = Callable[[Floats], Floats]


def units(values: Values) -> Mark | None:
    """The conversion that, undone, leaves the least distance; or one factor common to all quantiles."""
    moved = values.distance
    if moved <= LEAST_MOVE * values.usual or not values.varied:
        return None
    named = {name: values.distance_if(undo(values.since)) for name, undo in undoing().items()}
    best = min(named, key=lambda name: named[name])
    least = LEAST_GAIN * (SEARCHED_GAIN if values.narrow else 1.0)
    if named[best] > max(values.usual, 0.05) or moved < least * named[best]:
        return None if values.narrow else _common_factor(values, moved)
    said = f"undoing {best} brings it back (distance {moved:.2f}, undone {named[best]:.2f})"
    gain = moved / max(named[best], values.usual / 2)
    return Mark("units", said, min(32.0, 2 * gain), {"conversion": best, "distance": moved, "undone": named[best]})


def undone(mark: Mapping[str, float | str]) -> Undo:
    """What takes back the conversion or factor that the evidence of a mark names."""
    if "conversion" in mark:
        return undoing()[str(mark["conversion"])]
    return lambda x: x / float(mark["factor"])


def undoing() -> dict[str, Undo]:
    """What takes each conversion back, by its name."""
    found: dict[str, Undo] = {"°F to °C": lambda x: x * 1.8 + 32, "°C to °F": lambda x: (x - 32) / 1.8}
    found |= {"°C to K": lambda x: x - 273.15, "K to °C": lambda x: x + 273.15}
    for name, factor in FACTORS.items():
        left, _, right = name.partition(" to ")
        found[name] = lambda x, f=factor: x / f  # type: ignore[misc]
        found[f"{right} to {left}" if right else f"{name} undone"] = lambda x, f=factor: x * f  # type: ignore[misc]
    return found


def _common_factor(values: Values, moved: float) -> Mark | None:
    """All quantiles multiplied by one number."""
    at = np.linspace(0.05, 0.95, 19)
    before, since = np.quantile(values.before, at), np.quantile(values.since, at)
    kept = np.abs(before) > 1e-9 * max(1e-300, np.abs(before).max())
    if kept.sum() < 10 or len(np.unique(before[kept])) < 5:
        return None
    ratios = since[kept] / before[kept]
    factor = float(np.median(ratios))
    if factor == 0 or abs(factor - 1) < 0.1 or np.abs(ratios / factor - 1).max() > RATIO_SPREAD:
        return None
    undone = values.distance_if(values.since / factor)
    said = f"all values are {factor:.4g} times what they were (distance {moved:.2f}, undone {undone:.2f})"
    return Mark(
        "units", said, min(32.0, 2 * moved / max(undone, values.usual / 2)), {"factor": factor, "distance": moved}
    )
