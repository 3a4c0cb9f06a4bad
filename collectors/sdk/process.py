"""What the SDK needs to know of the process it lives in: its forks, its end, its random numbers."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import Protocol

from opentelemetry import context
from opentelemetry.context import Context

LONGEST_UNDIVIDED_S = 2.0
EXIT_S = 5.0  # for delivery when the process ends

_rng = random.Random(os.urandom(32))  # noqa: S311 - names spans; its own, because services seed the global one alike
new_bits = _rng.getrandbits


class Restarted(Protocol):
    """Something with a thread."""

    def begin(self) -> None:
        """Start again, in a child that has none of its parent's threads."""
        ...

    def close(self, timeout_s: float) -> None:
        """Deliver and stop."""
        ...


_undivided, _held = threading.Lock(), False
_alive: weakref.WeakSet[Restarted] = weakref.WeakSet()


def watch(each: Restarted) -> None:
    """``begin`` it again in every forked child."""
    _alive.add(each)


def forget(each: Restarted) -> None:
    """It is closed."""
    _alive.discard(each)


@contextmanager
def undivided() -> Iterator[None]:
    """No fork happens inside, so that no child is left with half of what is made here."""
    with _undivided:
        yield


def at_exit(each: Restarted) -> None:
    """Close it when this process ends. A child of multiprocessing runs its own finalizers, and no atexit."""
    reference = weakref.ref(each)
    atexit.register(_close, reference)
    if multiprocessing.parent_process() is not None:
        Finalize(None, _close, args=(reference,), exitpriority=100)


def untraced() -> Context:
    """A context in which instrumentations of HTTP and gRPC clients stay silent: our requests are not the service's."""
    silent = context.get_current()
    for name in ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY"):
        key = getattr(context, name, None)
        silent = context.set_value(key, True, silent) if key else silent
    return silent


def _close(reference: weakref.ref[Restarted]) -> None:
    each = reference()
    if each is not None:
        each.close(EXIT_S)


def _before_fork() -> None:
    global _held
    _held = _undivided.acquire(timeout=LONGEST_UNDIVIDED_S)


def _after_fork_in_parent() -> None:
    if _held:
        _undivided.release()


def _after_fork() -> None:
    global _undivided
    _undivided = threading.Lock()  # the parent's may be held by a thread that does not exist here
    _rng.seed(os.urandom(32))
    for each in list(_alive):
        each.begin()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)
