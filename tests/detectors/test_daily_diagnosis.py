"""A diagnosis once a day: its sure causes are findings, told once, and an alert unless drift tells them already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import shop
from shop import MODEL, SINCE, Break, Shop

from tidegauge.config import DailyDiagnosis, Detectors, Watch
from tidegauge.detectors import daily
from tidegauge.detectors.causes import DETECTOR, Seen, claim, matched, sightings
from tidegauge.detectors.diagnose import Asked, Cause, Diagnosis, Level, Stage, diagnose
from tidegauge.detectors.diagnose import Verdict as Said
from tidegauge.detectors.finding import Finding, Verdict
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.errors import TidegaugeError
from tidegauge.metrics import METRICS
from tidegauge.metrics.query import observe
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

DAY = timedelta(days=1)
AT = datetime(2026, 4, 1, tzinfo=UTC)
SETTINGS = DailyDiagnosis()
FLIPPED = Said(
    "label meaning", Stage.LOGGING, Level.BAD, "labels disagree", "labels flipped", "", (Slice("region", "north"),),
    9.0, frozenset({"label"}), {"agreement": 0.2},
)  # fmt: skip


def diagnosis(*verdicts: Said) -> Diagnosis:
    causes = tuple(Cause(each, (), 1.0, 0.9) for each in verdicts)
    return Diagnosis("m", AT - 40 * DAY, AT, AT + 2 * DAY, "as asked", 900, 60, verdicts, causes)


def loop(store: Store, changes: Mapping[str, object] | None = None) -> DetectorLoop:
    """Only the diagnosis finds something: no window of the model closes so late."""
    watch = Watch(window_hours=24 * 400, step_hours=24 * 400)
    known = Detectors(models=(watch,), embedder="off", false_pages_per_month=0)
    return DetectorLoop(store, known.model_copy(update=dict(changes or {})))


def broken(store: Store, how: Break) -> None:
    stream = Shop(np.random.default_rng(5))
    how(stream)
    stream.store(store)


def after(days: float) -> datetime:
    """So many days after the change, a little after midnight."""
    return SINCE + days * DAY + timedelta(minutes=2)


def told(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.verdict is Verdict.DRIFT]


def test_a_cause_that_no_window_test_sees_is_told_on_the_second_day_and_goes_on_as_one_finding(store: Store) -> None:
    broken(store, shop.turned_in_the_north)
    first, *rest = [loop(store).run(after(number)) for number in (4, 5, 6)]

    found = told(rest[0])[0]
    assert told(first) == []
    assert any(each.reason.startswith("seen on 1 day, told from 2 on: labels flipped") for each in first)
    assert [[(each.key, each.since) for each in told(one)] for one in rest] == [[(found.key, found.since)]] * 2
    assert found.key == ("label", DETECTOR, Slice("region", "north"))
    assert found.since and abs(found.since - SINCE) <= DAY
    assert found.effect and found.effect >= SETTINGS.times_usual
    assert "labels flipped (" in found.reason and "next: check the definition of the label" in found.reason
    assert json.loads(found.evidence)["sure"] in ("likely", "very likely")


def test_a_cause_that_the_scan_does_not_find_began_with_the_fewest_days_that_first_showed_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(store, shop.blind_in_the_south)

    def only_asked(store: Store, asked: Asked) -> Diagnosis:
        if asked.since is None:
            raise TidegaugeError("too few days")
        return diagnose(store, asked)

    monkeypatch.setattr(daily, "diagnose", only_asked)
    first, second = (loop(store).run(after(days)) for days in (2, 3))

    seen = [(each.verdict, json.loads(each.evidence)["since"]) for each in [*first, *second] if each.feature == "age"]
    assert seen == [(Verdict.STABLE, SINCE.isoformat()), (Verdict.DRIFT, SINCE.isoformat())]


def test_nothing_is_told_where_nothing_happened_and_that_it_was_looked_at_is_kept(store: Store) -> None:
    broken(store, shop.nothing)
    findings = [each for number in (0, 3, 6) for each in loop(store).run(after(number))]

    assert told(findings) == []
    kept = [each for each in findings if each.feature == "*"]
    assert [each.window_end for each in kept] == [SINCE + number * DAY for number in (0, 3, 6)]
    assert {each.verdict for each in kept} == {Verdict.STABLE}


def test_a_day_is_diagnosed_once_by_however_many_processes_and_after_a_restart(store: Store) -> None:
    broken(store, shop.pounds)
    one, other = loop(store), loop(store)
    due = one._daily.due(after(3)), other._daily.due(after(3))

    both = [list(each._daily.run(MODEL, after(3))) for each in (one, other)]
    rows = store.value("SELECT count() FROM findings")

    assert due == ([MODEL], [MODEL])
    assert len(both[0]) == len(both[1]) == rows
    assert loop(store).run(after(3.5)) == one.run(after(3.5)) == []
    assert store.value("SELECT count() FROM findings") == rows


def test_only_the_last_day_is_diagnosed_after_a_pause_and_one_model_a_round(store: Store) -> None:
    broken(store, shop.nothing)
    store.execute("INSERT INTO predictions SELECT * REPLACE ('other' AS model) FROM predictions")
    running = loop(store)

    rounds = [running.run(after(each)) for each in (5, 5.01, 5.02)]

    assert [{(each.subject, each.window_end) for each in one} for one in rounds] == [
        {("other", SINCE + 5 * DAY)},
        {(MODEL, SINCE + 5 * DAY)},
        set(),
    ]


def test_a_model_that_fails_does_not_hold_up_the_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(store, shop.nothing)
    store.execute("INSERT INTO predictions SELECT * REPLACE ('broken' AS model) FROM predictions")
    running = loop(store)
    whole = running._daily._claims
    monkeypatch.setattr(
        running._daily, "_claims", lambda model, *more: 1 / 0 if model == "broken" else whole(model, *more)
    )

    rounds = [running.run(after(each)) for each in (5, 5.01, 5.02)]

    assert [bool(each) for each in rounds] == [False, True, False]
    assert running._daily.due(after(5.03)) == ["broken"]


@pytest.mark.parametrize(
    "changes",
    [
        {"diagnosis": DailyDiagnosis(enabled=False)},
        {"models": (Watch(window_hours=24 * 400, step_hours=24 * 400, diagnosis=False),)},
        {"models": ()},
    ],
)
def test_it_can_be_switched_off_for_all_models_or_one(store: Store, changes: Mapping[str, object]) -> None:
    broken(store, shop.nothing)

    assert loop(store, changes).run(after(5)) == []


def test_a_young_model_is_undetermined_and_is_not_diagnosed(store: Store) -> None:
    broken(store, shop.pounds)

    (found,) = loop(store).run(shop.BEGAN + 20 * DAY)

    assert found.verdict is Verdict.UNDETERMINED
    assert found.reason.startswith("fewer than 21 days of predictions")


@pytest.mark.parametrize(
    ("since", "detector", "counted"),
    [
        (SINCE - 9 * DAY, "error_rate", 1),
        (SINCE, "error_rate", 0),
        (SINCE, "missing", 1),
        (SINCE, "sequential_missing", 1),
    ],
)
def test_a_cause_is_counted_unless_drift_tells_it_since_the_same_time(
    store: Store, since: datetime, detector: str, counted: int
) -> None:
    broken(store, shop.turned_in_the_north)
    (seen,) = [each for each in loop(store).run(after(4)) if each.feature != "*"]
    drift = replace(seen, feature="error", detector=detector, dimension="", slice="", verdict=Verdict.DRIFT)
    store.insert("findings", [replace(drift, since=since).row()])

    (found,) = told(loop(store).run(after(5)))
    span = Window(found.window_end - 3 * DAY, found.window_end)
    (causes,) = observe(store, METRICS["diagnosed_causes"], ["subject", "feature"], span)
    drifts = observe(store, METRICS["drift_findings"], ["subject", "feature"], span)

    assert causes.labels == {"subject": MODEL, "feature": "label"}
    assert causes.value == counted
    assert ("labels flipped" in causes.note) is bool(counted)
    assert found.reason.startswith("told by drift of error since ") is not bool(counted)
    assert [each.labels["feature"] for each in drifts if each.value] == ["error"]


def test_a_gap_that_goes_on_hides_no_other_cause_of_the_same_feature(store: Store) -> None:
    stream = Shop(np.random.default_rng(5))
    gone = stream.since & (stream.rng.random(stream.rows) < 0.3)
    tens = np.where(stream.after(4), 10 * np.round(stream.age / 10), stream.age)
    stream.age = np.where(gone, np.nan, tens)
    stream.store(store)

    daily = loop(store)
    for day in (4, 5, 6):
        list(daily.run(after(day)))
    (last,) = [each for each in told(list(daily.run(after(7)))) if each.feature == "age"]
    span = Window(last.window_end - 3 * DAY, last.window_end)
    causes = observe(store, METRICS["diagnosed_causes"], ["feature", "kind"], span)

    assert last.reason.startswith("precision lost: age")
    counted = {each.labels["kind"]: each.note for each in causes if each.labels["feature"] == "age" and each.value}
    assert set(counted) == {"missing", "drift"}
    assert "missing: age" in counted["missing"] and "precision lost: age" in counted["drift"]


def test_what_is_no_longer_seen_is_over_and_is_told_again_at_once_when_it_comes_back() -> None:
    (sighting,) = sightings([diagnosis(FLIPPED)], SETTINGS)
    was = Seen("label", Slice("region", "north"), "labels flipped", frozenset({"label"}), False, True, 0, AT - 3 * DAY)

    again = claim(sighting, matched(sighting, [was]), SETTINGS, was.since, "")
    new = claim(sighting, matched(sighting, []), SETTINGS, AT, "")

    assert (again.verdict, new.verdict) == (Verdict.DRIFT, Verdict.STABLE)
    assert not was.going_on


def test_a_cause_under_another_name_goes_on_with_the_finding_that_was_told() -> None:
    other = replace(
        FLIPPED, cause="joined wrongly", stage=Stage.DATA, subject="temp", columns=frozenset({"temp"}), part=()
    )
    crossed = replace(other, cause="swapped", subject="humid, temp", columns=frozenset({"humid", "temp"}))
    was = Seen("temp", ALL, "joined wrongly", frozenset({"temp"}), True, True, 3, AT)
    (sighting,) = sightings([diagnosis(crossed)], SETTINGS)

    found = claim(sighting, matched(sighting, [was]), SETTINGS, was.since, "")

    assert sighting.feature == "humid, temp"
    assert (found.feature, json.loads(found.evidence)["days"]) == ("temp", 4)
    assert found.reason.startswith("swapped: humid, temp")


@pytest.mark.parametrize("cause", ["stale", "threshold changed", "clock shifted"])
def test_what_chance_does_not_do_and_few_days_alone_show_is_told_at_once(cause: str) -> None:
    columns = frozenset({"temp"})
    again = replace(FLIPPED, cause=cause, stage=Stage.DATA, subject="temp", columns=columns, part=())
    (sighting,) = sightings([diagnosis(again)], SETTINGS)

    assert claim(sighting, None, SETTINGS, AT, "").verdict is Verdict.DRIFT


def test_what_no_longer_fits_beside_a_late_reading_is_one_matter_with_it() -> None:
    late = replace(FLIPPED, cause="stale", stage=Stage.DATA, subject="temp", columns=frozenset({"temp"}), part=())
    beside = replace(late, cause="joined wrongly", subject="dewp", columns=frozenset({"dewp"}), strength=3.7)

    assert [each.name for each in sightings([diagnosis(late), diagnosis(beside)], SETTINGS)] == ["stale: temp"]


@pytest.mark.parametrize(
    "changes",
    [
        {"level": Level.SUSPECT},
        {"strength": SETTINGS.times_usual - 0.1},
        {"stage": Stage.DOWNSTREAM},
        {"cause": "labels missing"},
        {"cause": "type changed", "columns": frozenset({"temp"})},
        {"cause": "part gone", "columns": frozenset({"volume"})},
    ],
)
def test_what_is_weak_or_told_by_other_rules_or_follows_from_something_is_left_out(changes: dict[str, object]) -> None:
    assert sightings([diagnosis(replace(FLIPPED, **changes))], SETTINGS) == []  # type: ignore[arg-type]


def test_of_several_looks_that_tell_the_same_the_closest_name_counts() -> None:
    vague = replace(FLIPPED, cause="concept", stage=Stage.CONCEPT, strength=30.0)
    elsewhere = replace(FLIPPED, part=(Slice("region", "south"),))

    found = sightings([diagnosis(vague), diagnosis(FLIPPED, elsewhere)], SETTINGS)

    assert [(each.name, each.part.value) for each in found] == [
        ("labels flipped", "north"),
        ("labels flipped", "south"),
    ]
