"""Every reason is found where it is, and only there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from golden_records import AT, WEEK, call, calls, feedback, measured, prediction, score, trace

from tidegauge.config import Golden
from tidegauge.judges.golden.drifted import drifts, examples, with_drift
from tidegauge.judges.golden.failure import Case, Sign, cases, rarest
from tidegauge.judges.golden.signs import PER_STRATUM, signs
from tidegauge.store import Store


def found(store: Store, **settings: object) -> dict[str, set[str]]:
    """Reason to records."""
    by_reason: dict[str, set[str]] = {}
    for sign in signs(store, Golden.model_validate(settings), WEEK):
        by_reason.setdefault(sign.reason, set()).add(sign.record_id)
    return by_reason


def test_errors_refusals_and_blocks_are_found_by_their_trace_and_healthy_calls_are_not(store: Store) -> None:
    calls(
        store,
        call("well", "how?"),
        call("broken", "how?", kind="tool", error_type="Timeout"),
        call("refused", "how?", refused=True),
        call("blocked", "how?", kind="guardrail", blocked=True),
        call("long ago", "how?", refused=True, timestamp=WEEK.start - timedelta(hours=1)),
        call("training", "how?", refused=True, role="training"),
    )

    assert found(store) == {"error": {trace("broken")}, "refused": {trace("refused")}, "blocked": {trace("blocked")}}


def test_low_scores_are_told_from_replies_of_the_judge_that_were_no_verdict(store: Store) -> None:
    score(store, "bad", 0.2, "pass")
    score(store, "failed", 0.7, "fail")
    score(store, "fine", 0.9, "pass")
    score(store, "garbled", None, "", error_type="invalid:not_json")
    score(store, "away", None, "", error_type="undetermined:timeout")
    row = {"timestamp": AT, "trace_id": trace("sly"), "span_id": "", "reason": "injection_suspected", "detail": "x"}
    store.insert("review_queue", [row | {"state": "open"}])

    assert found(store) == {
        "low_score": {trace("bad"), trace("failed")},
        "invalid_verdict": {trace("garbled")},
        "injection": {trace("sly")},
    }


def test_thumbs_down_low_csat_and_corrections_count_and_the_last_of_several_holds(store: Store) -> None:
    feedback(store, "down", "thumbs", -1)
    feedback(store, "up", "thumbs", 1)
    feedback(store, "poor", "csat", 2)
    feedback(store, "middling", "csat", 3)
    feedback(store, "corrected", "correction", None, "It was Tuesday.")

    negative = list(signs(store, Golden(reasons=("negative_feedback",)), WEEK))

    assert {sign.record_id for sign in negative} == {trace("down"), trace("poor"), trace("corrected")}
    assert [sign.expected for sign in negative if sign.record_id == trace("corrected")] == ["It was Tuesday."]


def test_a_judge_and_a_user_or_two_judges_that_differ_are_a_disagreement(store: Store) -> None:
    score(store, "liked", 0.2, "fail")
    feedback(store, "liked", "thumbs", 1)
    score(store, "disliked", 0.9, "pass")
    feedback(store, "disliked", "thumbs", -1)
    score(store, "agreed", 0.9, "pass")
    feedback(store, "agreed", "thumbs", 1)
    score(store, "human", 0.9, "pass")
    score(store, "human", 0.1, "fail", judge="human")

    assert found(store, reasons=["disagreement"]) == {
        "disagreement": {trace("liked"), trace("disliked"), trace("human")}
    }


def test_a_question_asked_again_in_other_words_speaks_against_the_first_answer(store: Store) -> None:
    first, again = "How do I cancel my order from last week?", "How can I cancel my order from last week??"
    calls(
        store,
        call("first", first, session="s"),
        call("again", again, session="s", timestamp=AT + timedelta(minutes=1)),
        call("other", "Where is the nearest shop in Berlin?", session="s", timestamp=AT + timedelta(minutes=2)),
        call("elsewhere", first, session="t"),
        call("much later", again, session="t", timestamp=AT + timedelta(hours=2)),
        call("step one", first, session="u"),
        call("step one", first, session="u", timestamp=AT + timedelta(seconds=1)),
    )

    assert found(store, reasons=["rephrased"]) == {"rephrased": {trace("first")}}


def test_a_retrieval_that_found_nothing_counts_and_one_whose_documents_were_not_recorded_does_not(store: Store) -> None:
    rows = [
        {
            "Timestamp": AT,
            "TraceId": trace(name),
            "ServiceName": "shop",
            "SpanAttributes": {"gen_ai.operation.name": "retrieval"} | documents,
        }
        for name, documents in (
            ("nothing", {"gen_ai.retrieval.documents": "[]"}),
            ("some", {"gen_ai.retrieval.documents": '[{"id": "1", "score": 0.5}]'}),
            ("unknown", {}),
        )
    ]
    store.insert("otel_traces", rows)

    assert found(store, reasons=["empty_retrieval"]) == {"empty_retrieval": {trace("nothing")}}


def test_a_label_that_contradicts_a_confident_score_counts_whichever_class_the_score_is_of(store: Store) -> None:
    for name, value, chance, label in (
        ("sure and wrong", "0", 0.05, "1"),
        ("sure, wrong too", "1", 0.95, "0"),
        ("unsure", "0", 0.4, "1"),
        ("right", "0", 0.02, "0"),
        ("right as well", "1", 0.97, "1"),
    ):
        prediction(store, name, value, chance, label)

    wrong = {sign.record_id: sign for sign in signs(store, Golden(reasons=("confident_error",)), WEEK)}

    assert set(wrong) == {"sure and wrong", "sure, wrong too"}
    assert wrong["sure and wrong"].strength == pytest.approx(0.95)
    assert wrong["sure and wrong"].expected == "1"


def errors(store: Store, model: str, pairs: Mapping[str, tuple[Any, Any]], **more: Any) -> dict[str, Sign]:
    measured(store, model, pairs, **more)
    return {sign.record_id: sign for sign in signs(store, Golden(reasons=("large_error",)), WEEK)}


def test_the_largest_errors_of_foretold_numbers_count_the_larger_the_stronger(store: Store) -> None:
    pairs: dict[str, tuple[Any, Any]] = {f"usual {n}": (n / 2, n / 2 + (-1) ** n * (0.5 + n / 100)) for n in range(100)}
    odd = {"large": (100, 88.0), "larger": ("-60", 13), "none": ("nan", 5)}

    large = errors(store, "price", pairs | odd)

    assert large.keys() == odd.keys()
    assert large["larger"].detail == "predicted -60, was 13: 72.3 times the usual error, 1.01"
    assert large["none"].detail == "predicted nan, was 5: countless times the usual error, 1.01"
    assert 0.9 < large["large"].strength < large["larger"].strength < large["none"].strength == 1
    assert (large["large"].expected, large["large"].subject, large["large"].tenant) == ("88.0", "price", "acme")
    assert found(store, reasons=["large_error"], large_error_times=20) == {"large_error": {"larger", "none"}}


def test_where_most_numbers_are_exact_every_error_counts(store: Store) -> None:
    pairs = {f"exact {n}": (n, n) for n in range(60)} | {"near": (7, 8), "far": (7, 10), "farthest": (7, 80)}

    wrong = errors(store, "count", pairs)

    assert wrong["near"].detail == "predicted 7, was 8: most are exact"
    assert [round(wrong[name].strength, 2) for name in ("near", "far", "farthest")] == [0.25, 0.5, 0.96]


def test_classes_that_are_numbers_text_and_what_is_hardly_known_have_no_large_errors(store: Store) -> None:
    assert not errors(store, "digits", {f"d{n}": (n % 10, (n % 10) if n else 9) for n in range(200)})
    assert not errors(store, "articles", {f"a{n}": (n % 60, (n % 60) if n else 59) for n in range(200)}, score=0.9)
    assert not errors(store, "young", {f"y{n}": (n, n if n else 59) for n in range(29)})


def test_one_noisy_tenant_does_not_keep_the_others_from_being_read(store: Store) -> None:
    noisy = [call(f"noise {number}", "how?", refused=True, tenant="noisy") for number in range(PER_STRATUM + 50)]
    calls(store, *noisy, call("quiet one", "how?", refused=True, tenant="quiet"))

    refused = found(store, reasons=["refused"])["refused"]

    assert trace("quiet one") in refused and len(refused) == PER_STRATUM + 1


def test_reasons_that_nobody_asks_for_are_not_looked_for(store: Store) -> None:
    calls(store, call("refused", "how?", refused=True, error_type="Timeout"))

    assert set(found(store, reasons=["error"])) == {"error"}


def test_a_failure_in_a_slice_that_drifted_says_so_and_texts_shown_as_new_are_candidates(store: Store) -> None:
    finding = {
        "evaluated_at": WEEK.end,
        "finding_id": "f",
        "subject": "shop",
        "feature": "input",
        "detector": "mmd",
        "window_start": AT - timedelta(hours=5),
        "window_end": AT + timedelta(hours=5),
        "verdict": "drift",
        "effect": 0.5,
        "effect_floor": 0.1,
        "dimension": "tenant",
        "slice": "acme",
        "evidence": json.dumps({"topics": [{"examples": ["a wholly new question"], "terms": ["new"]}]}),
    }
    store.insert("findings", [finding])
    vector = {"timestamp": AT, "trace_id": trace("new"), "span_id": "", "service": "shop", "embedding_model": "e"}
    store.insert("embeddings", [vector | {"text": "a wholly new question", "vector": [1.0], "slices": {}}])
    case = Case("trace", trace("x"), "shop", AT, {"error": "e"}, 0.7, slices={"tenant": "acme"})
    elsewhere = Case("trace", trace("y"), "shop", AT, {"error": "e"}, 0.7, slices={"tenant": "globex"})

    touched = with_drift([case, elsewhere], drifts(store, WEEK))

    assert [sign.record_id for sign in examples(store, WEEK)] == [trace("new")]
    assert ["drifted" in each.reasons for each in touched] == [True, False]
    assert touched[0].strength > case.strength


def test_a_failure_in_a_pair_that_drifted_names_the_pair() -> None:
    known = {("shop", "plan & tenant", "free & acme"): "income (psi), window to 2026-05-04"}
    slices = [{"tenant": "acme", "plan": "free"}, {"tenant": "acme", "plan": "pro"}]
    inside, outside = with_drift(
        [Case("trace", "x", "shop", AT, {"error": "e"}, 0.7, slices=each) for each in slices], known
    )
    assert inside.reasons["drifted"] == "plan=free & tenant=acme drifted in income (psi), window to 2026-05-04"
    assert "drifted" not in outside.reasons


def test_several_signs_of_one_record_are_one_case_of_which_each_reason_is_told_once() -> None:
    both = [
        Sign("trace", "a", "error", "first", AT),
        Sign("trace", "a", "error", "second", AT),
        Sign("trace", "a", "refused", "no", AT, subject="shop"),
        Sign("trace", "b", "refused", "no", AT),
    ]

    one, other = cases(both)

    assert (dict(one.reasons), one.subject) == ({"error": "first", "refused": "no"}, "shop")
    assert one.strength == pytest.approx(1 - 0.3 * 0.5)
    assert rarest([one, other]) == ["error", "refused"]
