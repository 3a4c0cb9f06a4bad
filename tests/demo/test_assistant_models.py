"""The demo's models: deterministic, open about what they are, and spoken to as any OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tidegauge.demo.assistant import extractive, overlap
from tidegauge.demo.assistant.extractive import REFUSAL
from tidegauge.demo.assistant.server import ModelServer
from tidegauge.demo.assistant.words import coverage, keywords, tokens
from tidegauge.judges.parser import Reply, Verdict, parse
from tidegauge.judges.rubric import Material, load

CONTEXT = (
    "[1] textwrap.fill: Fill a single paragraph of text, returning a new string. Reformat the lines to fit in width "
    "columns.\n[2] bisect.bisect: Return the index where to insert item x in list a, assuming a is sorted."
)
ASKED = f"Question: How do I fill a paragraph of text?\n\nDocumentation:\n{CONTEXT}"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
def llm(server: ModelServer) -> Iterator[openai.OpenAI]:
    client = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    yield client
    client.close()


def test_the_answer_quotes_the_sentence_that_the_question_is_about() -> None:
    found = extractive.answer("Quote.", ASKED)

    assert "Fill a single paragraph of text" in found.text
    assert found == extractive.answer("Quote.", ASKED)


def test_the_system_prompt_decides_how_readily_the_model_declines() -> None:
    asked = ASKED.replace("a paragraph of text", "a paragraph of text in my Django cluster on Kubernetes")

    lenient = extractive.answer("Decline when less than 30 % of the words occur.", asked).text
    careful = extractive.answer("Decline when less than 80 % of the words occur.", asked).text

    assert lenient != REFUSAL and careful == REFUSAL


def test_a_length_limit_cuts_and_says_so() -> None:
    found = extractive.answer("Quote.", ASKED, max_tokens=4)

    assert len(found.text.split()) == 4 and found.finish_reason == "length"


@pytest.mark.parametrize(
    ("answer", "faithful", "relevant"),
    [
        ("Fill a single paragraph of text, returning a new string.", 1.0, 1.0),
        ("Return the index where to insert item x.", 1.0, 0.0),
        ("Bananas contain potassium and magnesium.", 0.0, 0.0),
        (REFUSAL, 1.0, 0.0),
    ],
)
def test_the_overlap_judge_scores_what_the_rubrics_ask(answer: str, faithful: float, relevant: float) -> None:
    material = Material("How do I fill a paragraph of text?", answer, CONTEXT)

    for name, expected in (("faithfulness", faithful), ("relevance", relevant)):
        prompt = load(name).render(material)
        made = overlap.verdict(prompt.system, prompt.user)
        verdict = parse(Reply(made.text, made.finish_reason, overlap.MODEL), load(name))
        assert isinstance(verdict, Verdict) and verdict.score == pytest.approx(expected, abs=0.26)


def test_the_overlap_judge_cannot_tell_what_it_cannot_find() -> None:
    assert '"score": null' in overlap.verdict("", "Is this good?").text


def test_the_server_answers_an_openai_client_whole_and_in_pieces_alike(llm: openai.OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Quote."},
        {"role": "user", "content": ASKED},
    ]

    whole = llm.chat.completions.create(model=extractive.MODEL, messages=messages)
    pieces = list(
        llm.chat.completions.create(
            model=extractive.MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )

    text = "".join(each.choices[0].delta.content or "" for each in pieces if each.choices)
    assert text == whole.choices[0].message.content
    assert pieces[-1].usage == whole.usage and whole.usage
    assert whole.usage.prompt_tokens == tokens("Quote." + ASKED)
    assert {each.id for each in pieces} == {whole.id}


def test_the_server_lists_its_models_and_refuses_others(server: ModelServer, llm: openai.OpenAI) -> None:
    assert [each.id for each in llm.models.list()] == [extractive.MODEL, overlap.MODEL]
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-9'"):
        llm.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hello"}])
    for body in (b"", b"[]", b"{}", b'{"model": 1, "messages": [1]}', b"\xff"):
        assert httpx.post(f"{server.base_url}/chat/completions", content=body).status_code == 400


def test_keywords_are_what_is_left_without_common_words_and_plurals() -> None:
    assert keywords("What are the parameters of os.path.join_all?") == {"parameter", "os", "path", "join", "all"} - {
        "all"
    }
    assert coverage(frozenset(), frozenset()) == 1.0 and coverage(frozenset("ab"), frozenset("b")) == 0.5
