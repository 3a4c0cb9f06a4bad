"""Steady load with a fault each minute, and whether memory grows: ``make soak``.

    PYTHONPATH=tests/kafka_broker python tests/reliability/soak.py [--minutes 10] [--share 0.8]

First the most that receiver, Kafka, sink and ClickHouse carry together is measured, then ``share`` of it is sent for
so many minutes. Each minute one thing fails: a second sink is killed and started again, or frozen past its session;
ClickHouse is killed; Kafka is killed. The receiver and the first sink live through all of it; their resident memory is
read every two seconds, and its slope is that of the least squares over the second half of the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from broker import KafkaBroker
from oracle import Request
from processes import ClickHouse, Tidegauge
from system import System, post
from topics import Topics

MIB = 2**20
PER_REQUEST = 20
CALIBRATION_S = 15
Samples = list[tuple[float, int]]


class Sender:
    """Requests at a rate from a few threads; what is not acknowledged is sent again until it is."""

    def __init__(self, system: System, receiver: Tidegauge, per_s: float, threads: int = 4) -> None:
        self._system, self._url, self._pause_s = system, receiver.url(), threads / per_s
        self._lock, self._stop = threading.Lock(), threading.Event()
        self.requests = self.repeats = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for each in self._threads:
            each.start()

    def close(self) -> None:
        """Stop once everything that was begun is acknowledged."""
        self._stop.set()
        for each in self._threads:
            each.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._pause_s, time.monotonic() - 5)
            with self._lock:
                oracle, self.requests = self._system.oracle, self.requests + 1
                request = oracle.logs(PER_REQUEST) if self.requests % 2 else oracle.traces(PER_REQUEST)
            self._until_acknowledged(request)

    def _until_acknowledged(self, request: Request) -> None:
        while post(self._system.client, self._url, request).status_code != 200:
            with self._lock:
                self.repeats += 1
            time.sleep(0.5)
        with self._lock:
            self._system.oracle.acknowledge(request)


class Memory:
    """Resident bytes of a few processes over time."""

    def __init__(self, **processes: Tidegauge) -> None:
        self.samples: dict[str, Samples] = {name: [] for name in processes}
        self._processes, self._stop = processes, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()

    def slope(self, name: str) -> float:
        """MiB a minute over the second half."""
        half = self.samples[name][len(self.samples[name]) // 2 :]
        at, size = np.array(half, dtype=float).T
        return float(np.polyfit(at / 60, size / MIB, 1)[0])

    def _run(self) -> None:
        while not self._stop.wait(2):
            for name, process in self._processes.items():
                self.samples[name].append((time.monotonic(), process.rss_bytes))


def capacity(system: System, receiver: Tidegauge) -> float:
    """Requests a second that are sent, acknowledged and stored when as many are sent as can be."""
    began, sender = time.monotonic(), Sender(system, receiver, per_s=10_000)
    time.sleep(CALIBRATION_S)
    sender.close()
    system.drained(300)
    return sender.requests / (time.monotonic() - began)


def faults(system: System, broker: KafkaBroker) -> list[tuple[str, Callable[[], None]]]:
    """What fails, one after the other; each is mended within the minute."""
    guests: list[Tidegauge] = []

    def second_sink_killed() -> None:
        for each in guests:
            each.kill()
        guests[:] = [system.sink()]

    def second_sink_frozen() -> None:
        guests[0].pause()
        time.sleep(15)
        guests[0].resume()

    def clickhouse_killed() -> None:
        system.clickhouse.kill()
        time.sleep(5)
        system.clickhouse.start()

    def kafka_killed() -> None:
        broker.kill9()
        broker.start()

    return [(each.__name__, each) for each in (second_sink_killed, second_sink_frozen, clickhouse_killed, kafka_killed)]


def soak(system: System, broker: KafkaBroker, minutes: float, share: float) -> bool:
    """Run, print what came out; True when it is as promised."""
    receiver, sink = system.receiver(), system.sink()
    sink.wait_for("database")
    most = capacity(system, receiver)
    say(f"carries {most * PER_REQUEST:,.0f} records/s; {share:.0%} of it for {minutes:g} minutes")
    memory, sender = Memory(receiver=receiver, sink=sink), Sender(system, receiver, share * most)
    began, failing = time.monotonic(), faults(system, broker)
    for number in range(int(minutes)):
        name, fail = failing[number % len(failing)]
        fail()
        say(f"{name.replace('_', ' ')}: over after {time.monotonic() - began - 60 * number:.0f} s")
        time.sleep(max(0.0, began + 60 * (number + 1) - time.monotonic()))
    sender.close()
    memory.close()
    recovered_s = system.drained(300)
    verdict = system.verify()
    say(f"{sender.requests} requests, {sender.repeats} sent again; drained in {recovered_s:.1f} s\n{verdict}")
    for name, samples in memory.samples.items():
        largest = max(size for _, size in samples) / MIB
        say(f"{name}: at most {largest:.0f} MiB resident, slope {memory.slope(name):+.2f} MiB a minute")
    return verdict.right


def say(line: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Steady load with a fault each minute.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--share", type=float, default=0.8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch, KafkaBroker() as broker:
        folder = Path(scratch)
        clickhouse = ClickHouse(folder / "engine" / "data")
        with clickhouse, Topics(broker, 2) as topics, System(topics, clickhouse, folder, "soak") as system:
            return 0 if soak(system, broker, given.minutes, given.share) else 1


if __name__ == "__main__":
    sys.exit(main())
