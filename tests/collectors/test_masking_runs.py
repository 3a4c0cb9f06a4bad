"""The search for numbers looks at runs of digits and capitals alone, and misses nothing by it."""

from __future__ import annotations

from dataclasses import replace

import masking_corpus
import numpy as np
import pytest
from otlp_payloads import attributes, span, traces

from tidegauge.collectors.masking import Masker, runs, scanner
from tidegauge.collectors.masking.own import BUILT_IN
from tidegauge.collectors.masking.rules import Finder
from tidegauge.collectors.masking.scanner import Scanner
from tidegauge.config import Masking
from tidegauge.model import Signal

RULES = [each for each in BUILT_IN if each.run]
NUMBERS = (
    "4111 1111 1111 1111",
    "4111111111111111",
    "3782 822463 10005",
    "DE89370400440532013000",
    "GB82 WEST 1234 5698 7654 32",
    "123-45-6789",
)
PROSE = b'{"role": "user", "content": "the quick brown fox, 12 times; see chatcmpl-0f4e53c1 of 2026-11-21"}\x12\x0b'


def noise(rng: np.random.Generator) -> bytes:
    """Up to 80 bytes of anything, or of what such numbers are made of."""
    of = np.frombuffer(b'abc {"}:,.%\\ 0123456789ABCDEF-', np.uint8) if rng.random() < 0.5 else np.arange(256)
    return bytes(rng.choice(of, rng.integers(0, 80)).astype(np.uint8))


def test_every_rule_that_is_looked_for_in_runs_finds_nothing_that_is_none() -> None:
    texts = [each.text.encode() for each in masking_corpus.secrets()] + [each.encode() for each in NUMBERS]
    found = [text[slice(*at)] for rule in RULES for text in texts for at in Finder(rule).find(text)]
    assert len(found) > 20
    assert [each for each in found if len(each) < runs.SHORTEST or not all(0x20 <= byte <= 0x5F for byte in each)] == []


def test_a_search_of_runs_finds_all_that_a_search_of_everything_finds(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "SMALL", 0)
    ours, other = Scanner(RULES), Scanner([replace(each, run=False) for each in RULES])
    found = 0
    for _ in range(400):
        monkeypatch.setattr(runs, "STEP", int(rng.choice([64, 128, 1024, 2**19])))
        data = b"".join(noise(rng) + rng.choice(NUMBERS).encode() for _ in range(8)) + noise(rng)
        everything = set(other.hits(data) or ())
        assert everything <= set(ours.hits(data) or ())
        found += len(everything)
    assert found > 1000


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_masked_wherever_it_stands_in_a_large_request(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "STEP", 2**14)
    masker, filler = Masker(Masking()), "the quick brown fox jumps " * 1000
    for shift in range(16_200, 16_500, 3):
        sent = attributes({"text": f"{filler[:shift]} {number} {filler}"})
        masked = masker.mask(Signal.TRACES, traces(span(attributes=sent)).SerializeToString())
        assert number.encode() not in masked, shift


@pytest.mark.parametrize("before", ["%20", "%c3%a4", r"\n", r"\u00e4", r"\u00fc", r"\x41", "\x1b[31m", "No.", "(", "é"])
@pytest.mark.parametrize("number", ["4111111111111111", "4111 1111 1111 1111", "378282246310005"])
def test_a_card_number_after_an_escape_is_masked_in_a_text_and_in_a_request(before: str, number: str) -> None:
    masker, text = Masker(Masking()), f"paid with {before}{number} today"
    payload = traces(span(attributes=attributes({"text": text}))).SerializeToString()
    assert number not in masker.mask_text(text)
    assert number.encode() not in masker.mask(Signal.TRACES, payload)


def test_prose_and_identifiers_are_passed_by() -> None:
    data = PROSE * 10_000
    kept = sum(len(each.text) for each in runs.excerpts(data))
    assert kept < len(data) * 0.6
    assert Scanner(RULES).hits(data) == []


def test_a_flood_of_numbers_is_given_up_before_it_fills_the_memory() -> None:
    assert Scanner(RULES).hits(b" 4111111111111111" * (scanner.MAX_HITS + 1)) is None


@pytest.mark.parametrize("size", [0, 1, 10, 11, 15, 16, 17, 31, 63, 64, 65, 79, 80, 81, 128, 129])
def test_places_in_an_excerpt_are_those_in_the_request(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "STEP", 64)
    data = bytes(48 + at % 10 if at % 3 else 0x61 for at in range(size)) + b"1234567890123"
    for each in runs.excerpts(data):
        places = each.places(range(len(each.text)))
        assert bytes(data[at] for at in places) == each.text
