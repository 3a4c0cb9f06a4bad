"""Small drawings made on the server, as the numbers of SVG attributes."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT = 100.0, 24.0


def sparkline(points: Sequence[float | None]) -> str:
    """The ``d`` of a path through ``points`` in a box of 100 by 24; a None breaks the line.

    >>> sparkline([0, 2, 1])
    'M0.0,23.0 L50.0,1.0 L100.0,12.0'
    >>> sparkline([1, None, 1])
    'M0.0,1.0 h0.5 M100.0,1.0 h0.5'
    """
    known = [point for point in points if point is not None]
    if not known:
        return ""
    low, high = min(0, *known), max(0, *known)
    scale = (HEIGHT - 2) / (high - low) if high > low else 0.0
    step = WIDTH / max(1, len(points) - 1)
    parts: list[str] = []
    for index, point in enumerate(points):
        if point is None:
            continue
        joined = index > 0 and points[index - 1] is not None
        alone = not joined and (index + 1 == len(points) or points[index + 1] is None)
        parts.append(
            f"{'L' if joined else 'M'}{index * step:.1f},{HEIGHT - 1 - (point - low) * scale:.1f}"
            + (" h0.5" if alone else "")
        )
    return " ".join(parts)
