"""Faults put into the assistant, one at a time, and what the diagnosis makes of its spans: see docs/diagnosis.md.

    python -m tidegauge.demo.assistant.diagnose [--fault empty:globex ...] [--seed 3] [--hours 30] [--rate 30]

Prints Markdown. Each fault has a service of its own name in one database; the diagnosis is told neither the fault nor
when it began.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import tidegauge
from tidegauge.clock import ReplayClock
from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.receiver.server import ReceiverServer
from tidegauge.collectors.schema import migrate
from tidegauge.config import Direct, Receiver
from tidegauge.demo.assistant.faults import (
    MIXED,
    OTHER_INDEX,
    OTHER_MODEL,
    Fault,
    FaultyAssistant,
    SteadyStream,
    parse_fault,
)
from tidegauge.demo.flights.tables import markdown
from tidegauge.detectors.diagnose import Asked, Cause, Diagnosis, diagnose
from tidegauge.detectors.diagnose.verdict import part_text
from tidegauge.store import Store

START = datetime(2026, 1, 5, tzinfo=UTC)
EXAMPLES = (
    *("prompt", "topics", "empty", "empty:globex", "index", "slow", "slow:acme", "errors", "errors:globex"),
    *("tool", "model", "blocks", "mix"),
)
RIGHT = {
    "prompt": ("new prompt", "v2", "prompt=v2"),
    "topics": ("topics moved", "", ""),
    "empty": ("retrieval empty", "", ""),
    "index": ("new retrieval_index", OTHER_INDEX, f"retrieval_index={OTHER_INDEX}"),
    "slow": ("provider slow", "", ""),
    "errors": ("provider errors", "RateLimitError", ""),
    "tool": ("tool fails", "signature", ""),
    "model": ("new model", OTHER_MODEL, f"model={OTHER_MODEL}"),
    "blocks": ("blocks up", "input_policy", ""),
    "mix": ("part grew", "", f"tenant={MIXED}"),
    "stop": ("volume drop", "", ""),
}
"""What each kind is called, on what, and in which part; the tenant's, or all traffic, where none is named."""
HEAD = ("fault", "place", "called first", "in", "explains", "began", "CPU s")


class Outcome(NamedTuple):
    """The place of the true cause, or None; the diagnosis and the CPU seconds that it took."""

    place: int | None
    found: Diagnosis
    seconds: float


def play(store: Store, stream: SteadyStream, fault: Fault | None, service: str) -> datetime:
    """Send the whole stream as the spans of ``service``; returns its end."""
    transport = DirectTransport(store, Direct(flush_after_s=0.05))
    receiver = ReceiverServer(transport, Receiver(http_port=0, grpc_port=0))
    clock = ReplayClock(stream.since, frozen=True)
    client = tidegauge.init(service, receiver.http_url, clock=clock, capture_content=True, on_full="wait")
    stream.fault = fault
    assistant = FaultyAssistant(client, clock, stream.index, fault)
    try:
        for i in range(stream.half_hours):
            for question in stream.questions(i):
                clock.set(question.at)
                assistant.ask(question)
        client.flush(60)
    finally:
        assistant.close()
        client.shutdown()
        receiver.close()
        transport.close(5)
    return stream.end


def examine(store: Store, stream: SteadyStream, text: str) -> Outcome:
    """Play one fault (or ``clean``), and diagnose."""
    fault = parse_fault(text, stream.since) if text != "clean" else None
    service = f"assistant-{text.replace(':', '-')}"
    end = play(store, stream, fault, service)
    begun = time.process_time()
    found = diagnose(store, Asked(service, end))
    seconds = time.process_time() - begun
    right = [at for at, each in enumerate(found.causes, 1) if fault is not None and is_true(fault, each)]
    return Outcome(right[0] if right else None, found, seconds)


def is_true(fault: Fault, cause: Cause) -> bool:
    """Whether a cause names what the fault did, on what, and for whom."""
    name, subject, part = RIGHT[fault.kind]
    part = part or (f"tenant={fault.tenant}" if fault.tenant else "all traffic")
    finding = cause.finding
    return (finding.cause, part_text(finding.part)) == (name, part) and subject in ("", finding.subject)


def report(store: Store, stream: SteadyStream, faults: Sequence[str]) -> Iterator[str]:
    """The table, line by line."""
    yield markdown(HEAD, [])
    first = 0
    for text in faults:
        found = examine(store, stream, text)
        first += found.place == 1
        yield f"| {' | '.join(_line(text, stream, found))} |\n"
    yield f"\nTrue cause first: {first} of {len([each for each in faults if each != 'clean'])}.\n"


def _line(text: str, stream: SteadyStream, found: Outcome) -> tuple[str, ...]:
    causes, seconds = found.found.causes, f"{found.seconds:.1f}"
    if not causes:
        return text, "-", "nothing is wrong", "-", "-", "-", seconds
    finding = causes[0].finding
    said = " ".join(filter(None, (finding.cause, finding.subject, "" if found.found.wrong else "(suspect)")))
    began = f"{(found.found.since - stream.since) / timedelta(hours=1):+.1f} h"
    place = f"{found.place} of {len(causes)}" if found.place else "-"
    return text, place, said, part_text(finding.part), f"{causes[0].share:.0%}", began, seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="append", help="kind[:TENANT]; given again for more; clean for none")
    parser.add_argument("--seed", type=int, default=3, help="of the questions")
    parser.add_argument("--hours", type=int, default=30, help="of traffic, half of it before the fault")
    parser.add_argument("--rate", type=int, default=30, help="questions an hour")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, SteadyStream(asked.seed, START, asked.hours, asked.rate) as stream:
        store = Store(f"chdb://{folder}")
        migrate(store)
        for part in report(store, stream, asked.fault or ["clean", *EXAMPLES]):
            sys.stdout.write(part)
            sys.stdout.flush()
        store.close()


if __name__ == "__main__":
    main()
