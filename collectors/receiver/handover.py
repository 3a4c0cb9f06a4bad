"""From the event loop, which only reads and answers, to the threads that decode, mask and send."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from tidegauge.errors import TidegaugeError

LARGE = 4 * 2**20  # bytes


class Handover:
    """Runs work whose result is a future, and passes that future's result on.

    Two threads: large requests, and those that are slow to decode, wait for each other and not in the way of the rest.
    What waits is bounded by the receiver's room, which every request holds before it gets here.
    """

    def __init__(self) -> None:
        self._quick = ThreadPoolExecutor(1, "tidegauge-intake")
        self._slow = ThreadPoolExecutor(1, "tidegauge-intake-large")

    def __call__(self, work: Callable[[], Future[None]], *, slow: bool) -> Future[None]:
        """Start ``work``; the future has the outcome of the one it returns, or what it raised."""
        promise: Future[None] = Future()
        promise.set_running_or_notify_cancel()  # a client that hangs up cancels its wait, never the work
        (self._slow if slow else self._quick).submit(_run, work, promise)
        return promise

    def close(self) -> None:
        """Finish what was handed over."""
        self._quick.shutdown()
        self._slow.shutdown()


def _run(work: Callable[[], Future[None]], promise: Future[None]) -> None:
    try:
        work().add_done_callback(lambda done: _settle(promise, done.exception()))
    except TidegaugeError as error:  # without its frames, which hold the request
        error.__cause__ = error.__context__ = None
        _settle(promise, error.with_traceback(None))
    except Exception as error:  # noqa: BLE001 - the thread's edge: whoever waits is told
        _settle(promise, error)


def _settle(promise: Future[None], error: BaseException | None) -> None:
    if error is None:
        promise.set_result(None)
    else:
        promise.set_exception(error)
