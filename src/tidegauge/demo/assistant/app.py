"""The assistant as a team would write it: guardrail, retrieval, tool, model, guardrail; every step instrumented."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import openai

from tidegauge.clock import Clock
from tidegauge.demo.assistant import extractive
from tidegauge.demo.assistant.corpus import Hit, Index, resolve
from tidegauge.demo.assistant.extractive import REFUSAL
from tidegauge.demo.assistant.guardrails import input_problem, output_problem
from tidegauge.demo.assistant.words import coverage, keywords

if TYPE_CHECKING:
    from tidegauge.collectors.sdk import Client

Intent = Literal["howto", "signature", "error", "concept"]
BLOCKED = "This assistant does not take or give that."
NAME = re.compile(r"\b[a-z_][\w]*(?:\.[A-Za-z]\w*)+")
PROMPT_NAME = "stdlib-assistant"
TASK = "You answer questions about Python's standard library. Quote the documentation given and invent nothing."
SYSTEM_PROMPTS = {
    "v1": f"{TASK} Decline when less than 30 % of the question's words occur in it.",
    "v2": f"{TASK} Never guess: decline when less than 50 % of the question's words occur in it.",
}
USD_PER_MILLION_TOKENS = {extractive.MODEL: (0.15, 0.60)}  # prompt, answer; made up, as the model is
TOP_K = 4
GIVES_FEEDBACK = 0.25  # share of users
HELPFUL = 0.4  # share of the question's words that an answer must take up to get a thumb up
TOOL_SCHEMA = "signature/1"


@dataclass(frozen=True, slots=True)
class Question:
    """One request of one user. ``at`` is aware."""

    identifier: str
    at: datetime
    text: str
    intent: Intent
    tenant: str
    session: str
    prompt_version: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the user saw, and what happened on the way."""

    text: str
    trace_id: str
    outcome: Literal["answered", "refused", "blocked", "failed"]
    tool_failed: bool = False


class Assistant:
    """Answers questions with the model at ``base_url``; one HTTP connection is kept for all of them."""

    def __init__(self, client: Client, clock: Clock, index: Index, base_url: str) -> None:
        self._client, self._clock, self._index = client, clock, index
        http = openai.DefaultHttpxClient(trust_env=False)
        self._llm = openai.OpenAI(base_url=base_url, api_key="none", max_retries=1, timeout=20, http_client=http)
        self._versions = {"base_model": extractive.MODEL, "retrieval_index": index.version, "tool_schema": TOOL_SCHEMA}

    def ask(self, question: Question) -> Reply:
        """Answer one question. A model that fails makes a reply with outcome ``failed``, not an exception."""
        versions = self._versions | {"prompt": question.prompt_version}
        with self._client.request(
            "assistant", tenant=question.tenant, intent=question.intent, session=question.session, versions=versions
        ) as root:
            reply = self._answer(question, root.trace_id)
            root.set("tidegauge.demo.outcome", reply.outcome)
        if reply.outcome != "failed":
            self._feedback(question, reply)
        return reply

    def close(self) -> None:
        """Give up the connection."""
        self._llm.close()

    def _answer(self, question: Question, trace_id: str) -> Reply:
        if self._stopped("input", input_problem(question.text)):
            return Reply(BLOCKED, trace_id, "blocked")
        hits = self._retrieve(question.text)
        signature = self._signature(question.text) if question.intent == "signature" else ""
        tool_failed = signature is None
        try:
            text = self._complete(question, hits, signature or "")
        except openai.OpenAIError:
            return Reply("", trace_id, "failed", tool_failed)
        if self._stopped("output", output_problem(text)):
            return Reply(BLOCKED, trace_id, "blocked", tool_failed)
        return Reply(text, trace_id, "refused" if text == REFUSAL else "answered", tool_failed)

    def _stopped(self, side: str, problem: str) -> bool:
        with self._client.guardrail(f"{side}_policy") as check:
            if problem:
                check.blocked()
                check.set("tidegauge.guardrail.reason", problem)
        return bool(problem)

    def _retrieve(self, text: str) -> list[Hit]:
        with self._client.retrieval("stdlib_docstrings", query=text, top_k=TOP_K) as step:
            hits = self._index.search(text, TOP_K)
            step.documents([{"id": hit.document.name, "score": round(hit.score, 4)} for hit in hits])
            step.content("tidegauge.retrieval.context", _documentation(hits))
        return hits

    def _signature(self, text: str) -> str | None:
        """What the tool says; None when it failed, which the answer must do without."""
        name = next(iter(NAME.findall(text)), "")
        try:
            with self._client.tool_call("signature", arguments=name) as tool:
                found = f"{name}{inspect.signature(resolve(name))}"
                tool.output(found)
                return found
        except (LookupError, TypeError, ValueError):  # builtins have none, properties cannot be called
            return None

    def _complete(self, question: Question, hits: Sequence[Hit], signature: str) -> str:
        system, user = SYSTEM_PROMPTS[question.prompt_version], _prompt(question.text, hits, signature)
        with self._client.llm_call(
            extractive.MODEL,
            provider="tidegauge_demo",
            prompt_name=PROMPT_NAME,
            prompt_version=question.prompt_version,
        ) as call:
            call.input(question.text)
            parts: list[str] = []
            for chunk in self._llm.chat.completions.create(
                model=extractive.MODEL,
                messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
                stream=True,
                stream_options={"include_usage": True},
            ):
                if chunk.choices and chunk.choices[0].delta.content:
                    if not parts:
                        call.first_token()
                    parts.append(chunk.choices[0].delta.content)
                if chunk.choices and chunk.choices[0].finish_reason:
                    call.response(chunk.model, chunk.choices[0].finish_reason, chunk.id)
                if chunk.usage:
                    call.usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                    call.cost(price(chunk.usage.prompt_tokens, chunk.usage.completion_tokens))
            text = "".join(parts)
            call.output(text)
            if text == REFUSAL:
                call.refused()
        return text

    def _feedback(self, question: Question, reply: Reply) -> None:
        if lot(f"feedback:{question.identifier}") < GIVES_FEEDBACK:
            liked = reply.outcome == "answered" and coverage(keywords(question.text), keywords(reply.text)) >= HELPFUL
            later = self._clock.now() + timedelta(seconds=20 + 100 * lot(f"delay:{question.identifier}"))
            self._client.log_feedback("thumbs", 1 if liked else -1, trace_id=reply.trace_id, timestamp=later)


def price(input_tokens: int, output_tokens: int, model: str = extractive.MODEL) -> float:
    """US dollars for one call."""
    sent, made = USD_PER_MILLION_TOKENS[model]
    return (input_tokens * sent + output_tokens * made) / 1e6


def lot(text: str) -> float:
    """A number in [0, 1) that depends on ``text`` alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def _documentation(hits: Sequence[Hit]) -> str:
    return "\n".join(f"[{place}] {hit.document.excerpt}" for place, hit in enumerate(hits, 1))


def _prompt(text: str, hits: Sequence[Hit], signature: str) -> str:
    documentation = _documentation(hits) + (f"\n[signature] {signature}" if signature else "")
    return f"Question: {text}\n\nDocumentation:\n{documentation}"
