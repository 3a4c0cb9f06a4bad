"""One look after another at many streams: evidence that a mean has left its season, since when, and by how much.

For each stream, side and bet an e-detector runs on factors of Catoni's kind (``catoni``) of w - nu, with w the
whitened, studentised block of the baseline and nu the *margin*: a fourth of the effect's floor, in the unit of w, or
one and a half standard errors of the baseline's level where that is less. So the errors of the baseline do not add up
to an alarm however long one looks, and where weather is wide against the floor a slow change does not wait for its
margin. What adds up and does not matter is kept quiet by the floor.

The mixture over sides and bets of Shiryaev-Roberts e-detectors is M, of mean t at most after t looks. Over the S
streams alarms are those of e-BH: of M times the stream's weight (1 on average) the k largest, k as great as can be with
all k at A / k or more. Where any is, the weighted mean of all streams' e-detectors, which is one, is at A / S or more.
So while nothing has changed the first alarm of *any* stream comes after A / S looks on average or more, however the
streams depend on each other, as long as a block's w, given those before, has a mean within the margin and a variance
of at most 1. That is exact for independent blocks with a known baseline, and for dependent ones as good as the baseline
describes them. Sources: Shin, Ramdas and Rinaldo 2024 (arXiv 2203.03532); Wang and Ramdas 2022 (arXiv 2009.02824).

The e-CUSUM of the best bet dates the change (its last new beginning); the blocks since then give the effect, and a
confidence sequence whose level is divided by the number of blocks at which the change could have begun. An average
that forgets half in half a day says where a trend has come to, and when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.sequential.baseline import Baseline
from tidegauge.detectors.sequential.catoni import BETS, log_factor
from tidegauge.detectors.sequential.confidence import mean_radius
from tidegauge.detectors.sequential.e_detectors import e_cusum, mixture, shiryaev_roberts
from tidegauge.detectors.statistics.arrays import BoolArray, FloatArray

Array: TypeAlias = NDArray[np.float64]
SHAPE = (2, len(BETS))
"""Sides (more, less) and bets."""
ROOM = 3.0
"""How far log M may rise above log A: what is over is found to be over soon."""
MARGIN, ERRORS = 0.25, 1.5
"""Of the floor; and of standard errors of the baseline's level."""
AHEAD = 1.5
"""How many times its mean since it began a trend may have come to; a straight line is at twice its mean."""


@dataclass(frozen=True)
class State:
    """Plain arrays for S streams; the next look needs nothing else. Times are seconds since 1970."""

    before: FloatArray
    detector: FloatArray
    chain: FloatArray
    process: FloatArray
    began: FloatArray
    blocks: FloatArray
    moved: FloatArray
    scaled: FloatArray
    looks: FloatArray
    recent: FloatArray

    @classmethod
    def start(cls, streams: int) -> State:
        """Before the first look."""
        full, flat = (streams, *SHAPE), np.zeros(streams)
        nothing = np.full(full, -np.inf)
        zero = np.zeros(full)
        return cls(np.full(streams, np.nan), nothing, nothing, zero, zero, zero, zero, zero, flat, flat)

    def take(self, streams: NDArray[np.intp]) -> State:
        """The state of some streams, in this order."""
        return State(**{each.name: getattr(self, each.name)[streams] for each in fields(self)})

    def anew(self, where: BoolArray) -> State:
        """With no evidence on some streams; what was last seen of them stays."""
        empty = np.where(where[:, None, None], -np.inf, 0.0)
        return replace(self, detector=self.detector + empty, chain=self.chain + empty)


@dataclass(frozen=True)
class Look:
    """What a look shows of S streams. Effects are in the streams' own units, above (positive) or below the season.

    ``effect`` is the mean since the change, with its interval; ``recent`` that of about the last day.
    """

    log_e: FloatArray
    log_e_process: FloatArray
    effect: FloatArray
    low: FloatArray
    high: FloatArray
    since: FloatArray
    blocks: FloatArray
    recent: FloatArray

    @property
    def reach(self) -> FloatArray:
        """How far it has come: the mean since the change, or the last day where that is further, within reason."""
        effect = np.abs(self.effect)
        return np.maximum(effect, np.minimum(np.sign(self.effect) * self.recent, AHEAD * effect))


