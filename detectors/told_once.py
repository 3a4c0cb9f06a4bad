"""A category that rose is told once, however many detectors see it.

Its rise is also one of the share of all rare names together, which the divergences may call drift, and of the new ones,
if the reference never showed it. Then it is named by their finding, and its own is stable.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.statistics import Result
from tidegauge.model import Slice

RISEN = "risen_category"
DIVERGENCES = ("chi_squared", "psi", "kl", "jensen_shannon")
Place: TypeAlias = tuple[str, Slice]
"""Feature and part of the traffic."""


def told_once(claims: Sequence[Claim], shown: Collection[str] | None = None) -> list[Claim]:
    """``claims``, those of a risen category stable where another finding of the same feature and part names it.

    ``shown`` are the detectors whose findings count, by default all.
    """
    drifting = [each for each in claims if each.verdict is Verdict.DRIFT]
    risen = {(each.feature, each.part): each for each in drifting if each.detector == RISEN}
    if not risen:
        return list(claims)
    told = {(each.feature, each.part, each.detector) for each in drifting if shown is None or each.detector in shown}
    by = {place: [name for name in _others(each) if (*place, name) in told] for place, each in risen.items()}
    return [_told(each, risen, by) for each in claims]


def _others(risen: Claim) -> tuple[str, ...]:
    """The detectors that may tell of it, too."""
    unseen = json.loads(risen.evidence)["reference"][0] == 0 if risen.evidence else False
    return ("new_categories", *DIVERGENCES) if unseen else DIVERGENCES


def _told(claim: Claim, risen: Mapping[Place, Claim], by: Mapping[Place, Sequence[str]]) -> Claim:
    place = (claim.feature, claim.part)
    others = by.get(place, ())
    if not others:
        return claim
    if claim.detector == RISEN:
        return replace(claim, verdict=Verdict.STABLE, reason=f"told by {others[0]}")
    outcome = risen[place].outcome
    if claim.detector != others[0] or claim.detector not in DIVERGENCES or not isinstance(outcome, Result):
        return claim
    return replace(claim, reason="; ".join(part for part in (claim.reason, outcome.note.partition("; ")[0]) if part))
