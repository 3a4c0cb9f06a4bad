"""What a rule saw while it told nobody: its values against its threshold, found by evaluating it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.alerting.incidents import Incident
from tidegauge.alerting.replay import rounds
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import QueryFailed
from tidegauge.alerting.verdicts import Holds, Verdict, decisive, judge
from tidegauge.model import Window
from tidegauge.store import Store

ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one slice in one stretch.

    Attributes:
        rounds: In how many of the moments that were looked at there was a reading.
        held: In how many of them the condition held.
        closest: The moment and words of the reading that was closest to the threshold, or beyond it.
    """

    labels: Mapping[str, str]
    rounds: int
    held: int
    closest: tuple[datetime, str]


def seen(
    store: Store, rule: Rule, span: Window, labels: Mapping[str, str], incidents: Sequence[Incident] = ()
) -> list[Seen]:
    """At most a hundred moments of ``span``, for each slice that has ``labels``, those closest to the threshold first.

    Values are as they are stored now: records that came late are in them.
    """
    step = max(timedelta(minutes=1), rule.interval, span.length / ROUNDS)
    found: dict[tuple[tuple[str, str], ...], list[tuple[float, datetime, Verdict]]] = {}
    for each in rounds(store, [rule], span, step, incidents):
        readings = each.readings.get(rule.alert, [])
        for reading in [] if isinstance(readings, QueryFailed) else readings:
            if labels.items() <= dict(reading.labels).items():
                value = decisive(rule, reading)
                order = float("-inf") if value is None else value if rule.upward else -value
                verdict = judge(rule, reading)
                found.setdefault(tuple(sorted(reading.labels.items())), []).append((order, each.now, verdict))
    best = sorted(found.items(), key=lambda item: -max(order for order, _, _ in item[1]))
    return [_seen(dict(key), looks) for key, looks in best]


def _seen(labels: Mapping[str, str], looks: list[tuple[float, datetime, Verdict]]) -> Seen:
    _, at, verdict = max(looks, key=lambda look: (look[2].holds is Holds.YES, look[0]))
    return Seen(labels, len(looks), sum(each.holds is Holds.YES for _, _, each in looks), (at, verdict.reason))
