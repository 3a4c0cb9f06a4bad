"""The round that asks once a day why each model changed, and keeps what is sure of it as findings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from tidegauge.config import Detectors, Watch
from tidegauge.detectors.causes import (
    DETECTOR,
    MISSING,
    TOLD_BY,
    Seen,
    Sighting,
    claim,
    gone_on,
    matched,
    names,
    nearest,
    over,
    sightings,
)
from tidegauge.detectors.diagnose import Asked, Diagnosis, diagnose
from tidegauge.detectors.diagnose.ranking import APART
from tidegauge.detectors.finding import Claim, Context, Finding, Verdict
from tidegauge.detectors.ledger import Ledger
from tidegauge.detectors.predictions import Predictions
from tidegauge.detectors.schedule import EPOCH, watch_of
from tidegauge.detectors.statistics import Undetermined
from tidegauge.errors import TidegaugeError
from tidegauge.metrics.sources import KIND
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

DAY = timedelta(days=1)
LOOKS = (2, 4, 7)
"""Days that are held against those before: whole ones, as a beginning that is some hours wrong hides a fault."""
LEAST_DAYS = 21
"""Of predictions, below which it is not known what is usual."""
REMEMBERED = timedelta(days=7)
"""A cause that was told so lately is told again at once, with the same beginning."""
LONGEST = timedelta(days=28)
"""After that a cause is how things are: it is told no longer, unless the last days alone show it."""
TOLD_WITHIN = timedelta(days=8)
"""Findings of drift that are no older can tell of a cause."""
BEFORE = """SELECT feature, dimension, slice, argMax((window_end, verdict, evidence, reason), window_end) AS latest
FROM findings WHERE subject = {subject:String} AND detector = {detector:String} AND feature != '*'
  AND window_end > {since:DateTime64(6, 'UTC')} AND window_end < {end:DateTime64(6, 'UTC')}
GROUP BY feature, dimension, slice"""
DRIFTED = f"""SELECT feature, min(since) AS begun FROM findings
WHERE subject = {{subject:String}} AND detector != {{detector:String}} AND verdict = 'drift'
  AND ({KIND} != 'missing' OR {{missing:Bool}})
  AND feature IN {{features:Array(String)}} AND window_end > {{since:DateTime64(6, 'UTC')}}
  AND (dimension = '' OR (dimension = {{dimension:String}} AND slice = {{slice:String}}))
  AND since > {{early:DateTime64(6, 'UTC')}} AND since < {{late:DateTime64(6, 'UTC')}}
