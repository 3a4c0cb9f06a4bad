"""Wiring: which parts run in this process, and how they hang together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from tidegauge import instruments
from tidegauge.clock import Clock, SystemClock
from tidegauge.config import Detectors, Settings
from tidegauge.errors import ConfigError, TidegaugeError
from tidegauge.incidents import Incidents
from tidegauge.model import Transport, Window
from tidegauge.store import Store

if TYPE_CHECKING:
    from tidegauge.alerting.expected import Expected
    from tidegauge.alerting.rules import Rule
    from tidegauge.dashboards.page.rules import Past
    from tidegauge.detectors.embedding import Embedder
    from tidegauge.judges.golden import Proposing
    from tidegauge.judges.golden.alike import Matrix

log = logging.getLogger(__name__)

Round = Callable[[datetime], Any]


class Role(StrEnum):
    """A part of Tidegauge that can run alone."""

    RECEIVER = "receiver"
    SINK = "sink"
    WORKER = "worker"
    PAGE = "page"


class Periodic:
    """Runs ``work(now)`` every ``interval_s`` seconds in a thread of its own; a failed round is counted and logged."""

    def __init__(self, name: str, interval_s: float, work: Callable[[datetime], Any], clock: Clock) -> None:
        self._name, self._interval_s, self._work, self._clock = name, interval_s, work, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tidegauge-{name}", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 30) -> None:
        """Stop after the round under way."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._work(self._clock.now())
            except Exception:
                instruments.LOOP_FAILURES.labels(self._name).inc()
                log.exception("%s: this round failed; the next one tries again", self._name)