@dataclass(frozen=True)
class Monitor:
    """A baseline, and the effect below which nothing matters, of S streams in their units.

    ``log_a`` is that of all streams, or one for each: A of all of them over the stream's weight. Not ``together``: each
    stream has to reach its own A, as if no other changed.
    """

    baseline: Baseline
    floors: FloatArray
    log_a: FloatArray | float = np.inf
    per_day: int = 24
    together: bool = True

    def step(self, state: State, means: Array, noise: Array, slot: int, began: float) -> State:
        """One more block, begun at ``began`` seconds since 1970; a stream without a value (NaN) stays as it is."""
        base = self.baseline
        residual, deviation = base.residuals(means, noise, slot)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = residual / deviation
            memory = np.where(np.isfinite(state.before), base.memory, 0.0)
            kept = np.sqrt((1 - memory**2) * base.long_run)
            w = (z - memory * np.nan_to_num(state.before)) / kept
            unit = kept * deviation / (1 - memory)
            there = np.isfinite(w) & (base.usable > 0)
        w, unit = np.where(there, w, 0.0), np.where(there, unit, 1.0)
        margin = np.minimum(MARGIN * self.floors / unit, ERRORS / np.sqrt(np.maximum(base.blocks, 1)))
        factor = log_factor(np.stack([w - margin, -w - margin], axis=1))
        factor = np.where(there[:, None, None], factor, 0.0)
        after = self._advanced(state, factor, np.where(there, residual, 0.0), unit, began, there)
        return replace(after, before=np.where(there, z, np.where(np.isfinite(means), state.before, np.nan)))

    def _advanced(
        self, state: State, factor: Array, residual: Array, unit: Array, began: float, there: NDArray[np.bool_]
    ) -> State:
        seen = there[:, None, None]
        anew = seen & (state.chain <= 0)
        most = np.broadcast_to(self.log_a, self.floors.shape) + ROOM
        detector = np.minimum(shiryaev_roberts(state.detector, factor), most[:, None, None])
        chain = e_cusum(state.chain, factor)
        old = np.where(anew, 0.0, 1.0)
        one = there.astype(np.float64)[:, None, None]
        share = np.maximum(1 / (state.looks + 1), 1 - 0.5 ** (2 / self.per_day))
        return State(
            before=state.before,
            detector=np.where(seen, detector, state.detector),
            chain=np.where(seen, chain, state.chain),
            process=state.process + factor,
            began=np.where(anew, began, state.began),
            blocks=old * state.blocks + one,
            moved=old * state.moved + one * residual[:, None, None],
            scaled=old * state.scaled + one * unit[:, None, None],
            looks=state.looks + there,
            recent=np.where(there, state.recent + share * (residual - state.recent), state.recent),
        )

    def settled(self, state: State, already: BoolArray) -> tuple[State, Look, BoolArray]:
        """The state after a look, the look, and where alarms are on, ``already`` being those that were on before it.

        An alarm begins where the evidence passes and the effect, or what it has come to, its floor, and ends where the
        half day that is past is back within half the floor; the stream's evidence then begins anew.
        """
        look = self.look(state)
        lasting = np.sign(look.effect) * look.recent >= self.floors / 2
        on = (already | (self.passed(look.log_e) & (look.reach >= self.floors))) & lasting
        return (state.anew(already & ~on) if np.any(already & ~on) else state), look, on

    def passed(self, log_e: FloatArray) -> BoolArray:
        """Which streams e-BH rejects: the k with the most evidence for their weight, all of them at A / k or more."""
        over = log_e - self.log_a
        if not self.together:
            return np.asarray(over >= 0)
        order = np.argsort(-over)
        enough = np.flatnonzero(over[order] >= -np.log(np.arange(1, len(over) + 1)))
        found = np.zeros(len(over), dtype=np.bool_)
        found[order[: enough[-1] + 1 if len(enough) else 0]] = True
        return found

    def look(self, state: State, alpha: float = 0.05) -> Look:
        """What the state says now."""
        rows = np.arange(len(state.before))
        best = state.chain.reshape(len(rows), -1).argmax(axis=1)
        blocks, moved, scaled, began = (
            each.reshape(len(rows), -1)[rows, best] for each in (state.blocks, state.moved, state.scaled, state.began)
        )
        count = np.maximum(blocks, 1.0)
        effect = moved / count
        radius = mean_radius(count, alpha / np.maximum(state.looks, 1.0)) * scaled / count
        log_e, process = mixture(state.detector, 2), mixture(state.process, 2)
        return Look(log_e, process, effect, effect - radius, effect + radius, began, blocks, state.recent)
