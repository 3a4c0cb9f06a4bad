"""The walk: every check in the order of its stage, then the causes, ranked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import log2

import numpy as np

from tidegauge.detectors.diagnose import arrivals, truths
from tidegauge.detectors.diagnose.began import dated, own
from tidegauge.detectors.diagnose.case import FEWEST_DAYS, Case, days_of
from tidegauge.detectors.diagnose.concept import concept
from tidegauge.detectors.diagnose.conversions import undone
from tidegauge.detectors.diagnose.downstream import downstream
from tidegauge.detectors.diagnose.features import categories, features
from tidegauge.detectors.diagnose.llm.reader import ServiceReader
from tidegauge.detectors.diagnose.llm.walk import walks
from tidegauge.detectors.diagnose.outputs import scores, threshold, versions, young
from tidegauge.detectors.diagnose.outside import spared
from tidegauge.detectors.diagnose.ranking import APART, CLOSE, OUTPUTS, Cause, closeness, order, overlap, rank, weight
from tidegauge.detectors.diagnose.reader import Asked, Reader
from tidegauge.detectors.diagnose.relations import broken_outside, fits_better, relations
from tidegauge.detectors.diagnose.rows import Hashes, Ints, Mask, Rows, Truth, no_truth
from tidegauge.detectors.diagnose.skew import as_in_training, skew
from tidegauge.detectors.diagnose.swapped import swapped
from tidegauge.detectors.diagnose.timing import clocks, stale
from tidegauge.detectors.diagnose.turn import BEYOND_DOUBT, CLEAR, Turn, turns
from tidegauge.detectors.diagnose.verdict import BAD_FROM, Level, Stage, Verdict, part_text
from tidegauge.errors import TidegaugeError
from tidegauge.store import Store

MARGIN = timedelta(days=14)
"""Read before the days compared where the change is yet to be found, so that there is enough before it."""
MOST_AGAIN = 3
"""Moments that are walked through because a cause found at another began there."""
HOUR = timedelta(hours=1)
OF_VALUES = frozenset({"units", "default value", "outliers", "precision lost"})
"""What the values of a number look like by themselves; those of other rows can look so in one part."""
CLOSELY = 1.5
"""A cause that is told closely counts for so much more than a vague one of another date."""


@dataclass(frozen=True)
class Check:
    """One question. ``run`` sees the two windows and what earlier checks said, and answers with one verdict or more."""

    name: str
    stage: Stage
    run: Callable[[Case, Sequence[Verdict]], Iterable[Verdict]]


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about one model.

    Attributes:
        since: When the change began; ``how`` it was found.
        verdicts: All answers, in the order of the walk.
        causes: What explains most of the change first; what began at ``since`` before what began at another moment
            (see ``began``), where it is bad or told closely.
        counts: What the rows are: predictions, or requests of an LLM service.
    """

    model: str
    start: datetime
    since: datetime
    until: datetime
    how: str
    rows_before: int
    rows_since: int
    verdicts: tuple[Verdict, ...]
    causes: tuple[Cause, ...]
    counts: str = "predictions"

    def began(self, cause: Cause) -> datetime:
        """When a cause began: with the change, or at a moment of its own."""
        return cause.finding.began or self.since

    @property
    def wrong(self) -> bool:
        """Whether something is bad, not only suspect."""
        return any(each.finding.level is Level.BAD for each in self.causes)


@dataclass(frozen=True)
class Walk:
    """What was found from one moment on."""

    begun: Turn
    case: Case
    diagnosis: Diagnosis


def _named(case: Case, so_far: Sequence[Verdict]) -> Iterable[Verdict]:
    """Marks that one feature or two bear by themselves."""
    crossed = swapped(case)
    numbers = [_doubted(case, each) for each in features(case)]
    return [*([crossed] if crossed else []), *numbers, *categories(case), *clocks(case), *stale(case)]


def _doubted(case: Case, each: Verdict) -> Verdict:
    """What a number's values look like, or that they only moved where its relations to the others tell otherwise."""
    if each.cause == "units" and _fits(case, each):
        return _weather(each)
    if each.part and each.cause in OF_VALUES and broken_outside(case, each.subject, each.part):
        where = f"{each.cause} in {part_text(each.part)} ({each.summary})"
        return _moved(each, f"looks like {where}, but fits the other features no longer outside of it either")
    return each


