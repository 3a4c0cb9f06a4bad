"""The sequential tests on hours of a model's own past: whole weeks left out play the months to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf
from statistics import median

import numpy as np

from tidegauge.detectors.sequential.baseline import Baseline, Blocks
from tidegauge.detectors.sequential.monitor import Monitor, State
from tidegauge.detectors.sequential.rollups import HOUR_S, Hours
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray, IntArray

WEEK_H = 168
LEAST_WEEKS = 3
STEADY = (1.0, 2.0, 4.0)
"""Shifts in floors of the effect."""


@dataclass(frozen=True)
class Found:
    """Hours until streams with a change were found, of all that had it; ``median_h`` of those found."""

    change: str
    streams: int
    found: int
    median_h: float


@dataclass(frozen=True)
class Sequential:
    """``pages`` began in ``hours`` replayed, of ``streams`` together; ``wanted`` a month is the knob."""

    streams: int
    weeks: int
    hours: int
    pages: int
    wanted: float
    delays: tuple[Found, ...]


def sequential(
    hours: Hours, floors: FloatArray, log_a: FloatArray, wanted: float, rng: np.random.Generator
) -> Sequential | None:
    """Each fourth of the weeks is left out once: baseline from the rest, then four weeks drawn from what was left out.

    None where the hours are less than 3 whole weeks. Weeks stay whole, so dependence within them stays. The season is
    that of the hour of the week while each baseline has 3 weeks or more, else of the day. A change is put into one
    stream at a time: no other helps to find it.
    """
    weeks = len(hours.seconds) // WEEK_H
    if weeks < LEAST_WEEKS:
        return None
    groups = np.array_split(rng.permutation(weeks), min(4, weeks))
    runs = [_run(hours, group, weeks, floors, log_a, rng) for group in groups]
    names = [name for name, _ in runs[0][2]]
    delays = tuple(_joined(name, [after for run in runs for key, after in run[2] if key == name]) for name in names)
    return Sequential(len(floors), weeks, sum(run[0] for run in runs), sum(run[1] for run in runs), wanted, delays)


def _run(
    hours: Hours, group: IntArray, weeks: int, floors: FloatArray, log_a: FloatArray, rng: np.random.Generator
) -> tuple[int, int, list[tuple[str, FloatArray]]]:
    """Hours replayed, pages begun, and of each change the hours until each stream was found."""
    kept = np.setdiff1d(np.arange(weeks), group)
    slots = hours.seconds // HOUR_S % (WEEK_H if len(kept) >= LEAST_WEEKS else 24)
    blocks = Blocks(hours.means, hours.noise, slots)
    monitor = Monitor(Baseline.fit(_weeks(blocks, kept), 24), floors, log_a)
    path = _weeks(blocks, rng.choice(group, size=4))
    changed = [(f"a step of {size:g} floors", np.full(len(path.slots), size)) for size in STEADY]
    changed.append(("a slope of 2 floors in two weeks", 2 * np.minimum(1.0, np.arange(len(path.slots)) / (2 * WEEK_H))))
    names, courses = zip(*changed, strict=True)
    calm, began = watched(monitor, path)
    first, _ = watched(_repeated(monitor, len(names)), _with(path, courses, floors))
    others = np.split(first, len(names))
    delays = [(name, np.where(np.isfinite(calm), np.nan, each)) for name, each in zip(names, others, strict=True)]
    return len(path.slots), int(began.sum()), delays


def _with(path: Blocks, courses: Sequence[FloatArray], floors: FloatArray) -> Blocks:
    """The same path once for each course, side by side."""
    means = np.hstack([path.means + course[:, None] * floors for course in courses])
    return Blocks(means, np.tile(path.noise, (1, len(courses))), path.slots)


def _repeated(monitor: Monitor, times: int) -> Monitor:
    """For the same streams several times, side by side, each by itself."""
    base = monitor.baseline
    tiled = {each.name: np.tile(getattr(base, each.name), times) for each in fields(base) if each.name != "season"}
    baseline = Baseline(season=np.tile(base.season, (1, times)), **tiled)
    log_a = np.tile(monitor.log_a, times)
    return Monitor(baseline, np.tile(monitor.floors, times), log_a, monitor.per_day, together=False)


def _weeks(blocks: Blocks, numbers: IntArray) -> Blocks:
    at = (numbers[:, None] * WEEK_H + np.arange(WEEK_H)).reshape(-1)
    return Blocks(blocks.means[at], blocks.noise[at], blocks.slots[at])


def watched(monitor: Monitor, path: Blocks) -> tuple[FloatArray, FloatArray]:
    """The number of the block of each stream's first alarm, infinite for none, and how often its alarms began."""
    streams = path.means.shape[1]
    state, first, began = State.start(streams), np.full(streams, inf), np.zeros(streams)
    on: BoolArray = np.zeros(streams, dtype=np.bool_)
    for at in range(len(path.slots)):
        state = monitor.step(state, path.means[at], path.noise[at], int(path.slots[at]), float(at * HOUR_S))
        state, _, now = monitor.settled(state, on)
        began += now & ~on
        first = np.where(now & np.isinf(first), at + 1.0, first)
        on = now
    return first, began


def _joined(name: str, parts: list[FloatArray]) -> Found:
    """Streams that alarm without any change are left out."""
    after = np.concatenate(parts)
    after = after[~np.isnan(after)]
    found = after[np.isfinite(after)].tolist()
    return Found(name, len(after), len(found), median(found) if found else inf)
