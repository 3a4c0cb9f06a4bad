"""The allocator of a process that moves large blocks."""

from __future__ import annotations

import ctypes
import gc
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
KEPT_BYTES = 64 * 2**20
LARGEST_BYTES = 32 * 2**20  # glibc takes no more
ARENAS = 2


def keep_freed_blocks() -> bool:
    """Let glibc keep up to 64 MiB of what is freed, in two arenas; False where the C library is another.

    By default it hands every block of a request's size back to the kernel, which then clears the same pages for the
    next request: a third of the receiver's time (benchmarks/receive.py).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = {_MMAP_THRESHOLD: LARGEST_BYTES, _TRIM_THRESHOLD: KEPT_BYTES, _ARENA_MAX: ARENAS}
    return mallopt is not None and all(mallopt(name, value) == 1 for name, value in wanted.items())


def leave_settled_objects_alone() -> None:
    """Take what is there after start-up out of the garbage collector's rounds, which go through all of it each time."""
    gc.collect()
    gc.freeze()
