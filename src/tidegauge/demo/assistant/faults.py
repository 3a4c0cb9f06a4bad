"""Faults put into the assistant on request, each with its truth; the default stream has none of them.

A fault is written ``kind[:TENANT]``, such as ``empty:globex``; it begins in the middle of the stream and stays.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import openai

from tidegauge.clock import ReplayClock
from tidegauge.demo.assistant import extractive
from tidegauge.demo.assistant.app import Assistant, Question, Reply, lot
from tidegauge.demo.assistant.corpus import Hit, Index
from tidegauge.demo.assistant.stream import HALF_HOUR, TENANTS, AssistantStream
from tidegauge.demo.assistant.words import tokens
from tidegauge.errors import ConfigError

if TYPE_CHECKING:
    from tidegauge.collectors.sdk import Client

KINDS: Mapping[str, str] = {
    "prompt": "a careful prompt that declines more, on nine in ten questions",
    "topics": "users ask about other topics",
    "empty": "the retriever finds nothing",
    "index": "a new index that finds other documents than those asked for",
    "slow": "the provider takes three times as long",
    "errors": "the provider answers one request in four with 'too many requests'",
    "tool": "the signature tool always fails",
    "model": "another model answers, which needs twice the tokens for the same",
    "blocks": "the guardrail blocks one question in six",
    "mix": "one tenant asks five times as much",
    "stop": "nobody can ask any more",
}
OF_ONE_TENANT = ("empty", "slow", "errors", "blocks")
OTHER_MODEL, OTHER_INDEX = "demo-extractive-2", "rebuilt"
MIXED = "initech"
ERROR_SHARE, BLOCK_SHARE, PROMPT_SHARE, TIMES_SLOWER, TIMES_TOKENS, TIMES_ASKED = 0.25, 1 / 6, 0.9, 3.0, 2, 5
FIRST_TOKEN_S, PER_WORD_S = 0.35, 0.012


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, when it begins, and for which tenant alone; an empty one is all."""

    kind: str
    since: datetime
    tenant: str = ""

    def touches(self, question: Question) -> bool:
        """Whether it is about this question."""
        return question.at >= self.since and self.tenant in ("", question.tenant)


def parse_fault(text: str, since: datetime) -> Fault:
    """Read ``kind[:TENANT]``.

    Raises:
        ConfigError: there is no such kind or tenant, or the kind is never one tenant's alone.
    """
    kind, _, tenant = text.partition(":")
    if kind not in KINDS:
        raise ConfigError(f"fault {text!r}", [f"{kind!r} is none of {', '.join(KINDS)}"])
    if tenant and (kind not in OF_ONE_TENANT or tenant not in TENANTS):
        said = f"only {', '.join(OF_ONE_TENANT)} can be one tenant's, which is one of {', '.join(TENANTS)}"
        raise ConfigError(f"fault {text!r}", [said])
    return Fault(kind, since, tenant)


class SteadyStream(AssistantStream):
    """The questions of ``AssistantStream`` without its own change halfway, and with a fault's instead.

    Args:
        calm_hours: How long before faults begin; half of ``hours`` unless given.
    """

    fault: Fault | None = None

    def __init__(
        self, seed: int, start: datetime, hours: int = 36, per_hour: int = 80, calm_hours: float | None = None
    ) -> None:
        super().__init__(seed, start, hours, per_hour)
        self._calm = timedelta(hours=calm_hours) if calm_hours else self.half_hours // 2 * HALF_HOUR

    @property
    def since(self) -> datetime:
        """When faults begin."""
        return self._start + self._calm

    @property
    def end(self) -> datetime:
        """When the questions end."""
        return self._start + self.half_hours * HALF_HOUR

    @property
    def shift_at(self) -> datetime:
        """Topics change with the fault of that name, else never."""
        return self.since if self.fault and self.fault.kind == "topics" else self._start + timedelta(days=400)

    def questions(self, i: int) -> list[Question]:
        """Those of half hour ``i``, as the fault has them."""
        found: list[Question] = []
        for each in super().questions(i):
            asked = replace(each, prompt_version="v1")
            kind = self.fault.kind if self.fault and self.fault.touches(asked) else ""
            if kind == "stop":
                break
            if kind == "prompt" and lot(f"prompt:{asked.identifier}") < PROMPT_SHARE:
                asked = replace(asked, prompt_version="v2")
            found.append(asked)
            again = TIMES_ASKED - 1 if kind == "mix" and asked.tenant == MIXED else 0
            found += [replace(asked, identifier=f"{asked.identifier}.{n}") for n in range(again)]
        return found


