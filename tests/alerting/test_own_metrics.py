"""Metrics that a rule file brings along: read, refused with their line, and asked of the tables."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tidegauge.alerting import check_rules
from tidegauge.cli import app
from tidegauge.errors import ConfigError
from tidegauge.metrics import METRICS, observe
from tidegauge.model import Window
from tidegauge.store import Store

END = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = Window(END - timedelta(hours=1), END)
RULE = "alert: {name}, metric: {metric}, window: 1h, above: 1, severity: page, owner: me, runbook: r, action: a"
BASKET = """metrics:
  - name: basket
    title: Mean basket
    unit: EUR
    kind: mean
    from: outcomes
    dimensions: [service]
    where: name = 'basket'
    value: value
  - name: large_baskets
    title: Share of large baskets
    unit: share
    kind: rate
    from: (SELECT service, value FROM outcomes WHERE name = 'basket'
      AND timestamp >= {start:DateTime64(6)} AND timestamp < {end:DateTime64(6)})
    time: ""
    dimensions: {shop: upper(service)}
    hits: value > 50
  - {name: turnover, title: Turnover, unit: EUR, kind: sum, from: outcomes, value: sum(value)}
"""


def written(folder: Path, metrics: str, *metric: str) -> Path:
    rules = "".join(f"      - {{{RULE.format(metric=each, name=each.split(',')[0])}}}\n" for each in metric)
    path = folder / "rules.yaml"
    path.write_text(f"{metrics}groups:\n  - name: own\n    rules:\n{rules}")
    return path


def test_metrics_of_a_file_are_read_from_its_sql_with_the_intervals_of_their_kind(store: Store, tmp_path: Path) -> None:
    values = [10.0, 20.0, 90.0, 100.0]
    rows = [{"service": "shop", "name": "basket", "value": value} for value in values]
    rows += [{"service": "shop", "name": "click", "value": 1000.0}]
    store.insert("outcomes", [row | {"timestamp": END - timedelta(minutes=at + 1)} for at, row in enumerate(rows)])
    basket, large, turnover = check_rules([written(tmp_path, BASKET, "basket", "large_baskets", "turnover")])

    (mean,) = observe(store, basket.measure, ["service"], HOUR)
    assert (mean.labels, mean.value, mean.samples) == ({"service": "shop"}, 55.0, 4)
    assert mean.low is not None
    assert mean.low < 55 < (mean.high or 0)
    (rate,) = observe(store, large.measure, ["shop"], HOUR, {"shop": "SHOP"})
    assert rate.value == 0.5
    assert rate.low == pytest.approx(0.15, abs=0.01)
    assert [each.value for each in observe(store, turnover.measure, [], HOUR)] == [1220.0]
    assert observe(store, turnover.measure, [], Window(HOUR.start - timedelta(hours=1), HOUR.start)) == []


def test_rules_of_one_file_may_use_the_metrics_of_another(tmp_path: Path) -> None:
    shared = tmp_path / "metrics.yaml"
    shared.write_text(BASKET + "groups: []\n")
    [rule] = check_rules([written(tmp_path, "", "basket"), shared])
    assert rule.model_copy(update={"interval": timedelta(minutes=1)}).measure.title == "Mean basket"
    with pytest.raises(ConfigError, match=r"rules.yaml:4: .*is no metric; there are accuracy"):
        check_rules([written(tmp_path, "", "basket")])


@pytest.mark.parametrize(
    ("entry", "line", "said"),
    [
        ("{name: refusal_rate, title: t, kind: sum, from: x, value: s}", 2, "name of a metric that there is already"),
        ("{name: Own Metric, title: t, kind: sum, from: x, value: s}", 2, "name: String should match pattern"),
        ("{name: own, title: t, kind: rate, from: x, value: s}", 2, "a rate needs hits, and no value"),
        ("{name: own, title: t, kind: mean, from: x, hits: s}", 2, "a mean needs value, and no hits"),
        ("{name: own, title: t, kind: median, from: x, value: s}", 2, "kind: Input should be 'rate', 'mean'"),
        ("{name: own, title: t, kind: sum, from: x, value: s, time: ''}", 2, "from must use {start:DateTime64(6)}"),
        ("{name: own, title: t, kind: sum, from: x, value: s, windw: 5m}", 2, "windw: Extra inputs are not permitted"),
        ("{name: own, title: t, kind: sum, from: x, value: s}\n  - {name: own, title: t, kind: sum, from: x, value: s}",
         3, "there is another metric 'own'"),
    ],
)  # fmt: skip
def test_a_metric_that_is_wrong_is_refused_with_its_line(tmp_path: Path, entry: str, line: int, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_rules([written(tmp_path, f"metrics:\n  - {entry}\n", "own")])
    assert f"rules.yaml:{line}: " in str(refused.value)
    assert said in str(refused.value)


def test_a_rule_can_be_divided_by_the_dimensions_that_its_metric_names_and_no_others(tmp_path: Path) -> None:
    path = written(tmp_path, BASKET, "basket, by: [country]")
    with pytest.raises(ConfigError, match="country: basket has service"):
        check_rules([path])


def test_the_command_lists_every_metric_with_its_dimensions_and_those_of_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, BASKET, "basket")
    told = CliRunner().invoke(app, ["rules", "metrics", str(path)]).stdout
    assert re.search(r"^basket +Mean basket \(EUR\); by service$", told, re.MULTILINE)
    assert re.search(r"^turnover +Turnover \(EUR\); by nothing$", told, re.MULTILINE)
    listed = {each["name"]: each for each in json.loads(CliRunner().invoke(app, ["rules", "metrics", "--json"]).stdout)}
    assert listed.keys() == METRICS.keys()
    assert listed["refusal_rate"]["kind"] == "rate"
    assert "prompt_version" in listed["refusal_rate"]["dimensions"]