def _fits(case: Case, each: Verdict) -> bool:
    return fits_better(case, each.subject, each.part, undone(each.evidence))


def _weather(each: Verdict) -> Verdict:
    """Other values that fit the other features better than converted ones."""
    said = f"moved as if units had changed ({each.summary}), but fits the other features better as it is"
    return _moved(each, said)


def _relations(case: Case, so_far: Sequence[Verdict]) -> Iterable[Verdict]:
    found = relations(_settled(case, so_far), _ailing(so_far))
    return [_world(each) if each.found and as_in_training(case, each.columns) else each for each in found]


def _world(each: Verdict) -> Verdict:
    """A relation that broke in training's copies as well: data changed, and no join did it."""
    return _moved(
        each, f"{each.subject} fit the other features less than before, in training's copies as well: the world moved"
    )


def _moved(each: Verdict, said: str) -> Verdict:
    strength = min(each.strength, BAD_FROM - 0.01)
    return replace(each, level=Level.SUSPECT, cause="moved", strength=strength, summary=said)


def _outputs(case: Case, so_far: Sequence[Verdict]) -> Iterable[Verdict]:
    """Scores and decisions of the versions that were there before: a new one has its own."""
    releases = [each.part for each in so_far if each.cause == "new version"]
    kept = ~young(case)
    for part in releases:
        kept &= ~case.rows.rows_in(part)
    if (kept & case.after).sum() < 100:
        why = "a new version answers everything"
        return [Verdict(name, Stage.MODEL, Level.UNKNOWN, why) for name in ("scores", "decisions")]
    known = case if kept.all() else case.only(kept)
    return [scores(known, bool(_ailing(so_far))), threshold(known)]


CHECKS: tuple[Check, ...] = (
    Check("duplicates", Stage.LOGGING, lambda case, _: [arrivals.duplicates(case)]),
    Check("prediction ids", Stage.LOGGING, lambda case, _: [arrivals.unnamed(case)]),
    Check("event times", Stage.LOGGING, lambda case, _: [arrivals.doubtful_times(case)]),
    Check("volume and mix", Stage.LOGGING, lambda case, _: arrivals.volume(case)),
    Check("label coverage", Stage.LOGGING, lambda case, _: truths.coverage(case)),
    Check("label delay", Stage.LOGGING, lambda case, _: [truths.delay(case)]),
    Check("label keys", Stage.LOGGING, lambda case, _: [truths.orphans(case)]),
    Check("label contradictions", Stage.LOGGING, lambda case, _: [truths.contradictions(case)]),
    Check("label classes", Stage.LOGGING, lambda case, _: [truths.lost_class(case)]),
    Check("label meaning", Stage.LOGGING, lambda case, _: truths.flipped(case)),
    Check("features", Stage.DATA, _named),
    Check("train/serve skew", Stage.DATA, skew),
    Check("relations", Stage.DATA, _relations),
    Check("concept", Stage.CONCEPT, lambda case, _: concept(case)),
    Check("versions", Stage.MODEL, lambda case, _: versions(case)),
    Check("outputs", Stage.MODEL, _outputs),
    Check("downstream", Stage.DOWNSTREAM, lambda case, _: downstream(case)),
)


def diagnose(store: Store, asked: Asked) -> Diagnosis:
    """Walk through all checks of one model.

    Raises:
        TidegaugeError: the model has no predictions, or fewer than three days of them before the change.
    """
    reader = Reader(store)
    newest = reader.newest(asked.model, asked.until)
    if newest is None:
        return _service(store, asked)
    if not asked.since or newest >= asked.since:  # else that nothing came is what there is to tell
        asked = replace(asked, until=min(asked.until, newest + timedelta(seconds=1)))
    wide = asked if asked.since else replace(asked, history=asked.history + MARGIN)
    rows, truth, ids = reader.read(wide)
    copies = reader.training_copies(asked, (asked.since or asked.until) - wide.history)
    if asked.since:
        return _at(reader, asked, Turn(asked.since, "", 0.0, True), rows, truth, ids, copies).diagnosis
    found: list[Walk] = []
    for doubtful in (False, True):
        begun = turns(rows, asked.until, copies, doubtful)
        ahead = [each for each in begun if all(abs(each.at - walk.begun.at) >= APART for walk in found)]
        found += _walked(ahead, lambda each: _at(reader, asked, each, rows, truth, ids, copies))
        if found[0].begun.clarity < BEYOND_DOUBT or any(_told(each.diagnosis)[0] for each in found):
            break  # else what was beyond doubt is nothing bad, and hides nothing
    return _together([(each.begun, each.diagnosis) for each in found])


