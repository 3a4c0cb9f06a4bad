"""Which windows are evaluated, against what, and that none is twice."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from drift_stream import Change, Row, Stream, day, drifts, loop, one, settings, unit_change

from tidegauge import instruments
from tidegauge.config import Detectors, Reference, Watch
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.detectors.schedule import before_first, windows
from tidegauge.store import Store


def stored(store: Store) -> int:
    return int(store.value("SELECT count() AS n FROM findings"))


def test_a_window_is_evaluated_once_also_after_a_restart(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 2)
    first = loop(store).run(day(2.1))
    before = stored(store)
    assert loop(store).run(day(2.1)) == []
    assert stored(store) == before == len(first)


def test_a_restart_keeps_the_day_that_drift_began(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 3, unit_change())
    assert loop(store).run(day(1.1))
    assert loop(store).run(day(2.1))
    findings = loop(store).run(day(3.1))
    assert one(findings, "income", "ks").since == day(0)


def test_drift_that_stopped_and_came_back_began_when_it_came_back(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1, unit_change())
    stream.days(1, 2)
    stream.days(2, 4, unit_change())
    findings = [each for each in loop(store).run(day(4.1)) if each.window_end == day(4)]
    assert one(findings, "income", "psi").since == day(2)


def test_two_processes_that_evaluate_the_same_window_store_it_once(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    left, right = loop(store), loop(store)
    right._models._last["risk"] = day(0)  # as if it had looked before the other wrote
    left.run(day(1.1))
    before = stored(store)
    right.run(day(1.1))
    assert stored(store) == before


def test_a_window_waits_for_its_end_and_the_lag(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    detector = loop(store)
    assert detector.run(day(1)) == []
    assert detector.run(day(1) + timedelta(seconds=59)) == []
    assert detector.run(day(1) + timedelta(seconds=60)) != []


def test_catching_up_takes_at_most_the_stated_windows_per_run(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 5, rows=100)
    detector = DetectorLoop(store, settings().model_copy(update={"windows_per_run": 2}))
    ends = [{each.window_end for each in detector.run(day(5.1))} for _ in range(4)]
    assert [len(each) for each in ends] == [2, 2, 1, 0]
    assert set.union(*ends) == {day(number) for number in range(1, 6)}


def test_training_rows_are_in_no_window_and_no_volume(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 6, rows=300)
    stream.insert(stream.rows([day(5.5)] * 2000, "training"))
    findings = [each for each in loop(store).run(day(6.1)) if each.window_end == day(6)]
    assert one(findings, "volume", "volume").verdict == "stable"
    assert one(findings, "age", "missing").n_current == 300
    assert one(findings, "age", "missing").n_reference == 5000


def test_an_empty_window_is_a_fall_in_volume_and_otherwise_undetermined(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 6, rows=300)
    stream.days(7, 8, rows=300)
    findings = [each for each in loop(store).run(day(8.1)) if each.window_end == day(7)]
    assert one(findings, "volume", "volume").verdict == "drift"
    assert one(findings, "*", "reference").verdict == "undetermined"
    assert one(findings, "*", "reference").reason == "no predictions in the window"
    assert len(findings) == 2


def test_without_training_rows_all_is_undetermined_and_says_what_to_do(store: Store) -> None:
    Stream(store).days(0, 1)
    findings = loop(store).run(day(1.1))
    assert {each.verdict for each in findings} == {"undetermined"}
    assert "role=training" in one(findings, "*", "reference").reason


def test_a_model_without_a_watch_is_left_alone(store: Store) -> None:
    stream = Stream(store, model="unknown")
    stream.training()
    stream.days(0, 1)
    watched = Detectors(models=(Watch(name="risk"),), embedder="off")
    assert DetectorLoop(store, watched).run(day(1.1)) == []


def test_a_version_that_the_reference_never_had_is_undetermined(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    stream.version = "2"
    stream.days(1, 2)
    findings = [each for each in loop(store).run(day(2.1)) if each.window_end == day(2)]
    found = one(findings, "*", "slice", "2")
    assert (found.dimension, found.verdict) == ("version", "undetermined")
    assert found.reason == "version=2 is not in the reference"
    assert drifts(findings) == set()


def test_a_version_that_replaced_another_is_not_compared_with_its_first_days(store: Store) -> None:
    def warmer(number: int) -> Change:
        return lambda row, _: row["features"].update(age=row["features"]["age"] + 10 * (number % 3))

    stream = Stream(store)
    for number in range(12):
        stream.days(number, number + 1, warmer(number), rows=300)
        if number == 8:
            stream.insert(stream.rows([day(9) + timedelta(minutes=at) for at in range(200)]))
            stream.version = "2"
    found = loop(store, reference=Reference(kind="trailing", days=8, gap_days=0)).run(day(12.1))
    of_version = {(each.window_end, each.slice, each.reason) for each in found if each.dimension == "version"}
    assert not [each for each in found if each.verdict == "drift" and each.dimension == "version"]
    assert (day(10), "1", "version=1 came or went within the window") in of_version
    assert (day(12), "2", "version=2 is in 2 of the 8 windows of the reference: 7 are needed") in of_version


def test_values_beyond_the_most_frequent_are_counted_as_other(store: Store) -> None:
    def spread(row: Row, rng: np.random.Generator) -> None:
        row["slices"]["port"] = f"P{rng.integers(0, 500)}"

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, spread)
    findings = loop(store, max_slices=3).run(day(1.1))
    found = one(findings, "*", "slice", "other")
    assert found.verdict == "undetermined"
    assert "not tested" in found.reason
    assert len([each for each in findings if each.dimension == "port"]) == 4


@pytest.mark.parametrize("name", ["') OR 1=1 --", "`", "\u202e", "x" * 10_000, "{n0:String}"])
def test_names_from_outside_pass_through_unharmed(store: Store, name: str) -> None:
    def rename(row: Row, _: np.random.Generator) -> None:
        row["features"][name] = 1.0
        row["slices"][name[:100]] = name

    stream = Stream(store, model=name)
    stream.training()
    stream.days(0, 1, rename, rows=200)
    findings = loop(store, slices=(name[:100],)).run(day(1.1))
    assert one(findings, name, "schema").verdict == "undetermined"
    assert {each.subject for each in findings} == {name}


def test_a_trailing_reference_moves_with_the_window(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 5, rows=500)
    stream.days(5, 10, unit_change(), rows=500)
    findings = loop(store, reference=Reference(kind="trailing", days=3, gap_days=1)).run(day(10.1))
    by_day = {each.window_end: each for each in findings if each.key[:2] == ("income", "ks") and not each.slice}
    assert (by_day[day(6)].verdict, by_day[day(10)].verdict) == ("drift", "stable")
    assert (by_day[day(6)].reference_start, by_day[day(6)].reference_end) == (day(1), day(4))


def test_a_window_within_a_fixed_reference_is_undetermined(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 5)
    findings = loop(store, reference=Reference(kind="fixed", start=day(0), end=day(3))).run(day(5.1))
    assert "fixed reference" in one([each for each in findings if each.window_end == day(2)], "*", "reference").reason
    assert one([each for each in findings if each.window_end == day(5)], "age", "psi").verdict == "stable"


def test_timestamps_from_1970_and_from_2200_open_no_windows(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    stream.insert(stream.rows([day(-20_000), day(64_000)]))
    findings = loop(store).run(day(1.1))
    assert {each.window_end for each in findings} == {day(1)}
    assert one(findings, "age", "missing").n_current == 900


def test_training_rows_that_come_later_are_taken_in(store: Store) -> None:
    stream = Stream(store)
    stream.training(2000)
    stream.days(0, 2)
    detector = loop(store)
    detector.run(day(1.1))
    stream.training(1000)
    findings = detector.run(day(2.1))
    assert one(findings, "age", "missing").n_reference == 3000
    kept = "SELECT count() AS n FROM reference_profiles WHERE feature = 'age'"
    assert store.value(kept) == 2, "one profile for each training set that was used"


def test_a_large_window_is_sampled_and_says_so(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    detector = DetectorLoop(store, settings().model_copy(update={"max_rows": 1000}))
    found = one(detector.run(day(1.1)), "age", "ks")
    assert found.n_reference == pytest.approx(1000, abs=120)
    assert "reference: a sample of one row in 3" in found.reason


def test_every_result_is_counted_also_those_without_a_row(store: Store) -> None:
    def counted() -> float:
        return sum(
            each.value
            for metric in instruments.FINDINGS.collect()
            for each in metric.samples
            if each.name.endswith("_total")
        )

    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    before = counted()
    findings = loop(store).run(day(1.1))
    assert counted() - before > len(findings)


def test_one_model_that_fails_does_not_hold_up_the_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        stream = Stream(store, model=name)
        stream.training(300)
        stream.days(0, 1, rows=100)
    detector = loop(store)
    sound = detector._models._references.of

    def broken(model: str, *rest: object) -> object:
        if model == "a":
            raise RuntimeError("a fault in one model")
        return sound(model, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(detector._models._references, "of", broken)
    before = instruments.LOOP_FAILURES.labels("detectors")._value.get()
    assert {each.subject for each in detector.run(day(1.1))} == {"b"}
    assert instruments.LOOP_FAILURES.labels("detectors")._value.get() == before + 1
    monkeypatch.undo()
    assert {each.subject for each in detector.run(day(1.1))} == {"a"}, "it is tried again"


def test_overlapping_windows_start_whole_and_end_on_the_grid() -> None:
    watch = Watch(window_hours=168, step_hours=24)
    found = list(windows(watch, before_first(watch, day(0) + timedelta(minutes=40)), day(9.5), 60))
    assert [(each.start, each.end) for each in found] == [(day(0), day(7)), (day(1), day(8)), (day(2), day(9))]


def test_a_window_that_began_hours_before_the_first_record_is_not_whole() -> None:
    watch = Watch(window_hours=168, step_hours=24)
    first = next(windows(watch, before_first(watch, day(0.1)), day(9.5), 60))
    assert (first.start, first.end) == (day(1), day(8))
