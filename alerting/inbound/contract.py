"""What the sender of a request is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


def nothing() -> None:
    """No work is left."""


class Answered(NamedTuple):
    """Status and words of the answer; ``then`` is work that need not be waited for."""

    status: int
    detail: str
    then: Callable[[], None] = nothing
