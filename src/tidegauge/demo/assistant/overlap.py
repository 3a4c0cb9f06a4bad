"""``demo-overlap-judge-1``: judges by counting the words that two texts share. No language model either.

It reads what Tidegauge's judges send: the rubric's name, and texts between lines that carry the code of the last line.
"""

from __future__ import annotations

import json
import re

from tidegauge.demo.assistant.extractive import REFUSAL, Answer
from tidegauge.demo.assistant.words import coverage, keywords

MODEL = "demo-overlap-judge-1"
CODE = re.compile(r"([0-9a-f]{16})\W*\Z")
SCALE = re.compile(r'"minimum": (-?\d+), "maximum": (-?\d+)')
RUBRIC = re.compile(r"^Rubric: (\w+)", re.MULTILINE)
ENOUGH = {"relevance": 0.75, "faithfulness": 0.95}  # the share of words that earns the best score


def verdict(system: str, user: str) -> Answer:
    """The JSON verdict on the fenced material, ``score`` null where there is none to read."""
    code, scale, rubric = CODE.search(user.strip()), SCALE.search(system), RUBRIC.search(user)
    if not (code and scale and rubric):
        return Answer(json.dumps({"score": None, "reason": "the material could not be found"}))
    parts = {name: _fenced(user, name, code[1]) for name in ("question", "context", "answer")}
    share, reason = _share(rubric[1], parts)
    low, high = int(scale[1]), int(scale[2])
    return Answer(json.dumps({"score": low + round(share * (high - low)), "reason": reason}))


def _share(rubric: str, parts: dict[str, str]) -> tuple[float, str]:
    question, context, reply = (keywords(parts[name]) for name in ("question", "context", "answer"))
    declined = REFUSAL[:30] in parts["answer"]
    if declined:
        return (0.0, "it declines to answer") if rubric == "relevance" else (1.0, "it declines and claims nothing")
    part, whole = (question, reply) if rubric == "relevance" else (reply, context)
    found = coverage(part, whole)
    of = "question" if rubric == "relevance" else "answer"
    where = "answer" if rubric == "relevance" else "context"
    return min(1.0, found / ENOUGH.get(rubric, 1.0)), f"{found:.0%} of the words of the {of} are in the {where}"


def _fenced(text: str, name: str, code: str) -> str:
    match = re.search(rf"<<<{name} {code}>>>\n(.*?)\n<<<end {name} {code}>>>", text, re.DOTALL)
    return match[1] if match else ""
