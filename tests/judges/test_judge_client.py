"""The judge's endpoint over real HTTP: whatever it does, there is a reply to read or one word for why not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from judge_endpoint import Endpoint, completion, good

from tidegauge.config import Judges
from tidegauge.errors import ConfigError
from tidegauge.judges.client import MAX_BODY_BYTES, JudgeUnavailable, OpenAIJudge, same_model
from tidegauge.judges.parser import Reply
from tidegauge.judges.rubric import Prompt

PROMPT = Prompt("be a judge", "judge this")


def ask(endpoint: Endpoint, **over: Any) -> Reply:
    judge = OpenAIJudge(endpoint.settings(**over), retries=0)
    try:
        return judge.ask(PROMPT)
    finally:
        judge.close()


def test_a_question_is_sent_with_temperature_0_in_json_mode_and_its_usage_comes_back(endpoint: Endpoint) -> None:
    reply = ask(endpoint, api_key="k-1")

    sent = endpoint.requests[0]
    assert sent["temperature"] == 0 and sent["response_format"] == {"type": "json_object"} and sent["max_tokens"] > 0
    assert [each["role"] for each in sent["messages"]] == ["system", "user"]
    assert endpoint.headers[0]["authorization"] == "Bearer k-1"
    assert json.loads(reply.text or "") == {"score": 4, "reason": "because"}
    assert (reply.input_tokens, reply.output_tokens, reply.finish_reason) == (800, 200, "stop")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"oops", "server_error"),
        (503, b"", "server_error"),
        (429, b'{"error": {"message": "quota"}}', "quota"),
        (401, b"{}", "unauthorised"),
        (404, b'{"error": {"message": "no such model"}}', "wrong_model"),
        (400, b"{}", "refused_request"),
        (307, b"", "refused_request"),
        (200, b"<html>proxy login</html>", "not_a_completion"),
        (200, b"", "not_a_completion"),
        (200, b"[]", "not_a_completion"),
        (200, b'{"choices": []}', "not_a_completion"),
        (200, b'{"choices": [{"message": "text"}], "model": "judge-1"}', "not_a_completion"),
        (200, good()[:-40], "not_a_completion"),
        (200, b"\xff\xfe\x00", "not_a_completion"),
        (200, completion("x", model="another"), "wrong_model"),
        (200, completion("x", model=""), "wrong_model"),
        (200, b" " * (MAX_BODY_BYTES + 10), "too_long"),
    ],
)
def test_anything_but_a_completion_of_the_asked_model_has_a_reason(
    endpoint: Endpoint, status: int, body: bytes, reason: str
) -> None:
    endpoint.answer = lambda _: (status, body)

    with pytest.raises(JudgeUnavailable) as caught:
        ask(endpoint)

    assert caught.value.reason == reason
    assert len(endpoint.requests) == 1


def test_a_slow_judge_is_given_up(endpoint: Endpoint) -> None:
    endpoint.delay_s = 0.5

    with pytest.raises(JudgeUnavailable) as caught:
        ask(endpoint, timeout_s=0.1)

    assert caught.value.reason == "timeout"


def test_a_judge_that_sends_a_byte_at_a_time_is_given_up_too(endpoint: Endpoint) -> None:
    endpoint.drip_s = 0.02

    with pytest.raises(JudgeUnavailable) as caught:
        ask(endpoint, timeout_s=0.3)

    assert caught.value.reason == "timeout"


def test_a_judge_that_is_not_there_is_unreachable(unused_port: int) -> None:
    gone = Endpoint(url=f"http://127.0.0.1:{unused_port}/v1")

    with pytest.raises(JudgeUnavailable) as caught:
        ask(gone)

    assert caught.value.reason == "unreachable"


def test_a_judge_has_the_time_that_is_configured_and_no_longer(endpoint: Endpoint) -> None:
    ask(endpoint, timeout_s=5)
    ask(endpoint, timeout_s=17)

    assert [each["x-stainless-read-timeout"] for each in endpoint.headers] == ["5.0", "17.0"]


def test_a_hiccup_is_retried_once(endpoint: Endpoint) -> None:
    endpoint.answer = lambda _: (200, good()) if len(endpoint.requests) > 1 else (503, b"")
    judge = OpenAIJudge(endpoint.settings())

    reply = judge.ask(PROMPT)
    judge.close()

    assert reply.text and len(endpoint.requests) == 2


def test_a_refusal_is_told_from_an_answer(endpoint: Endpoint) -> None:
    endpoint.answer = lambda _: (200, completion(None, message={"refusal": "I will not"}))

    assert ask(endpoint).refusal == "I will not"


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("m", "m", True),
        ("m-4", "m-4-2026-01-01", True),
        ("vendor/m-4", "m-4", True),
        ("m-4", "m-4-mini", False),
        ("m-4", "m-40", False),
        ("m-4", "other", False),
    ],
)
def test_only_the_asked_model_or_a_dated_release_of_it_may_answer(asked: str, answered: str, same: bool) -> None:
    assert same_model(asked, answered) is same


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "gopher://x", "http://"])
def test_an_address_that_is_no_http_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        OpenAIJudge(Judges(base_url=url, model="m"))


def test_a_missing_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="model"):
        OpenAIJudge(Judges(base_url="https://judge.example/v1"))
