"""What can go wrong with a request of an LLM service: one number each, and what it is called when it changes."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from tidegauge.detectors.diagnose.rows import Floats, Rows
from tidegauge.detectors.diagnose.verdict import Stage

QUARTER_MORE = log(1.25)


@dataclass(frozen=True, slots=True)
class Symptom:
    """One number of a request and the change of its mean that matters.

    Attributes:
        name: The column of ``Rows.traffic.numeric``; nan where it does not apply to a request.
        changes: What it is in ``LLM_FLOW``.
        up, down: What a rise and a fall are called; empty where that harms nobody.
        said: What the mean is, for people.
        floor: The change that matters: of a share, or of the logarithm of an amount.
        amount: Whether it is the logarithm of an amount, of which the geometric mean is shown.
        by: The column of dimensions that names who did it, if any.
    """

    name: str
    stage: Stage
    changes: str
    up: str
    down: str
    said: str
    floor: float
    amount: bool = False
    by: str = ""

    def cause(self, delta: float) -> str:
        """What a change of that sign is called, or nothing."""
        return self.up if delta > 0 else self.down

    def shown(self, mean: float) -> str:
        """The mean as people write it."""
        if self.amount:
            return f"{2.718281828459045**mean:.3g}"
        return f"{mean:.2f}" if self.name.startswith(("judged", "top", "feedback")) else f"{mean:.1%}"


SYMPTOMS: tuple[Symptom, ...] = (
    Symptom("no_usage", Stage.LOGGING, "llm.usage", "usage missing", "", "of the calls report no tokens", 0.1),
    Symptom("empty", Stage.DATA, "llm.retrieval", "retrieval empty", "", "of the retrievals find nothing", 0.05),
    Symptom("retrieval_failed", Stage.DATA, "llm.retrieval", "retrieval fails", "", "of the retrievals fail", 0.03),
    Symptom("top", Stage.DATA, "llm.retrieval", "", "retrieval worse", "is the mean score of the best document", 0.03),
    Symptom("retrieval_s", Stage.DATA, "llm.latency", "retrieval slow", "", "s a retrieval", QUARTER_MORE, amount=True),
    Symptom(
        "tool_failed",
        Stage.DATA,
        "llm.tool",
        "tool fails",
        "",
        "of the requests with tools have one fail",
        0.05,
        by="failed tool",
    ),
    Symptom(
        "failed",
        Stage.MODEL,
        "llm.failed",
        "provider errors",
        "",
        "of the requests meet an error of the model",
        0.02,
        by="error",
    ),
    Symptom(
        "blocked",
        Stage.MODEL,
        "llm.blocked",
        "blocks up",
        "",
        "of the requests are blocked by a guardrail",
        0.02,
        by="guardrail",
    ),
    Symptom("refused", Stage.MODEL, "llm.refused", "refusals up", "", "of the requests are refused", 0.03),
    Symptom(
        "truncated", Stage.MODEL, "llm.truncated", "answers cut", "", "of the answers end at the limit of tokens", 0.03
    ),
    Symptom(
        "llm_s", Stage.MODEL, "llm.latency", "provider slow", "", "s a request in the model", QUARTER_MORE, amount=True
    ),
    Symptom(
        "first_token_s",
        Stage.MODEL,
        "llm.latency",
        "first token late",
        "",
        "s to the first token",
        QUARTER_MORE,
        amount=True,
    ),
    Symptom("price", Stage.MODEL, "llm.price", "price moved", "", "USD for a million tokens", log(1.1), amount=True),
    Symptom(
        "input_tokens",
        Stage.MODEL,
        "llm.input_tokens",
        "prompts longer",
        "prompts shorter",
        "tokens in",
        QUARTER_MORE,
        amount=True,
    ),
    Symptom(
        "output_tokens",
        Stage.MODEL,
        "llm.output_tokens",
        "answers longer",
        "answers shorter",
        "tokens out",
        QUARTER_MORE,
        amount=True,
    ),
    Symptom("cost", Stage.DOWNSTREAM, "llm.cost", "cost up", "", "USD a request", log(1.1), amount=True),
    Symptom("feedback", Stage.DOWNSTREAM, "llm.feedback", "", "feedback down", "is the mean feedback", 0.1),
)
JUDGED = "judged "


def symptoms(rows: Rows) -> list[Symptom]:
    """Those of which these requests tell something, and one for each name under which judges gave scores."""
    known = rows.traffic.numeric
    judged = [
        Symptom(name, Stage.DOWNSTREAM, "llm.quality", "", "quality down", f"is the mean {name}", 0.03)
        for name in sorted(known)
        if name.startswith(JUDGED)
    ]
    return [*(each for each in SYMPTOMS if each.name in known), *judged]


def values_of(rows: Rows, symptom: Symptom) -> Floats:
    """The symptom's number of each request."""
    return rows.traffic.numeric[symptom.name]
