"""Labels and logging, the predictions: do all of them come, once each, named, in their time, and from whom?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tidegauge.detectors.diagnose.case import DAY_S, Case
from tidegauge.detectors.diagnose.change import SURE, shift
from tidegauge.detectors.diagnose.rows import Floats
from tidegauge.detectors.diagnose.verdict import MOST_STRENGTH, Level, Part, Stage, Verdict, part_text, told
from tidegauge.model import Slice

WEEK = 7
LEAST_RATIO, LEAST_RATIO_PART = 1.1, 1.25
"""A volume within a tenth of the usual one does not matter, nor that of a part within a quarter."""
FEWEST_EXPECTED = 50.0
MOST_PARTS = 3
ALIKE = 0.6, 1.6
DUPLICATES_FLOOR, UNNAMED_FLOOR, DOUBTFUL_FLOOR = 0.01, 0.02, 0.02


def duplicates(case: Case) -> Verdict:
    """Predictions logged more than once: the same id at the same second."""
    repeated, days = case.repeats
    slots = days - case.first
    kept = slots >= 0
    total = np.bincount(slots[kept], weights=repeated[kept].astype(np.float64), minlength=case.days)
    weight = np.bincount(slots[kept], minlength=case.days).astype(np.float64)
    found = shift(case, total.astype(np.float64), weight, DUPLICATES_FLOOR)
    strength = float(found.strength) if found.delta > 0 else 0.0
    numbers = {"share before": float(found.before), "share since": float(found.since)}
    said = f"{found.since:.1%} of the rows repeat an earlier one, {found.before:.1%} before"
    return told("duplicates", Stage.LOGGING, "duplicates", said, strength, {"volume"}, numbers)


def unnamed(case: Case) -> Verdict:
    """Predictions without an id: no label can ever find them."""
    found = shift(case, case.sums(case.rows.ids == 0), case.sums(np.ones(case.rows.count)), UNNAMED_FLOOR)
    strength = float(found.strength) if found.delta > 0 else 0.0
    said = f"{found.since:.1%} of the predictions have no id, {found.before:.1%} before"
    numbers = {"share before": float(found.before), "share since": float(found.since)}
    return told("prediction ids", Stage.LOGGING, "ids missing", said, strength, {"label"}, numbers)


def doubtful_times(case: Case) -> Verdict:
    """Predictions whose time cannot be or that came a day late."""
    if not case.notes.times:
        return Verdict("event times", Stage.LOGGING, Level.UNKNOWN, "no time notes were read")
    late, all_of = ({after: _noted(case, after, every) for after in (False, True)} for every in (False, True))
    before, since = (late[after] / max(1, all_of[after]) for after in (False, True))
    strength = (since - before) / max(DOUBTFUL_FLOOR, before)
    if before > 0.5:  # a backfill or a replay: then nothing is told from it
        strength = 0.0
    said = f"{since:.1%} of the predictions came late or with an impossible time, {before:.1%} before"
    numbers = {"share before": before, "share since": since}
    return told("event times", Stage.LOGGING, "clock", said, max(0.0, strength), {"volume"}, numbers)


def _noted(case: Case, after: bool, every: bool) -> int:
    return sum(n for (note, since), n in case.notes.times.items() if since == after and (note or every))


def volume(case: Case) -> list[Verdict]:
    """All predictions, then the parts whose own volume changed otherwise than that of the rest, strongest first.

    What is expected is the mean of the same weekday before. A part that explains the change of others by its absence is
    named alone: after each, the rest is looked at without its rows. Where nothing came since, all parts are gone alike.
    """
    whole = _total(case)
    if not case.after.any():
        return [whole]
    found: list[Verdict] = []
    rest = case
    for _ in range(MOST_PARTS):
        largest = max(_parts(rest), key=lambda each: each.strength, default=None)
        if largest is None or not largest.found:
            break
        found.append(largest)
        rest = rest.without(largest.part)
    if found and whole.found and not _total(rest).found:
        whole = _explained(whole, found[0])
    return [whole, *found]


def _total(case: Case) -> Verdict:
    usual, since, strength = _ratio(case, case.sums(np.ones(case.rows.count))[None])
    ratio = float(since[0])
    said = f"{ratio:.2f} times the usual number of predictions"
    cause = "volume drop" if ratio < 1 else "volume rise"
    numbers = {"expected": float(usual[0]), "times": ratio}
    return told("volume", Stage.LOGGING, cause, said, float(strength[0]), {"volume"}, numbers)


def _explained(whole: Verdict, part: Verdict) -> Verdict:
    said = f"{whole.summary}, all of it from {part_text(part.part)}"
    return Verdict(whole.check, whole.stage, Level.OK, said, evidence=whole.evidence)


def _parts(case: Case) -> Iterator[Verdict]:
    """Each value of each dimension against the rest of the traffic."""
    every = case.sums(np.ones(case.rows.count))
    for dimension, column in case.dimensions.items():
        if dimension == "version":
            continue
        own = case.sums_by(column, np.ones(case.rows.count))
        expected, ratio, strength = _ratio(case, own, every)
        renamed = _renamed(case, dimension, own)
        for at, name in enumerate(column.names):
            if at in renamed:
                continue
            yield _part_verdict(Slice(dimension, name), float(expected[at]), float(ratio[at]), float(strength[at]))


def _renamed(case: Case, dimension: str, counts: Floats) -> set[int]:
    """Values of a feature that came as others of like volume went: no change of the traffic, but of a name."""
    if dimension not in case.rows.traffic.categorical:
        return set()
    before, since = counts[:, : -case.first].mean(1), counts[:, -case.first :].mean(1)
    gone, new = np.flatnonzero((since == 0) & (before > 0)), np.flatnonzero((before == 0) & (since > 0))
    pairs = [(a, b) for a in gone for b in new if ALIKE[0] < since[b] / before[a] < ALIKE[1]]
    return {int(at) for pair in pairs for at in pair}


def _part_verdict(one: Slice, expected: float, ratio: float, strength: float) -> Verdict:
    cause = "part gone" if ratio < 0.05 else "part shrank" if ratio < 1 else "part grew"
    said = f"{one} has {ratio:.2f} times its usual share of the traffic"
    part: Part = (one,)
    numbers = {"expected": expected, "times": ratio}
    return told("traffic mix", Stage.LOGGING, cause, said, strength, {"volume"}, numbers, part)


def _ratio(case: Case, counts: Floats, every: Floats | None = None) -> tuple[Floats, Floats, Floats]:
    """Expected rows since; found over expected, relative to ``every``'s; and the strength of that ratio."""
    zero, days = -case.first, case.whole
    expected_by_day = _expected(counts, zero)
    stretch = (zero, zero + days) if days else (zero, zero + 1)
    spans = [(a + zero, b + zero) for a, b in case.spans]
    whole = (every, _expected(every[None], zero)[0]) if every is not None else None
    if not days:  # the day is not over: only its hours so far, on all days
        return _part_of_day(case, counts)
    ratio = _times(counts, expected_by_day, whole, stretch)
    usual = np.max([np.abs(np.log(_times(counts, expected_by_day, whole, each))) for each in spans], axis=0)
    expected = expected_by_day[:, slice(*stretch)].sum(-1)
    limit = np.maximum.reduce(
        [
            usual,
            np.full_like(usual, np.log(LEAST_RATIO if every is None else LEAST_RATIO_PART)),
            SURE / np.sqrt(np.maximum(expected, 1)),
        ]
    )
    strength = np.minimum(np.abs(np.log(ratio)) / limit, MOST_STRENGTH)
    grown = counts[:, slice(*stretch)].sum(-1)
    return expected, ratio, np.where(np.maximum(expected, grown) >= FEWEST_EXPECTED, strength, 0.0)