GROUP BY feature ORDER BY begun, feature LIMIT 1"""  # noqa: S608 - a constant


@dataclass
class _Day:
    """The diagnoses of one model at the end of one day, each made once.

    Attributes:
        problem: Why the last one that could not be made was not.
    """

    store: Store
    asked: Asked
    made: dict[datetime | None, Diagnosis | None] = field(default_factory=dict)
    problem: str = ""

    def look(self, since: datetime | None) -> Diagnosis | None:
        """What changed since then, or since a moment that is found by scanning; None where that cannot be told."""
        if since not in self.made:
            try:
                self.made[since] = diagnose(self.store, replace(self.asked, since=since))
            except TidegaugeError as error:
                self.made[since], self.problem = None, str(error)
        return self.made[since]

    def begun(self, now: Sighting, before: Seen | None) -> datetime:
        """When a cause began: as told, as the scan of all weeks has it, or by the fewest days that first showed it."""
        if before and before.told:
            return before.since
        if scanned := self._same(None, now):
            return scanned.since
        if before:
            return before.since
        shown = (same.since for days in LOOKS if (same := self._same(self.asked.until - days * DAY, now)))
        return next(shown, now.since)

    def _same(self, since: datetime | None, now: Sighting) -> Sighting | None:
        found = self.look(since)
        return nearest(found, now.finding) if found else None

    def closer(self, now: Sighting, since: datetime) -> Sighting:
        """The cause by the name that it has since its beginning, where that is seen too."""
        same = self._same(since, now)
        strength = max(now.finding.strength, same.finding.strength) if same else 0.0
        return replace(same, finding=replace(same.finding, strength=strength)) if same else now

    def still(self, seen: Seen) -> Sighting | None:
        """What was told, where it is still bad since its beginning."""
        found = self.look(seen.since) if self.asked.until - seen.since <= LONGEST else None
        return gone_on(found, seen) if found else None


class DailyRound:
    """Diagnoses every watched model once for each day that is over, the last one only."""

    def __init__(self, store: Store, settings: Detectors) -> None:
        self._store = store
        self._settings = settings
        self._predictions = Predictions(store, settings.max_rows)
        self._ledger = Ledger(store)
        self._done: dict[str, datetime] = {}
        self._tried: dict[str, datetime] = {}

    def due(self, now: datetime) -> list[str]:
        """Models whose last whole day was not diagnosed yet: as many as one round may, those that waited first."""
        wanted = self._settings.diagnosis
        if not wanted.enabled:
            return []
        end = self._end(now)
        models = [each for each in self._predictions.models(now) if self._done.get(each) != end and self._watch(each)]
        waiting = (
            each for each in sorted(models, key=lambda one: self._tried.get(one, EPOCH)) if self._open(each, end)
        )
        return list(islice(waiting, wanted.models_per_run))

    def run(self, model: str, now: datetime) -> Iterator[Finding]:
        """What is found out about one model; the same day again stores nothing."""
        self._tried[model] = now
        watch, end = self._watch(model), self._end(now)
        if watch is None:
            return
        window = Window(end - DAY, end)
        claims = self._claims(model, watch, end)
        since = {(each.feature, each.detector, each.part): _since(each) for each in claims if each.evidence}
        start = end - timedelta(days=self._settings.diagnosis.history_days + LOOKS[-1])
        context = Context(model, window, "history", start, end - LOOKS[0] * DAY, now, since)
        # also what is stable in a part of the traffic: the next day needs it
        findings = self._ledger.record(context, claims, DETECTOR, kept=lambda _: True)
        self._done[model] = end
        yield from findings

    def _watch(self, model: str) -> Watch | None:
        watch = watch_of(model, self._settings.models)
        return watch if watch and watch.diagnosis else None

    def _end(self, now: datetime) -> datetime:
        """The midnight that closed the last day."""
        return (now - timedelta(seconds=self._settings.lag_s)).replace(hour=0, minute=0, second=0, microsecond=0)

    def _open(self, model: str, end: datetime) -> bool:
        last = self._ledger.last(model, DETECTOR)
        if last is None or last < end:
            return True
        self._done[model] = end
        return False

    def _claims(self, model: str, watch: Watch, end: datetime) -> list[Claim]:
        first = self._predictions.first(model, end)
        if first is None or end - first < LEAST_DAYS * DAY:
            return [_unknown(f"fewer than {LEAST_DAYS} days of predictions, so it is not known what is usual")]
        history = timedelta(days=self._settings.diagnosis.history_days)
        day = _Day(self._store, Asked(model, end, None, history, watch.slices))
        looks = [look for days in LOOKS if (look := day.look(end - days * DAY))]
        if not looks:
            return [_unknown(day.problem)]
        seen = self._seen(model, end)
        found = [(each, matched(each, seen)) for each in sightings(looks, self._settings.diagnosis)]
        quiet = [each for each in seen if each.going_on and all(before is not each for _, before in found)]
        found += [(each, before) for before in quiet if (each := day.still(before))]
        found.sort(key=lambda each: each[0].finding.cause == MISSING)  # of one feature what tells more has its finding
        told = [self._told(day, each, before) for each, before in found]
        kept = {(each.feature, each.part) for each in told}
        gone = [over(each) for each in seen if each.going_on and (each.feature, each.part) not in kept]
        return [_summary(looks[-1], told), *_one_each(told), *gone]

    def _told(self, day: _Day, now: Sighting, before: Seen | None) -> Claim:
        since = day.begun(now, before)
        closer = day.closer(now, since)
        told_by = before.told_by if before and before.told else self._drift(day.asked, closer, since)
        return claim(closer, before, self._settings.diagnosis, since, told_by)

    def _drift(self, asked: Asked, now: Sighting, since: datetime) -> str:
        """In words the drift of the same thing that began with a cause; empty for none.

        Values that are missing tell of nothing but themselves: a gap in the record hides no exchange of two features.
        """
        params: dict[str, Any] = {
            "subject": asked.model,
            "detector": DETECTOR,
            "missing": now.finding.cause == MISSING,
            "features": list(names(now.columns)),
            "since": asked.until - TOLD_WITHIN,
            "dimension": now.part.dimension,
            "slice": now.part.value,
            "early": since - APART,
            "late": since + APART,
        }
        rows = self._store.rows(DRIFTED, params) if now.columns else []
        return f"{TOLD_BY}{rows[0]['feature']} since {rows[0]['begun']:%Y-%m-%d %H:%M} UTC" if rows else ""

    def _seen(self, model: str, end: datetime) -> list[Seen]:
        """What the diagnoses of the last days found."""
        params = {"subject": model, "detector": DETECTOR, "since": end - REMEMBERED - DAY, "end": end}
        return [_seen(row, row["latest"][0] == end - DAY) for row in self._store.rows(BEFORE, params)]


def _seen(row: dict[str, Any], last: bool) -> Seen:
    _, verdict, evidence, reason = row["latest"]
    said = json.loads(evidence)
    since = datetime.fromisoformat(said["since"]).astimezone(UTC)
    told = verdict == Verdict.DRIFT.value or said["days"] == 0
    told_by = reason.partition(": ")[0] if reason.startswith(TOLD_BY) else ""
    part, columns = Slice(row["dimension"], row["slice"]), frozenset(said["columns"])
    return Seen(row["feature"], part, said["cause"], columns, last, told, said["days"], since, told_by)


def _since(each: Claim) -> datetime:
    return datetime.fromisoformat(json.loads(each.evidence)["since"])


def _one_each(told: Sequence[Claim]) -> Iterator[Claim]:
    """Of several causes that go on with one finding the first."""
    known: set[tuple[str, Slice]] = set()
    for each in told:
        if (each.feature, each.part) not in known:
            known.add((each.feature, each.part))
            yield each


def _summary(found: Diagnosis, told: Sequence[Claim]) -> Claim:
    """That a day was diagnosed, for all traffic and features."""
    count = sum(each.verdict is Verdict.DRIFT for each in told)
    words = (
        f"{count} cause{'s' if count != 1 else ''} told; {found.rows_since:,} predictions of {LOOKS[-1]} days looked at"
    )
    return Claim("*", DETECTOR, ALL, Verdict.STABLE, None, reason=words)


def _unknown(reason: str) -> Claim:
    return Claim("*", DETECTOR, ALL, Verdict.UNDETERMINED, Undetermined(DETECTOR, reason, 0, 0))
