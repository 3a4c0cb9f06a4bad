"""The client: what a service calls."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tidegauge import __version__
from tidegauge.clock import Clock
from tidegauge.collectors.sdk import nesting, otlp, records
from tidegauge.collectors.sdk.fallback import FramesOrLogs
from tidegauge.collectors.sdk.post import Lane, Post, post
from tidegauge.collectors.sdk.process import EXIT_S, new_bits
from tidegauge.collectors.sdk.sender import Sender
from tidegauge.collectors.sdk.settings import Settings
from tidegauge.collectors.sdk.span import Provider, Span, encoded
from tidegauge.collectors.sdk.tracing import Tracing
from tidegauge.errors import ConfigError, InvalidRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from tidegauge.collectors.frames import Frame
    from tidegauge.collectors.sdk import frames
    from tidegauge.collectors.sdk.foreign import Forwarding

T = TypeVar("T")


class Client(Tracing):
    """A service's way to Tidegauge; make one with :func:`init`.

    No method raises into the service unless ``strict`` is set: a record that cannot be sent is counted in ``rejected``
    and logged, at most once a minute. Nothing waits for the network unless ``on_full="wait"``.
    """

    def __init__(
        self,
        settings: Settings | ConfigError,
        capture_content: bool,
        clock: Clock,
        strict: bool,
        on_full: Literal["drop", "wait"],
    ) -> None:
        """With an error for ``settings``, everything is taken, refused and counted under it."""
        self.clock, self.captures, self._strict = clock, capture_content, strict
        self.resource = {} if isinstance(settings, ConfigError) else dict(settings.resource)
        self._off = not isinstance(settings, ConfigError) and settings.disabled
        self._origin = otlp.origin(self.resource, "tidegauge", __version__)
        self._origins: dict[tuple[str, str], otlp.Origin] = {}  # of other instrumentations' scopes
        self._sender = Sender(lambda: _connect(settings), on_full=on_full, origin=self._origin)
        self._provider = Provider(clock, self._foreign)
        self._shared = False

    @property
    def tracer_provider(self) -> Provider:
        """For instrumentations of others, so that their spans come here too."""
        return self._provider

    def span_processor(self, keep: Callable[[ReadableSpan], bool] | None = None) -> Forwarding:
        """To attach to the application's own tracer provider, so that its spans (those that ``keep`` picks) come here.

        From then on ours become OpenTelemetry's current span where no span of the application is, so that its spans
        nest in ours too.
        """
        from tidegauge.collectors.sdk.foreign import Forwarding

        self._shared = True
        return Forwarding(self._forwarded, self.flush, keep)

    @property
    def dropped(self) -> int:
        """Records that were given up: no room, refused by the receiver, out of time. ``drops`` has the reasons."""
        return sum(self._sender.drops.values())

    @property
    def drops(self) -> dict[str, int]:
        """``dropped`` by reason."""
        return self._sender.drops

    @property
    def rejected(self) -> int:
        """Records that could not be made of what was passed. ``rejects`` has the reasons."""
        return sum(self._sender.rejects.values())

    @property
    def rejects(self) -> dict[str, int]:
        """``rejected`` by what was called."""
        return self._sender.rejects

    @property
    def sent(self) -> int:
        """Records that the receiver took."""
        return self._sender.sent

    @property
    def queued(self) -> int:
        """Records that wait, or are under way."""
        return self._sender.queued

    def log_prediction(
        self,
        model: str,
        features: Mapping[str, Any],
        *,
        prediction: Any,
        score: float | None = None,
        prediction_id: str | None = None,
        version: str = "",
        timestamp: datetime | None = None,
        role: str = "",
        slices: Mapping[str, str] | None = None,
        tenant: str = "",
        intent: str = "",
        session: str = "",
        versions: Mapping[str, str] | None = None,
    ) -> str:
        """One prediction; returns its id, which a label or feedback names later.

        Args:
            model: The name that its predictions are watched under.
            features: Numbers, text, bools; None and NaN count as missing.
            prediction: A class, a number, a ranking as text.
            score: Probability, confidence or regression value.
            slices: Dimensions to look at apart, such as ``{"carrier": "AA"}``.
            versions: The version tuple: base_model, fine_tune, tool_schema, training_data_hash ...
        """
        identifier = prediction_id or new_id()

        def build() -> records.Attributes:
            own = records.prediction(model, identifier, features, prediction, score, version)
            own.update(records.context(tenant, intent, session, role, slices, versions))
            return own

        self._event(records.PREDICTION, build, timestamp)
        return identifier

    def log_prediction_error(self, model: str, error: BaseException, *, version: str = "") -> None:
        """A prediction that ended in an exception: an event with its type, and not its text, which may quote inputs."""
        kind = type(error).__qualname__
        self._event(records.PREDICTION_ERROR, lambda: records.prediction_error(model, version, kind), None)

    def log_predictions(
        self,
        model: str,
        frame: frames.Source,
        *,
        prediction: str,
        features: Sequence[str] | None = None,
        score: str | None = None,
        prediction_id: str | None = None,
        timestamp: str | None = None,
        slices: Sequence[str] = (),
        tenant: str | None = None,
        intent: str | None = None,
        session: str | None = None,
        version: str = "",
        role: str = "",
        columns: Sequence[str] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> list[str]:
        """A frame of predictions (pandas, polars, Arrow, numpy or dictionaries); returns their ids.

        Every argument but ``model``, ``version``, ``role`` and ``versions`` names columns. Null counts as missing.
        Without ``features`` every column is one that has no other meaning. ``columns`` are the names of a numpy
        array's. From 100 rows on a frame travels as Arrow (docs/columnar.md).
        """
        from tidegauge.collectors.frames import Roles  # with pandas, polars and pyarrow: a second, for who needs it
        from tidegauge.collectors.sdk import frames

        def send() -> list[str]:
            shared = records.context(role=role, versions=versions) | records.model_version(version)
            roles = Roles(
                features=None if features is None else tuple(features),
                prediction=prediction,
                score=score or "",
                id=prediction_id or "",
                timestamp=timestamp or "",
                slices=tuple(slices),
                tenant=tenant or "",
                intent=intent or "",
                session=session or "",
            )
            data = frames.table(frame, columns)
            return self._send(frames.predictions(data, model, roles, self._described(shared), self.clock.now_ns()))

        nothing: list[str] = []
        return self.attempt(records.PREDICTION, send, nothing)

    def log_label(self, model: str, prediction_id: str, label: Any, *, timestamp: datetime | None = None) -> None:
        """The truth about an earlier prediction, whenever it is known; the last by event time counts."""
        self._event(records.LABEL, lambda: records.label(model, prediction_id, label), timestamp)

    def log_labels(
        self,
        model: str,
        prediction_ids: frames.Column,
        labels: frames.Column,
        *,
        timestamps: frames.Column | None = None,
    ) -> None:
        """Many labels at once; the sequences are of equal length."""
        from tidegauge.collectors.sdk import frames

        def send() -> list[str]:
            described, now_ns = self._described({}), self.clock.now_ns()
            return self._send(frames.labels(model, prediction_ids, labels, timestamps, described, now_ns))

        nothing: list[str] = []
        self.attempt(records.LABEL, send, nothing)

    def log_feedback(
        self,
        kind: Literal["thumbs", "csat", "correction"],
        score: float | None = None,
        *,
        comment: str = "",
        trace_id: str = "",
        span_id: str = "",
        prediction_id: str = "",
        timestamp: datetime | None = None,
    ) -> None:
        """What a person said: thumbs -1 or 1, csat 1 to 5, or a correction in ``comment``."""

        def build() -> records.Attributes:
            return records.feedback(kind, score, comment, prediction_id)

        self._event(records.FEEDBACK, build, timestamp, trace_id, span_id)

    def log_outcome(
        self,
        name: str,
        value: float = 1.0,
        *,
        trace_id: str = "",
        prediction_id: str = "",
        timestamp: datetime | None = None,
    ) -> None:
        """What came of it: click, conversion, deflection ..."""
        self._event(records.OUTCOME, lambda: records.outcome(name, value, prediction_id), timestamp, trace_id)

    def flush(self, timeout_s: float = 30) -> bool:
        """Wait until all that was logged is delivered or given up; False after ``timeout_s``."""
        return self._sender.flush(timeout_s)

    def shutdown(self, timeout_s: float = EXIT_S) -> None:
        """Deliver for at most ``timeout_s``, count what is left as dropped, and stop."""
        self._sender.close(timeout_s)

    def finished(self, span: Span) -> None:
        """A step of ours has ended."""
        self.attempt("span", lambda: self._take(encoded(span), self._origin), None)

    def enter(self, span: Span) -> nesting.Entered:
        """Make ``span`` the innermost."""
        return nesting.enter(span, Span, self._provider, self._shared)

    def _foreign(self, span: Span, scope: str, version: str) -> None:
        """A span of another's instrumentation, through our provider, has ended."""
        if (scope, version) not in self._origins:
            self._origins[scope, version] = otlp.origin(self.resource, scope, version)
        self.harmless("span", lambda: self._take(encoded(span), self._origins[scope, version]), None)

    def _forwarded(self, make: Callable[[], tuple[bytes, otlp.Origin] | None]) -> None:
        """A span of the application's own has ended."""

        def take() -> None:
            if made := make():
                self._take(*made)

        self.harmless("span", take, None)

    def _take(self, span: bytes, origin: otlp.Origin) -> None:
        if not self._off:
            self._sender.offer(Lane.TRACES, span, 1, origin)

    def _described(self, shared: records.Attributes) -> records.Attributes:
        """What is the same for all rows of a frame."""
        return {**self.resource, **(nesting.INHERITED.get() or {}), **shared}

    def _send(self, frame: Frame) -> list[str]:
        from tidegauge.collectors.sdk import frames

        if not self._off:
            for lane, payload, rows in frames.requests(frame):
                self._sender.offer(lane, payload, rows)
        return frames.ids(frame)

    def _event(
        self,
        name: str,
        build: Callable[[], records.Attributes],
        timestamp: datetime | None,
        trace_id: str = "",
        span_id: str = "",
    ) -> None:
        def emit() -> None:
            inherited, own = nesting.INHERITED.get(), build()
            moment = records.nanoseconds(timestamp) if timestamp else self.clock.now_ns()
            ids = _ids(trace_id, span_id)
            record = otlp.log_record(moment, name, {**inherited, **own} if inherited else own, *ids)
            if not self._off:
                self._sender.offer(Lane.LOGS, record, 1, self._origin)

        self.attempt(name, emit, None)

    def harmless(self, what: str, work: Callable[[], T], otherwise: T) -> T:
        """Do ``work``; an error in it is counted in ``rejects`` under ``what``, and not raised, even if strict."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - the edge between the service and us
            self._reject(what, error)
            return otherwise

    def _reject(self, what: str, error: Exception) -> None:
        self._sender.reject(what, str(error) if isinstance(error, InvalidRecord) else _place(error))

    def attempt(self, what: str, work: Callable[[], T], otherwise: T) -> T:
        """Do ``work``; what goes wrong is the record's, and only if strict a reason for the service to fail."""
        if not self._strict:
            return self.harmless(what, work, otherwise)
        try:
            return work()
        except InvalidRecord:
            raise
        except Exception as error:
            raise InvalidRecord(f"{type(error).__name__}: {error}") from error


def new_id() -> str:
    """A new prediction id: 128 random bits in hexadecimal."""
    return f"{new_bits(128):032x}"


def _place(error: Exception) -> str:
    """What happened and where; not the error's own text, which may quote the service's data into its log."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"


def _connect(settings: Settings | ConfigError) -> Post:
    if isinstance(settings, ConfigError):
        raise settings
    return FramesOrLogs(post(settings))


def _ids(trace_id: str, span_id: str) -> tuple[int, int]:
    """The trace and span that a record is about: those given, else the innermost span's."""
    if not trace_id:
        context = nesting.current().get_span_context()
        return (context.trace_id, context.span_id) if context.is_valid else (0, 0)
    try:
        return int(trace_id, 16), int(span_id or "0", 16)
    except ValueError as error:
        raise InvalidRecord(f"trace_id {trace_id!r} or span_id {span_id!r} is not hexadecimal") from error
