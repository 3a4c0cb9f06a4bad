"""Rule files: what is refused, and that every problem is shown at its line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tidegauge.alerting.durations import format_duration, parse_duration
from tidegauge.alerting.rules import STARTER, Severity, check_rules
from tidegauge.errors import ConfigError
from tidegauge.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]
GOOD = """groups:
  - name: g
    interval: 5m
    rules:
      - alert: Refusals
        metric: refusal_rate
        by: [service, slice.carrier]
        above: 0.05
        window: 30m
        for: 10m
        severity: page
        owner: team
        runbook: docs/r.md
        action: do it
"""


def problems_of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_rules([path])
    return [each.removeprefix(str(path)) for each in caught.value.problems]


def test_a_good_file_gives_its_rules_with_the_interval_of_their_group(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)

    (rule,) = check_rules([path])

    assert (rule.alert, rule.interval, rule.window) == ("Refusals", timedelta(minutes=5), timedelta(minutes=30))
    assert (rule.for_, rule.severity, rule.by) == (timedelta(minutes=10), Severity.PAGE, ("service", "slice.carrier"))


def test_every_problem_of_a_file_is_listed_at_once_with_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("by: [service, slice.carrier]", "by: [planet]").replace("30m", "30").replace("team", '""')
    text = text.replace("severity: page", "severity: loud").replace("action: do it", "acton: do it")

    found = problems_of(tmp_path / "rules.yaml", text)

    assert [each.split(": ")[0] for each in found] == [":7", ":9", ":11", ":12", ":5", ":14"]
    assert "planet" in found[0]
    assert "duration with units" in found[1]
    assert "'loud'" in found[2]
    assert "action: Field required" in found[4]
    assert "acton" in found[5]


def test_problems_of_all_files_are_listed_at_once(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(GOOD.replace("refusal_rate", "refusal_ratio"))
    (tmp_path / "two.yaml").write_text(GOOD.replace("page", "loud"))

    with pytest.raises(ConfigError) as caught:
        check_rules([tmp_path / "one.yaml", tmp_path / "two.yaml", tmp_path / "three.yaml"])

    assert [Path(each.split(":")[0]).name for each in caught.value.problems] == ["one.yaml", "two.yaml", "three.yaml"]


def test_a_name_that_two_files_use_is_refused_with_both_places(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(GOOD)
    (tmp_path / "two.yaml").write_text(GOOD)

    with pytest.raises(ConfigError, match=r"two\.yaml:5: the name 'Refusals' is taken, at .*one\.yaml:5"):
        check_rules([tmp_path / "one.yaml", tmp_path / "two.yaml"])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("above: 0.05", "above: 0.05\n        below: 0.01", "one of above, below, compare, slo, trend and absent_for"),
        ("        above: 0.05\n", "", "found none"),
        ("above: 0.05", "above: .nan", "finite"),
        ("above: 0.05", "compare: {offset: 7d}", "above_ratio or below_ratio"),
        ("above: 0.05", "absent_for: 8d", "shorter than seen_within"),
        ("above: 0.05", "above: 0.05\n        season: 7d", "season goes with absent_for"),
        ("above: 0.05", "absent_for: 2h\n        season: 1h", "whole weeks"),
        ("window: 30m", "window: 30s", "1m or more"),
        ("window: 30m", "window: 1:30", "duration with units"),
        ("window: 30m", "window: 999999d", "ten years"),
        ("[service, slice.carrier]", "[slice.a, slice.a]", "same label twice"),
        ("[service, slice.carrier]", "[kind, version.]", "version.:"),
        ("above: 0.05", "above: 0.05\n        interval: 1m", "only a group has one"),
        ("name: g", "name: g\n    name: h", "stands there twice"),
        ("groups:", "groups: [", "is not YAML"),
        (GOOD, "", "is empty"),
        (GOOD, "- 1", "valid dictionary"),
        (GOOD, "groups: &a [*a]", "aliases"),
        (GOOD, "groups: !!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_the_reason(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD.replace(old, new))

    with pytest.raises(ConfigError) as caught:
        check_rules([path])

    assert expected in str(caught.value)


def test_the_starter_rules_are_sound_and_each_names_a_runbook_that_exists() -> None:
    rules = check_rules([])

    assert STARTER.name == "starter_rules.yaml"
    assert len(rules) >= 9
    assert [rule.alert for rule in rules if not (ROOT / rule.runbook).is_file()] == []
    assert all(rule.owner and rule.action for rule in rules)


def test_every_runbook_belongs_to_a_starter_rule_and_says_what_to_look_at_and_to_do() -> None:
    used = {ROOT / rule.runbook for rule in check_rules([])}

    for path in (ROOT / "docs" / "runbooks").glob("*.md"):
        text = path.read_text()
        assert path in used, path
        assert all(heading in text for heading in ("## What it means", "## What to look at", "## What to do")), path


def test_every_metric_can_be_watched_by_a_rule_with_each_of_its_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    for metric in METRICS.values():
        for dimension in metric.dimensions:
            name = dimension.replace("*", "any")
            path.write_text(GOOD.replace("refusal_rate", metric.name).replace("service, slice.carrier", name))
            assert len(check_rules([path])) == 1


@pytest.mark.parametrize("text", ["30m", "1h30m", "14d", "0s", "2d1s"])
def test_a_duration_reads_back_as_it_was_written(text: str) -> None:
    assert format_duration(parse_duration(text)) == text
