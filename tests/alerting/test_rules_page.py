"""The examples in docs/rules.md are true; that of routes has its test in test_alert_routes.py."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tidegauge.alerting.incidents import read_incidents
from tidegauge.alerting.rule_tests import run_rule_tests
from tidegauge.alerting.rules import metrics
from tidegauge.metrics import observe
from tidegauge.model import Window
from tidegauge.store import Store

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def example(key: str) -> str:
    """The page's one piece of YAML that has ``key`` at the margin."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [found] = [each for each in blocks if re.search(rf"^{key}:", each, re.MULTILINE)]
    return str(found)


def test_the_example_test_of_the_starter_rules_passes(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(example("tests").replace("rule_files: [rules.yaml]", "rule_files: []"))

    assert run_rule_tests(tmp_path / "test.yaml") == (2, [])


def test_the_example_incidents_are_read(tmp_path: Path) -> None:
    (tmp_path / "incidents.yaml").write_text(example("incidents"))

    assert [each.name for each in read_incidents(tmp_path / "incidents.yaml")] == ["prompt v2 refuses"]


def test_the_example_metric_is_read_from_its_table(store: Store, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(example("metrics"))
    [basket] = [each for each in metrics([tmp_path / "rules.yaml"]) if each.name == "basket"]
    row = {"service": "shop", "name": "basket", "timestamp": NOW - timedelta(minutes=1)}
    baskets = [("de-1", 10.0), ("de-2", 30.0), ("fr-1", 90.0)]
    store.insert("outcomes", [row | {"prediction_id": name, "value": value} for name, value in baskets])

    found = observe(store, basket, ["shop"], Window(NOW - timedelta(hours=1), NOW), {"service": "shop"})

    assert {each.labels["shop"]: each.value for each in found} == {"de": 20.0, "fr": 90.0}
