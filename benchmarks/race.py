"""Works taking turns in one process: processor time of each, user and system, all threads; the least of the rounds."""

from __future__ import annotations

import time
from collections.abc import Callable

Work = dict[str, Callable[[], object]]


def race(rounds: int, work: Work) -> dict[str, float]:
    """CPU seconds by name."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, run in work.items():
            begun = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - begun)
    return best
