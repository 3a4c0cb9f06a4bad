"""What the rules see: one query for all rules that ask the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tidegauge.alerting.forms import Compare
from tidegauge.alerting.incidents import Incident
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.season import AMOUNTS, WEEK
from tidegauge.alerting.states import QueryFailed, Reading
from tidegauge.incidents import overlapping
from tidegauge.metrics import MAX_SERIES, Observation, label_name, observe
from tidegauge.model import Window
from tidegauge.store import Store

logger = logging.getLogger(__name__)
Question = tuple[str, tuple[str, ...], Window, tuple[tuple[str, str], ...]]
Labels = tuple[tuple[str, str], ...]


class Observer:
    """Answers the rules of one round at ``now``; a query that fails, fails for its rules alone.

    Args:
        incidents: Weeks that share a moment with one of them are in no season.
    """

    def __init__(self, store: Store, now: datetime, incidents: Sequence[Incident] = ()) -> None:
        self._store = store
        self._now = now
        self._incidents = incidents
        self._answers: dict[Question, list[Observation] | QueryFailed] = {}

    def readings(self, rule: Rule) -> list[Reading] | QueryFailed:
        """Every series of ``rule``; for ``absent_for`` also those that were seen before and are not now."""
        if rule.absent_for:
            return self._absent(rule, rule.absent_for)
        if rule.compare and rule.compare.season:
            return self._with_weeks(rule, rule.window, _paired(self._seen(rule, rule.window), [], swap=False))
        if rule.compare and rule.compare.offset:
            now, before = self._seen(rule, rule.window), self._seen(rule, rule.window, rule.compare.offset)
            found = _paired(now, before, swap=False)
            if rule.compare.other:
                found = _with_others(found, before, label_name(rule.compare.other))
            return self._with_beginnings(rule, rule.compare, found)
        if rule.slo:
            return _together([self._seen(rule, length) for length in rule.slo.windows()])
        if rule.trend:
            back = range(rule.trend.steps - 1, -1, -1)
            return _together([self._seen(rule, rule.trend.step, each * rule.trend.step) for each in back])
        seen = self._seen(rule, rule.window)
        return seen if isinstance(seen, QueryFailed) else [Reading(each.labels, each) for each in seen]

    def _with_beginnings(
        self, rule: Rule, compare: Compare, found: list[Reading] | QueryFailed
    ) -> list[Reading] | QueryFailed:
        """Each reading; of a risen amount with whether what it is compared with was there in the week before that."""
        if not (compare.offset and compare.upward and rule.measure.kind in AMOUNTS) or isinstance(found, QueryFailed):
            return found
        earlier = self._seen(rule, WEEK, compare.offset + rule.window)
        if isinstance(earlier, QueryFailed):
            return earlier
        if len(earlier) >= MAX_SERIES:
            return found
        known = {_key(each) for each in earlier}
        return [replace(each, partial=each.before is not None and _key(each.before) not in known) for each in found]

    def _absent(self, rule: Rule, length: timedelta) -> list[Reading] | QueryFailed:
        found = _paired(self._seen(rule, rule.seen_within), self._seen(rule, length), swap=True)
        return self._with_weeks(rule, length, found) if rule.season else found

    def _with_weeks(
        self, rule: Rule, length: timedelta, found: list[Reading] | QueryFailed
    ) -> list[Reading] | QueryFailed:
        """Each reading with its season: the same stretch of every week before that no incident touched."""
        if isinstance(found, QueryFailed):
            return found
        weeks: list[tuple[Window, dict[Labels, Observation]]] = []
        for back in range(1, rule.weeks + 1):
            seen = self._seen(rule, length, back * WEEK)
            if isinstance(seen, QueryFailed):
                return seen
            weeks.append((self._window(rule, length, back * WEEK), {_key(each): each for each in seen}))
        return [replace(each, parts=self._season(rule, each.labels, weeks)) for each in found]

    def _season(
        self, rule: Rule, labels: Mapping[str, str], weeks: Sequence[tuple[Window, Mapping[Labels, Observation]]]
    ) -> tuple[Observation | None, ...]:
        model = {**rule.where, **labels}.get("model")
        touching = [each for each in self._incidents if not model or each.touches(model)]
        key = tuple(sorted(labels.items()))
        return tuple(seen.get(key) for window, seen in weeks if not overlapping(touching, window))

    def _seen(self, rule: Rule, length: timedelta, offset: timedelta = timedelta(0)) -> list[Observation] | QueryFailed:
        window = self._window(rule, length, offset)
        question = (rule.metric, rule.by, window, tuple(sorted(rule.where.items())))
        if question not in self._answers:
            self._answers[question] = self._ask(rule, window)
        return self._answers[question]

    def _window(self, rule: Rule, length: timedelta, offset: timedelta) -> Window:
        end = _whole_minute(self._now - rule.delay - offset, begun=rule.above is not None)
        return Window(end - length, end)

    def _ask(self, rule: Rule, window: Window) -> list[Observation] | QueryFailed:
        try:
            found = observe(self._store, rule.measure, rule.by, window, rule.where)
        except Exception as error:
            logger.exception("rule %s: its query failed", rule.alert)
            return QueryFailed(str(error).splitlines()[0][:300] if str(error) else type(error).__name__)
        if len(found) >= MAX_SERIES:
            logger.warning(
                "rule %s: only the %d largest slices are watched; narrow it with where", rule.alert, MAX_SERIES
            )
        return found


def _whole_minute(moment: datetime, *, begun: bool) -> datetime:
    """Windows end on whole minutes, for the rollups. With ``begun`` the minute that runs is looked at as well.

    A rule for too much need not wait for its end; for too little, part of a minute would look like less.
    """
    whole = moment.replace(second=0, microsecond=0)
    return whole + timedelta(minutes=1) if begun and whole < moment else whole


def _paired(
    first: list[Observation] | QueryFailed, second: list[Observation] | QueryFailed, *, swap: bool
) -> list[Reading] | QueryFailed:
    """One reading for each of ``first``, with its partner: as ``before``, or with ``swap`` as ``now``."""
    if isinstance(first, QueryFailed):
        return first
    if isinstance(second, QueryFailed):
        return second
    partners = {_key(each): each for each in second}
    pairs: Sequence[tuple[Observation, Observation | None]] = [(each, partners.get(_key(each))) for each in first]
    return [Reading(a.labels, b) if swap else Reading(a.labels, a, b) for a, b in pairs]


def _with_others(
    found: list[Reading] | QueryFailed, before: list[Observation] | QueryFailed, label: str
) -> list[Reading] | QueryFailed:
    """Each reading beside the largest series of before that is alike but for ``label``; its own where there is none."""
    if isinstance(found, QueryFailed) or isinstance(before, QueryFailed):
        return found
    largest: dict[Labels, list[Observation]] = {}
    for each in sorted(before, key=lambda each: -each.samples):
        largest.setdefault(_without(each.labels, label), []).append(each)
    return [
        replace(each, before=next((other for other in alike if other.labels[label] != each.labels[label]), each.before))
        for each in found
        for alike in [largest.get(_without(each.labels, label), [])]
    ]


def _without(labels: Mapping[str, str], label: str) -> Labels:
    return tuple(sorted((name, value) for name, value in labels.items() if name != label))


def _together(windows: Sequence[list[Observation] | QueryFailed]) -> list[Reading] | QueryFailed:
    """One reading for each series that any of ``windows`` has."""
    series: dict[Labels, list[Observation | None]] = {}
    for i, seen in enumerate(windows):
        if isinstance(seen, QueryFailed):
            return seen
        for each in seen:
            series.setdefault(_key(each), [None] * len(windows))[i] = each
    return [Reading(dict(key), next(filter(None, parts)), parts=tuple(parts)) for key, parts in series.items()]


def _key(seen: Observation) -> Labels:
    return tuple(sorted(seen.labels.items()))
