"""Where the SDK sends to: arguments, environment, defaults, and what is said of wrong ones."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sdk_sink import Sink

import tidegauge
from tidegauge.collectors.sdk.settings import Given, Settings, resolve
from tidegauge.errors import ConfigError

ENVIRONMENT = {
    "OTEL_SERVICE_NAME": "shop",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://gauge:4318/",
    "OTEL_EXPORTER_OTLP_HEADERS": "x-team=blue%2Cgreen, authorization=Basic%20abc",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod,service.name=other",
}


def test_without_anything_it_is_this_machine() -> None:
    settings = resolve(Given("shop"), {})
    assert (settings.endpoint, settings.protocol, settings.timeout_s) == ("http://127.0.0.1:4318", "http/protobuf", 10)
    assert settings.resource["service.name"] == "shop"
    assert resolve(Given(protocol="grpc"), {}).endpoint == "http://127.0.0.1:4317"
    assert resolve(Given(), {}).service == "unknown_service"


def test_opentelemetrys_variables_are_honoured() -> None:
    settings = resolve(Given(), ENVIRONMENT)
    assert (settings.service, settings.endpoint) == ("shop", "https://gauge:4318")
    assert settings.headers == {"x-team": "blue,green", "authorization": "Basic abc"}
    assert (settings.timeout_s, settings.compression) == (3, "gzip")
    assert settings.resource["deployment.environment.name"] == "prod"
    assert settings.resource["service.name"] == "shop"
    assert resolve(Given(), {"OTEL_RESOURCE_ATTRIBUTES": "service.name=other"}).service == "other"


def test_ours_win_over_opentelemetrys_and_arguments_over_all(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("tg_from_file\n")
    ours = ENVIRONMENT | {"TIDEGAUGE_ENDPOINT": "http://ours:1", "TIDEGAUGE_API_KEY_FILE": str(tmp_path / "key")}
    settings = resolve(Given(), ours)
    assert (settings.endpoint, settings.headers["authorization"]) == ("http://ours:1", "Bearer tg_from_file")
    assert resolve(Given(), ours | {"TIDEGAUGE_API_KEY": "tg_own"}).headers["authorization"] == "Bearer tg_own"
    given = Given("mine", "http://mine:2", headers={"Authorization": "x"}, api_key="tg_given", resource={"a": "b"})
    settings = resolve(given, ours)
    assert (settings.service, settings.endpoint, settings.headers) == (
        "mine",
        "http://mine:2",
        {"authorization": "Bearer tg_given"},
    )
    assert settings.resource["a"] == "b"


@pytest.mark.parametrize(("written", "seconds"), [("10", 10), ("0.5", 0.5), ("10000", 10), ("1500", 1.5)])
def test_a_timeout_is_in_seconds_or_in_the_specifications_milliseconds(written: str, seconds: float) -> None:
    assert resolve(Given(), {"OTEL_EXPORTER_OTLP_TIMEOUT": written}).timeout_s == seconds


BAD = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://x",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon",
    "OTEL_EXPORTER_OTLP_HEADERS": "a=1,secretpart",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "snappy",
    "OTEL_RESOURCE_ATTRIBUTES": "novalue",
    "TIDEGAUGE_API_KEY_FILE": "/nowhere/key",
}


def test_everything_that_is_wrong_is_said_at_once_without_secrets() -> None:
    with pytest.raises(ConfigError) as error:
        resolve(Given(), BAD)
    assert len(error.value.problems) == len(BAD)
    assert "secretpart" not in str(error.value)
    assert resolve(Given(), BAD | {"OTEL_SDK_DISABLED": "true"}).disabled


@pytest.mark.parametrize("endpoint", ["http://", "http://a:99999", "http://[::1", "://x", "http://a:0"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="no address such as"):
        resolve(Given(endpoint=endpoint), {})


def test_a_header_that_would_break_the_request_is_refused_and_its_value_not_shown() -> None:
    with pytest.raises(ConfigError) as error:
        resolve(Given(headers={"x": "secret\r\ny: z"}), {})
    assert "secret" not in str(error.value)


def test_secrets_are_not_shown() -> None:
    shown = repr(resolve(Given(api_key="tg_secret"), {})) + repr(Given(api_key="tg_secret"))
    assert "tg_secret" not in shown
    assert isinstance(resolve(Given(), {}), Settings)


def test_a_wrong_environment_stops_no_service_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TIDEGAUGE_API_KEY_FILE", "/nowhere/key")
    with pytest.raises(ConfigError):
        tidegauge.init("shop", strict=True)
    client = tidegauge.init("shop")
    assert "/nowhere/key" in caplog.text
    client.log_prediction("m", {"x": 1}, prediction=1)
    with client.request():
        pass
    assert client.flush(10)
    assert client.drops == {"wrong settings": 2}
    client.shutdown()


def test_disabled_by_the_environment_nothing_is_sent_queued_or_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    client = tidegauge.init("shop", sink.url)
    assert len(client.log_prediction("m", {"x": 1}, prediction=1)) == 32
    assert len(client.log_predictions("m", [{"x": 1, "y": 2}], features=["x"], prediction="y")) == 1
    with client.request(), client.llm_call("gpt") as call:
        call.usage(1, 2)
    assert client.flush(1)
    assert (client.queued, client.dropped, client.rejected, sink.attempts) == (0, 0, 0, 0)
    client.shutdown()
    sink.close()


def test_a_key_in_clear_text_over_the_network_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tidegauge.init("shop", "http://127.0.0.1:4318", api_key="tg_k").shutdown()
        assert not caplog.records
        tidegauge.init("shop", "http://gauge:4318", api_key="tg_k").shutdown()
    assert "clear text" in caplog.text
    assert "tg_k" not in caplog.text
