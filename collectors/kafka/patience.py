"""Work that may take long or has to wait for another service, while the consumer stays a member of its group."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from kafka.errors import KafkaError

from tidegauge import instruments
from tidegauge.errors import StoreError
from tidegauge.health import Health

T = TypeVar("T")

BACKOFF_S = (0.5, 1, 2, 5, 10)
AT_ONCE_S = 0.5  # most work is done by then; what is not is waited for with the partitions paused


class Patience:
    """Runs work in a thread of its own, one piece at a time, and again after a while where it failed for now.

    A piece that was given up is let run: the next one begins when it has ended, so that nothing overlaps.

    Args:
        breathe: Called again and again with a number of seconds to spend while there is nothing to do but wait; what
            it raises ends the waiting.
        health: Told what is being waited for.
        name: What the work needs, for ``health``.
    """

    def __init__(self, breathe: Callable[[float], None], health: Health, name: str) -> None:
        self._breathe, self._health, self._name = breathe, health, name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tidegauge-sink-work")

    def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``. Raises what it raises, but transient errors of ClickHouse's and all of Kafka's."""
        attempt = 0
        while True:
            try:
                done = self._wait(self._thread.submit(work))
            except (StoreError, KafkaError) as error:
                _count(error)
                if isinstance(error, StoreError) and not error.transient:
                    raise
                self._health.red(self._name, str(error))
                self._breathe(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)] * random.uniform(0.5, 1))  # noqa: S311
                attempt += 1
            else:
                self._health.green(self._name)
                return done

    def close(self) -> None:
        """Take no more; what runs goes on to its end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _wait(self, future: Future[T]) -> T:
        spent = AT_ONCE_S
        while not _settled(future, spent):
            self._breathe(0.1)
            spent = 0.1
        return future.result()


def _settled(future: Future[T], seconds: float) -> bool:
    try:
        future.exception(seconds)
    except TimeoutError:
        return False
    return True


def _count(error: StoreError | KafkaError) -> None:
    if isinstance(error, StoreError):
        instruments.INSERT_FAILURES.labels(str(error.code)).inc()
    else:
        instruments.INSERT_FAILURES.labels(type(error).__name__).inc()
