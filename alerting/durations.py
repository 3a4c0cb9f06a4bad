"""Lengths of time as rule files write them: ``30m``, ``2h``, ``14d``, ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WHOLE = re.compile(r"(?:\d+[smhdw])+")
_PART = re.compile(r"(\d+)([smhdw])")
_LONGEST = timedelta(days=3660)


def parse_duration(text: Any) -> timedelta:
    """Read ``1h30m`` and the like, units s, m, h, d and w. ``0s`` is allowed.

    Raises:
        ValueError: anything else, such as a number without a unit, or more than ten years.

    >>> parse_duration("1h30m").total_seconds()
    5400.0
    """
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not _WHOLE.fullmatch(text):
        raise ValueError("must be a duration with units s, m, h, d or w, such as 30m or 1h30m")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if seconds > _LONGEST.total_seconds():
        raise ValueError("must be no more than ten years")
    return timedelta(seconds=seconds)


def format_duration(length: timedelta) -> str:
    """The shortest way to write it, to the second.

    >>> format_duration(timedelta(minutes=90))
    '1h30m'
    """
    left, parts = round(length.total_seconds()), []
    for unit in ("d", "h", "m", "s"):
        number, left = divmod(left, _UNITS[unit])
        parts += [f"{number}{unit}"] if number else []
    return "".join(parts) or "0s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]
