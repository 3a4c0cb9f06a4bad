"""What did not reach the receiver, told to it as OTLP metrics once it can be reached again."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA, Metric

from tidegauge.clock import Clock
from tidegauge.collectors.sdk import otlp

DROPPED, REJECTED = "tidegauge.sdk.dropped_records", "tidegauge.sdk.rejected_records"
REASON = "tidegauge.reason"
_DESCRIPTIONS = {
    DROPPED: "Records that the SDK gave up, by why",
    REJECTED: "Records that could not be made of what the service passed, by what it called",
}
Counts = Mapping[str, Mapping[str, int]]


class Report:
    """Requests of what was counted since the last one, one data point a reason; nothing where nothing was.

    A request that was put off is given out again as it was, so that a receiver that has it knows it again.

    Args:
        origin: Whose counts they are.
        clock: Of this machine, also where the service replays the past.
    """

    def __init__(self, origin: otlp.Origin, clock: Clock) -> None:
        self._origin, self._clock = origin, clock
        self._since_ns = clock.now_ns()
        self._told: Counts = {}
        self._request = b""

    def request(self, counts: Counts) -> bytes:
        """The request to send now, empty for none. ``counts``: by metric and reason, since the process began."""
        if not self._request:
            now_ns = self._clock.now_ns()
            metrics = [each for name in counts if (each := self._metric(name, counts[name], now_ns)).sum.data_points]
            if metrics:
                records = [otlp.block(otlp.RECORD, each.SerializeToString()) for each in metrics]
                self._request = otlp.request({self._origin: records})
                self._since_ns, self._told = now_ns, counts
        return self._request

    def settled(self) -> None:
        """The last request arrived, or never will."""
        self._request = b""

    def _metric(self, name: str, counts: Mapping[str, int], now_ns: int) -> Metric:
        metric = Metric(name=name, description=_DESCRIPTIONS[name], unit="{record}")
        metric.sum.aggregation_temporality, metric.sum.is_monotonic = AGGREGATION_TEMPORALITY_DELTA, True
        told = self._told.get(name, {})
        for reason, count in counts.items():
            if new := count - told.get(reason, 0):
                metric.sum.data_points.add(
                    start_time_unix_nano=self._since_ns,
                    time_unix_nano=now_ns,
                    as_int=new,
                    attributes=[KeyValue(key=REASON, value=AnyValue(string_value=reason))],
                )
        return metric
