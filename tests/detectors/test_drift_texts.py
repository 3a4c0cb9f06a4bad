"""Drift of texts, with a small embedder that hashes words: what is on topic lies together."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from drift_stream import day, one
from extras import needs_embeddings
from genai_calls import insert_calls
from numpy.typing import NDArray

from tidegauge.config import Detectors, Incident, Reference, Watch
from tidegauge.detectors.embedding import Embedder, Hashing, load_embedder
from tidegauge.detectors.embedding.witness import grown_terms
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.errors import ConfigError, MissingExtra
from tidegauge.store import Store

ORDERS = ("where", "order", "parcel", "delivery", "track", "status", "late", "arrive", "shop", "today")
REFUNDS = ("refund", "money", "cancel", "charged", "twice", "bank", "angry", "return", "card", "complain")
WATCH = Watch(reference=Reference(kind="trailing", days=3, gap_days=0), slices=("tier",))


class Hashed:
    """A bag of words in 32 places, and a record of what it was asked."""

    name = "hashed-words"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        rows = np.zeros((len(texts), 32), dtype=np.float32)
        for at, text in enumerate(texts):
            for word in text.split():
                rows[at, zlib.crc32(word.encode()) % 32] += 1
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def calls(
    store: Store, number: int, share: float = 0.0, count: int = 200, silent: bool = False, tier: str = ""
) -> None:
    """Calls of one day; ``share`` of them (in ``tier``, or everywhere) are about refunds, the others about orders."""
    rng = np.random.default_rng([number, 1])
    rows = []
    for at in range(count):
        here = ("free", "paid")[at % 2]
        words = REFUNDS if rng.random() < share and tier in ("", here) else ORDERS
        rows.append(
            {
                "timestamp": day(number) + timedelta(seconds=at * 86_400 / count),
                "trace_id": f"{number}-{at}",
                "span_id": f"{at}",
                "service": "assistant",
                "kind": "llm",
                "input": "" if silent else " ".join(rng.choice(words, 6)),
                "slices": {"tier": here},
            }
        )
    insert_calls(store, rows)


def loop(store: Store, embedder: Embedder | None, **changes: object) -> DetectorLoop:
    return DetectorLoop(store, Detectors(services=(WATCH,)).model_copy(update=changes), embedder)


def evaluated(store: Store, end: datetime, feature: str = "input", detector: str = "mmd") -> None:
    """As if the window that ends at ``end`` had been looked at, so that only later ones are due."""
    row = {"evaluated_at": end, "finding_id": "before", "subject": "assistant", "feature": feature}
    row |= {"detector": detector, "dimension": "", "slice": "", "reference": "trailing", "verdict": "stable"}
    times = dict.fromkeys(("reference_start", "reference_end", "window_start", "window_end"), end)
    store.insert("findings", [row | times])


def last(findings: Sequence[Finding]) -> list[Finding]:
    return [each for each in findings if each.window_end == max(other.window_end for other in findings)]


def test_a_new_topic_is_drift_with_examples_and_the_words_that_grew(store: Store) -> None:
    for number in range(4):
        calls(store, number, share=0.0 if number < 3 else 0.3)
    found = one(last(loop(store, Hashed()).run(day(4.1))), "input", "mmd")
    evidence = json.loads(found.evidence)
    assert (found.subject, found.verdict, found.since) == ("assistant", "drift", day(3))
    assert all(set(text.split()) <= set(REFUNDS) for text in evidence["examples"])
    assert {term["term"] for term in evidence["terms"]} <= set(REFUNDS)
    assert len(evidence["terms"]) >= 5


def test_the_same_topics_are_stable(store: Store) -> None:
    for number in range(5):
        calls(store, number)
    findings = loop(store, Hashed()).run(day(5.1))
    assert {each.verdict for each in last(findings) if not each.slice} == {"stable"}


def test_a_topic_that_is_new_in_one_slice_is_found_there(store: Store) -> None:
    for number in range(4):
        calls(store, number, share=0.0 if number < 3 else 0.3, tier="paid")
    findings = last(loop(store, Hashed()).run(day(4.1)))
    assert {each.slice for each in findings if each.verdict == "drift" and each.slice} == {"paid"}


def test_a_text_is_embedded_once_also_after_a_restart(store: Store) -> None:
    for number in range(3):
        calls(store, number)
    first, second = Hashed(), Hashed()
    loop(store, first).run(day(2.1))
    loop(store, second).run(day(3.1))
    asked = first.asked + second.asked
    assert len(asked) == len(set(asked)) == store.value("SELECT count() AS n FROM embeddings")
    assert second.asked, "the third day has texts of its own"
    assert loop(store, second).run(day(3.1)) == []


def test_no_more_texts_are_embedded_per_window_than_stated(store: Store) -> None:
    for number in range(2):
        calls(store, number)
    embedder = Hashed()
    found = one(last(loop(store, embedder, max_texts=60).run(day(2.1))), "input", "mmd")
    assert len(embedder.asked) <= 120
    assert (found.n_reference, found.n_current) == (60, 60)
    assert "60 of 200 texts" in found.reason


def test_the_classifier_and_the_topics_answer_beside_mmd(store: Store) -> None:
    for number in range(4):
        calls(store, number, share=0.0 if number < 3 else 0.3)
    evaluated(store, day(3))
    findings = last(loop(store, Hashed()).run(day(4.1)))
    found = {each.detector: each for each in findings if not each.slice}
    assert {name: each.verdict for name, each in found.items()} == dict.fromkeys(("mmd", "c2st", "topics"), "drift")
    topics = json.loads(found["topics"].evidence)
    assert "grew: " in found["topics"].reason
    assert len(topics["labels"]) == len(topics["current"]) > len(topics["topics"]) > 0
    assert json.loads(found["mmd"].evidence)["topics"] == topics["topics"]


def test_the_floor_comes_from_the_references_own_windows(store: Store) -> None:
    for number in range(9):
        calls(store, number, share=(0.0, 0.6)[number % 2], count=100)
    evaluated(store, day(8))
    watch = WATCH.model_copy(update={"reference": Reference(kind="trailing", days=8, gap_days=0), "slices": ()})
    found = one(last(loop(store, Hashed(), services=(watch,)).run(day(9.1))), "input", "mmd")
    assert found.effect_floor is not None and found.effect_floor > 0.001
    assert "floor from 8 reference windows" in found.reason
    assert found.verdict == "stable", "every other day is like this one"


def test_a_season_compares_a_day_with_the_same_day_of_the_weeks_before(store: Store) -> None:
    for number in (0, 3, 7, 10, 14):
        calls(store, number, share=0.4 if number % 7 == 0 else 0.0, count=100)
    evaluated(store, day(14))
    watch = WATCH.model_copy(update={"reference": Reference(kind="season", weeks=2), "slices": ()})
    found = one(last(loop(store, Hashed(), services=(watch,)).run(day(15.1))), "input", "mmd")
    assert (found.reference, found.n_reference, found.verdict) == ("season", 200, "stable")


def test_a_week_is_compared_with_the_week_before_on_as_many_texts_as_stated(store: Store) -> None:
    for number in range(1, 15):
        calls(store, number, share=0.3 if number > 7 else 0.0, count=100)
    evaluated(store, day(15))
    evaluated(store, day(8), "input_weekly")
    findings = loop(store, Hashed(), weekly_texts=500).run(day(15.1))
    found = one(findings, "input_weekly", "mmd")
    assert (found.verdict, found.n_reference, found.n_current) == ("drift", 500, 500)
    assert (found.window_start, found.reference_start) == (day(8), day(1))
    assert "500 of 700 texts, by hash" in found.reason
    assert loop(store, Hashed(), weekly_texts=500).run(day(15.1)) == []


def test_incidents_are_in_no_reference(store: Store) -> None:
    for number in range(4):
        calls(store, number)
    evaluated(store, day(3))
    incident = Incident(name="a flood", start=day(1), end=day(2))
    found = one(last(loop(store, Hashed(), incidents=(incident,)).run(day(4.1))), "input", "mmd")
    assert found.n_reference == 400
    assert "the reference leaves out a flood" in found.reason


def test_what_a_finding_shows_is_masked(store: Store) -> None:
    for number in range(4):
        calls(store, number, share=0.0 if number < 3 else 0.3)
    evaluated(store, day(3))
    hidden = DetectorLoop(store, Detectors(services=(WATCH,)), Hashed(), lambda text: text.replace("refund", "xxx"))
    found = last(hidden.run(day(4.1)))
    assert any("xxx" in each.evidence for each in found)
    assert not any("refund" in each.evidence + each.reason for each in found)


def test_without_an_embedder_nothing_is_said(store: Store) -> None:
    calls(store, 0)
    assert loop(store, None).run(day(1.1)) == []


def test_calls_that_recorded_no_input_are_undetermined(store: Store) -> None:
    calls(store, 0, silent=True)
    (found,) = loop(store, Hashed()).run(day(1.1))
    assert found.reason.startswith("none of the 200 calls recorded its input")


def test_too_few_texts_are_undetermined(store: Store) -> None:
    calls(store, 0)
    calls(store, 1, count=20)
    (found,) = last(loop(store, Hashed()).run(day(2.1)))
    assert (found.verdict, found.n_current) == ("undetermined", 20)


def test_a_word_counts_once_a_text_and_only_if_it_grew() -> None:
    grown = grown_terms(["order late"] * 20, ["order refund refund"] * 10 + ["order late"] * 10)
    assert grown == [{"term": "refund", "reference": 0.0, "current": 0.5}]


def test_without_the_packages_auto_hashes_and_a_model_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegauge.detectors.embedding.sentence_transformers.find_spec", lambda _: None)
    assert load_embedder(Detectors(embedder="off")) is None
    assert isinstance(load_embedder(Detectors(embedder="auto")), Hashing)
    with pytest.raises(MissingExtra, match=r"tidegauge\[embeddings\]"):
        load_embedder(Detectors(embedder="sentence-transformers"))


def test_hashing_puts_texts_with_words_in_common_together() -> None:
    vectors = Hashing().encode(["I want my money back", "give me the money back", "the weather in Paris", "? 12"])
    assert vectors.shape == (4, 512)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors[:3], axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert Hashing().encode([]).shape == (0, 512)


def test_a_new_topic_is_found_from_hashed_letters_alone(store: Store) -> None:
    for number in range(6):
        calls(store, number, share=0.0 if number < 5 else 0.3)
    findings = loop(store, Hashing()).run(day(6.1))
    drifts = {(each.feature, each.window_end) for each in findings if each.verdict == "drift" and not each.slice}
    assert drifts == {("input", day(6))}


def test_a_folder_without_a_model_is_refused_on_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegauge.detectors.embedding.sentence_transformers.find_spec", lambda _: "installed")
    with pytest.raises(ConfigError, match=r"neither modules\.json nor config\.json"):
        load_embedder(Detectors(embedder="sentence-transformers", embedding_model=str(tmp_path)))
    (tmp_path / "modules.json").write_text("[]")
    embedder = load_embedder(Detectors(embedding_model=str(tmp_path)))
    assert embedder and embedder.name == str(tmp_path), "found, and not loaded: there is nothing in it"


@needs_embeddings
def test_the_packaged_model_puts_like_texts_together() -> None:
    embedder = load_embedder(Detectors(embedder="sentence-transformers"))
    assert embedder
    vectors = embedder.encode(["I want my money back", "please refund me", "the weather in Paris"])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    with pytest.raises(ConfigError, match="embedding_model"):
        load_embedder(Detectors(embedder="sentence-transformers", embedding_model="/nowhere/at/all"))


@needs_embeddings
def test_loading_waits_for_the_first_texts() -> None:
    script = """import sys
from tidegauge.config import Detectors
from tidegauge.detectors.embedding import load_embedder
embedder = load_embedder(Detectors(embedder="sentence-transformers"))
assert embedder.name == "all-MiniLM-L6-v2" and not {"torch", "sentence_transformers"} & set(sys.modules)
embedder.encode([])
assert "torch" not in sys.modules"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
