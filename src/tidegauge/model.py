"""The nouns that more than one folder uses."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol


class Signal(StrEnum):
    """What travels: the three OTLP signals, in the topics that the official Collector uses, and whole frames."""

    TRACES = "otlp_spans"
    LOGS = "otlp_logs"
    METRICS = "otlp_metrics"
    FRAMES = "tidegauge_frames"  # predictions and labels as Arrow IPC streams


@dataclass(frozen=True, slots=True)
class Export:
    """One serialized OTLP Export{Trace,Logs,Metrics}ServiceRequest and the number of records in it."""

    signal: Signal
    payload: bytes
    records: int
    digest: bytes = b""  # 16 bytes that name the request as its client sent it, or none


class Transport(Protocol):
    """The way from the receiver to durable storage."""

    def submit(self, export: Export) -> Future[None]:
        """Take one export. The future resolves when it is durable, and fails when it never will be.

        Raises:
            Backpressure: there is no room; nothing was taken.
        """
        ...

    def flush(self, timeout_s: float) -> None:
        """Return when everything submitted so far can be queried; TimeoutError after ``timeout_s``."""
        ...

    def close(self, timeout_s: float) -> None:
        """Flush and stop."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of event time, ``start <= t < end``, both aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a Window needs aware datetimes")
        if self.end <= self.start:
            raise ValueError(f"a Window must end after it starts, got {self.start} .. {self.end}")

    @property
    def length(self) -> timedelta:
        """How long the window is."""
        return self.end - self.start


BETWEEN = " & "
"""Stands between the two dimensions of a pair, and between its two values; an & within one is doubled."""


@dataclass(frozen=True, slots=True, order=True)
class Slice:
    """One part of the traffic: a dimension and its value, or two of both. ``ALL`` is the whole of it.

    >>> pair = Slice.pair(Slice("country", "de"), Slice("shop", "R & D"))
    >>> pair.dimension, pair.value, str(pair)
    ('country & shop', 'de & R && D', 'country=de & shop=R & D')
    >>> pair.sides[1]
    Slice(dimension='shop', value='R & D')
    """

    dimension: str = ""
    value: str = ""

    @classmethod
    def pair(cls, one: Slice, other: Slice) -> Slice:
        """The rows that are in both."""
        return cls(both(one.dimension, other.dimension), both(one.value, other.value))

    @property
    def sides(self) -> tuple[Slice, ...]:
        """Both slices of a pair; else the slice itself, or nothing for all traffic."""
        names, values = sides(self.dimension), sides(self.value)
        if len(names) == len(values) == 2:
            return tuple(map(Slice, names, values))
        return (self,) if self.dimension else ()

    @property
    def is_pair(self) -> bool:
        """Whether it has two dimensions."""
        return len(self.sides) == 2

    def __str__(self) -> str:
        parts = [(each.dimension, each.value) for each in self.sides]
        return BETWEEN.join(f"{name}={value}" for name, value in parts) or "all"


ALL = Slice()


def both(one: str, other: str) -> str:
    """Two dimensions, or two values, as one text."""
    return BETWEEN.join(each.replace("&", "&&") for each in (one, other))


def sides(text: str) -> tuple[str, ...]:
    """The inverse of ``both``; of any other text the text itself."""
    found = text.split(BETWEEN)
    return tuple(each.replace("&&", "&") for each in found) if len(found) == 2 else (text,)
