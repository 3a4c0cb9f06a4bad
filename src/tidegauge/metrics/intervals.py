"""95 % intervals for the two kinds of metric that have one."""

from __future__ import annotations

from math import isfinite, sqrt

Z95 = 1.959963984540054


def wilson(hits: float, samples: float, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a rate, both ends in 0..1.

    ``(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)`` (Wilson 1927). It keeps its coverage for rates near 0 and
    for small n, where the normal interval does not.

    Raises:
        ValueError: ``samples`` is not positive or ``hits`` lies outside 0..samples.

    >>> [round(end, 4) for end in wilson(8, 100)]
    [0.0411, 0.15]
    """
    if samples <= 0 or not 0 <= hits <= samples:
        raise ValueError(f"wilson needs 0 <= hits <= samples and samples > 0, got {hits} of {samples}")
    rate, shrink = hits / samples, 1 + z * z / samples
    centre = rate + z * z / (2 * samples)
    spread = z * sqrt(rate * (1 - rate) / samples + z * z / (4 * samples * samples))
    low = 0.0 if hits == 0 else max(0.0, (centre - spread) / shrink)
    return low, 1.0 if hits == samples else min(1.0, (centre + spread) / shrink)


def weighted_mean(
    weights: float, sums: tuple[float, float, float, float], samples: int
) -> tuple[float, float | None, float | None]:
    """Mean and normal interval from Σ w and ``sums``, which are Σ wx, Σ w², Σ w²x and Σ w²x², over ``samples`` rows.

    With w = 1 / inclusion probability it is the Hajek estimate of the mean over all traffic, its variance by
    linearisation, ``n/(n-1) · Σ w²(x - m)² / (Σ w)²``; with w = 1 the ordinary mean and its standard error. The ends
    are None for a single row, and not cut to the range of x.

    >>> weighted_mean(4, (10, 4, 10, 30), 4)[0]
    2.5
    """
    weighted, squares, squares_x, squares_xx = sums
    mean = weighted / weights
    if samples < 2 or not isfinite(mean):
        return mean, None, None
    spread = max(0.0, squares_xx - 2 * mean * squares_x + mean * mean * squares) / weights**2
    error = Z95 * sqrt(spread * samples / (samples - 1))
    return mean, mean - error, mean + error