def _part_of_day(case: Case, counts: Floats) -> tuple[Floats, Floats, Floats]:
    """With less than a day there is too little to tell a quiet morning from a loss, unless it is complete."""
    zero = -case.first
    hours = (case.until - case.since).total_seconds() / DAY_S
    expected = counts[:, :zero].mean(-1) * hours
    ratio = (counts[:, zero:].sum(-1) + 0.5) / (expected + 0.5)
    return expected, ratio, np.zeros_like(ratio)


def _expected(counts: Floats, zero: int) -> Floats:
    """The mean of the same weekday before; of all days where there are less than two weeks."""
    days = counts.shape[-1]
    if zero < 2 * WEEK:
        return np.repeat(counts[:, :zero].mean(-1, keepdims=True), days, axis=-1)
    by_weekday = np.stack([counts[:, (zero % WEEK + at) % WEEK : zero : WEEK].mean(-1) for at in range(WEEK)], axis=-1)
    return by_weekday[:, (np.arange(days) - zero) % WEEK]


def _times(counts: Floats, expected: Floats, whole: tuple[Floats, Floats] | None, at: tuple[int, int]) -> Floats:
    inside = slice(*at)
    ratio: Floats = (counts[:, inside].sum(-1) + 0.5) / (expected[:, inside].sum(-1) + 0.5)
    if whole is None:
        return ratio
    every, usual = whole
    others = every[inside].sum() - counts[:, inside].sum(-1) + 0.5
    others_usual = usual[inside].sum() - expected[:, inside].sum(-1) + 0.5
    found: Floats = ratio / (others / others_usual)
    return found
