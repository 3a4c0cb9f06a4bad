"""Processor time of receiving beside the official Collector: the same GenAI spans of 2 kB, to nowhere and to Kafka.

    make collector && .venv/bin/python benchmarks/collector_peer.py [--rounds 8] [--requests 60] [--spans 500]

Each is a process of its own, and its own CPU seconds are measured: user and system, all threads; minima of rounds in
which all take turns. To Kafka both answer when all in-sync replicas have the record (acks=all, idempotent, lz4): the
official Collector without its queue, which would answer before. Without its binary, or without java, it says so and
measures nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import receive
from genai_spans import requests

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path += [str(TESTS / "collectors"), str(TESTS / "kafka_broker")]

from official_collector import OfficialCollector, missing, otlp_receiver, pipelines  # noqa: E402

from tidegauge.collectors.kafka import create_topics  # noqa: E402
from tidegauge.config import Kafka  # noqa: E402

PROTOCOLS = {"HTTP": receive._send_http, "gRPC": receive._send_grpc}


@dataclass(frozen=True, slots=True)
class Contestant:
    """A process: how it is sent requests, and what it has used."""

    send: Callable[[list[bytes]], object]
    cpu_s: Callable[[], float]
    pid: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--spans", type=int, default=500)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        bootstrap = "" if missing() else receive._broker(stack)
        if not bootstrap:
            print(missing() or "no java: the official Collector was not compared")
            return
        create_topics(Kafka(bootstrap_servers=(bootstrap,)))
        contestants = {**_ours(stack, bootstrap), **_theirs(stack, bootstrap)}
        best = dict.fromkeys(contestants, float("inf"))
        for number in range(given.rounds):
            payloads = requests(given.requests, given.spans, first=1 + number * given.requests)
            for name, each in contestants.items():
                before = each.cpu_s()
                each.send(payloads)
                best[name] = min(best[name], each.cpu_s() - before)
        _report(contestants, best, given.requests * given.spans)


def _ours(stack: contextlib.ExitStack, bootstrap: str) -> dict[str, Contestant]:
    kinds: dict[str, dict[str, Any]] = {
        "nowhere": {"bootstrap": "", "masking": False},
        "Kafka, not masked": {"bootstrap": bootstrap, "masking": False},
        "Kafka, masked": {"bootstrap": bootstrap},
    }
    found = {}
    for protocol, send in PROTOCOLS.items():
        for kind, options in kinds.items():  # a process each, because one knows a request again that it had
            child = stack.enter_context(receive._child_process(options))
            url = child.address if protocol == "HTTP" else child.grpc_address
            found[f"Tidegauge, {protocol} to {kind}"] = Contestant(
                partial(send, url), partial(child.ask, "cpu"), child.pid
            )
    return found


def _theirs(stack: contextlib.ExitStack, bootstrap: str) -> dict[str, Contestant]:
    kafka = {
        "brokers": [bootstrap],
        "traces": {"topic": "otlp_spans", "encoding": "otlp_proto"},
        "producer": {"required_acks": -1, "compression": "lz4", "max_message_bytes": 2**26},
        "sending_queue": {"enabled": False},
    }
    exporters: dict[str, dict[str, Any]] = {"nowhere": {"nop": None}, "Kafka": {"kafka": kafka}}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    found = {}
    for protocol, send in PROTOCOLS.items():
        for kind, exporter in exporters.items():
            config = pipelines(otlp_receiver(), exporter, "traces")
            each = stack.enter_context(OfficialCollector(config, folder))
            url = each.http_url if protocol == "HTTP" else each.grpc_url
            used = partial(OfficialCollector.cpu_s.fget, each)  # type: ignore[attr-defined]
            found[f"official Collector, {protocol} to {kind}"] = Contestant(partial(send, url), used, each.process.pid)
    return found


def _report(contestants: dict[str, Contestant], seconds: dict[str, float], spans: int) -> None:
    for name, each in contestants.items():
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{each.pid}/status").read_text())
        print(
            f"  {name:<42} {seconds[name] / spans * 1e6:8.2f} us   {spans / seconds[name]:10,.0f} spans/CPU s"
            f"   {int(peak[1]) / 1024 if peak else 0:7.0f} MiB at most"
        )


if __name__ == "__main__":
    main()
