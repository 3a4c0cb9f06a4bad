"""Requests that a client sent again, across receivers and restarts: the same digest in the same partition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from tidegauge.collectors.kafka.batch import Message

Digest = tuple[bytes, int]  # and the time of its record, in milliseconds


class Seen:
    """The digests of one partition's last requests.

    Whether a request is a repeat follows from the log alone: an earlier record carries the same digest, is at most
    ``window_s`` older by Kafka's own times, and is one of the last ``most``. So a successor decides the same.
    """

    def __init__(self, window_s: float, most: int, before: Iterable[Digest] = ()) -> None:
        self._window_ms, self._most = window_s * 1000, most
        self._times: OrderedDict[bytes, int] = OrderedDict()
        for digest, time_ms in before:
            self._keep(digest, time_ms)

    def repeated(self, each: Message) -> bool:
        """Whether ``each`` was there before; remembers it where not."""
        if not each.digest:
            return False
        earlier = self._times.get(each.digest)
        if earlier is not None and each.time_ms - earlier <= self._window_ms:
            return True
        self._keep(each.digest, each.time_ms)
        return False

    def _keep(self, digest: bytes, time_ms: int) -> None:
        self._times[digest] = time_ms
        self._times.move_to_end(digest)
        if len(self._times) > self._most:
            self._times.popitem(last=False)
