"""What follows from a category that vanished: drift that is none in the other rows.

An airport that closes takes its airlines, distances and weather with it. Told is that it is gone; what is as ever in
the rest of the traffic is not told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.traffic import OUTPUTS, Traffic, rows_at
from tidegauge.model import ALL

Again = Callable[[Profile, Profile], list[Claim]]
"""Reference and window to the claims about all of the traffic."""
MOST_LEFT = 0.5
"""A category has vanished that has less than this of its share in the reference: a window may begin before it went."""
LEAST_GONE = 0.05
"""Of the reference's rows, in categories that vanished: fewer explain little."""
TOLD_BY = ("chi_squared", "lost_categories")


class Gone(NamedTuple):
    """The categories of a feature that vanished, and their share of the reference's rows."""

    feature: str
    names: tuple[str, ...]
    share: float


def without_vanished(claims: Sequence[Claim], reference: Profile, current: Profile, again: Again) -> list[Claim]:
    """``claims`` with those about all of the traffic replaced that are drift only because a category vanished.

    Of several features that is taken whose vanished categories had most of the reference. Its own drift stays, as does
    that of the volume, and what drifts in the rest of the traffic as well.
    """
    drifting = {(each.feature, each.detector) for each in claims if each.part == ALL and each.verdict is Verdict.DRIFT}
    moved = {feature for feature, detector in drifting if detector in TOLD_BY and feature not in OUTPUTS}
    found = [_gone(feature, reference, current) for feature in sorted(moved)]
    gone = max(found, key=lambda each: each.share, default=Gone("", (), 0.0))
    if gone.share < LEAST_GONE or {each for each, _ in drifting} <= {gone.feature, "volume"}:
        return list(claims)
    now = again(_rest(reference.traffic, gone), _rest(current.traffic, gone))
    calm = {(each.feature, each.detector): each for each in now if each.verdict is Verdict.STABLE and each.part == ALL}
    return list(_replaced(claims, calm, gone))


def _gone(feature: str, reference: Profile, current: Profile) -> Gone:
    before, now = reference.categorical(feature, ALL), current.categorical(feature, ALL)
    shares = {name: count / max(1, before.rows) for name, count in before.counts.items()}
    limit = MOST_LEFT * max(1, now.rows)
    names = [name for name, share in shares.items() if now.counts.get(name, 0) < limit * share]
    ranked = tuple(sorted(names, key=lambda name: -shares[name]))
    return Gone(feature, ranked, sum(shares[name] for name in names))


def _rest(traffic: Traffic, gone: Gone) -> Profile:
    """The rows that are not in a vanished category."""
    column = traffic.categorical[gone.feature]
    out = [at for at, name in enumerate(column.names) if name in gone.names]
    return Profile(rows_at(traffic, np.flatnonzero(~np.isin(column.codes, out))))


def _replaced(claims: Sequence[Claim], calm: Mapping[tuple[str, str], Claim], gone: Gone) -> Iterator[Claim]:
    first, more = gone.names[0], len(gone.names) - 1
    named = f"{first} and {more} more" if more else first
    reason = f"explained by {gone.feature} nearly without {named}: both sides compared without those rows"
    for each in claims:
        other = calm.get((each.feature, each.detector))
        mine = each.part == ALL and each.verdict is Verdict.DRIFT and each.feature != gone.feature
        yield replace(other, reason=reason) if mine and other else each
