"""Streams of one model that are looked at together: their baseline, their threshold, and what new hours do to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from tidegauge.detectors.sequential.baseline import Baseline
from tidegauge.detectors.sequential.e_detectors import log_thresholds
from tidegauge.detectors.sequential.memory import Standing
from tidegauge.detectors.sequential.monitor import Look, Monitor, State
from tidegauge.detectors.sequential.rollups import Hours, Measure, Stream
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray
from tidegauge.model import ALL, Window

HOURS_A_MONTH = 730.5
LEAST, WEEKLY = timedelta(days=7), timedelta(days=28)
"""Of a reference: to be one at all, and to know the hours of a week apart."""


@dataclass(frozen=True)
class Family:
    """A reference of hours, and the monitor made of it; ``weekly`` says which season it knows."""

    kind: str
    span: Window
    weekly: bool
    streams: tuple[Stream, ...]
    measures: Mapping[str, Measure]
    monitor: Monitor

    @classmethod
    def fit(
        cls, kind: str, span: Window, hours: Iterable[Hours], measures: Iterable[Measure], pages: float
    ) -> Family | None:
        """From the hours of ``span``, some streams at a time; ``pages`` are the wanted false pages a month.

        None: no stream can be monitored.
        """
        weekly, named = span.length >= WEEKLY, {each.name: each for each in measures}
        learned = [each for each in (_learned(part, weekly, named) for part in hours) if each[0]]
        if not learned:
            return None
        streams = tuple(stream for found, _, _ in learned for stream in found)
        baseline = Baseline.joined([each for _, each, _ in learned])
        log_a = log_thresholds(np.array([part == ALL for _, part in streams]), HOURS_A_MONTH, pages)
        monitor = Monitor(baseline, np.concatenate([each for _, _, each in learned]), log_a)
        return cls(kind, span, weekly, streams, named, monitor)

    @property
    def limits(self) -> tuple[FloatArray, FloatArray]:
        """Of each stream its floor and log A."""
        return self.monitor.floors, np.broadcast_to(self.monitor.log_a, len(self.streams))

    def taken(self, standing: Standing | None, new: Hours, span: Window) -> tuple[Standing, Look, BoolArray]:
        """Take in the hours of ``span``; the standing after them, what it says, and which alarms are on."""
        streams = self.streams
        state, alarmed = (
            standing.fitted_to(streams) if standing else (State.start(len(streams)), (None,) * len(streams))
        )
        slots = new.blocks(self.weekly).slots
        began = np.array([each.timestamp() if each else np.nan for each in alarmed])
        for at, second in enumerate(new.seconds):
            state = self.monitor.step(state, new.means[at], new.noise[at], int(slots[at]), float(second))
            state, look, on = self.monitor.settled(state, np.isfinite(began))
            began = np.where(on, np.where(np.isfinite(began), began, look.since), np.nan)
        since = tuple(datetime.fromtimestamp(each, UTC) if np.isfinite(each) else None for each in began)
        return Standing(span.end, self.kind, self.span, streams, state, since), look, on


def _learned(hours: Hours, weekly: bool, measures: Mapping[str, Measure]) -> tuple[list[Stream], Baseline, FloatArray]:
    """Of the streams that can be monitored: which they are, what they look like, and their floors."""
    baseline = Baseline.fit(hours.blocks(weekly), 24)
    usable = np.flatnonzero(baseline.usable)
    kept = hours.only(usable)
    usual, deviation = np.nanmean(kept.means, axis=0), np.sqrt(np.nanmean(kept.deviations**2, axis=0))
    floors = [measures[name].floor(float(usual[at]), float(deviation[at])) for at, (name, _) in enumerate(kept.streams)]
    return list(kept.streams), baseline.take(usable), np.array(floors)
