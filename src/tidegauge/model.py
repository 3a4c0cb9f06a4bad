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


@dataclass(frozen=True, slots=True, order=True)
class Slice:
    """One part of the traffic: a dimension and its value. ``ALL`` is the whole of it."""

    dimension: str = ""
    value: str = ""

    def __str__(self) -> str:
        return f"{self.dimension}={self.value}" if self.dimension else "all"


ALL = Slice()
