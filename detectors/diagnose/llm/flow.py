"""What follows from what in an LLM service, for the ranking of causes; names of what can change begin with ``llm.``."""

from __future__ import annotations

from collections.abc import Mapping

QUALITY = frozenset({"llm.quality", "llm.feedback"})
ANSWER = QUALITY | {
    f"llm.{each}" for each in ("input_tokens", "output_tokens", "price", "cost", "latency", "truncated")
}
LLM_FLOW: Mapping[str, frozenset[str]] = {
    "llm.topic": ANSWER | {"llm.retrieval", "llm.tool", "llm.refused", "llm.blocked"},
    "llm.retrieval": ANSWER | {"llm.refused", "llm.blocked"},
    "llm.tool": ANSWER | {"llm.refused"},
    "llm.failed": ANSWER | {"llm.refused", "llm.blocked"},
    "llm.blocked": ANSWER | {"llm.refused", "llm.retrieval", "llm.tool", "llm.failed"},
    "llm.refused": ANSWER,
    "llm.price": frozenset({"llm.cost"}),
    "llm.input_tokens": frozenset({"llm.cost", "llm.latency"}),
    "llm.output_tokens": frozenset({"llm.cost", "llm.latency"}),
    "llm.truncated": QUALITY,
    "llm.quality": QUALITY,
    **{f"llm.{end}": frozenset({f"llm.{end}"}) for end in ("latency", "cost", "feedback", "usage")},
}
LLM_CLOSENESS: Mapping[str, int] = {
    "prompts longer": 1,
    "prompts shorter": 1,
    "answers longer": 1,
    "answers shorter": 1,
    "provider slow": 2,
    "first token late": 1,
    "refusals up": 3,
    "blocks up": 4,
    "provider errors": 4,
    "price moved": 3,
    "answers cut": 3,
    "retrieval worse": 2,
    "retrieval slow": 2,
    "retrieval empty": 4,
    "retrieval fails": 4,
    "tool fails": 4,
    "topics moved": 4,
}
