"""Eight faults and a clean stretch of a help desk. The assistant has the long list:
``python -m tidegauge.demo.assistant.diagnose``, docs/diagnosis.md."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import desk
import numpy as np
import pytest
from desk import SERVICE, SINCE, UNTIL, Break, Desk

from tidegauge.config import Detectors, Reference, Watch
from tidegauge.detectors.diagnose import Asked, Diagnosis, Level, Stage, diagnose
from tidegauge.detectors.diagnose.text import as_json, as_text
from tidegauge.detectors.diagnose.verdict import Verdict, part_text
from tidegauge.detectors.embedding import Hashing
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.errors import TidegaugeError
from tidegauge.store import Store

FAULTS: list[tuple[Break, str, str, str]] = [
    (desk.careful_prompt, "new prompt", "v2", "prompt=v2"),
    (desk.other_topics, "topics moved", "", "all traffic"),
    (desk.empty_for_one, "retrieval empty", "", "tenant=globex"),
    (desk.slow, "provider slow", "", "all traffic"),
    (desk.limited, "provider errors", "429", "all traffic"),
    (desk.broken_tool, "tool fails", "lookup", "all traffic"),
    (desk.dear_model, "new model", "large-2", "model=large-2"),
    (desk.busy_tenant, "part grew", "", "tenant=initech"),
]


def diagnosed(store: Store, broken: Break, service: str = SERVICE, *, content: bool = True) -> Diagnosis:
    made = Desk(np.random.default_rng(5), content)
    broken(made)
    made.store(store, service)
    return diagnose(store, Asked(service, UNTIL))


def test_the_true_cause_comes_first_with_its_part_and_about_the_time_it_began(store: Store) -> None:
    said = {}
    for broken, *_ in FAULTS:
        found = diagnosed(store, broken, broken.__name__)
        first = found.causes[0].finding
        said[broken.__name__] = (first.cause, first.subject, part_text(first.part))
        assert abs(found.since - SINCE) <= timedelta(hours=2), (broken.__name__, found.how)

    assert said == {broken.__name__: (cause, subject, part) for broken, cause, subject, part in FAULTS}


def test_nothing_is_wrong_where_nothing_happened(store: Store) -> None:
    found = diagnosed(store, desk.nothing)

    assert found.causes == ()
    text = as_text(as_json(found))
    assert text.startswith("helpdesk: nothing is wrong")
    assert "requests from" in text


def test_a_prompt_is_blamed_for_refusals_that_the_others_have_not_and_explains_them(store: Store) -> None:
    first = diagnosed(store, desk.careful_prompt).causes[0]

    assert first.finding.summary.startswith("prompt v2 answers 88% of the requests since; ")
    assert "with the others" in first.finding.summary
    assert {each.cause for each in first.explains} >= {"refusals up"}


def test_without_captured_content_topics_are_unknown_and_the_rest_is_told(store: Store) -> None:
    found = diagnosed(store, desk.broken_tool, content=False)

    topics = next(each for each in found.verdicts if each.check == "topics")
    assert topics.level is Level.UNKNOWN and "captured" in topics.summary
    assert found.causes[0].finding.cause == "tool fails"
    assert [each["stage"] for each in as_json(found)["stages"]] == list(Stage)


def test_a_moment_with_too_little_before_it_is_refused(store: Store) -> None:
    Desk(np.random.default_rng(5)).store(store)

    with pytest.raises(TidegaugeError, match="too little before"):
        diagnose(store, Asked(SERVICE, UNTIL, desk.BEGAN + timedelta(minutes=20)))


def topics_of(found: Diagnosis) -> Verdict:
    return next(each for each in found.verdicts if each.check == "topics")


def watched(store: Store, until: datetime) -> None:
    """The detectors of texts, in windows of three hours against the nine before."""
    trailing = Reference(kind="trailing", days=9 / 24, gap_days=0)
    watch = Watch(window_hours=3, step_hours=3, reference=trailing, floor_from_reference=False)
    settings = Detectors(services=(watch,), weekly_texts=0, windows_per_run=100)
    DetectorLoop(store, settings, Hashing()).run(until + timedelta(hours=1))


def test_topics_that_detectors_found_since_are_named_and_those_of_an_older_drift_are_not(store: Store) -> None:
    made = Desk(np.random.default_rng(5))
    desk.other_topics(made)
    made.store(store)
    watched(store, UNTIL)

    found = diagnose(store, Asked(SERVICE, UNTIL))
    later = diagnose(store, Asked(SERVICE, UNTIL, SINCE + timedelta(hours=9)))

    assert found.causes[0].finding.cause == "topics moved"
    said = topics_of(found).summary
    assert "times what is drift: grew " in said and "shrank " in said
    assert any(word in said.partition("shrank")[0] for word in desk.NEW_WORDS)
    assert "the mix of words moved" in said
    assert "times what is drift" not in topics_of(later).summary


def test_topics_say_what_changed_where_words_alone_show_nothing(store: Store) -> None:
    Desk(np.random.default_rng(5)).store(store)
    topics = [{"name": "router, cable", "change": "grew", "reference": 0.01, "current": 0.3}, {"name": "no change"}]
    row = {"evaluated_at": UNTIL, "finding_id": "1", "subject": SERVICE, "feature": "input", "detector": "topics"}
    row |= {"dimension": "", "slice": "", "reference": "trailing", "verdict": "drift", "effect": 0.4}
    row |= {"effect_floor": 0.1, "reference_start": desk.BEGAN, "reference_end": SINCE, "since": SINCE}
    row |= {"window_start": SINCE, "window_end": UNTIL}
    store.insert("findings", [row | {"evidence": json.dumps({"topics": topics})}, row | {"evidence": "[1"}])

    found = topics_of(diagnose(store, Asked(SERVICE, UNTIL, SINCE)))

    assert found.level is Level.BAD and found.cause == "topics moved"
    assert "4.0 times what is drift: grew router, cable (1% to 30%)" in found.summary
