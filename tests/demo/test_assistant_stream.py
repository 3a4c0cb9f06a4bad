"""The assistant's day and a half: the same in every run, and what is told about it is what it did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import tidegauge
from tidegauge.clock import ReplayClock
from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.receiver.server import ReceiverServer
from tidegauge.config import Direct, Receiver
from tidegauge.demo.assistant.app import Assistant, Question
from tidegauge.demo.assistant.corpus import Index, read_documents, resolve
from tidegauge.demo.assistant.extractive import answer
from tidegauge.demo.assistant.guardrails import input_problem, output_problem
from tidegauge.demo.assistant.questions import DETOURS, FORBIDDEN
from tidegauge.demo.assistant.stream import EARLY_TOPICS, LATE_TOPICS, AssistantStream
from tidegauge.store import Store

START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def stream() -> Iterator[AssistantStream]:
    with AssistantStream(7, START) as made:
        yield made


@pytest.fixture
def clock() -> ReplayClock:
    return ReplayClock(START)


@pytest.fixture
def client(store: Store, clock: ReplayClock) -> Iterator[tidegauge.Client]:
    transport = DirectTransport(store, Direct(flush_after_s=0.01))
    receiver = ReceiverServer(transport, Receiver(http_port=0, grpc_port=0))
    made = tidegauge.init("stdlib-assistant", receiver.http_url, clock=clock, capture_content=True)
    yield made
    made.shutdown()
    receiver.close()
    transport.close(5)


def test_the_index_finds_the_docstring_that_a_question_names(stream: AssistantStream) -> None:
    best = stream.index.search("How do I shorten text with textwrap.shorten?")

    assert best[0].document.name == "textwrap.shorten" and best[0].score > best[-1].score > 0
    assert stream.index.search("xyzzy qwertz") == []


def test_the_corpus_is_large_unique_and_the_same_again() -> None:
    documents = read_documents()

    assert documents == read_documents()
    assert len({each.name for each in documents}) == len(documents) > 1_000
    assert {each.topic for each in documents} == EARLY_TOPICS.keys() | LATE_TOPICS.keys()


def test_the_signature_tool_reaches_the_corpus_and_nothing_else() -> None:
    assert callable(resolve("textwrap.TextWrapper.fill"))
    for name in ("os.system", "builtins.eval", "textwrap.__builtins__", "textwrap.nothing", ""):
        with pytest.raises(LookupError):
            resolve(name)


@pytest.mark.parametrize("text", FORBIDDEN)
def test_forbidden_questions_are_stopped(text: str) -> None:
    assert input_problem(text.format(name="json.dumps"))


def test_honest_questions_and_answers_pass(stream: AssistantStream) -> None:
    asked = [each.text for i in range(0, stream.half_hours, 6) for each in stream.questions(i)]

    stopped = [text for text in asked if input_problem(text)]

    assert len(stopped) / len(asked) < 0.05 and not any(map(input_problem, DETOURS))
    assert output_problem("subprocess.run(command, shell=True)") and not output_problem("re.compile(pattern)")


def test_the_same_seed_asks_the_same_and_another_does_not(stream: AssistantStream) -> None:
    again, other = AssistantStream(7, START), AssistantStream(8, START)
    again.index, other.index = stream.index, stream.index

    assert again.questions(5) == stream.questions(5) != other.questions(5)
    with pytest.raises(IndexError, match="0 to 71"):
        stream.questions(72)


def test_halfway_new_topics_come_and_most_traffic_gets_the_new_prompt(stream: AssistantStream) -> None:
    topics = {each.name: each.topic for each in stream.index.documents}
    early, late = ([each for i in half for each in stream.questions(i)] for half in (range(36), range(36, 72)))

    def share(asked: list[Question]) -> float:
        named = [topics[word] for each in asked for word in each.text.replace("?", " ").split() if word in topics]
        return sum(topic in LATE_TOPICS for topic in named) / len(named)

    assert 1_500 < len(early) + len(late) < 3_000
    assert share(early) == 0 and 0.6 < share(late) < 0.8
    assert {each.prompt_version for each in early} == {"v1"}
    assert 0.85 < sum(each.prompt_version == "v2" for each in late) / len(late) < 0.95
    assert all(each.at < stream.shift_at for each in early) and all(each.at >= stream.shift_at for each in late)


def test_what_is_stored_is_what_happened_at_the_simulated_time(
    stream: AssistantStream, client: tidegauge.Client, clock: ReplayClock, store: Store
) -> None:
    before, after = stream.run_half_hour(30, client, clock), stream.run_half_hour(40, client, clock)

    count = {
        row["k"]: row
        for row in store.rows(
            "SELECT kind AS k, count() AS n, countIf(refused) AS refused, countIf(blocked) AS blocked, "
            "countIf(error_type != '') AS errors FROM llm_calls GROUP BY kind"
        )
    }
    requests, answered = before.requests + after.requests, before.answered + after.answered
    assert count["guardrail"]["blocked"] == before.blocked + after.blocked
    assert count["llm"]["refused"] == before.refused + after.refused > 0
    assert count["tool"]["errors"] == before.tool_failures + after.tool_failures
    assert count["llm"]["n"] <= requests and answered > 0.6 * requests and before.failed == after.failed == 0
    assert store.value("SELECT countIf(ParentSpanId = '') FROM otel_traces") == requests
    first, last = store.rows("SELECT min(timestamp) AS a, max(timestamp) AS b FROM llm_calls")[0].values()
    assert START + timedelta(hours=15) <= first < last < START + timedelta(hours=20.5, seconds=1)


def test_each_call_carries_what_the_panels_and_judges_need(
    stream: AssistantStream, client: tidegauge.Client, clock: ReplayClock, store: Store
) -> None:
    stream.run_half_hour(50, client, clock)

    rows = store.rows("SELECT * FROM llm_calls WHERE kind = 'llm'")
    assert {row["prompt_version"] for row in rows} == {"v1", "v2"}
    for row in rows:
        assert row["tenant"] and row["intent"] and row["session"] and row["input"] and row["output"]
        assert row["versions"].keys() == {"base_model", "retrieval_index", "tool_schema", "prompt"}
        assert row["cost_usd"] == pytest.approx((row["input_tokens"] * 0.15 + row["output_tokens"] * 0.6) / 1e6)
        assert 0 < row["time_to_first_token_s"] <= row["duration_s"] < 5
    found = store.rows(
        "SELECT documents, SpanAttributes['tidegauge.retrieval.context'] AS context FROM otel_traces "
        "INNER JOIN llm_calls ON SpanId = span_id WHERE kind = 'retrieval' LIMIT 5"
    )
    for row in found:
        assert all(each["id"] in row["context"] for each in json.loads(row["documents"]))
    assert store.value("SELECT count() FROM feedback WHERE trace_id IN (SELECT trace_id FROM llm_calls)") > 0


def test_a_model_that_is_down_makes_a_failed_request_and_an_error_span(
    client: tidegauge.Client, clock: ReplayClock, store: Store, unused_port: int, stream: AssistantStream
) -> None:
    assistant = Assistant(client, clock, stream.index, f"http://127.0.0.1:{unused_port}/v1")

    reply = assistant.ask(stream.questions(0)[0])
    assistant.close()
    client.flush()

    assert reply.outcome == "failed"
    errors = store.rows("SELECT kind, error_type FROM llm_calls WHERE error_type != ''")
    assert {"kind": "llm", "error_type": "APIConnectionError"} in errors


def test_the_careful_prompt_is_what_makes_the_model_decline_more(stream: AssistantStream) -> None:
    from tidegauge.demo.assistant.app import SYSTEM_PROMPTS, _prompt

    declined: Counter[str] = Counter()
    asked = [each for i in range(0, 72, 4) for each in stream.questions(i) if not input_problem(each.text)]
    for each in asked:
        prompt = _prompt(each.text, stream.index.search(each.text), "")
        for version, system in SYSTEM_PROMPTS.items():
            declined[version] += answer(system, prompt).text.startswith("I'm sorry")

    assert 0.01 < declined["v1"] / len(asked) < 0.06
    assert 0.10 < declined["v2"] / len(asked) < 0.22


def test_an_index_of_own_documents_needs_no_standard_library() -> None:
    documents = read_documents()[:50]

    assert len(Index(documents).documents) == 50
    assert Index(documents).version == Index(documents).version != Index(documents[1:]).version
