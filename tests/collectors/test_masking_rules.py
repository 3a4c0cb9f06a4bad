"""What is found in a text and what is left alone, rule by rule."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import masking_corpus
import pytest
import yaml
from masking_corpus import Secret

from tidegauge.collectors.masking import Masker
from tidegauge.collectors.masking.own import BUILT_IN, hint_of
from tidegauge.config import Masking, MaskingRule
from tidegauge.errors import ConfigError

MASKER = Masker(Masking())


@pytest.mark.parametrize("case", masking_corpus.secrets(), ids=lambda case: f"{case.rule}:{case.text[:30]!r}")
def test_every_secret_is_found_and_masking_again_changes_nothing(case: Secret) -> None:
    masked = MASKER.mask_text(case.text)
    assert case.secret not in masked
    assert MASKER.mask_text(masked) == masked


def test_every_rule_that_is_on_finds_something_of_its_own_name() -> None:
    named = {case.rule for case in masking_corpus.secrets() if f"[{case.rule}]" in MASKER.mask_text(case.text)}
    assert named == {rule.name for rule in BUILT_IN if rule.on}


@pytest.mark.parametrize("text", masking_corpus.LOOK_ALIKES, ids=lambda text: repr(text[:30]))
def test_what_only_looks_like_a_secret_is_left_alone(text: str) -> None:
    assert MASKER.mask_text(text) == text
    assert MASKER.mask_text(json.dumps({"content": text})) == json.dumps({"content": text})


@pytest.mark.parametrize(
    ("rule", "text", "masked", "alike"),
    [
        ("ipv4", "from 10.0.0.17 to", "from [ipv4] to", "version 1.2.3.4.5 or 300.1.1.1"),
        ("ipv6", "from 2001:db8::8a2e:370:7334 to", "from [ipv6] to", "at 12:30:45"),
        ("us_phone", "call (202) 555-0123 now", "call [us_phone] now", "on 2026-01-15"),
    ],
)
def test_rules_that_are_off_by_default_can_be_used(rule: str, text: str, masked: str, alike: str) -> None:
    assert MASKER.mask_text(text) == text
    assert Masker(Masking(enable=(rule,))).mask_text(text) == masked
    assert Masker(Masking(enable=(rule,))).mask_text(alike) == alike


def test_a_rule_can_be_turned_off() -> None:
    text = "jane@example.com pays with 4111111111111111"
    assert Masker(Masking(disable=("email",))).mask_text(text) == "jane@example.com pays with [card]"
    assert Masker(Masking(enabled=False)).mask_text(text) == text


JSON_TEXTS = [
    {"card": 4111111111111111, "next": [4111111111111111, 1.5]},
    {"text": "numbers: 4111111111111111, and 5555555555554444]"},
    {"inner": json.dumps({"card": 4111111111111111, "note": "it is: 4111111111111111, yes"})},
    {"inner": json.dumps({"deeper": json.dumps([{"password": 84213377, "k": "x\\y"}])})},
    {"password": 'a "quoted" \\ one', "after": "kept"},
    {"inner": json.dumps({"password": 'a "quoted" \\', "after": "kept"})},
    {"first": "line\njane@example.com\tand\\njane@example.com", "api_key": "x\\"},
    [{"role": "user", "parts": [{"type": "text", "content": "I am jane@example.com"}]}],
    {"Authorization": ["Bearer a", "Bearer b"], "Cookie": "a=b; c=d"},
]


@pytest.mark.parametrize("value", JSON_TEXTS, ids=lambda value: json.dumps(value)[:40])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_stays_json_however_deep_it_is_written_into_other_json(value: object, ascii_only: bool) -> None:
    masked = MASKER.mask_text(json.dumps(value, ensure_ascii=ascii_only))
    found = json.loads(masked)
    assert masked != json.dumps(value, ensure_ascii=ascii_only)
    assert not any(secret in masked for secret in ("4111", "jane@", "quoted", "84213377", "Bearer"))
    _all_inner_json_is_readable(found)


def _all_inner_json_is_readable(value: object) -> None:
    if isinstance(value, dict):
        assert "after" not in value or value["after"] == "kept"
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _all_inner_json_is_readable(each)
    elif isinstance(value, str) and value.startswith(("[{", "{")):
        _all_inner_json_is_readable(json.loads(value))


def test_characters_of_any_script_around_a_finding_are_kept() -> None:
    assert MASKER.mask_text("请联系john@x.com谢谢") == "请联系[email]谢谢"
    assert MASKER.mask_text("émile, jörg@müller.example 🙂") == "émile, [email] 🙂"


def test_with_a_key_equal_values_have_equal_markers_and_different_keys_different_ones() -> None:
    one, other = (Masker(Masking.model_validate({"mode": "hash", "hash_key": key * 16})) for key in "ab")
    masked = one.mask_text("Jane@example.com, jane@example.com, joe@example.com")
    first, second, third = masked.split(", ")
    assert first == second != third
    assert first.startswith("[email:")
    assert len(first) == len("[email:]") + 12
    assert other.mask_text("jane@example.com") != first
    assert one.mask_text(masked) == masked


def test_hash_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="hash_key of at least 16 characters"):
        Masking(mode="hash")


OWN = MaskingRule(name="employee", pattern=r"\bEMP-\d{6}\b")


def test_a_rule_of_ones_own_is_used_like_the_built_in_ones() -> None:
    masker = Masker(Masking(rules=(OWN, MaskingRule(name="person", pattern="(?i)müller|größe", keyword="ü"))))
    assert masker.mask_text("EMP-123456 and XEMP-123456, Herr Müller") == "[employee] and XEMP-123456, Herr [person]"


def test_a_rule_of_ones_own_can_name_a_further_test() -> None:
    masker = Masker(
        Masking(rules=(MaskingRule(name="routing", pattern=r"\b\d{9}\b", validator="aba", shape="number"),))
    )
    assert masker.mask_text("011000015 or 011000016") == "[routing] or 011000016"


@pytest.mark.parametrize(
    ("pattern", "keyword", "reason"),
    [
        (r"(?<=x)y", "", "neither lookaround nor back-references"),
        (r"(a)\1", "", "neither lookaround nor back-references"),
        (r"(open", "", "missing"),
        (r"x*", "", "matches the empty text"),
        (r"(?:a?){3}$", "", "matches the empty text"),
        (r"naïve", "", "needs a keyword"),
        (r"\d{1,2000}", "", "RE2 refuses"),
    ],
)
def test_a_rule_that_cannot_be_searched_for_is_refused_with_its_name_and_the_reason(
    pattern: str, keyword: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=rf"rules\.1 \(mine\): .*{reason}"):
        Masker(Masking(rules=(OWN, MaskingRule(name="mine", pattern=pattern, keyword=keyword))))


def test_names_that_no_rule_has_and_names_taken_are_refused_all_at_once() -> None:
    settings = Masking(disable=("emial",), enable=("ipv5",), rules=(OWN, OWN, MaskingRule(name="card", pattern="x")))
    with pytest.raises(ConfigError) as error:
        Masker(settings)
    for part in ("emial", "ipv5", "'employee' is taken", "'card' is taken"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^\d{6}$", "123456"),
        (r"EMP[^-]-\d", "EMPé-1"),
        (r"a.c", "a日c"),
        (r"[[:alpha:]]+-[^]x]", "word-é"),
        (r"\Aab\W{2}cd\z", "ab€€cd"),
    ],
)
def test_the_fast_search_misses_nothing_that_a_pattern_finds(pattern: str, text: str) -> None:
    masker = Masker(Masking(rules=(MaskingRule(name="own", pattern=pattern),)))
    assert masker.mask_text(text) == "[own]", hint_of(pattern)


def test_the_page_names_every_rule_and_its_settings_can_be_used(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/masking.md").read_text()
    assert [rule.name for rule in BUILT_IN if f"`{rule.name}`" not in page] == []
    (tmp_path / "key").write_text("0123456789abcdef")
    sample = page.split("```yaml\n")[1].split("```")[0].replace("/run/secrets/masking", str(tmp_path / "key"))
    masker = Masker(Masking.model_validate(yaml.safe_load(sample)["masking"]))
    masked = masker.mask_text("EMP-123456, Patient no. 12345, Pätient no 99999, jane@example.com")
    assert not any(text in masked for text in ("123456", "12345", "99999", "jane"))


def _repeated(part: str) -> Callable[[int], str]:
    return lambda length: part * (length // len(part))


PARTS = [
    *(
        "a@b.co ",
        "@",
        "a@",
        "a@b.",
        "4",
        "4 ",
        "4111 1111 1111 1111 ",
        "4111-",
        "+1",
        "+1(",
        "DE89 ",
        "DE89",
        "123-45-",
    ),
    *("password=", 'password="', 'token="', 'token=" ', "token='\\\"", '\\"', "\\", "://", "://a:", "sk-"),
    *("eyJ", "eyJa.", "eyJhbGciOiJIUzI1NiJ9.", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "basic "),
    *("Bearer aaaaaaaaaaaa", '{"a":4111111111111111,', '[{"x":"{', "aaa", "é", "EMPEMP"),
]
HOSTILE = {part: _repeated(part) for part in PARTS} | {
    "spaces in quotes": lambda length: 'password="' + " " * length + 'x"',
    "slashes in quotes": lambda length: 'password="' + "\\" * length + "x",
    "slashes in JSON": lambda length: '{"a": 4111111111111111, "' + "\\" * length + '": 4111111111111111}',
    "one long address": lambda length: "a" * length + "@b.co",
    "one long domain": lambda length: "a@" + "b." * (length // 2) + "co",
    "one long password": lambda length: "password=" + "a" * length,
    "one long token": lambda length: "eyJhbGciOiJIUzI1NiJ9." + "a" * length,
    "noise": lambda length: random.Random(1).randbytes(length // 2).hex(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_time_grows_no_faster_than_the_text(name: str) -> None:
    masker = Masker(Masking(rules=(MaskingRule(name="own", pattern=r"(E+M+P+)+(E|EM|EMP)*X"),)))
    short, long = (_seconds(masker, HOSTILE[name](size)) for size in (2**12, 2**15))
    assert long < 8 * 4 * max(short, 1e-4), (short, long)  # eight times the text; a quadratic search takes 64 times


def _seconds(masker: Masker, text: str) -> float:
    def once() -> float:
        begun = time.process_time()
        masker.mask_text(text)
        return time.process_time() - begun

    return min(once() for _ in range(2))
