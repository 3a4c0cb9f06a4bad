"""``demo-extractive-1``: answers by quoting the sentences of its context that share most words with the question.

It is a few lines of deterministic Python and no language model. It obeys one kind of instruction: a system prompt that
says "decline when less than N % ..." makes it decline where fewer of the question's words occur in the context.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass

from tidegauge.demo.assistant.words import coverage, keywords, sentences

MODEL = "demo-extractive-1"
REFUSAL = "I'm sorry, I can't help with that: the documentation that I was given does not cover the question."
RULE = re.compile(r"decline when less than (\d{1,3}) ?%", re.IGNORECASE)
PROMPT = re.compile(r"\AQuestion: (?P<question>.*?)\n\nDocumentation:\n(?P<context>.*)\Z", re.DOTALL)
QUOTED = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's text and why it ended."""

    text: str
    finish_reason: str = "stop"


def answer(system: str, user: str, max_tokens: int | None = None, seed: int = 0) -> Answer:
    """The same answer for the same arguments. ``max_tokens`` counts words and cuts, as models do."""
    prompt = PROMPT.match(user)
    question, context = (prompt["question"], prompt["context"]) if prompt else (user, "")
    rule = RULE.search(system)
    if coverage(keywords(question), keywords(context)) < int(rule[1]) / 100 if rule else not context.strip():
        return Answer(REFUSAL)
    words = " ".join(_best(question, context, seed)).split()
    if max_tokens is not None and len(words) > max_tokens:
        return Answer(" ".join(words[:max_tokens]), "length")
    return Answer(" ".join(words) or REFUSAL)


def _best(question: str, context: str, seed: int) -> list[str]:
    wanted = keywords(question)
    offered = [each for each in dict.fromkeys(sentences(context)) if len(each) > 20]
    ranked = sorted(offered, key=lambda each: (-_fit(wanted, each), _lot(each, seed)))[:QUOTED]
    return sorted(ranked, key=offered.index)


def _fit(wanted: frozenset[str], sentence: str) -> float:
    """Words in common, a long sentence's held against it."""
    has = keywords(sentence)
    return len(wanted & has) / math.sqrt(3 + len(has))


def _lot(sentence: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{sentence}".encode(), digest_size=8).digest()
