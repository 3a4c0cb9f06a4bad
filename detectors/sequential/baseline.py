"""What blocks of time (hours, five minutes) of many streams look like while nothing is wrong.

Traffic has seasons and is dependent: blocks of one day share its weather. A baseline takes both out as far as its
reference shows them, for S streams at once:

- the **season**: the mean of each slot (hour of the week, or of the day where the reference is under four weeks);
- the **spread**: a block's mean varies by chance, s²/n, and by what its rows share, tau². Both are measured on
  residuals that leave the block itself out of its slot's mean, so that a new block is expected to vary as they do. A
  share that was always the same varies by what chance would do to one row: what never was missing may go missing;
- the **memory** phi: the correlation of neighbouring residuals z; u_t = (z_t - phi z_{t-1}) / sqrt(1 - phi²);
- the **long run** v: the variance of sums of u over blocks, quarter days, days and two days, per block; the largest
  counts, raised by one standard error. w = u / sqrt(v) is what is monitored.

Given the season, w has about mean 0 and a variance of at most 1 over any of these stretches. What moves more slowly
than two days and is not in the season (a week of bad weather) is in the margin of the monitor, or is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.statistics.arrays import FloatArray, IntArray

LEAST_BLOCKS = 72
"""With a value, of a stream; below that it is not monitored."""
MOST_MEMORY = 0.95


@dataclass(frozen=True)
class Blocks:
    """T blocks of S streams: ``means`` and the variance ``noise`` that each has by chance, NaN where it has no value.

    ``slots`` (T) number the season, from 0.
    """

    means: FloatArray
    noise: FloatArray
    slots: IntArray


@dataclass(frozen=True)
class Baseline:
    """Plain numbers: ``season`` is slots x S, the rest S; ``spread`` multiplies sqrt(tau2 + noise)."""

    season: FloatArray
    tau2: FloatArray
    spread: FloatArray
    memory: FloatArray
    long_run: FloatArray
    blocks: IntArray

    @classmethod
    def fit(cls, reference: Blocks, per_day: int) -> Baseline:
        """From a reference in order of time, ``per_day`` blocks a day."""
        season, residuals, shrunk = _without_season(reference)
        counted = np.count_nonzero(np.isfinite(residuals), axis=0)
        noise = reference.noise * shrunk
        tau2 = np.maximum(0.0, _mean(residuals**2) - _mean(np.where(np.isfinite(residuals), noise, np.nan)))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = residuals / np.sqrt(tau2 + reference.noise)
            z = np.where(np.isfinite(z), z, np.nan)  # where neither chance nor weather moves a block there is no unit
            spread = np.maximum(1.0, np.sqrt(_mean(z**2)))
            z = z / spread
        memory = _memory(z)
        return cls(season, tau2, spread, memory, _long_run(_whitened(z, memory), per_day), counted)

    def take(self, streams: NDArray[np.intp]) -> Baseline:
        """That of some streams, in this order."""
        kept = {each.name: getattr(self, each.name)[..., streams] for each in fields(self)}
        return Baseline(**kept)

    @classmethod
    def joined(cls, parts: Sequence[Baseline]) -> Baseline:
        """Several, of other streams each, side by side."""
        return cls(
            **{each.name: np.concatenate([getattr(one, each.name) for one in parts], -1) for each in fields(cls)}
        )

    @property
    def usable(self) -> FloatArray:
        """1 for streams that can be monitored, 0 for those with too few blocks or none that varies."""
        known = (self.blocks >= LEAST_BLOCKS) & (self.spread > 0) & np.isfinite(self.spread * self.long_run)
        return known.astype(np.float64)

    def residuals(self, means: FloatArray, noise: FloatArray, slot: int) -> tuple[FloatArray, FloatArray]:
        """Of one block: what it is above its season, in the stream's unit, and the deviation that is usual."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return means - self.season[slot], self.spread * np.sqrt(self.tau2 + noise)


def _mean(values: FloatArray) -> FloatArray:
    kept = np.isfinite(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(kept, values, 0.0).sum(axis=0) / kept.sum(axis=0))


def _without_season(reference: Blocks) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Slot means; residuals from the slot's *other* blocks; by how much leaving out raises their variance."""
    there = np.isfinite(reference.means)
    values = np.where(there, reference.means, 0.0)
    slots = int(reference.slots.max()) + 1
    total, count = np.zeros((slots, values.shape[1])), np.zeros((slots, values.shape[1]))
    np.add.at(total, reference.slots, values)
    np.add.at(count, reference.slots, there.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        season = total / count
        others = count[reference.slots] - 1
        left_out = (total[reference.slots] - values) / others
        residuals = np.where(there & (others > 0), reference.means - left_out, np.nan)
        raised = 1 + 1 / others
    return season, residuals, np.where(np.isfinite(raised), raised, np.nan)


def _memory(z: FloatArray) -> FloatArray:
    """Correlation of neighbours, 0 where nothing is known, from 0 to 0.95."""
    products, squares = _mean(z[1:] * z[:-1]), _mean(z**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.clip(np.nan_to_num(products / squares), 0.0, MOST_MEMORY))


def _whitened(z: FloatArray, memory: FloatArray) -> FloatArray:
    """u of every block; a block after a gap has nothing to take off."""
    before = np.vstack([np.full((1, z.shape[1]), np.nan), z[:-1]])
    return np.where(np.isfinite(before), (z - memory * before) / np.sqrt(1 - memory**2), z)


def _long_run(u: FloatArray, per_day: int) -> FloatArray:
    """The largest variance per block of sums over stretches, each raised by its standard error, and at least 1."""
    found = np.ones(u.shape[1])
    for length in sorted({1, max(1, per_day // 4), per_day, 2 * per_day}):
        stretches = len(u) // length
        if stretches < 4:
            break
        cut = u[: stretches * length].reshape(stretches, length, -1)
        present = np.isfinite(cut).sum(axis=1)
        sums = np.nansum(cut, axis=1)
        kept = np.where(present * 2 >= length, sums**2 / np.maximum(present, 1), np.nan)
        used = np.maximum(1, np.isfinite(kept).sum(axis=0))
        found = np.fmax(found, _mean(kept) * (1 + np.sqrt(2 / used)))
    return found


def slots_of(seconds: Sequence[int] | IntArray, block_s: int, weekly: bool) -> IntArray:
    """The slot of blocks that begin at ``seconds`` since 1970: hour (or shorter block) of the week, else of the day.

    >>> slots_of([0, 3600, 7 * 86_400], 3600, weekly=True).tolist()
    [0, 1, 0]
    """
    period = 7 * 86_400 if weekly else 86_400
    return np.asarray(np.asarray(seconds, dtype=np.int64) % period // block_s)
