"""From many tests of one evaluation to verdicts, with the false discovery rate held.

A hypothesis is one question about one part of the traffic, and its p-value is counted once however many detectors
measure the answer: PSI, KL and Jensen-Shannon are the same quadratic form near zero. The first detector gives the
p-value; the followers give other units of the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.statistics import Outcome, Result, Undetermined, benjamini_hochberg
from tidegauge.detectors.told_once import told_once
from tidegauge.model import ALL, Slice

Floors: TypeAlias = Callable[[str, Slice, str, Result], Result]
"""Feature, part of the traffic, detector and result to the result with the floor that it has to pass."""
Key: TypeAlias = tuple[str, str, Slice]
"""Feature, detector and part of the traffic."""
Alone: TypeAlias = Callable[["Hypothesis"], float]
"""A hypothesis about a pair to the p-value that the pair changed as the rest of one of its slices did."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """ "This did not change", tested by ``detector`` and measured once more by each follower.

    Followers and evidence are computed only when somebody will read them.
    """

    feature: str
    part: Slice
    detector: str
    outcome: Outcome
    followers: tuple[tuple[str, Callable[[], Outcome]], ...] = ()
    evidence: Callable[[], str] | None = None


def judge(
    hypotheses: Sequence[Hypothesis],
    rate: float,
    floors: Floors | None = None,
    alone: Alone | None = None,
    everywhere_apart: bool = False,
    shown: Collection[str] | None = None,
) -> list[Claim]:
    """All claims of one evaluation: drift where the adjusted p-value is at most ``rate`` and the effect at its floor.

    ``rate`` is the expected share of false findings among those of drift (Benjamini and Hochberg). Where pairs are
    tested, half of it is theirs, so that what all other questions lose does not depend on how many pairs there are.
    ``floors`` may raise the floor of a result; of a slice it is asked only about what would be drift otherwise.
    ``alone`` is asked only about pairs that could be drift. With ``everywhere_apart`` what is asked of all traffic has
    a share of its own as well, so that it loses nothing to the slices. ``shown`` are the detectors whose claims will
    be read, where that is not all of them: what one of the others says counts as not told.
    """
    tested = [each for each in hypotheses if _p(each.outcome) is not None]
    families: dict[int, list[Hypothesis]] = {}
    for each in tested:
        sides = len(each.part.sides)
        families.setdefault(sides if everywhere_apart else max(1, sides), []).append(each)
    adjusted: dict[int, float] = {}
    for own in families.values():
        adjusted |= _adjusted(own, rate, alone if own[0].part.is_pair else None, len(families))
    answered = {(each.feature, each.part) for each in tested}
    claims = [claim for each in hypotheses for claim in _claims(each, adjusted.get(id(each)), rate, floors)]
    drifting = {(each.feature, each.detector, each.part) for each in claims if each.verdict is Verdict.DRIFT}
    inside = _by_side(drifting)
    told = [_placed(claim, drifting, inside) for claim in told_once(claims, shown)]
    return [_quiet(claim) if (claim.feature, claim.part) in answered else claim for claim in told]


def _adjusted(family: Sequence[Hypothesis], rate: float, alone: Alone | None, families: int) -> dict[int, float]:
    """Adjusted p-values by hypothesis, of one family out of ``families`` that share the rate."""
    p_values = np.array([_p(each.outcome) for each in family], dtype=np.float64)
    if alone:
        for at in np.flatnonzero(p_values <= rate / families).tolist():
            p_values[at] = max(p_values[at], alone(family[at]))
    found = np.minimum(1.0, families * benjamini_hochberg(p_values, rate)[1])
    return dict(zip(map(id, family), found.tolist(), strict=True))


def worth_a_row(claim: Claim) -> bool:
    """Whether a claim is stored: of slices only drift, and what could not be tested; of all traffic everything."""
    return (
        claim.part == ALL
        or claim.verdict is Verdict.DRIFT
        or (claim.verdict is Verdict.UNDETERMINED and claim.outcome is not None)
    )


def _by_side(drifting: Collection[Key]) -> dict[tuple[str, Slice], list[str]]:
    """The pairs in which a feature drifts, by each of their slices."""
    found: dict[tuple[str, Slice], list[str]] = {}
    for feature, part in sorted({(feature, part) for feature, _, part in drifting if part.is_pair}):
        for side in part.sides:
            found.setdefault((feature, side), []).append(str(part))
    return found


def _placed(claim: Claim, drifting: Collection[Key], inside: Mapping[tuple[str, Slice], Sequence[str]]) -> Claim:
    """Of drift in a slice, whether all of the traffic drifts too, or the slice is the story; or a pair in it is."""
    if claim.part == ALL or claim.verdict is not Verdict.DRIFT:
        return claim
    if claim.part.is_pair:
        also = [str(side) for side in claim.part.sides if any(key[::2] == (claim.feature, side) for key in drifting)]
        neither = " or ".join(map(str, claim.part.sides))
        where = f"far more than the rest of {' and '.join(also)}" if also else f"not in {neither} at large"
    else:
        where = f"{'also' if (claim.feature, claim.detector, ALL) in drifting else 'not'} in all traffic"
        pairs = inside.get((claim.feature, claim.part), ())
        where += f", far more in {' and in '.join(pairs)} than in the rest" if pairs else ""
    return replace(claim, reason="; ".join(part for part in (where, claim.reason) if part))


def _quiet(claim: Claim) -> Claim:
    """Of a slice where another detector could tell, that this one could not is counted but not stored."""
    silent = claim.part != ALL and claim.verdict is Verdict.UNDETERMINED
    return replace(claim, outcome=None) if silent else claim


def _claims(hypothesis: Hypothesis, adjusted: float | None, rate: float, floors: Floors | None) -> Iterator[Claim]:
    first = _claim(hypothesis, hypothesis.detector, hypothesis.outcome, adjusted, rate, floors)
    yield first
    read = hypothesis.part == ALL or (adjusted is not None and adjusted <= rate)
    for detector, compute in hypothesis.followers:
        if read:
            yield _claim(hypothesis, detector, compute(), adjusted, rate, floors)
        else:
            yield Claim(hypothesis.feature, detector, hypothesis.part, first.verdict, None, adjusted)


def _claim(
    hypothesis: Hypothesis,
    detector: str,
    outcome: Outcome,
    adjusted: float | None,
    rate: float,
    floors: Floors | None,
) -> Claim:
    own = _p(outcome)
    if own is None or not isinstance(outcome, Result):
        untested = outcome if isinstance(outcome, Undetermined) else _without_p(outcome)
        return Claim(hypothesis.feature, detector, hypothesis.part, Verdict.UNDETERMINED, untested)
    p_adjusted = own if adjusted is None else max(adjusted, own)
    drift = p_adjusted <= rate and outcome.effect >= outcome.floor
    if floors and (drift or hypothesis.part == ALL):
        outcome = floors(hypothesis.feature, hypothesis.part, detector, outcome)
        drift = drift and outcome.effect >= outcome.floor
    wanted = hypothesis.evidence is not None and detector == hypothesis.detector
    shown = hypothesis.evidence() if wanted and hypothesis.evidence and (drift or hypothesis.part == ALL) else ""
    verdict = Verdict.DRIFT if drift else Verdict.STABLE
    return Claim(hypothesis.feature, detector, hypothesis.part, verdict, outcome, p_adjusted, evidence=shown)


def _p(outcome: Outcome) -> float | None:
    return outcome.p_value if isinstance(outcome, Result) else None


def _without_p(outcome: Result) -> Undetermined:
    return Undetermined(outcome.method, "the test gives no p-value here", outcome.n_reference, outcome.n_current)
