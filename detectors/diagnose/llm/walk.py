"""The walk over an LLM service: when it began, every check in the order of its stage, the causes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from tidegauge.detectors.diagnose.case import FEWEST_DAYS, Case, days_of
from tidegauge.detectors.diagnose.llm import checks
from tidegauge.detectors.diagnose.llm.reader import Requests, ServiceReader
from tidegauge.detectors.diagnose.llm.symptoms import symptoms, values_of
from tidegauge.detectors.diagnose.llm.topics import Drifted, Words, topics
from tidegauge.detectors.diagnose.reader import Asked
from tidegauge.detectors.diagnose.rows import Floats, Rows, no_truth
from tidegauge.detectors.diagnose.series import MOST_NAMES
from tidegauge.detectors.diagnose.turn import CLEAR, Turn, clarity
from tidegauge.detectors.diagnose.verdict import Stage, Verdict
from tidegauge.errors import TidegaugeError

SLOTS_S = (86_400, 21_600, 7_200, 3_600, 1_800, 900)
FEWEST_SLOTS = 28
"""Time is cut into the longest of these of which there are so many, so that what is usual can be learned."""
FLOOR = 0.01
FEWEST = 5
MOST_TURNS = 2
EXACT = 30


def slot_of(span: timedelta) -> int:
    """Seconds of a slot.

    >>> slot_of(timedelta(days=42)), slot_of(timedelta(hours=16))
    (86400, 1800)
    """
    return next((each for each in SLOTS_S if span.total_seconds() / each >= FEWEST_SLOTS), SLOTS_S[-1])


def walks(reader: ServiceReader, asked: Asked) -> Iterator[tuple[Turn, Case, list[Verdict]]]:
    """The walk for each moment at which it may have begun; one where that is told.

    Raises:
        TidegaugeError: the service has no LLM spans, or too few before the change.
    """
    count, first, last = reader.extent(asked.model, asked.until)
    if not count:
        raise TidegaugeError(f"there are no spans of {asked.model!r} with LLM calls, retrievals or tools")
    until = min(asked.until, last + timedelta(microseconds=1))
    start = max(first, (asked.since or until) - asked.history)
    count = reader.extent(asked.model, until, start)[0]
    requests = reader.read(replace(asked, until=until), start, count)
    slot_s, words = slot_of(until - start), Words.of(requests.questions)
    drifted = reader.drifted(asked.model, start, asked.until)
    for each in _moments(asked, requests, words, until, slot_s):
        none = no_truth()
        seconds = requests.rows.seconds
        repeats = np.zeros(requests.rows.count, np.bool_), days_of(seconds, each.at, slot_s)
        case = Case(asked.model, each.at, until, requests.rows, repeats, none, none.ids, slot_s=slot_s)
        if -case.first < FEWEST_DAYS:
            raise TidegaugeError(
                f"there are requests of {asked.model!r} from {first:%Y-%m-%d %H:%M} on only: too little before "
                f"{each.at:%Y-%m-%d %H:%M} to know what is usual; name a later --since"
            )
        yield each, case, _walk(case, requests, words, drifted)


def _walk(case: Case, requests: Requests, words: Words | None, drifted: Sequence[Drifted]) -> list[Verdict]:
    found = [checks.volume(case), *checks.mix(case), topics(case, words, drifted), *checks.examine(case, requests)]
    found += checks.versions(case, requests, found)
    found.append(checks.concept(case, found))
    order = list(Stage)
    return sorted(found, key=lambda each: order.index(each.stage))


def _moments(asked: Asked, requests: Requests, words: Words | None, until: datetime, slot_s: int) -> list[Turn]:
    """Where it may have begun: as asked, or the clearest changes of any series, or the last quarter of the time."""
    if asked.since:
        return [Turn(asked.since, "", 0.0, True)]
    seconds, end = requests.rows.seconds, until.timestamp()
    slot = np.floor((seconds - end) / slot_s).astype(np.int64)
    kept = slot >= slot.min() + 1
    told = []
    for at, (name, values) in enumerate(series := list(_series(requests, words))):
        clear, place = _change(slot[kept], values[kept])
        told.append((clear, place, at, name))
    found: list[Turn] = []
    for clear, place, at, name in sorted(told, reverse=True):
        begin = end + place * slot_s
        if clear < CLEAR or len(found) == MOST_TURNS:
            break
        if all(abs(begin - each.at.timestamp()) >= 2 * slot_s for each in found):
            exact = _exact(seconds, series[at][1], begin, slot_s)
            found.append(Turn(datetime.fromtimestamp(exact, UTC), name, clear, True))
    quarter = timedelta(seconds=slot_s * max(2, int(-slot.min()) // 4))
    return [*found, Turn(until - quarter, "", 0.0, False)]


def _series(requests: Requests, words: Words | None) -> Iterator[tuple[str, Floats]]:
    """Numbers of a request whose mean by slot says something; nan where one does not apply."""
    rows = requests.rows
    for each in symptoms(rows):
        yield f"the number '{each.name}'", values_of(rows, each)
        if each.name in ("failed", "refused", "empty", "tool_failed", "blocked"):
            yield from _by_part(rows, f"'{each.name}'", values_of(rows, each))
    for dimension, column in rows.traffic.dimensions.items():
        for at, name in enumerate(column.names[:MOST_NAMES]):
            yield f"the share of {dimension}={name}", (column.codes == at).astype(np.float64)
    for at in range(words.components.shape[1]) if words is not None else ():
        values = np.full(rows.count, np.nan)
        values[words.rows] = words.components[:, at]  # type: ignore[union-attr]
        yield "what is asked about", values


def _by_part(rows: Rows, name: str, values: Floats) -> Iterator[tuple[str, Floats]]:
    for dimension in ("tenant", "intent"):
        column = rows.traffic.dimensions.get(dimension)
        for at, part in enumerate(column.names[:MOST_NAMES]) if column is not None else ():
            assert column is not None
            yield f"the number {name} of {dimension}={part}", np.where(column.codes == at, values, np.nan)


def _change(slot: np.ndarray[tuple[int], np.dtype[np.int64]], values: Floats) -> tuple[float, int]:
    """The clarity of the clearest change of a series, and its slot counted back from the end."""
    known = np.isfinite(values)
    if known.sum() < 10 * FEWEST:
        return 0.0, 0
    place = slot[known] - slot.min()
    count = np.bincount(place)
    mean = np.bincount(place, weights=values[known]) / np.maximum(count, 1)
    at = np.flatnonzero(count >= FEWEST)
    spread = float(np.std(values[known]))
    floor = max(FLOOR * max(1.0, spread), spread / np.sqrt(float(np.mean(count[at])))) if len(at) else 1.0
    found = clarity(mean[at], floor)
    best = int(np.argmax(found)) if len(found) else 0
    return (float(found[best]), int(at[best] + slot.min())) if len(found) else (0.0, 0)


def _exact(seconds: Floats, values: Floats, begin: float, slot_s: int) -> float:
    """The moment within a slot and a half of ``begin`` that parts the values around it best."""
    near = np.isfinite(values) & (np.abs(seconds - begin) < 6 * slot_s)
    at, x = seconds[near], values[near]
    if len(x) < 30 or np.ptp(x) == 0:
        return begin
    total = np.cumsum(x)
    edges = begin + np.arange(-EXACT, EXACT + 1) * 1.5 * slot_s / EXACT
    places = np.searchsorted(at, edges)
    usable = (places >= 10) & (places <= len(x) - 10)
    if not usable.any():
        return begin
    left = total[np.maximum(places - 1, 0)]
    gain = np.where(
        usable, left**2 / np.maximum(places, 1) + (total[-1] - left) ** 2 / np.maximum(len(x) - places, 1), -1
    )
    best = np.flatnonzero(gain == gain.max())
    return float(edges[best[np.argmin(np.abs(edges[best] - begin))]])
