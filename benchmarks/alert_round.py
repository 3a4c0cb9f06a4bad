"""What one round of the alert loop costs: 5,000 rules over 20 slices each, in CPU seconds and in queries.

    python benchmarks/alert_round.py [--rules 5000] [--slices 20] [--rounds 5] [--json]

Rules ask for ten metrics over five windows, by one or two labels, with thresholds of their own, so that many ask the
same. Beside a round stands a round whose answers are given, which is what evaluating alone costs. Nothing is notified:
thresholds are out of reach, but for one rule in a hundred, which fires in every slice.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tidegauge.alerting import AlertLoop, Rule
from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.readings import Observer
from tidegauge.alerting.states import AlertState
from tidegauge.collectors.schema import migrate
from tidegauge.config import Alerting
from tidegauge.store import Store

sys.path[:0] = [str(Path(__file__).parents[1] / "tests/common")]

from genai_calls import insert_calls  # noqa: E402

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
RATES = ("refusal_rate", "llm_error_rate")
OTHERS = ("latency_p50", "latency_p95", "latency_p99", "ttft_p95", "tokens_per_minute", "cost_usd", "llm_requests")
METRICS = (*RATES, *OTHERS, "cost_per_request")
WINDOWS = ("5m", "10m", "15m", "30m", "1h")
WHO = {"severity": "page", "owner": "o", "runbook": "r", "action": "a"}


def rules(count: int) -> list[Rule]:
    """Thresholds apart, questions in common; every hundredth rule fires."""
    found = []
    for i in range(count):
        metric = METRICS[i % len(METRICS)]
        by = ["service"] if i // 50 % 2 else ["service", "model"]
        limit = -1.0 if i % 100 == 0 else (0.9 if metric in RATES else 1e12) + i / 1e6
        values = {"alert": f"rule {i}", "metric": metric, "by": by, "window": WINDOWS[i // len(METRICS) % 5]}
        found.append(Rule.model_validate({**values, "above": limit, "for": "1m", **WHO}))
    return found


def fill(store: Store, slices: int, rng: np.random.Generator) -> None:
    """An hour of one call a second and slice."""
    for minute in range(60):
        at = NOW - timedelta(minutes=60 - minute)
        rows: list[dict[str, Any]] = [
            {
                "timestamp": at,
                "trace_id": f"{minute}-{service}-{i}",
                "service": f"s{service:02}",
                "model": "m",
                "kind": "llm",
                "refused": bool(rng.random() < 0.02),
                "duration_s": float(rng.exponential()),
                "cost_usd": 0.001,
            }
            for service in range(slices)
            for i in range(60)
        ]
        insert_calls(store, rows)


def cpu() -> float:
    """Seconds of all threads of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    begun, wall = cpu(), time.perf_counter()
    work()
    return cpu() - begun, time.perf_counter() - wall


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=5000)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        result = run(Store(f"chdb://{folder}"), given.rules, given.slices, given.rounds)
    if given.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write("".join(f"{name:<44} {value:,.4g}\n" for name, value in result.items()))


def run(store: Store, count: int, slices: int, repeat: int) -> dict[str, float]:
    """Minima over ``repeat`` rounds, a minute apart, after one that starts everything."""
    migrate(store)
    fill(store, slices, np.random.default_rng(1))
    watched, asked = rules(count), [0]
    rows = store.rows

    def counted(sql: str, params: Any = None) -> Any:
        asked[0] += 1
        return rows(sql, params)

    store.rows = counted  # type: ignore[method-assign]
    loop = AlertLoop(store, Alerting(), rules=watched)
    first = measured(lambda: loop.run(NOW))
    observer = Observer(store, NOW)
    readings = {rule.alert: observer.readings(rule) for rule in watched}
    states: dict[str, AlertState] = {}
    full, pure, queries = [], [], 0
    for i in range(1, repeat + 1):
        asked[0], now = 0, NOW + timedelta(seconds=i)
        full.append(measured(lambda now=now: loop.run(now)))  # type: ignore[misc]
        queries = asked[0]
        states, _ = evaluate(watched, readings, states, now)
        pure.append(measured(lambda now=now, states=states: evaluate(watched, readings, states, now)))  # type: ignore[misc]
    loop.close()
    return {
        "rules": count,
        "series": len(states),
        "queries in a round": queries,
        "first round, CPU seconds": first[0],
        "round, CPU seconds": min(each for each, _ in full),
        "round, wall seconds": min(each for _, each in full),
        "of it evaluating, CPU seconds": min(each for each, _ in pure),
    }


if __name__ == "__main__":
    main()
