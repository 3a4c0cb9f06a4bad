"""How long it takes from data that breach a rule to the request that tells Slack: a running service on real time.

    python benchmarks/breach.py [--times 20] [--interval 5] [--json]

`tidegauge up` in this process, embedded, with the SDK before it and a Slack webhook on loopback behind it. Each time a
service that is new sends healthy calls, then, at a moment drawn by lot, failing ones in one request. The clock starts
when that request is acknowledged, which is after its rows are stored, and stops when the webhook is posted to.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import SecretStr

import tidegauge
from tidegauge.app import Service
from tidegauge.config import Alerting, Detectors, Page, Receiver, Settings, SlackReceiver, Telemetry
from tidegauge.demo.inbox import Inbox

ALLOWED_S = 2.0  # beside one interval
HEALTHY, FAILING = 60, 30
TOO_LONG_S = 120.0
RULES = """
groups:
  - name: breach
    rules:
      - {alert: LLM calls fail, metric: llm_error_rate, by: [service], window: 10m, above: 0.05, min_samples: 20,
         severity: page, owner: o, runbook: r, action: a}
"""


@contextmanager
def running(folder: Path, interval_s: float) -> Iterator[tuple[Service, Inbox]]:
    """The service, with an alert round each ``interval_s``, and the webhook that it posts to."""
    (folder / "rules.yaml").write_text(RULES)
    inbox = Inbox()
    slack = SlackReceiver(name="chat", url=SecretStr(f"{inbox.url}/slack"))
    settings = Settings(
        data_dir=folder,
        receiver=Receiver(http_port=0, grpc_port=0),
        page=Page(port=0),
        detectors=Detectors(enabled=False),
        telemetry=Telemetry(enabled=False),
        alerting=Alerting(
            rules=(folder / "rules.yaml",), interval_s=interval_s, receivers=(slack,), allow_internal_addresses=True
        ),
    )
    service = Service(settings)
    try:
        yield service, inbox
    finally:
        service.close()
        inbox.close()


def once(service: Service, inbox: Inbox, name: str, wait_s: float) -> float:
    """Seconds from the acknowledgement to the post, for a service called ``name`` that is healthy for ``wait_s``."""
    client = tidegauge.init(name, service.receiver_url)
    try:
        calls(client, HEALTHY, fail=False)
        time.sleep(wait_s)
        calls(client, FAILING, fail=True)
        return told(inbox, name, time.monotonic())
    finally:
        client.shutdown()


def calls(client: tidegauge.Client, count: int, *, fail: bool) -> None:
    """``count`` LLM calls, stored when this returns."""
    for _ in range(count):
        try:
            with client.llm_call("model-1", provider="openai"):
                if fail:
                    raise TimeoutError
        except TimeoutError:
            continue
    client.flush(60)


def told(inbox: Inbox, name: str, since: float) -> float:
    """Seconds from ``since`` to the first message that names the service."""
    while (waited := time.monotonic() - since) < TOO_LONG_S:
        if any(name in json.dumps(each.body) for each in list(inbox.messages)):
            return waited
        time.sleep(0.01)
    raise TimeoutError(f"no message about {name} within {TOO_LONG_S:.0f} s")


def main() -> int:
    """Print the delays; 1 when one was longer than an interval and ``ALLOWED_S``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two rounds of the alert loop")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of breach")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), asked.interval) as (service, inbox):
        delays = [
            once(service, inbox, f"breach-{i:03d}", float(rng.uniform(0.5, 0.5 + asked.interval)))
            for i in range(asked.times)
        ]
    limit = asked.interval + ALLOWED_S
    found = {
        "times": asked.times,
        "interval_s": asked.interval,
        "limit_s": limit,
        "p50_s": round(float(np.median(delays)), 2),
        "p95_s": round(float(np.quantile(delays, 0.95)), 2),
        "max_s": round(max(delays), 2),
        "within": sum(each <= limit for each in delays),
    }
    text = (
        "breach to Slack, {times} times, a round each {interval_s:g} s: p50 {p50_s} s, p95 {p95_s} s, max {max_s} s; "
        "{within} within {limit_s:g} s"
    )
    sys.stdout.write((json.dumps(found) if asked.json else text.format(**found)) + "\n")
    return 0 if found["within"] == asked.times else 1


if __name__ == "__main__":
    raise SystemExit(main())
