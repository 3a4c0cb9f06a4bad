"""``tidegauge compare``: what a user sees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tidegauge.cli import app
from tidegauge.errors import ConfigError, TidegaugeError


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    rng = np.random.default_rng(3)
    for name, shift in (("before", 0.0), ("after", 0.5)):
        frame = pl.DataFrame(
            {"age": rng.normal(40 + 10 * shift, 10, 1000), "plan": rng.choice(["free", "pro"], 1000), "id": range(1000)}
        )
        frame.write_parquet(tmp_path / f"{name}.parquet")
        frame.write_csv(tmp_path / f"{name}.csv")
    return str(tmp_path / "before.parquet"), str(tmp_path / "after.csv")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments])


def test_it_prints_what_drifted_and_what_did_not(files: tuple[str, str]) -> None:
    done = run(*files, "--exclude", "id")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[:2] == ["reference 1,000 rows, current 1,000 rows, 2 columns", "drift: age"]
    assert lines[-1] == "stable: 1 column"


def test_json_has_every_claim_and_the_methods_that_were_asked(files: tuple[str, str]) -> None:
    found = json.loads(run(*files, "--columns", "age,plan", "--methods", "psi,ks", "--json").output)
    assert found["drifted"] == ["age"]
    assert {each["detector"] for each in found["claims"]} == {"psi", "ks"}


def test_a_gate_fails_where_a_column_drifts(files: tuple[str, str]) -> None:
    assert run(*files, "--exclude", "id", "--fail-on-drift").exit_code == 1
    assert run(files[0], files[0], "--fail-on-drift").exit_code == 0


def test_slices_are_looked_at_apart(files: tuple[str, str]) -> None:
    done = run(*files, "--exclude", "id", "--slice", "plan")
    assert "plan=free" in done.output and "plan=pro" in done.output


@pytest.mark.parametrize(
    ("arguments", "kind", "expected"),
    [
        (["{0}", "{0}.gone"], ConfigError, "there is no such file"),
        (["{0}", "{0}", "--columns", "agee"], TidegaugeError, "neither side has a column 'agee'; there are: age, plan"),
        (["{0}", "{0}", "--methods", "psy"], TidegaugeError, "there is no method 'psy'"),
        (["{0}", "{0}", "--slice", "region"], TidegaugeError, "neither side has a column 'region'"),
    ],
)
def test_what_is_wrong_is_said(files: tuple[str, str], arguments: list[str], kind: type, expected: str) -> None:
    done = run(*(each.format(*files) for each in arguments))
    assert isinstance(done.exception, kind)
    assert expected in str(done.exception)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, files: tuple[str, str]) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    done = run(files[0], str(tmp_path / "torn.parquet"))
    assert isinstance(done.exception, TidegaugeError)
    assert "torn.parquet cannot be read as Parquet" in str(done.exception)
