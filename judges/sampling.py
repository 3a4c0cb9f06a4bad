"""Which calls are judged: a pure function of the trace id, so every replica and every restart agrees.

A call is kept if ``uniform(trace_id, salt) < pi`` of its stratum. ``pi`` is fixed before anything about the call's own
quality is known, and it is written down for every candidate; estimates weigh by ``1 / pi`` and stay unbiased.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

SALT = "tidegauge.judges/1"
PRIOR_SD = (
    0.35  # of the scores of a stratum never judged: more than settled ones have, so new ones are looked at harder
)
PRIOR_WEIGHT = 20  # how many scores that guess counts as
LEAST, MOST = 0.5, 4.0  # pi of a stratum, as multiples of the wanted rate


@dataclass(frozen=True, slots=True)
class Candidate:
    """One LLM call that could be judged. ``at`` is its event time, aware and in UTC."""

    trace_id: str
    span_id: str
    stratum: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Draw:
    """What the sampler decided about a candidate. ``cut``: chosen at first, given up for the budget."""

    candidate: Candidate
    probability: float
    chosen: bool
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """How many scores a stratum had lately, and their variance."""

    scores: int
    variance: float


def uniform(trace_id: str, salt: str = SALT) -> float:
    """A number in [0, 1) that depends on nothing but its arguments; uniform over trace ids.

    >>> uniform("a") == uniform("a"), uniform("a") == uniform("b")
    (True, False)
    """
    digest = blake2b(trace_id.encode(), digest_size=8, salt=blake2b(salt.encode(), digest_size=16).digest()).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def allocate(counts: Mapping[str, int], spreads: Mapping[str, Spread], rate: float) -> dict[str, float]:
    """Inclusion probability in (0, 1] for each stratum: Neyman's allocation from *earlier* scores.

    ``pi_h = rate * sd_h / mean sd``, the mean weighed by the counts, between 0.5 and 4 times ``rate``. Strata whose
    scores scatter, and strata not judged yet, are looked at harder; the total stays near ``rate``.

    >>> allocate({"v1": 100, "v2": 100}, {}, 0.05)
    {'v1': 0.05, 'v2': 0.05}
    """
    deviations = {stratum: _deviation(spreads.get(stratum)) for stratum in counts}
    total = sum(counts.values())
    mean = sum(counts[stratum] * deviation for stratum, deviation in deviations.items()) / total if total else 1.0
    return {
        stratum: min(1.0, rate * min(MOST, max(LEAST, deviation / mean))) for stratum, deviation in deviations.items()
    }


def draw(
    candidates: Sequence[Candidate],
    probabilities: Mapping[str, float],
    affordable: Callable[[Candidate], bool] = lambda _: True,
    salt: str = SALT,
) -> list[Draw]:
    """Decide every candidate; the chosen ones come first, in the order to judge them.

    ``affordable`` is asked in order of ``uniform / pi`` until it says no. That cut lowers every ``pi`` of this round by
    one factor, the ratio of the first call that is given up: a stop for the budget is a smaller sample, not a hole
    (threshold sampling; unbiased because the order is random and does not depend on the scores).
    """
    ratios = ((uniform(each.trace_id, salt) / probabilities[each.stratum], each) for each in candidates)
    ranked = sorted(ratios, key=_rank)
    kept = [pair for pair in ranked if pair[0] < 1]
    threshold = next((ratio for ratio, each in kept if not affordable(each)), 1.0)
    return [
        Draw(each, probabilities[each.stratum] * threshold, chosen=ratio < threshold, cut=threshold <= ratio < 1)
        for ratio, each in ranked
    ]


def counts_by_stratum(candidates: Sequence[Candidate]) -> dict[str, int]:
    """How many candidates each stratum has."""
    return dict(Counter(each.stratum for each in candidates))


def _rank(pair: tuple[float, Candidate]) -> tuple[float, str, str]:
    return pair[0], pair[1].trace_id, pair[1].span_id


def _deviation(spread: Spread | None) -> float:
    scores, variance = (spread.scores, spread.variance) if spread else (0, 0.0)
    return math.sqrt((scores * variance + PRIOR_WEIGHT * PRIOR_SD**2) / (scores + PRIOR_WEIGHT))
