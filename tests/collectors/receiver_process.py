"""A receiver in a process of its own, whose memory can be measured: it has everything at once and keeps nothing.

``python receiver_process.py '{"max_body_bytes": 1000}' [KAFKA]`` prints its two addresses as JSON and runs until its
input ends; with the address of a Kafka broker, everything goes there.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegauge.model import Export, Transport


@dataclass
class ReceiverProcess:
    """A running one."""

    pid: int
    http_url: str
    grpc_url: str

    def peak_bytes(self, *, reset: bool = False) -> int:
        """The most memory it has held at a time, since the last reset."""
        if reset:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024


@contextlib.contextmanager
def receiver_process(bootstrap: str = "", **settings: Any) -> Iterator[ReceiverProcess]:
    """Start one; ``settings`` are the receiver's."""
    command = [sys.executable, __file__, json.dumps(settings), bootstrap]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield ReceiverProcess(process.pid, *json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(30)


class Dropping:
    """A transport that has everything at once and keeps nothing."""

    def submit(self, export: Export) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def flush(self, timeout_s: float) -> None: ...

    def close(self, timeout_s: float) -> None: ...


def main(settings: str, bootstrap: str) -> None:
    from tidegauge.collectors.kafka import KafkaTransport
    from tidegauge.collectors.receiver import ReceiverServer
    from tidegauge.config import Kafka, Receiver
    from tidegauge.memory import keep_freed_blocks

    keep_freed_blocks()
    transport: Transport = KafkaTransport(Kafka(bootstrap_servers=(bootstrap,))) if bootstrap else Dropping()
    server = ReceiverServer(transport, Receiver(**{"http_port": 0, "grpc_port": 0} | json.loads(settings)))
    sys.stdout.write(json.dumps([server.http_url, server.grpc_url]) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.close()
    transport.close(1)


if __name__ == "__main__":
    main(*sys.argv[1:3])
