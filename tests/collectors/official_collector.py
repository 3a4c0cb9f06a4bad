"""The official OpenTelemetry Collector as a process, where `make collector` has built it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from broker import free_ports

FOLDER = Path(__file__).resolve().parents[2] / ".collector"
READY = "Everything is ready"
START_LIMIT_S = 30.0
QUIET = {"metrics": {"level": "none"}}  # its own metrics would listen on a port of their own


def missing(name: str = "otelcol") -> str:
    """Why it cannot run here; empty where it can."""
    return "" if (FOLDER / name).is_file() else f".collector/{name} is not there: `make collector` builds it, with Go"


class OfficialCollector:
    """One process, ready when made, ended with the ``with`` block.

    Args:
        config: A configuration, or the path of one. ``${env:HTTP_PORT}`` and ``${env:GRPC_PORT}`` are free ports.
        folder: For its configuration and its log.
        name: Of the program.
        environ: More for its environment.
    """

    def __init__(self, config: Mapping[str, Any] | Path, folder: Path, name: str = "otelcol", **environ: str) -> None:
        http, grpc, health = free_ports(3)
        self.http_url, self.grpc_url = f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}"
        self.log = folder / f"{name}-{time.monotonic_ns()}.log"
        path = config if isinstance(config, Path) else self.log.with_suffix(".yaml")
        if not isinstance(config, Path):
            path.write_text(json.dumps(config))
        own = {"LISTEN_HOST": "127.0.0.1", "HTTP_PORT": str(http), "GRPC_PORT": str(grpc), "HEALTH_PORT": str(health)}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [str(FOLDER / name), "--config", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **own, **environ},
            )
        self._await_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has used, user and system, all threads; of Linux's clock for its process, in nanoseconds."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def close(self) -> None:
        """SIGTERM, on which it delivers what it holds."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)

    def _await_start(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while READY not in self.text:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait(20)
                raise RuntimeError(f"the official Collector did not start:\n{self.text[-3000:]}")
            time.sleep(0.02)


def pipelines(receivers: Mapping[str, Any], exporters: Mapping[str, Any], *signals: str) -> dict[str, Any]:
    """A configuration with one pipeline a signal, all receivers to all exporters."""
    way = {"receivers": list(receivers), "exporters": list(exporters)}
    return {
        "receivers": dict(receivers),
        "exporters": dict(exporters),
        "service": {"telemetry": QUIET, "pipelines": dict.fromkeys(signals, way)},
    }


def otlp_receiver() -> dict[str, Any]:
    """OTLP on the ports of :class:`OfficialCollector`."""
    return {
        "otlp": {
            "protocols": {
                "grpc": {"endpoint": "127.0.0.1:${env:GRPC_PORT}", "max_recv_msg_size_mib": 64},
                "http": {"endpoint": "127.0.0.1:${env:HTTP_PORT}"},
            }
        }
    }
