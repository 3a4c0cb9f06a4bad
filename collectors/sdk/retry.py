"""How long to wait before the next attempt."""

from __future__ import annotations

from random import Random

FIRST_S, LONGEST_S = 0.5, 30.0
LONGEST_ASKED_S = 300.0  # a receiver that asks for more is asked again after it
SPREAD = 0.2  # of what the receiver asked for, so that its clients do not all come back at once


class Backoff:
    """Waits that double up to 30 s, each drawn between a half and the whole; a stated Retry-After is never cut short.

    >>> Backoff(Random(1)).wait_s(10.0) >= 10.0
    True
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._next_s = FIRST_S

    def wait_s(self, asked_s: float | None) -> float:
        """Seconds to wait now; ``asked_s`` is what the receiver said, None where it said nothing."""
        if asked_s is not None:
            return min(asked_s, LONGEST_ASKED_S) * (1 + SPREAD * self._rng.random())
        wait_s, self._next_s = self._next_s, min(LONGEST_S, 2 * self._next_s)
        return wait_s * (0.5 + 0.5 * self._rng.random())

    def reset(self) -> None:
        """Something arrived."""
        self._next_s = FIRST_S
