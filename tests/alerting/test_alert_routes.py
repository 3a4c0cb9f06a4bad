"""The routing tree, quiet hours, and when a message may go: all of it pure, with the time given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegauge.alerting.dispatch import Dispatcher, Entry
from tidegauge.alerting.quiet import QuietHours, quiet_until
from tidegauge.alerting.routes import Leaf, RouteFile, Tree, read_routes
from tidegauge.alerting.states import Notice, State, Transition
from tidegauge.errors import ConfigError

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
MINUTE = timedelta(minutes=1)
FILE = """
route:
  receiver: chat
  group_by: [alert]
  repeat_interval: 4h
  routes:
    - match: {severity: page}
      receiver: on-call
      escalate: [{after: 15m, receiver: lead}]
      continue: true
    - match: {severity: [page, triage], service: "shop*"}
      receiver: [shop, archive]
      group_wait: 1m
      routes:
        - match: {tenant: big}
          receiver: key-account
          quiet: [nights]
quiet_hours:
  nights: {time_zone: Europe/Berlin, days: [mon, tue], from: "20:00", to: "08:00"}
"""
RECEIVERS = ("chat", "on-call", "lead", "shop", "archive", "key-account")


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Tree]:
    def parse(text: str) -> Tree:
        (tmp_path / "routes.yaml").write_text(text)
        return read_routes(tmp_path / "routes.yaml", RECEIVERS)

    return parse


def told(tree: Tree, **labels: str) -> list[tuple[str, ...]]:
    return [leaf.receivers for leaf in tree.leaves(labels)]


def test_the_deepest_route_that_matches_tells_and_continue_looks_on(read: Any) -> None:
    tree = read(FILE)

    assert told(tree, severity="info") == [("chat",)]
    assert told(tree, severity="page", service="bank") == [("on-call",)]
    assert told(tree, severity="page", service="shop-eu") == [("on-call",), ("shop", "archive")]
    assert told(tree, severity="triage", service="shop", tenant="big") == [("key-account",)]


def test_a_route_inherits_what_it_does_not_set_but_neither_quiet_hours_nor_escalations(read: Any) -> None:
    (leaf,) = read(FILE).leaves({"severity": "triage", "service": "shop", "tenant": "big"})
    (page,) = read(FILE).leaves({"severity": "page"})

    assert (leaf.group_by, leaf.group_wait, leaf.repeat_interval) == (("alert",), MINUTE, timedelta(hours=4))
    assert (leaf.quiet_names, leaf.escalate) == (("nights",), ())
    assert [(each.after, each.receiver) for each in page.escalate] == [(15 * MINUTE, ("lead",))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("route: {group_by: [alert]}", "the top one needs a receiver"),
        ("route: {receiver: chat, match: {severity: page}}", "the top one matches everything"),
        ("route: {receiver: nobody}", "there is no receiver 'nobody'; there are chat"),
        ("route: {receiver: chat, quiet: [nights]}", "there are no quiet_hours nights"),
        (
            "route:\n  receiver: chat\n  routes:\n    - macht: {a: b}",
            "routes.yaml:4: route.routes.1.macht: Extra inputs",
        ),
        ("route: {receiver: chat, repeat_interval: 5}", "must be a duration with units"),
        ("route: {receiver: chat}\nquiet_hours: {n: {time_zone: Mars/Base}}", "is no time zone"),
        ('route: {receiver: chat}\nquiet_hours: {n: {from: "25:00"}}', "must be a time of day"),
        ("route: {receiver: chat, routes: [{escalate: [{after: 5m, receiver: x}]}]}", "there is no receiver 'x'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(read: Any, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("moment", "until"),
    [
        ("2026-03-02T18:59", None),
        ("2026-03-02T19:00", "2026-03-03T07:00"),  # 20:00 in Berlin, still winter time
        ("2026-03-03T06:59", "2026-03-03T07:00"),
        ("2026-03-03T07:00", None),
        ("2026-03-04T06:00", "2026-03-04T07:00"),  # Tuesday's night ends on Wednesday
        ("2026-03-04T19:30", None),  # Wednesday has none
        ("2026-03-30T18:30", "2026-03-31T06:00"),  # summer time
    ],
)
def test_quiet_hours_go_by_the_clocks_and_the_days_of_their_zone(moment: str, until: str | None) -> None:
    nights = QuietHours.model_validate(
        {"time_zone": "Europe/Berlin", "days": ["mon", "tue"], "from": "20:00", "to": "08:00"}
    )

    found = nights.until(datetime.fromisoformat(moment).replace(tzinfo=UTC))

    assert found == (datetime.fromisoformat(until).replace(tzinfo=UTC) if until else None)


def test_quiet_hours_that_follow_each_other_end_together_and_a_week_of_them_ends_somewhere() -> None:
    weekend = QuietHours.model_validate({"days": ["sat", "sun"]})
    always = QuietHours.model_validate({})

    assert quiet_until((weekend,), datetime(2026, 3, 7, 5, tzinfo=UTC)) == datetime(2026, 3, 9, tzinfo=UTC)
    assert quiet_until((weekend,), NOW) is None
    assert quiet_until((always,), NOW) == datetime(2026, 3, 11, tzinfo=UTC)


def entry(alert: Transition, leaf: Leaf, receiver: str = "chat") -> Entry:
    return Entry(receiver, alert, leaf, leaf.group(alert.labels))


@pytest.fixture
def fire(make_alert: Any) -> Callable[..., Transition]:
    return lambda service="shop", at=NOW: make_alert(labels={"service": service}, at=at)


@pytest.fixture
def end(make_alert: Any) -> Callable[..., Transition]:
    change = {"notice": Notice.RESOLVE, "state": State.RESOLVED, "open": False}
    return lambda service="shop", at=NOW: make_alert(labels={"service": service}, at=at, **change)


def test_without_a_wait_it_goes_at_once(fire: Any) -> None:
    dispatcher = Dispatcher()
    dispatcher.add([entry(fire(), Leaf(("chat",)))])

    assert [each.alert.notice for each in dispatcher.release(NOW).now] == ["fire"]
    assert dispatcher.release(NOW).now == []


def test_the_first_of_a_group_waits_for_others_and_the_next_ones_for_the_interval(fire: Any) -> None:
    leaf = Leaf(("chat",), group_by=(), group_wait=MINUTE, group_interval=5 * MINUTE)
    dispatcher = Dispatcher()
    dispatcher.add([entry(fire("a"), leaf)])
    first = dispatcher.release(NOW)
    dispatcher.add([entry(fire("b", NOW + MINUTE / 2), leaf)])
    second = dispatcher.release(NOW + MINUTE)
    dispatcher.add([entry(fire("c", NOW + 2 * MINUTE), leaf)])
    sizes = [len(dispatcher.release(NOW + minutes * MINUTE).now) for minutes in (2, 5, 6)]

    assert [(each.reason, each.entry.receiver) for each in first.held] == [("grouped", "chat")]
    assert [each.alert.labels["service"] for each in second.now] == ["a", "b"]
    assert sizes == [0, 0, 1]


def test_groups_do_not_wait_for_each_other(fire: Any) -> None:
    leaf = Leaf(("chat",), group_by=("service",), group_wait=MINUTE)
    dispatcher = Dispatcher()
    dispatcher.add([entry(fire("a"), leaf), entry(fire("b", NOW + MINUTE), leaf)])

    assert [each.alert.labels["service"] for each in dispatcher.release(NOW + MINUTE).now] == ["a"]
    assert len({each.group for each in dispatcher.release(NOW + 2 * MINUTE).now}) == 1


def test_in_quiet_hours_it_waits_and_says_so_once_and_a_resolve_of_what_was_told_does_not(fire: Any, end: Any) -> None:
    leaf = Leaf(("chat",), quiet=(QuietHours.model_validate({"from": "12:00", "to": "13:00"}),), quiet_names=("lunch",))
    dispatcher = Dispatcher()
    dispatcher.add([entry(fire("a"), leaf), entry(end("told before"), leaf)])

    looks = [dispatcher.release(NOW + minutes * MINUTE) for minutes in (0, 30, 60)]

    assert [[each.alert.notice.value for each in look.now] for look in looks] == [["resolve"], [], ["fire"]]
    assert [len(look.held) for look in looks] == [1, 0, 0]
    assert looks[0].held[0].detail == "quiet hours lunch until 2026-03-02 13:00 UTC"


def test_what_is_over_before_its_time_came_is_never_told_and_the_reason_is_known(fire: Any, end: Any) -> None:
    leaf = Leaf(("chat",), group_wait=5 * MINUTE)
    dispatcher = Dispatcher()
    dispatcher.add([entry(fire("a"), leaf), entry(fire("b"), leaf)])
    dispatcher.release(NOW)
    dispatcher.add([entry(end("a", NOW + MINUTE), leaf)])

    look, later = dispatcher.release(NOW + MINUTE), dispatcher.release(NOW + 5 * MINUTE)

    assert [(each.entry.alert.notice.value, each.reason) for each in look.dropped] == [
        ("fire", "over"),
        ("resolve", "over"),
    ]
    assert [each.alert.labels["service"] for each in later.now] == ["b"]


def test_the_example_in_the_docs_is_a_whole_file(read: Any) -> None:
    text = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
    (block,) = [part for each in text.split("```yaml\n")[1:] if (part := each.split("```")[0]).startswith("route:")]

    assert told(Tree(RouteFile.model_validate(yaml.safe_load(block))), severity="page") == [("on-call",)]
