"""Processor time of receiving: GenAI spans of about 2 kB, by HTTP and gRPC, to a real Kafka broker.

    .venv/bin/python benchmarks/receive.py [--rounds 5] [--requests 40] [--spans 200] [--profile]

The receiver runs in a process of its own, and its own processor seconds are what is measured: user and system, all
threads. Beside it, in the same rounds, a bound: a process that reads the same bytes from a socket, has upb decode them
and lz4 compress them, and does nothing else. Minima of the rounds. Kafka needs java, as the tests do; without it only
what is received and dropped is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import zstandard
from genai_spans import requests
from kafka.codec import lz4_encode

from tidegauge.collectors.otlp import count
from tidegauge.collectors.receiver import ReceiverServer
from tidegauge.collectors.receiver.grpc import SERVICES
from tidegauge.config import Kafka, Masking, Receiver
from tidegauge.memory import keep_freed_blocks, leave_settled_objects_alone
from tidegauge.model import Export, Signal, Transport

CLIENTS = 4
METHOD = f"/{SERVICES[Signal.TRACES]}/Export"
Send = Callable[[list[bytes]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--spans", type=int, default=200)
    parser.add_argument("--profile", action="store_true", help="where the time goes, by Linux's perf")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        _child(json.loads(given.serve))
        return
    rounds = [requests(given.requests, given.spans, first=1 + each * given.requests) for each in range(given.rounds)]
    with contextlib.ExitStack() as stack:
        contestants = _contestants(stack)
        report(rounds, given.spans, _measured(rounds, contestants))
        if given.profile:
            _print_profile(*list(contestants.items())[-2], rounds[0])


def report(rounds: list[list[bytes]], spans: int, seconds: dict[str, float]) -> None:
    """Print each contestant's microseconds a span and spans per processor second."""
    size, sent = sum(map(len, rounds[0])), len(rounds[0]) * spans
    packed = sum(len(zstandard.compress(each)) for each in rounds[0])
    print(f"{len(rounds[0])} requests of {spans} spans of {size / sent:.0f} bytes; zstd: {packed / size:.0%} of it")
    for name, each in seconds.items():
        print(f"  {name:<52} {each / sent * 1e6:8.2f} us   {sent / each:10,.0f} spans/CPU s")


def _measured(rounds: list[list[bytes]], contestants: dict[str, tuple[_Child, Send]]) -> dict[str, float]:
    best = dict.fromkeys(contestants, float("inf"))
    for payloads in rounds:
        for name, (child, send) in contestants.items():
            before = child.ask("cpu")
            send(payloads)
            best[name] = min(best[name], child.ask("cpu") - before)
    return best


def _print_profile(name: str, contestant: tuple[_Child, Send], payloads: list[bytes]) -> None:
    """Where the processor time of one more round goes, by library, as Linux's perf sees it."""
    child, send = contestant
    with tempfile.NamedTemporaryFile() as samples:
        watch = subprocess.Popen(["perf", "record", "-q", "-F", "1999", "-p", str(child.pid), "-o", samples.name])
        time.sleep(1)
        send([each + b"\x78\x01" for each in payloads])  # an unknown field more: not the same request again
        watch.send_signal(signal.SIGINT)
        watch.wait()
        told = subprocess.run(
            ["perf", "report", "-i", samples.name, "--sort", "dso"], capture_output=True, text=True, check=True
        ).stdout
    print(f"\nprofile of: {name}")
    print("\n".join([line for line in told.splitlines() if line.strip() and not line.startswith("#")][:10]))


