"""The examples in docs/rules.md are true."""

from __future__ import annotations

import re
from pathlib import Path

from tidegauge.alerting.incidents import read_incidents
from tidegauge.alerting.rule_tests import run_rule_tests

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


def test_the_example_test_of_the_starter_rules_passes_and_the_example_incidents_are_read(tmp_path: Path) -> None:
    tests, incidents, _ = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "test.yaml").write_text(tests.replace("rule_files: [rules.yaml]", "rule_files: []"))
    (tmp_path / "incidents.yaml").write_text(incidents)

    assert run_rule_tests(tmp_path / "test.yaml") == (2, [])
    assert [each.name for each in read_incidents(tmp_path / "incidents.yaml")] == ["prompt v2 refuses"]
