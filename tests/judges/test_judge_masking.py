"""Rows that an official exporter wrote into ClickHouse itself have not been through the receiver."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from judge_endpoint import Endpoint, Seed

from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.masking import Masker
from tidegauge.config import Masking
from tidegauge.judges.client import OpenAIJudge
from tidegauge.judges.runner import JudgeLoop
from tidegauge.store import Store

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_what_a_judge_is_sent_is_masked(
    store: Store, transport: DirectTransport, endpoint: Endpoint, calls: Seed
) -> None:
    calls(
        1, NOW - timedelta(minutes=30), question="I am jane@example.com", answer="password=swordfish", context="a@b.co"
    )
    settings = endpoint.settings()
    loop = JudgeLoop(store, transport, settings, OpenAIJudge(settings, retries=0), Masker(Masking()).mask_text)
    try:
        assert loop.run(NOW).judged == 1
    finally:
        loop.close()
    sent = json.dumps(endpoint.requests)
    assert all(marker in sent for marker in ("[email]", "[secret]"))
    assert not any(secret in sent for secret in ("jane", "swordfish", "a@b.co"))
