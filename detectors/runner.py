"""The loop over everything that is watched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from tidegauge import instruments
from tidegauge.config import Detectors
from tidegauge.detectors.daily import DailyRound
from tidegauge.detectors.embedding import Embedder, ServiceRound
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.models import ModelRound
from tidegauge.detectors.performance import PerformanceRound
from tidegauge.detectors.sequential.round import SequentialRound
from tidegauge.store import Store

LOG = logging.getLogger(__name__)


class DetectorLoop:
    """Evaluates the windows that have closed, of every watched model and LLM service, once each.

    Args:
        store: The database, migrated.
        settings: What to watch, and how.
        embedder: Turns input texts into vectors; without one texts are not compared.
        mask: Takes out of texts what a finding must not show; rows may have come into ClickHouse past the receiver.
    """

    def __init__(
        self,
        store: Store,
        settings: Detectors,
        embedder: Embedder | None = None,
        mask: Callable[[str], str] = str,
    ) -> None:
        self._models = ModelRound(store, settings)
        self._sequential = SequentialRound(store, settings)
        self._performance = PerformanceRound(store, settings)
        self._services = ServiceRound(store, settings, embedder, mask)
        self._daily = DailyRound(store, settings)

    def run(self, now: datetime) -> list[Finding]:
        """All findings of what was due at ``now``, as stored. The same ``now`` again finds nothing due.

        A subject that fails is logged and counted, and tried again in the next run; the others are not held up.
        """
        findings: list[Finding] = []
        for model in self._models.subjects(now):
            findings += _guarded(self._models.run, model, now)
            findings += _guarded(self._sequential.run, model, now)
        for model in self._performance.subjects(now):
            findings += _guarded(self._performance.run, model, now)
        for service in self._services.subjects(now):
            findings += _guarded(self._services.run, service, now)
        for model in self._daily.due(now):
            findings += _guarded(self._daily.run, model, now)
        return findings


def _guarded(evaluate: Callable[[str, datetime], Iterable[Finding]], subject: str, now: datetime) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in evaluate(subject, now):
            found.append(finding)
    except Exception:
        instruments.LOOP_FAILURES.labels("detectors").inc()
        LOG.exception("the drift evaluation of %r failed; it is tried again in the next run", subject)
    return found