def _walked(ahead: list[Turn], walk_from: Callable[[Turn], Walk]) -> list[Walk]:
    """The walks from all of these moments, and from those that they lead to."""
    found: list[Walk] = []
    most = len(ahead) + MOST_AGAIN
    while ahead and len(found) < most:
        found.append(walk_from(ahead.pop(0)))
        for each in _again(found[-1]):
            if _new(each, found, ahead) and may_be(each, found[0].begun):
                ahead.append(each)
    return found


def _again(walk: Walk) -> list[Turn]:
    """Where the bad causes began by what shows them: the first at its own hour, others where that is elsewhere."""
    causes = [each.finding for each in walk.diagnosis.causes if each.finding.level is Level.BAD]
    found = [own(walk.case, each) for at, each in enumerate(causes) if at == 0 or each.began]
    return [each for each in found if each]


def _new(each: Turn, walks: Sequence[Walk], ahead: Sequence[Turn]) -> bool:
    """Whether it is an hour from where the last walk began, and two days from all others."""
    others = [*(walk.begun for walk in walks[:-1]), *ahead]
    return abs(each.at - walks[-1].begun.at) >= HOUR and all(abs(each.at - other.at) >= APART for other in others)


def may_be(each: Turn, clearest: Turn) -> bool:
    """Whether it is not another moment than one beyond doubt, or is as much so."""
    certain = clearest.clarity >= BEYOND_DOUBT and abs(each.at - clearest.at) >= APART
    return each.clarity >= BEYOND_DOUBT or not certain


def _service(store: Store, asked: Asked) -> Diagnosis:
    """The walk over the requests of an LLM service."""
    reader = ServiceReader(store)
    if not reader.extent(asked.model, asked.until)[0]:
        raise TidegaugeError(
            f"there are no predictions of {asked.model!r} and no LLM spans of a service of that name: `tidegauge "
            "diagnose` needs one of them"
        )
    found = []
    for begun, case, verdicts in walks(reader, asked):
        start = begun.at + timedelta(seconds=case.first * case.slot_s)
        counted = int(case.before.sum()) * case.rows.every, int(case.after.sum()) * case.rows.every
        how = "as asked" if asked.since else begun.how
        causes = tuple(rank(verdicts))
        ended = (asked.model, start, begun.at, case.until, how)
        found.append((begun, Diagnosis(*ended, *counted, tuple(verdicts), causes, "requests")))
    return _together(found)


def _together(found: Sequence[tuple[Turn, Diagnosis]]) -> Diagnosis:
    """The diagnosis that is believed, with the causes that began at other moments that are clear."""
    first = max((max(event, key=lambda each: _told(each[1])) for event in _events(found)), key=_counts)[1]
    causes = list(first.causes)
    for each in (one for begun, one in found if one is not first and begun.found):
        own = (cause for cause in each.causes if cause.finding.began is None and cause.finding.level is Level.BAD)
        for cause in own:
            if not any(_same(cause.finding, other.finding) for other in causes):
                causes.append(replace(cause, finding=replace(cause.finding, began=each.since)))
    return replace(first, causes=tuple(sorted(causes, key=order)))


def _events(found: Sequence[tuple[Turn, Diagnosis]]) -> list[list[tuple[Turn, Diagnosis]]]:
    """Walks of moments within two days of a clearer one are about the same event, and as clear as that."""
    events: list[list[tuple[Turn, Diagnosis]]] = []
    for begun, each in sorted(found, key=lambda one: -one[0].clarity):
        near = next((event for event in events if abs(event[0][0].at - begun.at) < APART), None)
        if near is None:
            events.append([(begun, each)])
        else:
            near.append((replace(begun, clarity=near[0][0].clarity), each))
    return events


