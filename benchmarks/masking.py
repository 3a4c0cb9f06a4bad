"""What masking costs, and what it finds: CPU time per span with none to all of the spans hit, and both corpora.

    python benchmarks/masking.py [--json]

Beside it stands the cost of decoding the same requests with upb, the fastest thing that opens a request at all.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests/collectors")]

import genai_spans  # noqa: E402
import masking_corpus  # noqa: E402
from race import race  # noqa: E402

from tidegauge.collectors.masking import Masker  # noqa: E402
from tidegauge.config import Masking  # noqa: E402
from tidegauge.memory import keep_freed_blocks  # noqa: E402
from tidegauge.model import Signal  # noqa: E402

SPANS, REQUESTS, ROUNDS = 500, 4, 25
HOSTILE = {
    "nothing but e-mail addresses": "a@b.co ",
    "nothing but card numbers": "4111 1111 1111 1111 ",
    "nothing but password=": "password=",
    "nothing but @": "@",
    "nothing but digits": "4",
    "nothing but opened quotations": 'token="',
    "nothing but key headers": "-----BEGIN PRIVATE KEY-----",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    keep_freed_blocks()  # as the processes that mask do
    found = {"microseconds per span": speed(), "seconds per megabyte": hostile(), "corpora": corpora()}
    print(json.dumps(found, indent=2) if parser.parse_args().json else _text(found))


def speed() -> dict[str, float]:
    """Microseconds per span of about 2 kB, the least of the rounds, all measured in turn."""
    masker, rng = Masker(Masking()), random.Random(1)
    clean = genai_spans.requests(REQUESTS, SPANS)
    hit = {share: [_with_mail(each, share, rng) for each in clean] for share in (0.01, 0.1, 1.0)}
    tasks: dict[str, Callable[[], object]] = {
        "decoding with upb": lambda: [ExportTraceServiceRequest.FromString(each) for each in clean],
        "masking, none hit": lambda: [masker.mask(Signal.TRACES, each) for each in clean],
    } | {
        f"masking, {share:.0%} hit": lambda requests=requests: [masker.mask(Signal.TRACES, each) for each in requests]
        for share, requests in hit.items()
    }
    return {name: 1e6 * seconds / (SPANS * REQUESTS) for name, seconds in race(ROUNDS, tasks).items()}


def hostile(size: int = 2**20) -> dict[str, float]:
    """Seconds for a megabyte of one attribute of the worst texts."""
    masker = Masker(Masking(max_attribute_bytes=2 * size))
    found = {}
    for name, part in HOSTILE.items():
        request = ExportTraceServiceRequest()
        pair = request.resource_spans.add().scope_spans.add().spans.add().attributes.add(key="x")
        pair.value.string_value = part * (size // len(part))
        payload = request.SerializeToString()
        found[name] = race(2, {"": partial(masker.mask, Signal.TRACES, payload)})[""]
    return found


def corpora() -> dict[str, Any]:
    """How many of the true ones are found, and of the look-alikes left alone."""
    masker = Masker(Masking())
    true, alike = masking_corpus.secrets(), masking_corpus.LOOK_ALIKES
    missed = [each.text for each in true if each.secret in masker.mask_text(each.text)]
    changed = [each for each in alike if masker.mask_text(each) != each]
    return {
        "true, found": f"{len(true) - len(missed)} of {len(true)}",
        "look-alikes, left alone": f"{len(alike) - len(changed)} of {len(alike)}",
        "missed": missed,
        "false alarms": changed,
    }


def _with_mail(payload: bytes, share: float, rng: random.Random) -> bytes:
    request = ExportTraceServiceRequest.FromString(payload)
    for span in request.resource_spans[0].scope_spans[0].spans:
        if rng.random() < share:
            text = next(each for each in span.attributes if each.key == "gen_ai.input.messages").value
            text.string_value = text.string_value.replace(" the ", " jane.doe@example.com ", 1)
    return request.SerializeToString()


def _text(found: dict[str, Any]) -> str:
    lines: list[str] = []
    for title, rows in found.items():
        lines += ["", f"| {title} | |", "|---|---|"]
        lines += [f"| {name} | {_shown(value)} |" for name, value in rows.items()]
    return "\n".join(lines)


def _shown(value: float | str | Sequence[str]) -> str:
    return f"{value:.3f}" if isinstance(value, float) else value if isinstance(value, str) else ", ".join(value) or "-"


if __name__ == "__main__":
    main()
