"""Every Python snippet of docs/sdk.md runs, in order, against a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry import trace
from sdk_sink import Sink

from tidegauge.collectors.sdk.settings import Given, resolve
from tidegauge.collectors.sdk.start import init

PAGE = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    made = Sink()
    monkeypatch.setenv("TIDEGAUGE_ENDPOINT", made.url)
    yield made
    made.close()


def test_every_snippet_runs_and_arrives(sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for snippet in SNIPPETS:
        exec(snippet, names)
    client = names["client"]
    TestClient(names["app"]).get("/nothing", headers={"x-tenant": "acme"})
    assert client.flush(20)
    assert (client.drops, client.rejects) == ({}, {})
    found = {each["prediction.id"]: each for each in sink.predictions()}
    assert found[names["prediction_id"]]["prediction.value"] == "leaves"
    assert (found["o-17"]["feature.km"], found["o-17"]["slice.city"]) == (3.2, "Oslo")
    assert {names["one"], *names["ids"]} <= found.keys()
    assert {span.name for span in sink.spans()} >= {
        "ask",
        "chat gpt-5",
        "retrieval handbook",
        "guardrail pii",
        "report",
    }
    assert "traceparent" in names["headers"]
    assert isinstance(names["provider"], trace.TracerProvider)
    assert len(sink.named("tidegauge.label")) == 3
    assert str(client.sent) not in ("", "0")
    assert capsys.readouterr().out
    client.shutdown()


def test_every_variable_of_the_page_is_read_and_every_one_that_is_read_is_on_the_page() -> None:
    asked: set[str] = set()

    class Noticing(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return default

    resolve(Given(), Noticing())
    assert set(re.findall(r"`((?:OTEL|TIDEGAUGE)_[A-Z_]+)", PAGE)) - {"TIDEGAUGE_"} == asked


def test_every_argument_of_init_is_on_the_page_or_in_its_docstring() -> None:
    arguments = [name for name in init.__annotations__ if name != "return"]
    assert [name for name in arguments if name not in PAGE + (init.__doc__ or "")] == []
