"""A reply is a verdict or it is none; nothing passes by default."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tidegauge.judges.parser import NoVerdict, Reply, Verdict, parse
from tidegauge.judges.rubric import load

RUBRIC = load("faithfulness")
GOOD = '{"score": 3, "reason": "supported"}'


def reply(text: str | None, finish_reason: str = "stop", refusal: str = "") -> Reply:
    return Reply(text, finish_reason, "judge-1", refusal)


def test_a_bare_object_of_the_schema_is_a_verdict_on_a_scale_of_zero_to_one() -> None:
    assert parse(reply(GOOD), RUBRIC) == Verdict(0.75, "pass", "supported")
    assert parse(reply(' {"reason": "no", "score": 0}\n'), RUBRIC) == Verdict(0.0, "fail", "no")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"```json\n{GOOD}\n```", "extra_text"),
        (f"Here is my verdict: {GOOD}", "extra_text"),
        (f"{GOOD} Thank you!", "extra_text"),
        (f"{GOOD}{GOOD}", "extra_text"),
        ("The answer is faithful: 4 of 4", "not_json"),
        ('{"score": 3, "reason": "supp', "not_json"),
        ("[3]", "not_an_object"),
        ("4", "not_an_object"),
        ("null", "not_an_object"),
        ('{"score": 5, "reason": "beyond"}', "score_out_of_range"),
        ('{"score": -1, "reason": "beneath"}', "score_out_of_range"),
        ('{"score": 10, "reason": "as told"}', "score_out_of_range"),
        ('{"score": 1e400, "reason": "x"}', "score_is_not_a_whole_number"),
        ('{"score": NaN, "reason": "x"}', "not_a_number"),
        ('{"score": Infinity, "reason": "x"}', "not_a_number"),
        ('{"score": "4", "reason": "x"}', "score_is_not_a_whole_number"),
        ('{"score": true, "reason": "x"}', "score_is_not_a_whole_number"),
        ('{"score": 3.5, "reason": "x"}', "score_is_not_a_whole_number"),
        ('{"score": 3.0, "reason": "x"}', "score_is_not_a_whole_number"),
        ('{"score": [4], "reason": "x"}', "score_is_not_a_whole_number"),
        ('{"score": 4}', "wrong_keys"),
        ('{"reason": "x"}', "wrong_keys"),
        ("{}", "wrong_keys"),
        ('{"score": 1, "reason": "x", "pass": true}', "wrong_keys"),
        ('{"score": 1, "score": 4, "reason": "x"}', "key_twice"),
        ('{"score": 4, "reason": null}', "reason_is_not_text"),
        ('{"score": 4, "reason": "' + "x" * 30_000 + '"}', "too_long"),
        ("[" * 15_000, "not_json"),
    ],
)
def test_anything_else_is_invalid_and_says_why(text: str, reason: str) -> None:
    found = parse(reply(text), RUBRIC)

    assert isinstance(found, NoVerdict)
    assert (found.outcome, found.reason) == ("invalid", reason)


@pytest.mark.parametrize(
    ("given", "outcome", "reason"),
    [
        (reply(GOOD, "length"), "invalid", "truncated"),
        (reply(GOOD, "content_filter"), "undetermined", "refused"),
        (reply(None, refusal="I cannot judge this"), "undetermined", "refused"),
        (reply(None), "undetermined", "empty_reply"),
        (reply("  \n"), "undetermined", "empty_reply"),
        (reply('{"score": null, "reason": "unreadable"}'), "undetermined", "judge_cannot_tell"),
    ],
)
def test_a_judge_that_stopped_short_gives_no_score_even_if_its_text_looks_whole(
    given: Reply, outcome: str, reason: str
) -> None:
    found = parse(given, RUBRIC)

    assert isinstance(found, NoVerdict)
    assert (found.outcome, found.reason) == (outcome, reason)


def test_damaged_replies_never_raise_and_never_score_outside_the_scale(rng: np.random.Generator) -> None:
    alphabet = list('{}[]":,0123456789.-eE scoreasntulfNI\\\n')
    for _ in range(3_000):
        text = list(GOOD)
        for _ in range(rng.integers(1, 6)):
            place = int(rng.integers(0, len(text)))
            text[place : place + int(rng.integers(0, 3))] = rng.choice(alphabet, int(rng.integers(0, 3))).tolist()
        found = parse(reply("".join(text)), RUBRIC)
        if isinstance(found, Verdict):
            parsed = json.loads("".join(text))
            assert parsed.keys() == {"score", "reason"} and found.score == parsed["score"] / 4
