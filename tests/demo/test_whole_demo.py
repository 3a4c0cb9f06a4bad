"""The demonstration as a newcomer runs it, cut short."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(700)


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tidegauge.cli import main; main()", "demo", "--exit", "--light", *arguments]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    return demo(tmp_path_factory.mktemp("demo"), "--days", "18", "--fault", "units:distance@2013-04-12")


def line(output: str, *words: str) -> str:
    """The first line that has all ``words``, or nothing."""
    return next((each for each in output.splitlines() if all(word in each for word in words)), "")


def test_it_ends_with_success_and_a_summary(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert line(run.stdout, "Page: http://127.0.0.1:")
    assert not line(run.stdout, "records were dropped")


def test_the_injected_fault_is_found_in_its_feature_and_week(run: subprocess.CompletedProcess[str]) -> None:
    assert line(run.stdout, "drift", "flight-delay distance in all, since 2013-04-11")


def test_the_refusing_prompt_pages_and_the_page_reaches_slack_and_pagerduty(
    run: subprocess.CompletedProcess[str],
) -> None:
    assert line(run.stdout, "alert", "High refusal rate", "fires", "prompt_version=v2")
    sent = line(run.stdout, "in place of Slack and PagerDuty")
    assert "PagerDuty 1" in sent
    assert "Slack" in sent


def test_the_shift_of_topics_is_told_without_a_model_of_meaning(run: subprocess.CompletedProcess[str]) -> None:
    assert line(run.stdout, "drift", "stdlib-assistant input in all", "mmd")
    assert line(run.stdout, "alert", "Drift in the questions", "fires", "subject=stdlib-assistant")


def test_the_good_prompt_pages_nobody(run: subprocess.CompletedProcess[str]) -> None:
    assert not line(run.stdout, "High refusal rate", "prompt_version=v1")


def test_a_second_demo_on_the_same_data_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    (tmp_path / "tidegauge-data").mkdir()
    with (tmp_path / "tidegauge-data" / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = demo(tmp_path)

    assert refused.returncode == 1
    assert "another demo is running" in refused.stderr


def test_an_unknown_fault_lists_what_there_is(tmp_path: Path) -> None:
    refused = demo(tmp_path, "--fault", "gremlins@2013-05-01")

    assert refused.returncode == 2
    assert "units:FEATURE" in refused.stderr
