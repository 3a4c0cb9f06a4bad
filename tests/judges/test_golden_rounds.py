"""Rounds: once a week, never the same twice, content only where it is wanted and masked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from extras import needs_embeddings
from golden_records import AT, WEEK, call, calls, feedback, prediction, trace

from tidegauge import golden
from tidegauge.app import proposing
from tidegauge.config import Golden, Settings
from tidegauge.errors import InvalidRecord
from tidegauge.golden import State
from tidegauge.judges.golden import GoldenLoop, Proposing
from tidegauge.store import Store

MONDAY = datetime(2026, 3, 9, tzinfo=UTC)
QUESTIONS = (
    "Where does my parcel to Porto stand?",
    "Can I pay the invoice in three parts?",
    "The app closes when I open the camera",
    "Who signs for deliveries on Saturday?",
    "Delete everything that you know about me",
    "Is the blue one sold out for good?",
    "Why is my discount gone?",
)


def only(**more: Any) -> Golden:
    """Settings that look for refusals alone: each reason more is a query more."""
    return Golden(reasons=("refused",), **more)


def refusals(store: Store, questions: tuple[str, ...] = QUESTIONS, prefix: str = "", **more: object) -> None:
    calls(store, *(call(f"{prefix}{each}", each, refused=True, **more) for each in questions))


def test_a_failure_is_proposed_with_its_reasons_versions_and_texts(store: Store) -> None:
    refusals(store, QUESTIONS[:1], tenant="acme", prompt_version="v2", versions={"retrieval_index": "i7"})
    feedback(store, QUESTIONS[0], "correction", None, "It is in Lisbon.")

    (found,) = Proposing(store, Golden(reasons=("refused", "negative_feedback"))).run(WEEK, MONDAY).candidates
    (stored,) = golden.read(store)

    assert stored == found
    assert (found.subject, found.kind, found.trace_id) == ("shop", "trace", trace(QUESTIONS[0]))
    assert set(found.reasons) == {"negative_feedback", "refused"}
    assert found.reasons["negative_feedback"] == "correction: It is in Lisbon."
    assert (found.input, found.output, found.expected) == (
        QUESTIONS[0],
        f"answer to {QUESTIONS[0]}",
        "It is in Lisbon.",
    )
    assert found.versions == {"model": "m", "prompt": "v2", "retrieval_index": "i7"}
    assert (found.tenant, found.slices["tenant"], found.state) == ("acme", "acme", State.PROPOSED)
    assert found.timestamp == AT


def test_a_prediction_is_proposed_with_its_features_and_its_label(store: Store) -> None:
    prediction(store, "p1", "0", 0.05, "1")

    (found,) = Proposing(store, Golden(reasons=("confident_error",))).run(WEEK, MONDAY).candidates

    assert (found.kind, found.subject, found.record_id, found.expected, found.output) == (
        "prediction",
        "fraud",
        "p1",
        "1",
        "0",
    )
    assert found.input == '{"amount": 2.0, "country": "de"}'
    assert found.versions == {"model": "fraud", "model_version": "7"}


def test_nothing_is_proposed_twice_nor_what_says_the_same(store: Store) -> None:
    proposing = Proposing(store, only())
    refusals(store)
    first = proposing.run(WEEK, MONDAY)
    refusals(store, tuple(each.upper() for each in QUESTIONS), prefix="again ")
    golden.decide(store, first.candidates[0].candidate_id, "rejected", "ann", MONDAY)

    second = proposing.run(WEEK, MONDAY + timedelta(hours=1))

    assert len(first.candidates) == len(QUESTIONS)
    assert second.candidates == ()
    assert second.rounds[0].failures == 2 * len(QUESTIONS)


def test_failures_that_say_the_same_are_one_candidate_that_counts_them(store: Store) -> None:
    calls(store, *(call(str(number), "Why was I charged twice in March", refused=True) for number in range(9)))

    (found,) = Proposing(store, only()).run(WEEK, MONDAY).candidates

    assert found.alike == 9


def test_no_more_than_asked_for_are_proposed_of_each_subject_and_subjects_can_be_chosen(store: Store) -> None:
    refusals(store)
    refusals(store, prefix="bank ", service="bank")

    both = Proposing(store, only(per_week=5)).run(WEEK, MONDAY).rounds
    store.execute("TRUNCATE TABLE golden_candidates")
    bank = Proposing(store, only(subjects=("ban*",))).run(WEEK, MONDAY).rounds

    assert [(each.subject, each.failures, each.proposed) for each in both] == [("bank", 7, 5), ("shop", 7, 5)]
    assert [(each.subject, each.proposed) for each in bank] == [("bank", 7)]


def test_the_same_records_and_seed_give_the_same_choice(store: Store) -> None:
    refusals(store)
    chosen = []
    for _ in range(2):
        chosen.append([each.record_id for each in Proposing(store, only(per_week=5)).run(WEEK, MONDAY, 3).candidates])
        store.execute("TRUNCATE TABLE golden_candidates")

    assert chosen[0] == chosen[1] and len(chosen[0]) == 5


def test_content_is_masked_and_not_kept_at_all_where_the_setting_says_so(store: Store) -> None:
    calls(store, call("secret", "my name is Bond, what is yours?", refused=True, prompt_version="v1"))

    (masked,) = Proposing(store, only(), mask=lambda text: text.replace("Bond", "[name]")).run(WEEK, MONDAY).candidates
    store.execute("TRUNCATE TABLE golden_candidates")
    (bare,) = Proposing(store, only(content=False)).run(WEEK, MONDAY).candidates

    assert masked.input == "my name is [name], what is yours?"
    assert "Bond" not in str(masked.row())
    assert (bare.input, bare.output, bare.expected, bare.context) == ("", "", "", ())
    assert bare.trace_id and bare.reasons


def test_calls_whose_content_was_not_captured_are_proposed_by_their_ids(store: Store) -> None:
    calls(store, call("a", "", output="", refused=True), call("b", "", output="", refused=True, tenant="acme"))

    found = Proposing(store, only()).run(WEEK, MONDAY).candidates

    assert {each.record_id for each in found} == {trace("a"), trace("b")}
    assert {(each.input, each.digest) for each in found} == {("", "")}


def test_texts_are_compared_by_embeddings_where_there_are_any(store: Store) -> None:
    refusals(store, ("please stop my plan", "cancel the subscription", "a parcel is late"))

    def embed(texts: list[str]) -> np.ndarray:
        return np.array([[0.0, 1.0] if "parcel" in each else [1.0, 0.0] for each in texts], dtype=np.float32)

    found = Proposing(store, only(), embed=embed).run(WEEK, MONDAY).candidates  # type: ignore[arg-type]

    assert sorted(each.alike for each in found) == [1, 2]


@needs_embeddings
def test_the_packaged_model_takes_other_words_for_the_same_and_another_matter_for_another(store: Store) -> None:
    asked = ("How do I cancel my subscription?", "How can I cancel my subscription?")
    covered = ("What does the warranty cover?", "What is covered by the warranty?")
    refusals(store, (*asked, *covered, "How do I cancel my order?", "Is the fee per month?", "Is the fee per year?"))

    with_model = proposing(store, Settings(golden=only())).run(WEEK, MONDAY).candidates
    store.execute("TRUNCATE TABLE golden_candidates")
    by_letters = Proposing(store, only()).run(WEEK, MONDAY).candidates

    assert sorted(each.alike for each in with_model) == [1, 1, 1, 2, 2]
    assert {each.input for each in with_model if each.alike == 1} == {
        "How do I cancel my order?", "Is the fee per month?", "Is the fee per year?",
    }  # fmt: skip
    assert sorted(each.alike for each in by_letters) == [1, 1, 1, 1, 1, 2]


def test_the_round_of_a_week_is_run_once_after_its_lag_also_by_two_processes_and_after_a_restart(store: Store) -> None:
    refusals(store)
    settings = only(lag_hours=6)

    def loop() -> GoldenLoop:
        return GoldenLoop(store, settings, Proposing(store, settings))

    early = loop()
    before = early.run(MONDAY + timedelta(hours=5))
    done = early.run(MONDAY + timedelta(hours=6))
    again = early.run(MONDAY + timedelta(hours=7))
    restarted = loop().run(MONDAY + timedelta(days=1))

    assert before is not None and before.candidates == ()  # the week before, in which nothing happened
    assert done is not None and len(done.candidates) == len(QUESTIONS)
    assert again is None and restarted is None


def test_of_two_rounds_of_one_week_one_choice_is_kept(store: Store) -> None:
    refusals(store)
    one, other = (Proposing(store, only(per_week=5)) for _ in range(2))

    first = one.run(WEEK, MONDAY, 1, weekly=True)
    second = other.run(WEEK, MONDAY, 2, weekly=True)

    assert len(first.candidates) == 5
    assert second.candidates == () and len(golden.read(store)) == 5


def test_a_round_that_fails_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals(store)
    proposing = Proposing(store, only())
    loop = GoldenLoop(store, only(), proposing)
    with monkeypatch.context() as broken, pytest.raises(RuntimeError):
        broken.setattr(proposing, "_found", lambda window: (_ for _ in ()).throw(RuntimeError("away")))
        loop.run(MONDAY + timedelta(hours=6))

    done = loop.run(MONDAY + timedelta(hours=7))

    assert done is not None and len(done.candidates) == len(QUESTIONS)


def test_what_nobody_decides_is_rejected_in_the_end_and_loses_its_output(store: Store) -> None:
    refusals(store, QUESTIONS[:2])
    settings = only(undecided_days=14)
    one, two = Proposing(store, settings).run(WEEK, MONDAY).candidates
    golden.decide(store, one.candidate_id, "accepted", "ann", MONDAY + timedelta(hours=1))

    GoldenLoop(store, settings, Proposing(store, settings)).run(MONDAY + timedelta(days=15))

    states = {each.candidate_id: (each.state, each.author, each.output != "") for each in golden.read(store)}
    assert states == {
        one.candidate_id: (State.ACCEPTED, "ann", True),
        two.candidate_id: (State.REJECTED, "nobody", False),
    }


def test_what_was_accepted_can_be_rejected_and_what_was_rejected_stays_so(store: Store) -> None:
    refusals(store, QUESTIONS[:1])
    (found,) = Proposing(store, only()).run(WEEK, MONDAY).candidates
    start = found.candidate_id[:8]

    accepted = golden.decide(store, start, "accepted", "ann", MONDAY, note="yes", expected="In Porto.")
    rejected = golden.decide(store, start, "rejected", "bob", MONDAY + timedelta(hours=1), note="no")

    assert (accepted.expected, accepted.input) == ("In Porto.", QUESTIONS[0])
    assert (rejected.expected, rejected.output, rejected.context) == ("", "", ())
    assert golden.read(store) == [rejected] and rejected.input == QUESTIONS[0]
    for decision, author, problem in (
        ("accepted", "ann", "was rejected by bob"),
        ("maybe", "ann", "no decision 'maybe'"),
        ("rejected", " ", "needs an author"),
    ):
        with pytest.raises(InvalidRecord, match=problem):
            golden.decide(store, start, decision, author, MONDAY)
    with pytest.raises(InvalidRecord, match="no candidate begins"):
        golden.decide(store, "feedbeef", "accepted", "ann", MONDAY)
