"""A receiver under clients that outrun Kafka while Kafka is away: its memory, its answers, and what became of each.

    .venv/bin/python benchmarks/outage.py [--minutes 10] [--how stopped|frozen|both] [--pause 2.5] [--json FILE]

A real broker and `tidegauge receiver` as it runs by default, in processes of their own. Clients over HTTP and gRPC send
without end, each waiting for its answer and then `--pause` seconds; one in five sends 8 MB at a time, so that what they
send at once is more than the receiver may hold. Then the broker is stopped (its port refuses) or frozen (connections
hang) for `--minutes` of real time, and comes back. At the end every request that was acknowledged must be in Kafka to
the byte, and the receiver's memory must have stayed below the limit that its documentation states. Exit code 1 if not.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from genai_spans import request
from kafka import KafkaConsumer, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tidegauge.collectors.receiver.grpc import SERVICES
from tidegauge.config import Receiver
from tidegauge.model import Signal

sys.path.append(str(Path(__file__).parents[1] / "tests" / "kafka_broker"))
if TYPE_CHECKING:
    from broker import KafkaBroker

METHOD = f"/{SERVICES[Signal.TRACES]}/Export"
HTTP_CLIENTS, GRPC_CLIENTS, LARGE_CLIENTS = 96, 64, 40
SMALL_SPANS, LARGE_SPANS = 100, 4_000
BEFORE_S, AFTER_S, START_LIMIT_S = 10.0, 15.0, 60.0
LARGE_PAUSES = 8  # times the pause of the others
NAME_BYTES = 24
MB = 10**6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--how", choices=["stopped", "frozen", "both"], default="both")
    parser.add_argument("--pause", type=float, default=2.5, help="seconds between an answer and the next request")
    parser.add_argument("--json", type=Path, help="write the outcomes to this file, too")
    given = parser.parse_args()
    hows = ("stopped", "frozen") if given.how == "both" else (given.how,)
    outcomes = [outage(each, given.minutes * 60, given.pause) for each in hows]
    if given.json:
        given.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=1))
    sys.exit(0 if all(each.good() for each in outcomes) else 1)


@dataclass
class Outcome:
    """What one outage did. Bytes of memory; counts of requests; what was answered, and how often, by phase."""

    how: str
    seconds: float
    limit: int
    peak: int = 0
    offered_bytes: int = 0
    answers: dict[str, dict[str, int]] = field(default_factory=dict)
    rss: list[tuple[int, int]] = field(default_factory=list)
    cpu_s: float = 0.0
    acknowledged: int = 0
    lost: int = 0
    changed: int = 0
    twice: int = 0
    unacknowledged_stored: int = 0
    recovered_s: float = 0.0

    def good(self) -> bool:
        """Whether the promises were kept."""
        return self.peak < self.limit and self.acknowledged > 0 and not (self.lost or self.changed or self.twice)


def stated_limit(settings: Receiver) -> int:
    """Bytes, as the receiver's own documentation states it."""
    return 200 * MB + 2 * settings.max_pending_bytes + 8 * settings.max_body_bytes


def outage(how: str, seconds: float, pause: float) -> Outcome:
    """One outage, from the start of a broker to the comparison of what is in it with what was acknowledged."""
    from broker import KafkaBroker

    outcome = Outcome(how, seconds, stated_limit(Receiver()))
    with KafkaBroker() as broker, _receiver(broker.bootstrap) as receiver:
        clients = Clients(receiver, pause)
        with clients.running():
            _watch(outcome, clients, receiver, "before", BEFORE_S)
            (broker.stop if how == "stopped" else broker.pause)()
            used = receiver.cpu_s()
            _watch(outcome, clients, receiver, "during", seconds)
            outcome.cpu_s = receiver.cpu_s() - used
            (broker.start if how == "stopped" else broker.resume)()
            outcome.recovered_s = clients.seconds_to_next_success()
            _watch(outcome, clients, receiver, "after", AFTER_S)
        outcome.peak, outcome.offered_bytes = receiver.peak_bytes(), clients.offered
        _compare(outcome, clients, broker)
    _print_outcome(outcome)
    return outcome


def _watch(outcome: Outcome, clients: Clients, receiver: _Receiver, phase: str, seconds: float) -> None:
    """Let time pass, and print and note the memory."""
    clients.answers.clear()
    step, end = max(1.0, seconds / 20), time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(min(step, max(0.0, end - time.monotonic())))
        point = int(time.monotonic() - clients.begun), receiver.rss_bytes()
        outcome.rss.append(point)
        print(f"{point[0]:5} s  {phase:<7} RSS {point[1] / MB:6.0f} MB  {_told(clients.answers)}", flush=True)
    outcome.answers[phase] = dict(clients.answers)


def _told(answers: Counter[str]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(answers.items()))


def _print_outcome(outcome: Outcome) -> None:
    print(f"\nKafka {outcome.how} for {outcome.seconds:.0f} s")
    print(f"  peak RSS {outcome.peak / MB:.0f} MB; stated limit {outcome.limit / MB:.0f} MB")
    print(f"  offered {outcome.offered_bytes / MB:,.0f} MB in all; CPU of the receiver meanwhile {outcome.cpu_s:.0f} s")
    for phase, answers in outcome.answers.items():
        print(f"  {phase}: {_told(Counter(answers))}")
    print(f"  first success {outcome.recovered_s:.1f} s after Kafka was back")
    print(
        f"  acknowledged {outcome.acknowledged:,}: lost {outcome.lost}, changed {outcome.changed}, "
        f"twice {outcome.twice}; in Kafka without acknowledgement {outcome.unacknowledged_stored}\n",
        flush=True,
    )


# The clients


