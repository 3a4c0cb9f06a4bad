"""What a window is compared with: the season, the version before, without incidents, frozen while an alert is open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drift_stream import DAY0, Row, Stream, day, drifts, loop, one, settings, unit_change

from tidegauge.config import Detectors, Incident, Reference, Watch
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.predictions import Version
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.references import reference_windows, versions_of
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.detectors.spans import joined, weeks_before, without
from tidegauge.detectors.spread import OwnWindows
from tidegauge.detectors.traffic import Traffic
from tidegauge.errors import ConfigError
from tidegauge.incidents import Incidents
from tidegauge.model import ALL, Window
from tidegauge.store import Store

SEASON, PREVIOUS = Reference(kind="season", weeks=4), Reference(kind="previous_version", days=7)
TRAILING = Reference(kind="trailing", days=3, gap_days=0)
EVERYWHERE = {"psi", "ks", "kl", "jensen_shannon", "wasserstein", "out_of_range"}


def weekly(row: Row, _: np.random.Generator) -> None:
    """On the day of the week of day 0 everybody is 20 years older."""
    if (row["timestamp"] - DAY0).days % 7 == 0:
        row["features"]["age"] += 20


def of_day(findings: Sequence[Finding], number: int) -> list[Finding]:
    """Those of the window that ended when the day began."""
    return [each for each in findings if each.window_end == day(number)]


def firing(store: Store, since: datetime, state: str = "firing", at: datetime | None = None) -> None:
    """An alert of the model ``risk``."""
    row: dict[str, Any] = {"timestamp": at or since, "since": since, "state": state, "open": state == "firing"}
    store.insert("alert_events", [row | {"rule": "Drift", "fingerprint": "f", "labels": {"subject": "risk"}}])


def at_day(store: Store, number: int, incident: Incident | None = None, **changes: Any) -> list[Finding]:
    """The findings of the window that ends when the day begins, of a loop that had evaluated all before."""
    known = settings(**changes).model_copy(update={"incidents": (incident,) if incident else ()})
    detector = DetectorLoop(store, known)
    detector._models._last["risk"] = day(number - 1)
    return of_day([*detector._models.run("risk", day(number + 0.1))], number)


def test_a_day_is_compared_with_the_same_weekday_of_the_weeks_before(store: Store) -> None:
    Stream(store).days(0, 29, weekly, rows=300)
    found = one(at_day(store, 29, reference=SEASON), "age", "ks")
    assert found.verdict == "stable"
    assert (found.reference_start, found.reference_end, found.n_reference) == (day(0), day(22), 1200)
    against_all = at_day(store, 29, reference=Reference(kind="trailing"), floor_from_reference=False)
    assert ("age", "ks", "") in drifts(against_all), "against all days before it is another day"


def test_a_change_on_the_special_weekday_is_found_against_the_season(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 28, weekly, rows=300)

    def also_other_units(row: Row, rng: np.random.Generator) -> None:
        weekly(row, rng)
        unit_change()(row, rng)

    stream.days(28, 29, also_other_units, rows=300)
    last = at_day(store, 29, reference=SEASON)
    assert {detector for feature, detector, part in drifts(last) if not part and feature == "income"} == EVERYWHERE
    assert "floor from 4 reference windows" in one(last, "income", "ks").reason


def test_the_first_week_has_no_season_to_be_compared_with(store: Store) -> None:
    Stream(store).days(0, 2, rows=300)
    found = one(loop(store, reference=SEASON).run(day(1.1)), "*", "reference")
    assert (found.verdict, "same hours of the weeks" in found.reason) == ("undetermined", True)


def test_a_release_is_compared_with_the_version_before_it(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 3)
    stream.version = "2"
    stream.days(3, 4, unit_change())
    findings = loop(store, reference=PREVIOUS).run(day(4.1))
    first = one(of_day(findings, 1), "*", "reference")
    assert first.reason == "no version came before 1: there is none to compare it with"
    found = one(of_day(findings, 4), "income", "ks")
    assert (found.verdict, found.n_reference, found.reference_start) == ("drift", 2700, day(0))
    assert "version 2 against version 1" in found.reason
    assert not [each for each in findings if each.dimension == "version"]


def test_a_canary_is_compared_with_what_runs_beside_it_and_not_mixed_with_it(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 3)
    stream.days(3, 4, rows=800)
    stream.version = "2"
    stream.days(3, 4, unit_change(), rows=100)
    found = one(of_day(loop(store, reference=PREVIOUS).run(day(4.1)), 4), "income", "ks")
    assert (found.verdict, found.n_current, found.n_reference) == ("drift", 100, 3500)


def test_stragglers_are_no_version_and_a_mend_is_compared_with_what_was_well() -> None:
    def version(name: str, first: float, rows: int = 500, here: int = 0) -> Version:
        return Version(name, rows, here, day(first), day(first + 1))

    window = Window(day(9), day(10))
    known = [version("1", 0), version("1b", 2, rows=9), version("2", 5), version("3", 9, here=500)]
    pair = versions_of(known, window, None)
    frozen = versions_of(known, window, day(5))
    assert (pair[1].name, frozen[1].name) == ("2", "1")  # type: ignore[union-attr]
    assert "no version of the model has 50" in versions_of(known[:2], window, None)


def test_a_moving_reference_stays_where_it_was_while_an_alert_of_the_model_is_open(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 5, rows=500)
    stream.days(5, 12, unit_change(), rows=500)
    detector = loop(store, reference=TRAILING)
    detector.run(day(6.1))
    firing(store, day(6.01))
    frozen = one(of_day(detector.run(day(10.1)), 10), "income", "ks")
    assert (frozen.verdict, frozen.reference_end) == ("drift", day(5.01).replace(second=0))
    assert "because Drift fires" in frozen.reason
    firing(store, day(6.01), "resolved", day(10.5))
    moved = one(of_day(detector.run(day(12.1)), 12), "income", "ks")
    assert (moved.verdict, moved.reference_end) == ("stable", day(11))


def test_an_alert_of_another_model_or_of_long_ago_freezes_nothing(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 12, rows=300)
    firing(store, day(5.01))
    short = TRAILING.model_copy(update={"freeze_days": 2})
    assert one(at_day(store, 12, reference=short), "age", "ks").reference_end == day(11)
    other = Stream(store, model="other")
    other.days(8, 12, rows=300)
    found = [each for each in loop(store, reference=TRAILING).run(day(12.1)) if each.subject == "other"]
    assert one(of_day(found, 12), "age", "ks").reference_end == day(11)


def test_a_reference_that_was_young_when_the_alert_fired_goes_on_growing(store: Store) -> None:
    Stream(store).days(0, 12, rows=300)
    firing(store, day(2.01))
    found = one(at_day(store, 12, reference=Reference(kind="trailing", gap_days=0)), "age", "ks")
    assert found.reference_end == day(11), "frozen it would hold one day, moving it holds eleven"


def test_while_frozen_the_season_is_that_of_the_weeks_before_the_alert() -> None:
    window = Window(day(42), day(43))
    spans = reference_windows(SEASON, window, day(20))
    assert [each.start for each in spans] == [day(-7), day(0), day(7), day(14)]
    assert [each.start for each in reference_windows(SEASON, window)] == [day(14), day(21), day(28), day(35)]


def test_incidents_are_in_no_reference_and_in_no_volume_before(store: Store) -> None:
    stream = Stream(store)
    stream.days(0, 3, rows=300)
    stream.days(3, 5, unit_change(), rows=3000)
    stream.days(5, 9, rows=300)
    incident = Incident(name="euros as cents", start=day(3), end=day(5), models=("risk",))
    last = at_day(store, 9, incident, reference=Reference(kind="trailing", gap_days=0))
    found = one(last, "income", "ks")
    assert (found.verdict, found.n_reference) == ("stable", 1800)
    assert "leaves out euros as cents" in found.reason
    assert one(last, "volume", "volume").n_reference == 5, "days: with those of the incident there would be seven"


def test_a_reference_that_is_all_incident_is_undetermined_and_says_so(store: Store) -> None:
    Stream(store).days(0, 4, rows=300)
    incident = Incident(name="outage", start=day(-9), end=day(3))
    found = one(at_day(store, 4, incident, reference=TRAILING), "*", "reference")
    assert found.reason == "all of the reference lies in incidents: outage"


def test_training_rows_of_an_incident_are_left_out(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1)
    incident = Incident(name="bad upload", start=day(-30), end=day(-30) + timedelta(seconds=1000))
    assert one(at_day(store, 1, incident), "age", "ks").n_reference == 2000


def test_the_file_of_incidents_is_read_again_when_it_changes_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    import os

    file = tmp_path / "incidents.yaml"
    file.write_text("incidents: [{name: one, start: 2026-01-01, end: 2026-01-02}]")
    known = Incidents(files=(file,))
    assert [each.name for each in known.of("any")] == ["one"]
    for number, (text, names) in enumerate(
        [
            ("incidents: [{name: two, start: 2026-01-01, end: 2026-01-02, models: [other]}]", []),
            ("incidents: [{name: two, start: 2026-01-01, end: 2026-01-02, models: [any]}]", ["two"]),
            ("incidents: [{name: three, start: 2026-01-03, end: 2026-01-02}]", ["two"]),
            ("]", ["two"]),
        ]
    ):
        file.write_text(text)
        os.utime(file, (number + 1, number + 1))
        assert [each.name for each in known.of("any")] == names
    file.unlink()
    assert [each.name for each in known.of("any")] == ["two"]


def test_a_file_of_incidents_that_cannot_be_read_is_refused_at_the_start(store: Store, tmp_path: Path) -> None:
    missing = Detectors(incident_files=(tmp_path / "none.yaml",), embedder="off")
    with pytest.raises(ConfigError, match="cannot be read"):
        DetectorLoop(store, missing)


def test_own_windows_lie_in_no_gap_of_the_reference_and_across_none(rng: np.random.Generator) -> None:
    days = Window(day(0), day(4)), Window(day(5), day(5.5)), Window(day(6), day(9))
    seconds = np.concatenate(
        [np.arange(int(each.start.timestamp()), int(each.end.timestamp()), 600, dtype=np.int64) for each in days]
    )
    traffic = Traffic(len(seconds), {"x": rng.normal(size=len(seconds))}, {}, {}, 1, seconds, days)
    own = OwnWindows(Profile(traffic), Window(day(12), day(13))).spread("x", ALL, "ks")
    assert len(own.distances) == 7, "four days and three; the half day is none"


def test_a_window_embedded_by_another_model_is_refused(store: Store) -> None:
    def embedded_by(name: str) -> Any:
        return lambda row, _: row.update(versions={"embedding_model": name})

    stream = Stream(store)
    stream.days(0, 3, embedded_by("small-1"))
    stream.days(3, 5, embedded_by("large-2"))
    findings = loop(store, reference=TRAILING).run(day(5.1))
    assert one(of_day(findings, 3), "age", "ks").verdict == "stable"
    refused = of_day(findings, 4)
    assert one(refused, "*", "reference").reason == (
        "not comparable: the window's embedding model is large-2, the reference's small-1"
    )
    assert not drifts(refused)


def test_spans_with_holes_are_what_is_left_and_in_order() -> None:
    whole = Window(day(0), day(10))
    left = without([whole], [Window(day(8), day(12)), Window(day(2), day(3)), Window(day(-3), day(1))])
    assert [(each.start, each.end) for each in left] == [(day(1), day(2)), (day(3), day(8))]
    assert without([whole], [Window(day(-1), day(11))]) == ()
    assert joined(reversed(left)) == left
    week = Window(day(7), day(14))
    assert weeks_before(week, 3) == (Window(day(-14), day(7)),), "weeks that touch are one stretch"


def test_texts_have_no_previous_version_to_be_compared_with() -> None:
    with pytest.raises(ValueError, match="need another reference than previous_version"):
        Detectors.model_validate({"services": [Watch(reference=Reference(kind="previous_version")).model_dump()]})


def test_an_incident_without_a_zone_is_in_utc_and_must_have_a_length() -> None:
    naive = {"name": "x", "start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00+02:00"}
    found = Incident.model_validate(naive)
    assert (found.start, found.end) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 22, tzinfo=UTC))
    with pytest.raises(ValueError, match="must end after it starts"):
        Incident.model_validate(naive | {"end": "2025-01-01"})
