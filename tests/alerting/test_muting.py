"""Silences and inhibition: nobody is told, nothing is forgotten, and why is on record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidegauge import silences
from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.muting import Muting
from tidegauge.alerting.rules import Rule, check_rules
from tidegauge.alerting.states import AlertState, Reading, Transition
from tidegauge.errors import ConfigError, InvalidRecord
from tidegauge.metrics import Observation, wilson
from tidegauge.silences import Silence
from tidegauge.store import Store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WHO = {"severity": "page", "owner": "team", "runbook": "r", "action": "a"}
RULE = Rule.model_validate({"alert": "Refusals", "metric": "refusal_rate", "by": ["service"], "above": 0.05, **WHO})
SHOP = {"service": "shop"}


def silence(minutes: float = 5, starts: datetime = NOW, matchers: Mapping[str, str] = SHOP) -> Silence:
    return Silence(matchers, starts, starts + minutes * MINUTE, "ann", "deploying v2")


def seen(hits: int, labels: Mapping[str, str] = SHOP) -> Reading:
    return Reading(labels, Observation(labels, hits / 1000, 1000, *wilson(hits, 1000)))


def play(hits: list[int], *quiet: Silence, rule: Rule = RULE) -> list[Transition]:
    """One round a minute from NOW, each with its hits of 1000."""
    states: dict[str, AlertState] = {}
    found: list[Transition] = []
    for minute, each in enumerate(hits):
        now = NOW + minute * MINUTE
        states, transitions = evaluate([rule], {"Refusals": [seen(each)]}, states, now, Muting(quiet, (), now))
        found += transitions
    return found


def told(transitions: list[Transition]) -> list[tuple[int, str]]:
    return [((each.at - NOW) // MINUTE, each.notice.value) for each in transitions if each.notice]


def test_an_alert_that_fires_while_it_is_silenced_is_told_of_when_the_silence_ends_if_it_still_fires() -> None:
    found = play([200] * 8, silence(5))

    assert told(found) == [(5, "fire")]
    assert (found[0].state, found[0].open, found[0].since) == ("firing", True, NOW)
    assert found[0].muted == "silenced by ann until 2026-03-01 12:05 UTC: deploying v2"
    assert "not told: silenced by ann" in found[0].reason
    assert "told now; until now silenced by ann" in found[1].reason
    assert found[1].since == NOW and found[1].muted == ""


def test_one_that_ends_within_the_silence_is_never_told_of_and_stays_on_record() -> None:
    found = play([200, 200, 10, 10, 10, 10, 10], silence(5))

    assert told(found) == []
    assert [each.state.value for each in found] == ["firing", "resolved"]


def test_one_that_was_told_of_before_the_silence_is_told_of_when_it_ends() -> None:
    found = play([200, 200, 200, 10, 10], silence(5, starts=NOW + MINUTE))

    assert told(found) == [(0, "fire"), (3, "resolve")]


def test_one_that_no_longer_holds_when_the_silence_ends_is_not_told_of_while_keep_firing_for_runs() -> None:
    found = play([200, 200, 10, 10, 10], silence(3), rule=RULE.model_copy(update={"keep_firing_for": 10 * MINUTE}))

    assert told(found) == []


def test_a_silence_of_something_else_is_none() -> None:
    assert told(play([200], silence(matchers={"service": "other"}))) == [(0, "fire")]
    assert told(play([200], silence(matchers={"service": "shop", "tenant": "acme"}))) == [(0, "fire")]


@pytest.mark.parametrize(
    "matchers", [{"alert": "Ref*"}, {"severity": "page"}, {"owner": "team", "service": "sh?p"}, {"alert": "*"}]
)
def test_a_silence_matches_labels_and_the_rules_own_names_with_wildcards(matchers: dict[str, str]) -> None:
    assert told(play([200], silence(matchers=matchers))) == []


def test_an_alert_is_not_told_of_while_one_that_explains_it_is_open_for_the_same_labels() -> None:
    cause = Rule.model_validate(
        {"alert": "Errors", "metric": "llm_error_rate", "by": ["service"], "above": 0.05, **WHO}
    )
    effect = RULE.model_copy(update={"inhibited_by": ("Errors",)})
    rules = [effect, cause]
    readings: dict[str, Any] = {
        "Refusals": [seen(200), seen(200, {"service": "other"})],
        "Errors": [seen(300)],
    }

    open_, _ = evaluate(rules, readings, {}, NOW)
    states, found = evaluate(rules, readings, {}, NOW, Muting((), open_.values(), NOW))
    later, after = evaluate(rules, readings | {"Errors": [seen(1)]}, states, NOW + MINUTE, Muting((), (), NOW + MINUTE))

    assert {(each.rule, each.labels["service"]) for each in found if each.notice} == {
        ("Errors", "shop"),
        ("Refusals", "other"),
    }
    assert [each.muted for each in found if not each.notice] == ["inhibited by Errors for service=shop"]
    assert {(each.rule, each.notice.value) for each in after} == {("Errors", "resolve"), ("Refusals", "fire")}
    assert not any(each.muted for each in later.values())


def test_a_rule_cannot_be_inhibited_by_itself_or_by_one_that_is_not_there(tmp_path: Any) -> None:
    path = tmp_path / "rules.yaml"
    who = "severity: page, owner: o, runbook: r, action: a"
    rule = f"{{alert: A, metric: refusal_rate, above: 0.1, {who}, inhibited_by: [A, B]}}"
    path.write_text(f"groups:\n  - name: g\n    rules:\n      - {rule}\n")

    with pytest.raises(ConfigError) as problems:
        check_rules([path])

    assert "no other rule 'A'" in str(problems.value) and "no other rule 'B'" in str(problems.value)


@pytest.mark.parametrize(("by", "refused"), [("tenant", True), ("service, tenant", False), ("", False)])
def test_a_rule_is_not_inhibited_by_one_that_is_divided_by_other_labels(tmp_path: Any, by: str, refused: bool) -> None:
    path = tmp_path / "rules.yaml"
    rest = "metric: refusal_rate, above: 0.1, severity: page, owner: o, runbook: r, action: a"
    rules = f"{{alert: A, by: [service], {rest}, inhibited_by: [B]}}", f"{{alert: B, by: [{by}], {rest}}}"
    path.write_text("groups:\n  - name: g\n    rules:\n" + "".join(f"      - {each}\n" for each in rules))

    if not refused:
        assert len(check_rules([path])) == 2
        return
    with pytest.raises(ConfigError, match=r":4: inhibited_by: 'B' is by tenant and this one by service: without"):
        check_rules([path])


def test_silences_are_kept_listed_replaced_and_ended(store: Store) -> None:
    first, second = silence(60), silence(30, matchers={"service": "other"})
    for each in (first, second):
        silences.write(store, each, NOW)

    assert silences.read(store, NOW) == [second, first]
    ended = silences.end(store, first.silence_id, NOW + MINUTE)
    assert silences.read(store, NOW + MINUTE) == [second]
    assert not ended.holds(NOW + MINUTE)
    assert silences.read(store, NOW + 40 * MINUTE) == []
    with pytest.raises(InvalidRecord, match=r"no silence 'nobody' in force"):
        silences.end(store, "nobody", NOW)


def test_a_silence_that_is_still_to_come_can_be_ended(store: Store) -> None:
    planned = silence(60, starts=NOW + 60 * MINUTE)
    silences.write(store, planned, NOW)

    silences.end(store, planned.silence_id, NOW)

    assert silences.read(store, NOW) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"matchers": {}}, "needs 1 to 20 matchers"),
        ({"ends_at": NOW}, "must end after it starts"),
        ({"author": " "}, "needs an author and a reason"),
        ({"reason": ""}, "needs an author and a reason"),
        ({"reason": "x" * 1001}, "more than 1000 characters"),
    ],
)
def test_a_silence_says_what_is_wrong_with_it(changes: dict[str, Any], problem: str) -> None:
    good: dict[str, Any] = {"matchers": SHOP, "starts_at": NOW, "ends_at": NOW + MINUTE, "author": "ann", "reason": "x"}

    with pytest.raises(InvalidRecord, match=problem):
        Silence(**(good | changes))
