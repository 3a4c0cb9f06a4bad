"""When it began, where the first moment looked at is another: causes are dated by what shows them, and walked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import shop
from shop import MODEL, SINCE, UNTIL, Shop

from tidegauge.detectors.diagnose import Asked, Diagnosis, diagnose, diagnosis
from tidegauge.detectors.diagnose.graded import LABEL
from tidegauge.detectors.diagnose.ranking import rank
from tidegauge.detectors.diagnose.rows import Rows
from tidegauge.detectors.diagnose.turn import BEYOND_DOUBT, Turn, beginning, turns
from tidegauge.detectors.diagnose.verdict import Level, Stage, Verdict, part_text
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.store import Store


def only_moment(monkeypatch: pytest.MonkeyPatch, at: datetime) -> None:
    monkeypatch.setattr(diagnosis, "turns", lambda *_: [Turn(at, "something else", 6.0, True)])


def first_of(found: Diagnosis) -> tuple[str, str]:
    finding = found.causes[0].finding
    return finding.cause, part_text(finding.part)


@pytest.mark.parametrize(
    ("early", "within"),
    [(timedelta(days=4), timedelta(hours=3)), (timedelta(hours=12), timedelta(hours=2))],
    ids=["of another date", "told closely, some hours early"],
)
def test_a_cause_that_began_at_another_moment_is_walked_from_there(
    store: Store, monkeypatch: pytest.MonkeyPatch, early: timedelta, within: timedelta
) -> None:
    stream = Shop(np.random.default_rng(5))
    shop.blind_in_the_south(stream)
    stream.store(store)
    only_moment(monkeypatch, SINCE - early)

    found = diagnose(store, Asked(MODEL, UNTIL))

    assert first_of(found) == ("missing", "region=south")
    assert abs(found.since - SINCE) < within
    assert found.causes[0].finding.began is None
    assert found.how.startswith("found by scanning: the share of missing age")


def test_what_is_known_vaguely_is_looked_at_from_its_own_hour(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Shop(np.random.default_rng(5))
    stream.price = np.where(stream.since & (stream.region == "west"), np.round(stream.price, -1), stream.price)
    stream.store(store, copied=0.5)
    only_moment(monkeypatch, SINCE - timedelta(hours=12))

    found = diagnose(store, Asked(MODEL, UNTIL))

    assert first_of(found) == ("precision lost", "region=west")
    assert timedelta(0) <= found.since - SINCE < timedelta(hours=6)


def test_skew_is_dated_by_the_copies_of_its_part(store: Store) -> None:
    stream = Shop(np.random.default_rng(5))
    stream.age = np.where(stream.since & (stream.region == "west"), stream.age * 0.9 + 4, stream.age)
    stream.store(store, copied=0.5)

    found = diagnose(store, Asked(MODEL, UNTIL, SINCE - timedelta(days=4)))

    skewed = next(each for each in found.causes if each.finding.cause == "skew")
    assert part_text(skewed.finding.part) == "region=west"
    assert abs(found.began(skewed) - SINCE) < timedelta(days=1)


def test_a_moment_beyond_doubt_at_which_nothing_is_wrong_hides_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Shop(np.random.default_rng(5))
    shop.blind_in_the_south(stream)
    stream.store(store)
    weather, fault = (Turn(SINCE - timedelta(days=n), "a level", c, True) for n, c in ((9, 20.0), (0, 6.0)))
    monkeypatch.setattr(diagnosis, "turns", lambda rows, until, copies, doubtful: [weather, *[fault] * doubtful])

    found = diagnose(store, Asked(MODEL, UNTIL))

    assert first_of(found) == ("missing", "region=south")
    assert found.since == SINCE


def plain(seconds: np.ndarray, numeric: dict[str, np.ndarray]) -> Rows:
    rows = len(seconds)
    none = Category(np.full(rows, -1, np.int32), ())
    return Rows(
        Traffic(rows, numeric, {}, {}, 1), np.arange(1, rows + 1, dtype=np.uint64), seconds, none, np.full(rows, np.nan)
    )


def test_the_hour_is_where_a_rate_changed_and_not_where_its_value_was_first_seen_by_chance() -> None:
    rng = np.random.default_rng(7)
    days, since = 50, 41
    seconds = np.sort(rng.uniform(0, days * 86_400, days * 240))
    stuck = (seconds >= since * 86_400).astype(np.float64)
    stuck[np.flatnonzero(stuck)[0] - np.array([30, 12, 5])] = 1.0
    until = datetime.fromtimestamp(days * 86_400, UTC)

    found = beginning(plain(seconds, {}), [("frequent value of age, 40", stuck)], until, until - timedelta(days=9))

    assert found is not None
    assert abs(found.at - datetime.fromtimestamp(since * 86_400, UTC)) <= timedelta(hours=1)


@pytest.mark.parametrize(("last", "certain"), [(3, False), (9, True)])
def test_a_reading_that_is_frequent_for_a_few_days_is_not_beyond_doubt(last: int, certain: bool) -> None:
    rng = np.random.default_rng(7)
    days, a_day = 50, 200
    seconds = np.sort(rng.uniform(0, days * 86_400, days * a_day))
    dewpoint = rng.normal(50, 8, days * a_day)
    dewpoint[(seconds >= (days - last) * 86_400) & (rng.random(days * a_day) < 0.2)] = 64.37

    clearest = turns(plain(seconds, {"dewp": dewpoint}), datetime.fromtimestamp(days * 86_400, UTC))[0]

    assert clearest.by == "frequent value of dewp, 64.37"
    assert (clearest.clarity >= BEYOND_DOUBT) == certain


def of_moment(day: int, clarity: float, cause: str, strength: float) -> tuple[Turn, Diagnosis]:
    """What was found at a moment: one cause, which explains all."""
    at = SINCE + timedelta(days=day)
    columns = frozenset({"score" if cause == "scores off" else "age"})
    stage = Stage.MODEL if cause == "scores off" else Stage.DATA
    verdict = Verdict(cause, stage, Level.BAD, "", cause, "", (), strength, columns)
    found = Diagnosis(MODEL, at, at, UNTIL, "", 1, 1, (verdict,), tuple(rank([verdict])))
    return Turn(at, "a level", clarity, True), found


def believed(*found: tuple[Turn, Diagnosis]) -> str:
    return diagnosis._together(found).causes[0].finding.cause


def test_of_one_event_the_closest_is_believed_and_of_several_the_surest_and_clearest() -> None:
    vague, close = of_moment(0, 30.0, "scores off", 32.0), of_moment(1, 6.0, "missing", 3.0)

    assert believed(vague, close) == "missing"
    assert believed(of_moment(0, 10.0, "scores off", 4.4), of_moment(-4, 7.0, "missing", 2.1)) == "scores off"
    assert believed(of_moment(0, 10.0, "scores off", 4.4), of_moment(-4, 7.0, "missing", 16.0)) == "missing"


def labelled(rng: np.random.Generator, lost_from: int) -> tuple[Rows, list[tuple[str, np.ndarray]], datetime]:
    """Fifty days of 200 labels, whose rate wanders from day to day between 3 % and 60 %; then one class is lost."""
    days, a_day = 50, 200
    rate = np.clip(0.3 + np.cumsum(rng.normal(0, 0.09, days)) % 0.5 - 0.25, 0.03, 0.6)
    seconds = np.sort(rng.uniform(0, days * 86_400, days * a_day))
    label = (rng.random(days * a_day) < rate[(seconds // 86_400).astype(int)]).astype(np.float64)
    label[seconds >= lost_from * 86_400] = 0.0
    none, rows = Category(np.full(len(seconds), -1, np.int32), ()), len(seconds)
    ids = np.arange(1, rows + 1, dtype=np.uint64)
    stream = Rows(Traffic(rows, {}, {}, {}, 1), ids, seconds, none, np.full(rows, np.nan))
    return stream, [(LABEL, label)], datetime.fromtimestamp(days * 86_400, UTC)


@pytest.mark.parametrize("seed", range(8))
def test_a_class_of_labels_that_comes_no_more_tells_its_day_whatever_its_rate_did_before(seed: int) -> None:
    stream, series, until = labelled(np.random.default_rng(seed), 41)

    found = beginning(stream, series, until, until - timedelta(days=2))

    assert found is not None
    assert abs(found.at - datetime.fromtimestamp(41 * 86_400, UTC)) <= timedelta(hours=30)


def test_beside_a_moment_beyond_doubt_only_one_as_sure_is_walked() -> None:
    doubtless, doubtful = Turn(SINCE, "volume", 20.0, True), Turn(SINCE, "volume", 9.0, True)

    def elsewhere(clarity: float) -> Turn:
        return Turn(SINCE - timedelta(days=4), "concept", clarity, True)

    assert not diagnosis.may_be(elsewhere(7.0), doubtless)
    assert diagnosis.may_be(elsewhere(18.0), doubtless)
    assert diagnosis.may_be(elsewhere(7.0), doubtful)
    assert diagnosis.may_be(Turn(SINCE + timedelta(hours=5), "skew", 6.0, True), doubtless)