class Clients:
    """Clients that send until they are stopped. No two requests have the same bytes."""

    def __init__(self, receiver: _Receiver, pause: float) -> None:
        self._receiver, self._pause, self._stopped = receiver, pause, threading.Event()
        self._lock = threading.Lock()
        self.templates = {False: request(1, SMALL_SPANS), True: request(2, LARGE_SPANS)}
        self.acknowledged: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.offered, self.begun, self._sent = 0, time.monotonic(), 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let them send while what is inside runs."""
        with ThreadPoolExecutor(HTTP_CLIENTS + GRPC_CLIENTS + LARGE_CLIENTS) as pool:
            done = [pool.submit(self._over_http, large=False) for _ in range(HTTP_CLIENTS)]
            done += [pool.submit(self._over_http, large=True) for _ in range(LARGE_CLIENTS)]
            done += [pool.submit(self._over_grpc) for _ in range(GRPC_CLIENTS)]
            try:
                yield
            finally:
                self._stopped.set()
            for each in done:
                each.result()

    def seconds_to_next_success(self) -> float:
        """How long until another request is acknowledged."""
        begun, taken = time.monotonic(), len(self.acknowledged)
        while len(self.acknowledged) == taken and time.monotonic() < begun + START_LIMIT_S:
            time.sleep(0.05)
        return time.monotonic() - begun

    def _over_http(self, *, large: bool) -> None:
        template, address = self.templates[large], f"127.0.0.1:{self._receiver.http_port}"
        connection = http.client.HTTPConnection(address, timeout=60)
        while not self._stopped.is_set():
            name, end = self._next(len(template))
            headers = {"content-type": "application/x-protobuf", "content-length": str(len(template) + len(end))}
            try:
                connection.request("POST", "/v1/traces", iter((template, end)), headers)
                answer = connection.getresponse()
                answer.read()
                self._note(name, answer.status == 200, _http_answer(answer))
            except OSError as error:  # the receiver answers before all was sent, and may close then
                self._note(name, False, type(error).__name__)
                connection.close()
            self._stopped.wait(self._pause * (LARGE_PAUSES if large else 1))

    def _over_grpc(self) -> None:
        template, options = self.templates[False], [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self._receiver.grpc_port}", options) as channel:
            export = channel.unary_unary(METHOD)
            while not self._stopped.is_set():
                name, end = self._next(len(template))
                try:
                    export(template + end, timeout=60)
                    self._note(name, True, "OK")
                except grpc.RpcError as error:
                    self._note(name, False, _grpc_answer(error))
                self._stopped.wait(self._pause)

    def _next(self, size: int) -> tuple[str, bytes]:
        """A new name, and the bytes that make a template the request of that name: one more span."""
        with self._lock:
            self._sent += 1
            self.offered += size
            name = f"outage-{self._sent:0{NAME_BYTES - 7}d}"
        end = ExportTraceServiceRequest()
        end.resource_spans.add().scope_spans.add().spans.add(name=name)
        return name, end.SerializeToString()

    def _note(self, name: str, taken: bool, answer: str) -> None:
        with self._lock:
            self.answers[answer] += 1
            if taken:
                self.acknowledged.add(name)


def _http_answer(answer: http.client.HTTPResponse) -> str:
    return f"{answer.status}" + (" with Retry-After" if answer.headers["retry-after"] else "")


def _grpc_answer(error: grpc.RpcError) -> str:
    details = "grpc-status-details-bin" in dict(error.trailing_metadata() or ())
    return str(error.code().name) + (" with RetryInfo" if details else "")


# The receiver, and what is in Kafka


@dataclass
class _Receiver:
    """A running ``tidegauge receiver``."""

    pid: int
    http_port: int
    grpc_port: int

    def rss_bytes(self) -> int:
        return self._status("VmRSS")

    def peak_bytes(self) -> int:
        return self._status("VmHWM")

    def cpu_s(self) -> float:
        """User and system time so far; Linux counts it in hundredths."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / 100

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


@contextlib.contextmanager
def _receiver(bootstrap: str) -> Iterator[_Receiver]:
    from broker import free_ports

    http_port, grpc_port = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "tidegauge.yaml")
        ports = {"http_port": http_port, "grpc_port": grpc_port}
        config.write_text(json.dumps({"kafka": {"bootstrap_servers": [bootstrap]}, "receiver": ports}))
        command = [sys.executable, "-c", "from tidegauge.cli import main; main()", "receiver", "--config", str(config)]
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            _wait_for(lambda: _healthy(http_port))
            yield _Receiver(process.pid, http_port, grpc_port)
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(f"127.0.0.1:{port}", timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the receiver has not started within {START_LIMIT_S:g} s")
        time.sleep(0.2)


def _compare(outcome: Outcome, clients: Clients, broker: KafkaBroker) -> None:
    """Count what is in Kafka of what was acknowledged."""
    stored: Counter[str] = Counter()
    for value in _values(broker.bootstrap):
        stored[value[-NAME_BYTES:].decode("latin-1")] += 1
        outcome.changed += not any(value.startswith(each) for each in clients.templates.values())
    outcome.acknowledged = len(clients.acknowledged)
    outcome.lost = len(clients.acknowledged - set(stored))
    outcome.twice = sum(count > 1 for count in stored.values())
    outcome.unacknowledged_stored = len(set(stored) - clients.acknowledged)


def _values(bootstrap: str) -> Iterator[bytes]:
    """The values of all records in the topic of traces."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, max_partition_fetch_bytes=2**25)
    try:
        parts = [TopicPartition(Signal.TRACES, each) for each in consumer.partitions_for_topic(Signal.TRACES) or ()]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        while any(consumer.position(each) < ends[each] for each in parts):
            for messages in consumer.poll(1000).values():
                yield from (each.value for each in messages)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