class FaultyAssistant(Assistant):
    """The assistant with its model in this process, which takes as long as a provider would on the replay's clock."""

    def __init__(self, client: Client, clock: ReplayClock, index: Index, fault: Fault | None) -> None:
        super().__init__(client, clock, index, "http://127.0.0.1:9/v1")
        self._llm.close()
        self._fault, self._kind = fault, ""
        self._plain = dict(self._versions)
        completions = SimpleNamespace(create=self._create)
        self._llm = cast(
            openai.OpenAI, SimpleNamespace(chat=SimpleNamespace(completions=completions), close=lambda: None)
        )
        self._at = clock
        self._rng = random.Random("faults")  # noqa: S311 - a replay, not a secret

    def ask(self, question: Question) -> Reply:
        """As the assistant does, with what the fault changes for this question."""
        self._kind = self._fault.kind if self._fault and self._fault.touches(question) else ""
        new = {"index": {"retrieval_index": OTHER_INDEX}, "model": {"base_model": OTHER_MODEL}}.get(self._kind, {})
        self._versions = {**self._plain, **new}
        return super().ask(question)

    def _stopped(self, side: str, problem: str) -> bool:
        odd = self._kind == "blocks" and side == "input" and self._rng.random() < BLOCK_SHARE
        return super()._stopped(side, "too_careful" if odd else problem)

    def _retrieve(self, text: str) -> list[Hit]:
        index, kind = self._index, self._kind
        if kind in ("empty", "index"):
            self._index = cast(Index, SimpleNamespace(search=_nothing if kind == "empty" else _others(index)))
        try:
            return super()._retrieve(text)
        finally:
            self._index = index

    def _signature(self, text: str) -> str | None:
        return super()._signature("" if self._kind == "tool" else text)

    def _create(self, *, messages: list[dict[str, str]], **_: Any) -> Iterator[Any]:
        """Chunks as a provider streams them; time passes on the replay's clock."""
        slower = (TIMES_SLOWER if self._kind == "slow" else 1.0) * self._rng.lognormvariate(0, 0.3)
        if self._kind == "errors" and self._rng.random() < ERROR_SHARE:
            self._pass(0.05)
            answer = httpx.Response(429, request=httpx.Request("POST", "http://127.0.0.1:9/v1"))
            raise openai.RateLimitError("too many requests", response=cast(Any, answer), body=None)
        system, user = messages[0]["content"], messages[-1]["content"]
        made = extractive.answer(system, user)
        self._pass(FIRST_TOKEN_S * slower)
        model = OTHER_MODEL if self._kind == "model" else extractive.MODEL
        times = TIMES_TOKENS if self._kind == "model" else 1
        yield _chunk(model, made.text)
        self._pass(PER_WORD_S * slower * len(made.text.split()))
        usage = SimpleNamespace(
            prompt_tokens=times * tokens(system + user), completion_tokens=times * tokens(made.text)
        )
        yield _chunk(model, None, made.finish_reason, usage)

    def _pass(self, seconds: float) -> None:
        self._at.advance(timedelta(seconds=seconds))


def _chunk(model: str, text: str | None, reason: str | None = None, usage: Any = None) -> SimpleNamespace:
    choice = SimpleNamespace(delta=SimpleNamespace(content=text), finish_reason=reason)
    return SimpleNamespace(choices=[choice], model=model, id="chatcmpl-0", usage=usage)


def _nothing(query: str, top_k: int) -> list[Hit]:
    return []


def _others(index: Index) -> Any:
    """What a search for only a part of the question finds: the letters of its words are lost."""
    return lambda query, top_k: [
        replace(hit, score=hit.score / 2) for hit in index.search(" ".join(query.split()[-3:]), top_k + 2)[2:]
    ]
