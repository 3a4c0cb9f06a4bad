"""The one call: a reference frame against a current one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

from tidegauge.config import DEFAULT_TESTS, Test
from tidegauge.detectors.compare.columns import NotComparable
from tidegauge.detectors.compare.frame import Frame, Source, frame_of
from tidegauge.detectors.compare.result import OF_VALUES, Comparison
from tidegauge.detectors.drift import Parts, about_feature
from tidegauge.detectors.finding import Claim
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.questions import Questions
from tidegauge.detectors.statistics import Outcome, Result, Undetermined
from tidegauge.detectors.told_once import RISEN
from tidegauge.detectors.traffic import OUTPUTS, Traffic
from tidegauge.detectors.verdicts import Hypothesis, judge, worth_a_row
from tidegauge.errors import InvalidRecord
from tidegauge.model import ALL, Slice

OF_ALL_ROWS = ("duplicates", "repeated_ids")
"""Asked of whole rows, not of one column."""
METHODS = tuple(sorted({*get_args(Test), "kl", "jensen_shannon"}.difference(OF_ALL_ROWS)))
USUAL = frozenset({*DEFAULT_TESTS, "kl", "jensen_shannon"}.difference(OF_ALL_ROWS))
IN_CELLS = frozenset({"psi", "kl", "jensen_shannon"})
HEADS = frozenset({"psi", "chi_squared"})
"""The divergences follow one of these: they share its p-value."""
OF_NAMES = frozenset({"new_categories", "lost_categories", "risen_category"})
UNSORTED = IN_CELLS | HEADS | OF_NAMES | {"missing", "non_finite", "wrong_type"}
ALWAYS = frozenset({"schema", "reference", "slice"})
"""What is told whatever was asked: why something could not be."""
PREFIX = "feature:"
"""What the loop puts before a feature that has the name of an output of the model."""
READ = 1.001
"""An adjusted p-value is at least the raw one, but for the last bit."""


def compare(
    reference: Source,
    current: Source,
    *,
    columns: Sequence[str] | None = None,
    exclude: Collection[str] = (),
    categorical: Collection[str] = (),
    slices: Sequence[str] = (),
    methods: Collection[str] | None = None,
    false_discovery_rate: float = 0.05,
    max_slices: int = 20,
) -> Comparison:
    """Every column of ``current`` against the same one of ``reference``, with the drift loop's statistics and verdicts.

    A column drifts where the p-value, adjusted for all questions asked here, is at most ``false_discovery_rate`` and
    the effect, less what chance gives at these sizes, is at least its floor. Nothing is sampled but the edges of the
    cells, which are frozen on the reference. Columns are taken one at a time: beside the frames themselves memory holds
    a few copies of one column. A lazy frame, or a Parquet file, is never whole in memory.

    Args:
        reference: What is known to be well: a polars frame (lazy ones, too), a pandas frame, an Arrow table or anything
            with its stream interface, a dictionary of arrays, or the path of a Parquet file.
        current: What is to be held against it, of any of these kinds.
        columns: Those to compare; default: every column of either side.
        exclude: Columns that are no features, such as ids.
        categorical: Columns of numbers that are names, such as postcodes.
        slices: Columns by whose values the rows are looked at apart, beside all rows together.
        methods: The detectors to ask, of ``METHODS``; default: those that the loop asks, as far as one column can
            answer. Where all of them are among ``UNSORTED`` nothing is sorted, which takes a quarter of the time.
        false_discovery_rate: Of the findings of drift this share is false, on average; 0 to 1.
        max_slices: Of each column in ``slices``, so many of the most frequent values.

    Raises:
        InvalidRecord: an argument cannot be read or names what is not there; says which. What cannot be told of one
            column is no error: its claim is undetermined, with the reason.

    >>> before = {"age": list(range(1000)), "plan": ["free", "paid"] * 500}
    >>> after = {"age": [each + 500 for each in range(1000)], "plan": ["free", "paid"] * 500}
    >>> compare(before, after).drifted
    ('age',)
    """
    sides = frame_of(reference, "reference"), frame_of(current, "current frame")
    asked = _asked(methods)
    names = _names(sides, columns, {*exclude, *slices}, categorical)
    if not 0 <= false_discovery_rate <= 1:
        raise InvalidRecord(f"false_discovery_rate must be from 0 to 1, got {false_discovery_rate:g}")
    bases = [Traffic(each.rows, dimensions={name: each.slices(name) for name in slices}) for each in sides]
    parts = Parts(Profile(bases[0]), Profile(bases[1]), max_slices)
    reading = Reading(sides, bases, parts.tested, asked, frozenset(categorical), false_discovery_rate)
    found = [each for name in names for each in reading.about(name)]
    claims = [*parts.untested, *judge(found, false_discovery_rate, shown=asked)]
    told = (each for each in claims if worth_a_row(each) and _wanted([each.detector], asked))
    return Comparison(sides[0].rows, sides[1].rows, false_discovery_rate, tuple(names), tuple(_shown(claims, told)))


@dataclass(frozen=True)
class Reading:
    """Reads one column of both sides at a time, and asks about it."""

    sides: Sequence[Frame]
    bases: Sequence[Traffic]
    parts: Sequence[Slice]
    asked: frozenset[str]
    categorical: frozenset[str]
    rate: float

    def about(self, name: str) -> list[Hypothesis]:
        """The hypotheses about one column; its values are let go before they are returned."""
        feature = PREFIX + name if name in OUTPUTS else name
        try:
            before, now = (
                Profile(self._traffic(base, side, feature, name), in_order=not self.asked <= UNSORTED)
                for base, side in zip(self.bases, self.sides, strict=True)
            )
        except NotComparable as error:
            rows = self.sides[0].rows, self.sides[1].rows
            return [Hypothesis(feature, ALL, "schema", Undetermined("schema", str(error), *rows))]
        questions = Questions(self.asked if self.asked.isdisjoint(IN_CELLS) else self.asked | HEADS)
        found = [_light(each, self.rate) for each in about_feature(feature, before, now, self.parts, questions)]
        return [each for each in found if _wanted(_detectors(each), self.asked)] or found

    def _traffic(self, base: Traffic, side: Frame, feature: str, name: str) -> Traffic:
        if name not in side.names:
            return base
        numbers, text = side.column(name, self.categorical)
        return base.with_columns({} if numbers is None else {feature: numbers}, {} if text is None else {feature: text})


def _shown(claims: Iterable[Claim], told: Iterable[Claim]) -> Iterator[Claim]:
    """The claims that are told, under the names of the frames.

    The shares of the cells stand with the first detector of a family; where that one was not asked for, with the next.
    """
    evidence = {(each.feature, each.part): each.evidence for each in claims if each.evidence and each.detector != RISEN}
    for each in told:
        shares = evidence.pop((each.feature, each.part), "") if each.detector in OF_VALUES else ""
        shares = each.evidence if each.detector == RISEN else shares
        yield replace(each, feature=each.feature.removeprefix(PREFIX), evidence=shares)


def _light(hypothesis: Hypothesis, rate: float) -> Hypothesis:
    """Without the values of a slice, which its followers hold: those that will be read are computed now."""
    outcome = hypothesis.outcome
    if hypothesis.part == ALL or not hypothesis.followers:
        return hypothesis
    read = isinstance(outcome, Result) and outcome.p_value is not None and outcome.p_value <= READ * rate
    followers = tuple((name, partial(_same, compute() if read else outcome)) for name, compute in hypothesis.followers)
    return replace(hypothesis, followers=followers)


def _same(outcome: Outcome) -> Outcome:
    return outcome


def _detectors(hypothesis: Hypothesis) -> list[str]:
    return [hypothesis.detector, *(name for name, _ in hypothesis.followers)]


def _asked(methods: Collection[str] | None) -> frozenset[str]:
    if methods is None:
        return USUAL
    wanted = {methods} if isinstance(methods, str) else set(methods)
    if unknown := sorted(wanted - set(METHODS)):
        raise InvalidRecord(f"there is no method {', '.join(map(repr, unknown))}; there are: {', '.join(METHODS)}")
    if not wanted:
        raise InvalidRecord(f"methods names none; there are: {', '.join(METHODS)}")
    return frozenset(wanted)


def _names(
    sides: Sequence[Frame], columns: Sequence[str] | None, without: Collection[str], categorical: Collection[str]
) -> list[str]:
    known = dict.fromkeys([*sides[0].names, *sides[1].names])
    given = [name for each in (columns or (), without, categorical) for name in each]
    if unknown := [name for name in dict.fromkeys(given) if name not in known]:
        raise InvalidRecord(f"neither side has a column {', '.join(map(repr, unknown))}; there are: {', '.join(known)}")
    names = [name for name in (known if columns is None else dict.fromkeys(columns)) if name not in without]
    if not names:
        raise InvalidRecord("there is no column to compare")
    return names


def _wanted(detectors: Iterable[str], asked: frozenset[str]) -> bool:
    return not (asked | ALWAYS).isdisjoint(detectors)
