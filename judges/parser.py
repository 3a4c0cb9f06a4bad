"""From a judge's reply to a verdict, strictly: whatever is not exactly a verdict is none. There is no default."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from tidegauge.judges.rubric import MAX_EXPLANATION, Rubric

MAX_REPLY = 20_000  # characters


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score in 0..1 with its label and the judge's reason."""

    score: float
    label: Literal["pass", "fail"]
    explanation: str


@dataclass(frozen=True, slots=True)
class NoVerdict:
    """Why there is no score. ``invalid``: the judge broke the rules; ``undetermined``: it could not, or was away."""

    outcome: Literal["invalid", "undetermined"]
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge sent back; its tokens are paid for, whatever the text is worth."""

    text: str | None
    finish_reason: str
    model: str
    refusal: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


def parse(reply: Reply, rubric: Rubric) -> Verdict | NoVerdict:
    """The verdict in ``reply``, or the reason why it holds none.

    Only one bare JSON object counts, with exactly ``score`` (whole number of the scale, or null) and ``reason`` (text).
    """
    refused = _not_answered(reply)
    if refused:
        return refused
    try:
        return _verdict(_object(reply.text or ""), rubric)
    except _Invalid as error:
        return NoVerdict("invalid", error.reason, (reply.text or "")[:200])


class _Invalid(ValueError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _not_answered(reply: Reply) -> NoVerdict | None:
    if reply.refusal or reply.finish_reason == "content_filter":
        return NoVerdict("undetermined", "refused", reply.refusal[:200])
    if reply.finish_reason == "length":
        return NoVerdict("invalid", "truncated", (reply.text or "")[:200])
    if not reply.text or not reply.text.strip():
        return NoVerdict("undetermined", "empty_reply")
    return None


def _object(text: str) -> dict[str, Any]:
    if len(text) > MAX_REPLY:
        raise _Invalid("too_long")
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _Invalid("extra_text" if "{" in text and "}" in text else "not_json") from error
    if not isinstance(found, dict):
        raise _Invalid("not_an_object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _Invalid("key_twice")
    return dict(pairs)


def _no_constant(name: str) -> NoReturn:
    raise _Invalid("not_a_number")


def _verdict(found: dict[str, Any], rubric: Rubric) -> Verdict | NoVerdict:
    if found.keys() != {"score", "reason"}:
        raise _Invalid("wrong_keys")
    score, reason = found["score"], found["reason"]
    if not isinstance(reason, str):
        raise _Invalid("reason_is_not_text")
    if score is None:
        return NoVerdict("undetermined", "judge_cannot_tell", reason[:200])
    if isinstance(score, bool) or not isinstance(score, int):
        raise _Invalid("score_is_not_a_whole_number")
    if not rubric.scale.minimum <= score <= rubric.scale.maximum:
        raise _Invalid("score_out_of_range")
    label: Literal["pass", "fail"] = "pass" if score >= rubric.scale.pass_from else "fail"
    return Verdict(rubric.scale.normal(score), label, reason[:MAX_EXPLANATION])