class Service:
    """The parts named by ``roles``, started on construction and stopped by ``close``.

    Args:
        settings: The configuration.
        roles: Which parts run in this process; all of them make the embedded, one-process service.
        clock: Tells the loops the time.
        manual: Start no timers: the caller runs the rounds with ``tick``; for replays.
    """

    def __init__(
        self,
        settings: Settings,
        roles: frozenset[Role] = frozenset(Role),
        clock: Clock | None = None,
        *,
        manual: bool = False,
    ) -> None:
        self.settings, self.clock = settings, clock or SystemClock()
        _check(settings, roles)
        self._closers: list[Callable[[], None]] = []
        self._loops: list[tuple[str, float, Round]] = []
        self._diagnosing, self._proposing = threading.Lock(), threading.Lock()
        self.store: Store | None = None
        self.transport: Transport | None = None
        self.receiver_url = self.grpc_url = self.page_url = self.sink_url = ""
        try:
            self._start(roles, manual)
        except BaseException:
            self.close()
            raise

    def tick(self, now: datetime) -> dict[str, Any]:
        """One round of every loop at ``now``; what each returned, by name."""
        return {name: work(now) for name, _, work in self._loops}

    def close(self) -> None:
        """Stop everything, the last started first; what was accepted is stored before the store closes."""
        for close in reversed(self._closers):
            close()

    def _start(self, roles: frozenset[Role], manual: bool) -> None:
        if roles - {Role.RECEIVER}:
            self.store = self._open_store()
        if roles != {Role.PAGE}:
            self.transport = self._open_transport()
        if Role.SINK in roles and self.settings.kafka.bootstrap_servers:
            self._start_sink()
        if Role.RECEIVER in roles:
            self._start_receiver()
        if Role.PAGE in roles:
            self._start_page()
        if Role.WORKER in roles:
            self._start_loops(manual)
        if self.transport and self.settings.telemetry.enabled and not manual:
            self._start_telemetry(self.transport)

    def _open_store(self) -> Store:
        from tidegauge.collectors.schema import migrate, retain

        store = Store(self.settings.dsn, self.settings.clickhouse.database)
        self._closers.append(store.close)
        for migration in migrate(store, self.settings.clickhouse):
            log.info("applied migration %04d %s", migration.version, migration.name)
        for change in retain(store, self.settings.retention, self.settings.clickhouse.cluster):
            log.debug("retention of %s is now: %s", change.table, change.after or "for ever")
        return store

    def _open_transport(self) -> Transport:
        if self.settings.kafka.bootstrap_servers:
            from tidegauge.collectors.kafka import KafkaTransport

            transport: Transport = KafkaTransport(self.settings.kafka)
        else:
            from tidegauge.collectors.direct import DirectTransport

            transport = DirectTransport(self._database, self.settings.direct)
        self._closers.append(lambda: transport.close(30))
        return transport

    def _start_sink(self) -> None:
        from tidegauge.collectors.kafka import Sink
        from tidegauge.collectors.masking import Masker
        from tidegauge.health import create_app
        from tidegauge.web import WebServer

        sink = Sink(self._database, self.settings.kafka, mask=Masker(self.settings.masking).mask)
        self._closers.append(sink.close)
        address = self.settings.sink
        server = WebServer(create_app(sink.health), address.host, address.port, "tidegauge-sink-health")
        self.sink_url = server.url
        self._closers.append(server.close)
        thread = threading.Thread(target=_shown, args=(sink.run,), name="tidegauge-sink", daemon=True)
        thread.start()

        def stop() -> None:
            sink.stop()
            thread.join(30)

        self._closers.append(stop)

    def _start_receiver(self) -> None:
        from tidegauge.collectors.receiver import ReceiverServer

        assert self.transport
        receiver = ReceiverServer(self.transport, self.settings.receiver, self.settings.masking)
        self.receiver_url, self.grpc_url = receiver.http_url, receiver.grpc_url
        self._closers.append(receiver.close)

    def _start_page(self) -> None:
        from tidegauge.alerting.inbound import inbound
        from tidegauge.dashboards.page import create_app
        from tidegauge.web import WebServer

        page = self.settings.page
        taking = inbound(self._database, self.settings.alerting, self.clock)
        app = create_app(self._database, self.settings, self.clock, self._diagnose, taking, self.propose, self._watched)
        server = WebServer(app, page.host, page.port, "tidegauge-page")
        self.page_url = server.url
        self._closers.append(server.close)

    def _diagnose(self, model: str, since: datetime | None, until: datetime, days: float) -> dict[str, Any]:
        """Why a model changed, for the page; one at a time, because each reads weeks of rows."""
        from tidegauge.detectors.diagnose import Asked, diagnose
        from tidegauge.detectors.diagnose.text import as_json
        from tidegauge.detectors.schedule import watch_of

        watch = watch_of(model, self.settings.detectors.models)
        asked = Asked(model, until, since, timedelta(days=days), watch.slices if watch else ())
        with self._diagnosing:
            return as_json(diagnose(self._database, asked))

    def _watched(self, past: Mapping[str, Past]) -> dict[str, Any]:
        """The rules and the false pages to be expected of them, for a page that may run without the loop."""
        from tidegauge.alerting.expected import together
        from tidegauge.alerting.remembered import by_events

        try:
            found = self._expected if self.settings.alerting.enabled else []
        except ConfigError as error:  # the loop, which may run elsewhere, is what they must be right for
            return {"rules": [], "together": [f"The rule files cannot be read where the page runs. {error}"]}
        done = {name: by_events(each.unexplained, each.weeks) for name, each in past.items()}
        rows = [each.as_json() | {"seen": done.get(each.rule, "")} for each in found]
        return {"rules": rows, "together": together(found)}

    def propose(self, window: Window, seed: int) -> dict[str, Any]:
        """Failures of ``window`` for the golden set, now and not when the week is over; one at a time."""
        with self._proposing:
            return proposing(self._database, self.settings).run(window, self.clock.now(), seed).as_json()

    def _start_loops(self, manual: bool) -> None:
        settings = self.settings
        if settings.detectors.enabled:
            self._loops.append(("detectors", settings.detectors.interval_s, self._detectors()))
        if settings.judges.enabled:
            self._loops.append(("judges", settings.judges.interval_s, self._judges()))
        if settings.alerting.enabled:
            self._loops.append(("alerting", settings.alerting.interval_s, self._alerting(manual)))
        if manual:
            return  # what follows goes by the time of storing, which a replay does not move, or is asked for in the end
        if settings.golden.enabled:
            self._loops.append(("golden", settings.golden.interval_s, self._golden()))
        self._loops.append(("rollups", settings.rollups.interval_s, self._cardinality()))
        if settings.reconcile.enabled:
            self._loops.append(("reconcile", settings.reconcile.interval_s, self._reconciler()))
        for name, interval_s, work in self._loops:
            self._closers.append(Periodic(name, interval_s, work, self.clock).close)

    def _start_telemetry(self, transport: Transport) -> None:
        from tidegauge.telemetry import Telemetry

        telemetry = Telemetry(transport, self.clock.now())
        interval_s = self.settings.telemetry.interval_s
        self._closers.append(Periodic("telemetry", interval_s, telemetry.run, self.clock).close)

    def _cardinality(self) -> Round:
        from tidegauge.collectors.schema import CardinalityLoop

        return CardinalityLoop(self._database, self.settings.rollups).run

    def _reconciler(self) -> Round:
        from tidegauge.collectors.direct import DirectTransport
        from tidegauge.collectors.reconcile import Reconciler

        direct = self.transport if isinstance(self.transport, DirectTransport) else None
        return Reconciler(self._database, self.settings.reconcile, self.settings.kafka, direct).run

    def _detectors(self) -> Round:
        from tidegauge.collectors.masking import Masker
        from tidegauge.detectors.runner import DetectorLoop

        settings, mask = self.settings.detectors, Masker(self.settings.masking).mask_text
        return DetectorLoop(self._database, settings, _embedder(settings), mask).run

    def _judges(self) -> Round:
        from tidegauge.collectors.masking import Masker
        from tidegauge.judges.runner import JudgeLoop

        assert self.transport
        mask = Masker(self.settings.masking).mask_text
        loop = JudgeLoop(self._database, self.transport, self.settings.judges, mask=mask)
        self._closers.append(loop.close)
        return loop.run

    def _golden(self) -> Round:
        from tidegauge.judges.golden import GoldenLoop

        return GoldenLoop(self._database, self.settings.golden, proposing(self._database, self.settings)).run

    def _alerting(self, manual: bool) -> Round:
        from tidegauge.alerting.expected import announce
        from tidegauge.alerting.runner import AlertLoop

        settings = self.settings.alerting
        known = Incidents(self.settings.detectors.incidents, self.settings.detectors.incident_files)
        diagnose = None if manual else self._diagnose  # a replay does not wait for what goes on in the background
        loop = AlertLoop(
            self._database, settings, rules=self._rules, clock=self.clock, incidents=known, diagnose=diagnose
        )
        announce(self._expected)
        self._closers.append(loop.close)
        return loop.run

    @cached_property
    def _rules(self) -> list[Rule]:
        """The rules of this configuration. Raises ConfigError, which lists every problem of their files."""
        from tidegauge.alerting.rules import check_rules

        return check_rules(self.settings.alerting.rules)

    @cached_property
    def _expected(self) -> list[Expected]:
        """The false pages to be expected of each rule without history."""
        from tidegauge.alerting.expected import expectations

        return expectations(self._rules, self.settings.detectors, self.settings.alerting.interval_s)

    @property
    def _database(self) -> Store:
        assert self.store
        return self.store