def _contestants(stack: contextlib.ExitStack) -> dict[str, tuple[_Child, Send]]:
    bootstrap = _broker(stack)
    if not bootstrap:
        print("no java: without Kafka")
    every: dict[str, tuple[dict[str, Any], Any]] = {
        "bound: read, decoded by upb, compressed": ({"bound": True}, _send_bare),
        "received over HTTP, not masked, dropped": ({"bootstrap": "", "masking": False}, _send_http),
        "received over gRPC, not masked, dropped": ({"bootstrap": "", "masking": False}, _send_grpc),
        "received over HTTP, not masked, in Kafka": ({"bootstrap": bootstrap, "masking": False}, _send_http),
        "received over HTTP, masked, in Kafka": ({"bootstrap": bootstrap}, _send_http),
        "received over gRPC, masked, in Kafka": ({"bootstrap": bootstrap}, _send_grpc),
    }
    wanted = {name: each for name, each in every.items() if bootstrap or "Kafka" not in name}
    found: dict[str, tuple[_Child, Send]] = {}
    for name, (options, send) in wanted.items():
        child = stack.enter_context(_child_process(options))
        found[name] = child, partial(send, child.grpc_address if send is _send_grpc else child.address)
    return found


def _broker(stack: contextlib.ExitStack) -> str:
    if not shutil.which("java"):
        return ""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "kafka_broker"))
    from broker import KafkaBroker

    return str(stack.enter_context(KafkaBroker()).bootstrap)


# The clients, whose time is not measured


def _send_http(url: str, payloads: list[bytes]) -> None:
    def work(mine: list[bytes]) -> None:
        connection = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=60)
        for each in mine:
            connection.request("POST", "/v1/traces", each, {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
        connection.close()

    _in_parallel(work, payloads)


def _send_grpc(url: str, payloads: list[bytes]) -> None:
    def work(mine: list[bytes]) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(str(urlsplit(url).netloc), options) as channel:
            export = channel.unary_unary(METHOD)
            for each in mine:
                export(each, timeout=60)

    _in_parallel(work, payloads)


def _send_bare(url: str, payloads: list[bytes]) -> None:
    host, _, port = urlsplit(url).netloc.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        for each in payloads:
            connection.sendall(struct.pack("<I", len(each)) + each)
            assert connection.recv(1) == b"k"


def _in_parallel(work: Callable[[list[bytes]], None], payloads: list[bytes]) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, [payloads[each::CLIENTS] for each in range(CLIENTS)]))


# The processes that are measured


class _Child:
    """A process of this file; ``ask`` sends it a word and returns its answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self.pid = process, process.pid
        assert process.stdout
        self.address, self.grpc_address = json.loads(process.stdout.readline())

    def ask(self, word: str) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def _child_process(options: dict[str, Any]) -> Iterator[_Child]:
    command = [sys.executable, __file__, "--serve", json.dumps(options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield _Child(process)
        assert process.stdin
        process.stdin.close()


def _child(options: dict[str, Any]) -> None:
    keep_freed_blocks()
    if options.get("bound"):
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=_bound, args=(listener,), daemon=True).start()
        _say([f"tcp://127.0.0.1:{listener.getsockname()[1]}", ""])
        _answer_questions()
        return
    transport = _transport(options["bootstrap"])
    masking = Masking(enabled=options.get("masking", True))
    server = ReceiverServer(transport, Receiver(http_port=0, grpc_port=0), masking)
    leave_settled_objects_alone()
    _say([server.http_url, server.grpc_url])
    _answer_questions()
    server.close()
    transport.close(10)


def _bound(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb", buffering=2**20) as stream:
            while head := stream.read(4):
                payload = stream.read(struct.unpack("<I", head)[0])
                count(Signal.TRACES, payload)
                lz4_encode(payload)
                connection.sendall(b"k")


def _transport(bootstrap: str) -> Transport:
    if not bootstrap:
        return _Dropping()
    from tidegauge.collectors.kafka import KafkaTransport

    return KafkaTransport(Kafka(bootstrap_servers=(bootstrap,)))


class _Dropping:
    """A transport that has everything at once and keeps nothing."""

    def submit(self, export: Export) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def flush(self, timeout_s: float) -> None: ...

    def close(self, timeout_s: float) -> None: ...


def _answer_questions() -> None:
    for _ in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _say(used.ru_utime + used.ru_stime)


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
