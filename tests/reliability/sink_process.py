"""One sink in a process of its own, which kills itself where it is told to.

    python sink_process.py '{"dsn": ..., "database": ..., "kafka": {...}, "step": "insert", "nth": 2, "after_s": 0.01}'

``step`` and ``nth``: SIGKILL when that step is reached for the nth time; with ``after_s``, so long after that moment,
from another thread, so that the sink is wherever it is by then. ``freeze``: SIGSTOP instead. Writes each step it
reaches. Without ``step`` it runs until SIGTERM. ``session_s``: how long the group waits for it, where that shall not
be the ten seconds of a real sink.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

import kafka

from tidegauge.collectors.schema import migrate
from tidegauge.config import Kafka
from tidegauge.store import Store


class Dying:
    """The callback of the sink's steps."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._step, self._nth = plan.get("step"), plan.get("nth", 1)
        self._after_s: float = plan.get("after_s") or 0
        self._signal = signal.SIGSTOP if plan.get("freeze") else signal.SIGKILL
        self._seen = 0

    def __call__(self, step: str) -> None:
        os.write(1, f"step {step}\n".encode())
        if step != self._step:
            return
        self._seen += 1
        if self._seen != self._nth:
            return
        if not self._after_s:
            os.kill(os.getpid(), self._signal)
        else:
            threading.Thread(target=self._later, daemon=True).start()

    def _later(self) -> None:
        time.sleep(self._after_s)
        os.kill(os.getpid(), self._signal)


def be_missed_after(seconds: float) -> None:
    """Give every consumer of this process so short a session; to be called before the sink is imported."""
    real, session = kafka.KafkaConsumer, {"session_timeout_ms": int(1000 * seconds), "heartbeat_interval_ms": 300}
    kafka.KafkaConsumer = lambda *names, **config: real(*names, **config | session)


def main(plan: dict[str, Any]) -> int:
    """Run until killed or terminated."""
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("kafka").setLevel(logging.WARNING)
    if "session_s" in plan:
        be_missed_after(plan["session_s"])
    from tidegauge.collectors.kafka import Sink

    store = Store(plan["dsn"], plan["database"])
    migrate(store)
    sink = Sink(store, Kafka(**plan["kafka"]), Dying(plan))
    signal.signal(signal.SIGTERM, lambda *_: sink.stop())
    sink.run()
    sink.close()
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
