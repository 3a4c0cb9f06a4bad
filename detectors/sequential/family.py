"""Streams of one model that are looked at together: their baseline, their threshold, and what new hours do to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from tidegauge.config import Watch
from tidegauge.detectors.sequential.baseline import Baseline
from tidegauge.detectors.sequential.e_detectors import log_threshold
from tidegauge.detectors.sequential.memory import Standing
from tidegauge.detectors.sequential.monitor import Look, Monitor, State
from tidegauge.detectors.sequential.rollups import Hours, Measure, Row, hours_of, parts_of
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray
from tidegauge.model import Window

HOURS_A_MONTH = 730.5
LEAST, WEEKLY = timedelta(days=7), timedelta(days=28)
"""Of a reference: to be one at all, and to know the hours of a week apart."""


@dataclass(frozen=True)
class Family:
    """A reference of hours, and the monitor made of it; ``weekly`` says which season it knows."""

    kind: str
    span: Window
    weekly: bool
    hours: Hours
    measures: tuple[Measure, ...]
    monitor: Monitor

    @classmethod
    def fit(
        cls, kind: str, span: Window, rows: Sequence[Row], measures: tuple[Measure, ...], watch: Watch, pages: float
    ) -> Family | None:
        """From sums of the hours of ``span``; ``pages`` are the wanted false pages a month. None: no stream varies."""
        parts = parts_of(rows, watch.max_slices)
        wanted = [(each.name, part) for each in measures for part in (parts if each.sliced else parts[:1])]
        weekly = span.length >= WEEKLY
        everything = hours_of(rows, span, wanted, measures)
        usable = np.flatnonzero(Baseline.fit(everything.blocks(weekly), 24).usable)
        if not len(usable):
            return None
        hours = everything.only(usable)
        floors = _floors(hours, {each.name: each for each in measures})
        monitor = Monitor(
            Baseline.fit(hours.blocks(weekly), 24), floors, log_threshold(len(usable), HOURS_A_MONTH, pages)
        )
        return cls(kind, span, weekly, hours, measures, monitor)

    def taken(self, standing: Standing | None, rows: Sequence[Row], span: Window) -> tuple[Standing, Look, BoolArray]:
        """Take in the hours of ``span``; the standing after them, what it says, and which alarms are on."""
        streams = self.hours.streams
        state, alarmed = (
            standing.fitted_to(streams) if standing else (State.start(len(streams)), (None,) * len(streams))
        )
        new = hours_of(rows, span, streams, self.measures)
        slots = new.blocks(self.weekly).slots
        began = np.array([each.timestamp() if each else np.nan for each in alarmed])
        for at, second in enumerate(new.seconds):
            state = self.monitor.step(state, new.means[at], new.noise[at], int(slots[at]), float(second))
            state, look, on = self.monitor.settled(state, np.isfinite(began))
            began = np.where(on, np.where(np.isfinite(began), began, look.since), np.nan)
        since = tuple(datetime.fromtimestamp(each, UTC) if np.isfinite(each) else None for each in began)
        return Standing(span.end, self.kind, self.span, streams, state, since), look, on


def _floors(hours: Hours, measures: dict[str, Measure]) -> FloatArray:
    usual = np.nanmean(hours.means, axis=0)
    deviation = np.sqrt(np.nanmean(hours.deviations**2, axis=0))
    return np.array(
        [measures[name].floor(float(usual[at]), float(deviation[at])) for at, (name, _) in enumerate(hours.streams)]
    )