def proposing(store: Store, settings: Settings) -> Proposing:
    """What proposes failures for the golden set, with masking, and embeddings where the extra is installed."""
    from tidegauge.collectors.masking import Masker
    from tidegauge.detectors.embedding import Hashing
    from tidegauge.judges.golden import Proposing

    def embed(texts: Sequence[str]) -> Matrix | None:
        embedder = _embedder(settings.detectors)
        if embedder is None or isinstance(embedder, Hashing):
            return None  # letters are compared there without one
        return embedder.encode(texts)

    return Proposing(store, settings.golden, Masker(settings.masking).mask_text, embed)


@cache
def _embedder(settings: Detectors) -> Embedder | None:
    """The one of this process: its weights are in memory once."""
    from tidegauge.detectors.embedding import load_embedder

    return load_embedder(settings)


def _shown(work: Callable[[], None]) -> None:
    """Run a part that may stop for good. The process stays, so that its health and its metrics say why."""
    try:
        work()
    except TidegaugeError as error:
        log.critical("%s", error)
    except Exception:
        log.critical("a part has stopped on an error that nobody foresaw", exc_info=True)


def _check(settings: Settings, roles: frozenset[Role]) -> None:
    if roles == frozenset(Role) or settings.kafka.bootstrap_servers:
        return
    if roles & {Role.RECEIVER, Role.SINK}:
        raise ConfigError(
            "kafka.bootstrap_servers",
            ["receiver and sink in processes of their own meet in Kafka: name its servers, or run `tidegauge up`"],
        )
    if settings.dsn.startswith("chdb://"):
        raise ConfigError(
            "clickhouse.dsn",
            ["the embedded database belongs to one process: name a ClickHouse server, or run `tidegauge up`"],
        )
