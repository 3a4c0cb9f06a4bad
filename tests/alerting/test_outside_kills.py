"""A process that is killed while it tells Slack, uploads a chart or calls a hook: one thread, one key for a call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from fake_slack import CHANNEL, TOKEN, FakeSlack

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = {"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "window": "30m", "above": 0.05} | WHO
STEPS = ("sending", "answered", "uploading", "")
KILLED = """
    import os, signal, sys
    from datetime import datetime, timedelta
    from tidegauge import hooks
    from tidegauge.alerting import AlertLoop, Rule
    from tidegauge.alerting.ledger import Ledger
    from tidegauge.collectors.schema import migrate
    from tidegauge.config import Alerting
    from tidegauge.store import Store

    path, config, now, rule, step = sys.argv[1:]
    now, write = datetime.fromisoformat(now), Ledger.write
    fresh = not os.path.exists(path)
    store = Store("chdb://" + path)
    if fresh:
        migrate(store)
    said = {"gen_ai.operation.name": "chat", "tidegauge.refused": "true"}
    row = {"ServiceName": f"killed {step}", "SpanAttributes": said}
    for minutes in (1, 45):
        store.insert("otel_traces", [row | {"Timestamp": now - timedelta(minutes=minutes)}] * 100)

    def written(ledger, attempts):
        if step == "answered" and attempts[0].kind == "hook":
            os.kill(os.getpid(), signal.SIGKILL)
        write(ledger, attempts)

    Ledger.write = written
    loop = AlertLoop(store, Alerting.model_validate_json(config), rules=[Rule.model_validate_json(rule)])
    loop.run(now)
    print(loop.flush(20), [each.state.value for each in hooks.read(store, now - timedelta(days=1))])
    loop.close()
    store.close()
"""


def kill(pid: int, *_: Any) -> None:
    os.kill(pid, signal.SIGKILL)


def test_killed_at_every_step_it_says_everything_once_and_calls_each_hook_under_one_key(
    tmp_path: Path, slack: FakeSlack, receiver: Any
) -> None:
    """Each process has an alert of its own, which calls the hook, and goes on with those of the ones before it."""
    bot = {"kind": "slack_bot", "name": "ops", "token": TOKEN, "channel": CHANNEL, "url": slack.url}
    hook = {"name": "h", "kind": "retrain", "match": {"alert": "Refusals"}, "url": receiver.url}
    hook |= {"approval": "none", "by": ["service"]}
    config = json.dumps({"receivers": [bot], "hooks": [hook], "allow_internal_addresses": True})
    for i, step in enumerate(STEPS):
        at = (NOW + timedelta(minutes=i)).isoformat()
        words = [str(tmp_path / "db"), config, at, json.dumps(RULE), step]
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), *words], stdout=subprocess.PIPE)
        slack.after_post = [partial(kill, process.pid)] if step == "sending" else []
        slack.after_upload = [partial(kill, process.pid)] if step == "uploading" else []
        said, _ = process.communicate(timeout=120)
        assert process.returncode == (-signal.SIGKILL if step else 0), step
        assert said == (b"" if step else b"True ['succeeded', 'succeeded', 'succeeded', 'succeeded']\n")

    assert len([each for each in slack.roots if each["text"].startswith("FIRING")]) == 1
    times = Counter(each["metadata"]["event_payload"]["key"] for each in slack.posts)
    assert set(times.values()) == {1}
    told = json.dumps(slack.posts)
    assert all(f"killed {step}: " in told or f"service=killed {step}" in told for step in STEPS)
    (first,) = [each for each in slack.roots if each["text"].startswith("FIRING")]
    assert [each["type"] for each in first["blocks"]].count("image") == 1
    called = {got.json["labels"]["service"]: got.headers["Idempotency-Key"] for got in receiver.got}
    assert set(called) == {f"killed {step}" for step in STEPS}
    assert {got.headers["Idempotency-Key"] for got in receiver.got} == set(called.values())
    assert len(STEPS) < len(receiver.got) <= len(STEPS) + 3
