"""Real processes of Tidegauge, and of ClickHouse's engine, to start, freeze, kill and look into."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml
from broker import free_ports
from prometheus_client.parser import text_string_to_metric_families

from tidegauge.store import Store

HERE = Path(__file__).resolve().parent
COMMAND = Path(sys.executable).with_name("tidegauge")
START_LIMIT_S = 60.0
ADDRESSES = {"receiver": "OTLP/HTTP", "sink": "sink"}


class Child:
    """A process with its own log file; ended when the ``with`` block is left."""

    def __init__(self, command: list[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self.log = log
        self.killed_at = 0.0
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGAUGE_")}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=clean | dict(environ or {})
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def rss_bytes(self) -> int:
        """Its resident memory now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def peak_rss_bytes(self) -> int:
        """The most it ever had."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has used."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def wait_for(self, text: str, limit_s: float = START_LIMIT_S) -> None:
        """Return once it has written ``text``."""
        until(lambda: text in self.text or not self.alive, limit_s, f"{text!r} in {self.log}")
        assert text in self.text, f"it ended with {self.process.returncode}:\n{self.text[-3000:]}"

    def pause(self) -> None:
        """Freeze it: SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on: SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        if self.alive:
            self.killed_at = time.monotonic()
            self.process.kill()
        self.process.wait(20)

    def terminate(self, limit_s: float = 60) -> int:
        """SIGTERM; its exit status."""
        self.process.terminate()
        return self.process.wait(limit_s)


class ClickHouse(Child):
    """ClickHouse's engine in a process of its own, on a port that stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        [self.port] = free_ports(1)
        self.start()

    def start(self) -> None:
        """Start, or start again, on the same data."""
        command = [sys.executable, str(HERE / "clickhouse_server.py"), str(self.port), str(self.folder)]
        log = self.folder.with_suffix(".log")
        log.unlink(missing_ok=True)
        super().__init__(command, log)
        self.wait_for("ready")
        self._struck, self._faulty = 0, False

    @property
    def dsn(self) -> str:
        """For Tidegauge's configuration."""
        return f"clickhouse://127.0.0.1:{self.port}"

    def store(self, database: str) -> Store:
        """A client of the test's own."""
        return Store(self.dsn, database)

    def fault(self, **given: float | str) -> None:
        """Make inserts suffer; without arguments mend them. See clickhouse_server.Fault.

        A fault that struck nothing has shown nothing: it fails the test when the next one is asked for.
        """
        struck = self.counts()["struck"]
        assert struck > self._struck or not self._faulty, "the fault before this one struck no insert"
        self._struck, self._faulty = struck, bool(given)
        given = given or {"times": 0}
        httpx.post(f"http://127.0.0.1:{self.port}/fault", json=given, trust_env=False).raise_for_status()

    def counts(self) -> dict[str, int]:
        """Inserts of records since it started, those that a fault struck, and the bytes of the largest."""
        found: dict[str, int] = httpx.get(f"http://127.0.0.1:{self.port}/counts", trust_env=False).json()
        return found


class Tidegauge(Child):
    """``tidegauge <role>`` with a configuration file of its own."""

    def __init__(self, role: str, folder: Path, settings: Mapping[str, Any], **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / f"{role.partition(' ')[0]}-{time.monotonic_ns()}.yaml"
        self.config.write_text(yaml.safe_dump(dict(settings)))
        super().__init__(
            [str(COMMAND), *role.split(), "-c", str(self.config)], self.config.with_suffix(".log"), environ
        )
        self.role = role

    def url(self, name: str = "OTLP/HTTP") -> str:
        """An address that it announced on start."""
        self.wait_for(name)
        found = re.search(rf"^{re.escape(name)}\s+(\S+)$", self.text, re.MULTILINE)
        assert found
        return found[1]

    def status(self, path: str) -> int:
        """The HTTP status of its ``/healthz`` or ``/readyz``."""
        return httpx.get(f"{self.url(ADDRESSES[self.role])}{path}", trust_env=False).status_code

    def metric(self, name: str, **labels: str) -> float:
        """One of its own metrics, as it publishes it: beside the OTLP paths, or at the address of the sink."""
        text = httpx.get(f"{self.url(ADDRESSES[self.role])}/metrics", trust_env=False).text
        samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


class SteppingSink(Child):
    """A sink that can be told where to die; see sink_process.py."""

    def __init__(self, folder: Path, **plan: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"sink-{time.monotonic_ns()}.log"
        super().__init__([sys.executable, str(HERE / "sink_process.py"), json.dumps(plan)], log)

    @property
    def steps(self) -> list[str]:
        """The steps it has reached."""
        return re.findall(r"^step (\S+)$", self.text, re.MULTILINE)


def until(condition: Callable[[], bool], limit_s: float, what: str) -> float:
    """Wait for ``condition``; seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, f"not within {limit_s:g} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began
