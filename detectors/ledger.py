"""What was found so far: findings are the only memory of the detectors, so that a restart loses nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from tidegauge import instruments
from tidegauge.detectors.finding import Claim, Context, Finding
from tidegauge.detectors.predictions import HISTORY
from tidegauge.detectors.verdicts import worth_a_row
from tidegauge.model import Slice, Window
from tidegauge.store import Store

Drifting: TypeAlias = Mapping[tuple[str, str, Slice], datetime]
PENDING = "labels pending"
LAST = """SELECT max(window_end) AS last, count() AS n FROM findings
WHERE subject = {subject:String} AND detector = {detector:String}
AND ({feature:String} = '' OR feature = {feature:String})"""
DRIFTING = """SELECT feature, detector, dimension, slice, argMax(since, evaluated_at) AS start FROM findings
WHERE subject = {subject:String} AND window_end = {end:DateTime64(6, 'UTC')}
GROUP BY feature, detector, dimension, slice HAVING argMax(verdict, evaluated_at) = 'drift'"""
UNLABELLED = """SELECT window_start AS a, window_end AS b, countIf(feature = 'error') AS said FROM findings
WHERE subject = {subject:String} AND window_end >= {since:DateTime64(6, 'UTC')}
GROUP BY a, b
HAVING countIf(detector = 'volume') > 0 AND countIf(feature = 'error' AND NOT startsWith(reason, {pending:String})) = 0
ORDER BY b"""


class Ledger:
    """Reads and writes the table ``findings``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest: dict[tuple[str, str], tuple[datetime, Drifting]] = {}

    def last(self, subject: str, detector: str, feature: str = "") -> datetime | None:
        """The end of the last window that ``detector`` looked at, of ``feature`` or of any; or None."""
        found = self._store.rows(LAST, {"subject": subject, "detector": detector, "feature": feature})[0]
        return found["last"] if found["n"] else None

    def drifting(self, subject: str, end: datetime) -> Drifting:
        """Since when each (feature, detector, slice) drifts that did so in the window that ended at ``end``."""
        return {
            (row["feature"], row["detector"], Slice(row["dimension"], row["slice"])): row["start"]
            for row in self._store.rows(DRIFTING, {"subject": subject, "end": end})
        }

    def before(self, subject: str, phase: str, window: Window, step_hours: float) -> Drifting:
        """What drifted in the window one step before ``window``, and since when; remembered if written last."""
        end = window.end - timedelta(hours=step_hours)
        latest = self._latest.get((subject, phase))
        return latest[1] if latest and latest[0] == end else self.drifting(subject, end)

    def unlabelled(self, subject: str, now: datetime) -> dict[Window, bool]:
        """Evaluated windows whose labels were not compared yet, the earliest first, and whether that was said."""
        params = {"subject": subject, "since": now - HISTORY, "pending": PENDING}
        return {Window(row["a"], row["b"]): bool(row["said"]) for row in self._store.rows(UNLABELLED, params)}

    def record(
        self, context: Context, claims: Sequence[Claim], phase: str, kept: Callable[[Claim], bool] = worth_a_row
    ) -> list[Finding]:
        """Count all claims of one evaluation, store those to be ``kept``; a second time, also elsewhere, does nothing.

        ``phase`` tells the evaluations of one subject and window apart.
        """
        for labels, count in Counter((claim.detector, claim.verdict.value) for claim in claims).items():
            instruments.FINDINGS.labels(*labels).inc(count)
        findings = [context.finding(claim) for claim in claims if kept(claim)]
        names = [phase, context.subject, context.window.start.isoformat(), context.window.end.isoformat()]
        token = hashlib.sha256("\x1f".join(names).encode(errors="surrogatepass")).hexdigest()
        self._store.insert("findings", [each.row() for each in findings], f"findings-{token}")
        drifting = {each.key: each.since for each in findings if each.since}
        self._latest[context.subject, phase] = context.window.end, drifting
        return findings