def _same(one: Verdict, other: Verdict) -> bool:
    """Whether both may be about the same thing: columns that both touch, in rows that can be in both."""
    return bool(one.columns & other.columns) and overlap(one.part, other.part)


def _told(each: Diagnosis) -> tuple[bool, bool, float]:
    """Whether something began to be wrong then, whether it is known closely what, how sure, and how much that explains.

    What is explained counts as a share: of all that is found at a moment, so that of two moments near each other that
    is taken at which one cause is left rather than several halves of it.
    """
    if not any(cause.finding.level is Level.BAD and cause.finding.began is None for cause in each.causes):
        return False, False, 0.0
    first = each.causes[0]
    return first.finding.began is None, closeness(first.finding) >= CLOSE, weight(first.finding) * first.share


def _counts(walk: tuple[Turn, Diagnosis]) -> tuple[bool, float]:
    """What an event counts beside others: how sure it is what began and how clearly something did; close, for more."""
    begins, closely, sure = _told(walk[1])
    return begins, sure * (CLOSELY if closely else 1.0) * log2(1 + max(CLEAR, walk[0].clarity))


def _at(reader: Reader, asked: Asked, begun: Turn, rows: Rows, truth: Truth, ids: Hashes, copies: Rows | None) -> Walk:
    """The walk for one moment; of several moments, that at which most is explained is believed."""
    case = _case(asked, begun.at, rows)
    if -case.first < FEWEST_DAYS:
        raise TidegaugeError(
            f"only {-case.first} day(s) of predictions of {asked.model!r} before {begun.at:%Y-%m-%d %H:%M}: "
            f"{FEWEST_DAYS} are needed to know what is usual; name a later --since"
        )
    notes = reader.notes(asked, begun.at)
    case = replace(case, truth=truth, ids_before=ids, notes=notes, copies=copies)
    verdicts = dated(case, walk(case))
    start = begun.at + timedelta(days=case.first)
    counted = int(case.before.sum()) * rows.every, int(case.after.sum()) * rows.every
    how = "as asked" if asked.since else begun.how
    causes = tuple(rank(verdicts))
    found = Diagnosis(asked.model, start, begun.at, asked.until, how, *counted, tuple(verdicts), causes)
    return Walk(begun, case, found)


def walk(case: Case) -> list[Verdict]:
    """All verdicts, in the order of the stages."""
    so_far: list[Verdict] = []
    for check in CHECKS:
        so_far += check.run(case, so_far)
    so_far = spared(case, so_far, CHECKS)
    stages = list(Stage)
    return sorted(so_far, key=lambda each: stages.index(each.stage))


def _case(asked: Asked, since: datetime, rows: Rows) -> Case:
    """The rows compared, each id and second once."""
    inside = rows.seconds >= (since - asked.history).timestamp()
    kept = rows.take(inside)
    repeated = repeats(kept)
    none = no_truth()
    days: Ints = days_of(kept.seconds, since)
    return Case(asked.model, since, asked.until, kept.take(~repeated), (repeated, days), none, none.ids)


def repeats(rows: Rows) -> Mask:
    """Rows that say again what an earlier one with the same id at the same second said."""
    order = np.lexsort((np.arange(rows.count), rows.seconds, rows.ids))
    ids, seconds = rows.ids[order], rows.seconds[order]
    found = np.zeros(rows.count, dtype=np.bool_)
    if rows.count > 1:
        found[order[1:]] = (ids[1:] == ids[:-1]) & (seconds[1:] == seconds[:-1]) & (ids[1:] != 0)
    return found


def _ailing(so_far: Sequence[Verdict]) -> frozenset[str]:
    """Features of which it is known what is wrong with their values; that some are missing does not say it."""
    bad = (each for each in so_far if each.level is Level.BAD and each.stage is Stage.DATA)
    return frozenset().union(*(each.columns for each in bad if each.cause != "missing")) - OUTPUTS


def _settled(case: Case, so_far: Sequence[Verdict]) -> Case:
    """Without parts whose volume changed, which would look like features that moved."""
    parts = [each.part for each in so_far if each.check == "traffic mix" and each.level is Level.BAD]
    for part in parts:
        case = case.without(part)
    return case


__all__ = ["CHECKS", "Check", "Diagnosis", "diagnose", "walk"]
