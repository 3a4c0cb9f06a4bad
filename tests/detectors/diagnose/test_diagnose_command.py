from __future__ import annotations

import json

import numpy as np
import pytest
from shop import MODEL, SINCE, UNTIL, Shop, blind_in_the_south
from typer.testing import CliRunner

from tidegauge import cli_diagnose
from tidegauge.cli import app
from tidegauge.config import Settings
from tidegauge.detectors.diagnose import Asked, diagnose
from tidegauge.detectors.diagnose.text import as_json
from tidegauge.running import Page
from tidegauge.store import Store


@pytest.fixture
def reached(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The database that the command finds."""
    shop = Shop(np.random.default_rng(5))
    blind_in_the_south(shop)
    shop.store(store)
    monkeypatch.setattr(cli_diagnose, "reach", lambda settings: store)
    return store


def test_the_command_prints_what_the_library_says(reached: Store) -> None:
    moments = [f"{each:%Y-%m-%dT%H:%M:%S}" for each in (SINCE, UNTIL)]
    done = CliRunner().invoke(app, ["diagnose", MODEL, "--since", moments[0], "--until", moments[1], "--json"])

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == as_json(diagnose(reached, Asked(MODEL, UNTIL, SINCE)))


def test_a_running_service_is_asked_over_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    class Answer:
        def json(self) -> dict[str, str]:
            return {"headline": "well"}

    class Running(Page):
        def get(self, path: str, query: dict[str, str] | None = None) -> Answer:  # type: ignore[override]
            asked.append((path, query or {}))
            return Answer()

    monkeypatch.setattr(cli_diagnose, "reach", lambda settings: Running("http://127.0.0.1:1"))

    assert cli_diagnose.ask(Settings(), "a/b", SINCE, None) == {"headline": "well"}
    assert asked == [("/api/diagnosis/a%2Fb", {"since": SINCE.isoformat(), "history": "42"})]
