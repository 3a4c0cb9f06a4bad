"""Who may send, whose data it then is, and that nobody else gets anything in."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pyarrow as pa
import pytest
import yaml
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint
from otlp_payloads import NOW_NS, REQUESTS, attributes, logs, metrics, record, span, traces
from tls_certificate import CERTIFICATE, PRIVATE_KEY
from typer.testing import CliRunner

from tidegauge import instruments
from tidegauge.cli import app
from tidegauge.collectors import frames
from tidegauge.collectors.frames import Kind, Layout, Roles
from tidegauge.collectors.receiver import ReceiverServer
from tidegauge.collectors.receiver.http import ARROW
from tidegauge.collectors.receiver.keys import ApiKeys, Forbidden, Unauthenticated, create_key
from tidegauge.collectors.receiver.tenant import VERIFIED
from tidegauge.config import Masking, Receiver, load
from tidegauge.errors import ConfigError
from tidegauge.model import Signal

if TYPE_CHECKING:
    from conftest import HeldTransport, Pipeline

ACME, ACME_ENTRY = create_key("acme", "first")
ACME_2, ACME_2_ENTRY = create_key("acme", "second")
UMBRELLA, UMBRELLA_ENTRY = create_key("umbrella")
KEYS = {"api_keys": (ACME_ENTRY, ACME_2_ENTRY, UMBRELLA_ENTRY)}
WRONG = create_key("acme")[0]
BODY = logs(record()).SerializeToString()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def sent(held: HeldTransport, send: Callable[[], Any]) -> Any:
    """What ``send`` returns, with everything that reaches the transport resolved at once."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(send)
        deadline = time.monotonic() + 10
        while not waiting.done() and time.monotonic() < deadline:
            held.settle()
            time.sleep(0.005)
        return waiting.result()


def post(pipeline: Pipeline, headers: dict[str, str], body: bytes = BODY) -> httpx.Response:
    kind = {"content-type": "application/x-protobuf"}
    return pipeline.client.post(f"{pipeline.server.http_url}/v1/logs", content=body, headers=headers | kind)


# Who is let in


@pytest.mark.parametrize(
    "headers",
    [bearer(ACME), bearer(ACME_2), {"authorization": f"bearer  {UMBRELLA}"}, {"x-api-key": ACME}, {"api-key": ACME}],
)
def test_each_key_is_taken_in_each_way_of_sending_it(
    receiving: Any, held: HeldTransport, headers: dict[str, str]
) -> None:
    with receiving(held, **KEYS) as pipeline:
        assert sent(held, lambda: post(pipeline, headers)).status_code == 200
        sent(held, lambda: pipeline.call("logs", BODY, metadata=tuple(headers.items())))


@pytest.mark.parametrize(
    ("headers", "http", "rpc", "reason"),
    [
        ({}, 401, "UNAUTHENTICATED", "missing"),
        ({"authorization": ACME}, 401, "UNAUTHENTICATED", "malformed"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, 401, "UNAUTHENTICATED", "malformed"),
        ({"authorization": "Bearer"}, 401, "UNAUTHENTICATED", "malformed"),
        ({"x-api-key": "tg_short"}, 401, "UNAUTHENTICATED", "malformed"),
        ({"x-api-key": f"{ACME} {ACME}"}, 401, "UNAUTHENTICATED", "malformed"),
        ({"authorization": f"Bearer {ACME_ENTRY.hash}"}, 401, "UNAUTHENTICATED", "malformed"),
        (bearer(WRONG), 403, "PERMISSION_DENIED", "unknown"),
        (bearer(ACME[:-1] + ("A" if ACME[-1] != "A" else "B")), 403, "PERMISSION_DENIED", "unknown"),
    ],
)
def test_whoever_has_no_right_key_is_refused_for_good_and_counted(
    receiving: Any, held: HeldTransport, headers: dict[str, str], http: int, rpc: str, reason: str
) -> None:
    with receiving(held, **KEYS) as pipeline:
        before = pipeline.metric("tidegauge_auth_failures_total", reason=reason)
        answer = post(pipeline, headers)
        assert (answer.status_code, "retry-after" in answer.headers) == (http, False)
        assert ("www-authenticate" in answer.headers) == (http == 401)
        with pytest.raises(grpc.RpcError) as caught:
            pipeline.call("logs", BODY, metadata=tuple(headers.items()))
        assert caught.value.code().name == rpc
        assert "grpc-status-details-bin" not in dict(caught.value.trailing_metadata())
        assert pipeline.metric("tidegauge_auth_failures_total", reason=reason) == before + 2
        assert not held.taken


def test_no_key_is_in_any_answer_or_log(receiving: Any, held: HeldTransport, caplog: pytest.LogCaptureFixture) -> None:
    with receiving(held, **KEYS) as pipeline:
        answers = [post(pipeline, bearer(WRONG)), post(pipeline, {"authorization": WRONG})]
    assert not [each for each in answers if WRONG[3:] in each.text]
    assert WRONG[3:] not in caplog.text


def test_nothing_of_the_body_is_asked_for_before_the_key_is_right(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, **KEYS) as pipeline:
        host, port = httpx.URL(pipeline.server.http_url).host, httpx.URL(pipeline.server.http_url).port
        with socket.create_connection((host, port or 0), timeout=10) as client:
            head = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n"
            client.sendall(head)  # and not a byte more
            assert client.recv(1000).startswith(b"HTTP/1.1 401")


def test_an_unreadable_body_with_a_wrong_key_is_a_matter_of_the_key(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, **KEYS) as pipeline:
        rejected = pipeline.metric("tidegauge_rejected_records_total", reason="undecodable")
        assert post(pipeline, bearer(WRONG), b"\xff\xff\xff").status_code == 403
        assert pipeline.metric("tidegauge_rejected_records_total", reason="undecodable") == rejected
        assert post(pipeline, bearer(ACME), b"\xff\xff\xff").status_code == 400


def test_health_and_metrics_ask_for_no_key(receiving: Any, held: HeldTransport) -> None:
    with receiving(held, **KEYS) as pipeline:
        assert pipeline.client.get(f"{pipeline.server.http_url}/healthz").status_code == 200
        assert pipeline.metric("tidegauge_pending_bytes") == 0


def test_keys_of_equal_digests_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(left: str, right: str) -> bool:
        compared.append((left, right))
        return left == right

    monkeypatch.setattr("tidegauge.collectors.receiver.keys.hmac.compare_digest", compare)
    keys = ApiKeys(Receiver(**KEYS))
    assert keys.tenant(bearer(UMBRELLA).items()) == "umbrella"
    with pytest.raises(Forbidden):
        keys.tenant(bearer(WRONG).items())
    with pytest.raises(Unauthenticated):
        keys.tenant([])
    assert len(compared) == 2


# Whose data it is


def tenants(signal: str, payload: bytes) -> list[list[str]]:
    """The verified tenants of each resource of a request."""
    request: Any = REQUESTS[signal].FromString(payload)
    [(_, resources)] = request.ListFields()
    return [[a.value.string_value for a in each.resource.attributes if a.key == VERIFIED] for each in resources]


@pytest.mark.parametrize(("signal", "make"), [("traces", lambda: traces(span())), ("logs", lambda: logs(record()))])
def test_the_tenant_is_the_keys_and_what_the_payload_claims_is_gone(
    receiving: Any, held: HeldTransport, signal: str, make: Callable[[], Any]
) -> None:
    request = make()
    next(iter(request.ListFields()))[1][0].resource.attributes.extend(attributes({VERIFIED: "umbrella"}))
    taken: list[bytes] = []
    submit = held.submit
    held.submit = lambda export: (taken.append(export.payload), submit(export))[1]  # type: ignore[method-assign,func-returns-value]
    with receiving(held, **KEYS) as pipeline:
        headers = bearer(ACME) | {"content-type": "application/x-protobuf"}
        url, body = f"{pipeline.server.http_url}/v1/{signal}", request.SerializeToString()
        assert sent(held, lambda: pipeline.client.post(url, content=body, headers=headers)).status_code == 200
        metadata = (("authorization", f"Bearer {UMBRELLA}"),)
        sent(held, lambda: pipeline.call(signal, body, metadata=metadata))
    assert [tenants(signal, each) for each in taken] == [[["acme"]], [["umbrella"]]]


def test_the_same_request_of_two_tenants_is_two_requests(receiving: Any, held: HeldTransport) -> None:
    digests: list[bytes] = []
    submit = held.submit
    held.submit = lambda export: (digests.append(export.digest), submit(export))[1]  # type: ignore[method-assign,func-returns-value]
    with receiving(held, **KEYS) as pipeline:
        for key in (ACME, ACME_2, UMBRELLA):
            assert sent(held, partial(post, pipeline, bearer(key))).status_code == 200
    assert len(digests) == 2  # both keys of acme are one tenant's
    assert len(set(digests)) == 2
    assert {len(each) for each in digests} == {16}


# The file of keys


def write(path: Path, text: str, at: int) -> None:
    path.write_text(text)
    os.utime(path, (at, at))


def test_a_changed_file_of_keys_comes_into_force_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, now = tmp_path / "keys.yaml", [0.0]
    write(path, yaml.safe_dump([ACME_ENTRY.model_dump()]), 1)
    keys = ApiKeys(Receiver(api_keys_file=path), lambda: now[0])
    failed = instruments.RELOAD_FAILED.labels("api_keys_file")._value

    def tenant(key: str) -> str:
        now[0] += 10
        return keys.tenant(bearer(key).items())

    assert tenant(ACME) == "acme"
    write(path, yaml.safe_dump([UMBRELLA_ENTRY.model_dump()]), 2)
    assert tenant(UMBRELLA) == "umbrella"
    with pytest.raises(Forbidden):
        tenant(ACME)
    for at, text in enumerate(("", "- {tenant: x}", "[", "- {tenant: x, hash: abc}", "\xff"), start=3):
        write(path, text, at)
        caplog.clear()
        assert [tenant(UMBRELLA), tenant(UMBRELLA)] == ["umbrella"] * 2
        assert (failed.get(), len(caplog.records)) == (1, 1)
        assert str(path) in caplog.text
    path.unlink()
    assert tenant(UMBRELLA) == "umbrella"
    write(path, "[]", 9)
    with pytest.raises(Forbidden):
        tenant(UMBRELLA)  # every key was taken back; that does not let everybody in
    assert failed.get() == 0


def test_keys_that_cannot_be_read_at_the_start_say_what_to_do(tmp_path: Path, held: HeldTransport) -> None:
    path = tmp_path / "keys.yaml"
    for text, said in (("[]", "keys create"), ("{}", "must be a list"), ("- {tenant: x}", "0.hash")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            ReceiverServer(held, Receiver(http_port=0, grpc_port=0, api_keys_file=path), Masking())
    with pytest.raises(ConfigError, match="cannot be read"):
        ApiKeys(Receiver(api_keys_file=tmp_path / "none.yaml"))


def test_a_key_is_made_by_a_command_and_works(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["keys", "create", "--tenant", "acme", "--name", "batch"]).output
    key = shown.partition("shown only now: ")[2].split()[0]
    path = tmp_path / "keys.yaml"
    path.write_text(shown.splitlines()[-1])
    assert ApiKeys(Receiver(api_keys_file=path)).tenant(bearer(key).items()) == "acme"
    assert key not in path.read_text()
    made = json.loads(CliRunner().invoke(app, ["keys", "create", "--tenant", "b", "--json"]).output)
    assert made["entry"]["tenant"] == "b"


def test_keys_may_stand_in_the_configuration_and_in_a_file_at_once(tmp_path: Path) -> None:
    path, config = tmp_path / "keys.yaml", tmp_path / "tidegauge.yaml"
    path.write_text(yaml.safe_dump([UMBRELLA_ENTRY.model_dump()]))
    config.write_text(yaml.safe_dump({"receiver": {"api_keys": [ACME_ENTRY.model_dump()], "api_keys_file": str(path)}}))
    keys = ApiKeys(load(config, {}).receiver)
    assert [keys.tenant(bearer(each).items()) for each in (ACME, UMBRELLA)] == ["acme", "umbrella"]


# Beyond loopback, and TLS


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "tidegauge.example"])
def test_without_keys_and_tls_the_receiver_stays_on_loopback(held: HeldTransport, host: str) -> None:
    with pytest.raises(ConfigError, match=r"receiver\.api_keys_file.*receiver\.tls_cert_file"):
        ReceiverServer(held, Receiver(host=host, http_port=0, grpc_port=0))


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, Path]:
    found = {"tls_cert_file": tmp_path / "cert.pem", "tls_key_file": tmp_path / "key.pem"}
    found["tls_cert_file"].write_text(CERTIFICATE)
    found["tls_key_file"].write_text(PRIVATE_KEY)
    found["tls_key_file"].chmod(0o600)
    return found


@pytest.mark.parametrize("kept", ["keys", "tls"])
def test_with_keys_or_tls_it_listens_everywhere(
    receiving: Any, held: HeldTransport, tls: dict[str, Path], kept: str
) -> None:
    with receiving(held, host="0.0.0.0", **(KEYS if kept == "keys" else tls)) as pipeline:
        port = pipeline.server.http_url.rpartition(":")[2]
        scheme = "https" if kept == "tls" else "http"
        assert pipeline.client.get(f"{scheme}://127.0.0.1:{port}/healthz").text == "ok\n"


def test_both_protocols_speak_tls(receiving: Any, held: HeldTransport, tls: dict[str, Path]) -> None:
    with receiving(held, **tls, **KEYS) as pipeline:
        assert pipeline.server.http_url.startswith("https://")
        assert pipeline.server.grpc_url.startswith("https://")
        assert sent(held, lambda: post(pipeline, bearer(ACME))).status_code == 200
        credentials = grpc.ssl_channel_credentials(CERTIFICATE.encode())
        with grpc.secure_channel(pipeline.server.grpc_url.removeprefix("https://"), credentials) as channel:
            export = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
            assert sent(held, lambda: export(BODY, metadata=(("x-api-key", ACME),), timeout=10)) == b""
        with pytest.raises(grpc.RpcError):
            pipeline.call("logs", BODY, timeout=2, metadata=(("x-api-key", ACME),))  # plain text


def test_a_private_key_that_others_may_read_is_warned_about(
    receiving: Any, held: HeldTransport, tls: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    tls["tls_key_file"].chmod(0o644)
    with receiving(held, **tls):
        assert "chmod 600" in caplog.text


def test_a_certificate_that_cannot_be_used_is_named(held: HeldTransport, tls: dict[str, Path]) -> None:
    tls["tls_cert_file"].write_text("nonsense")
    with pytest.raises(ConfigError, match=r"cert\.pem"):
        ReceiverServer(held, Receiver(**tls))
    with pytest.raises(ValueError, match="go together"):
        Receiver(tls_cert_file=tls["tls_cert_file"])


def test_metrics_have_a_verified_tenant_too(receiving: Any, held: HeldTransport) -> None:
    body = metrics(Metric(name="m", gauge=Gauge(data_points=[NumberDataPoint(as_int=1)]))).SerializeToString()
    taken: list[Any] = []
    submit = held.submit
    held.submit = lambda export: (taken.append(export), submit(export))[1]  # type: ignore[method-assign,func-returns-value]
    with receiving(held, **KEYS) as pipeline:
        sent(held, lambda: pipeline.call("metrics", body, metadata=(("api-key", ACME),)))
    assert [(each.signal, tenants("metrics", each.payload)) for each in taken] == [(Signal.METRICS, [["acme"]])]


def test_a_frame_has_a_verified_tenant_too(receiving: Any, held: HeldTransport) -> None:
    layout = Layout(Kind.PREDICTIONS, "m", Roles(), {}, NOW_NS, "f00d")
    body = frames.encode(frames.check(pa.table({"x": [1.0, 2.0]}), layout))
    taken: list[Any] = []
    submit = held.submit
    held.submit = lambda export: (taken.append(export), submit(export))[1]  # type: ignore[method-assign,func-returns-value]
    with receiving(held, **KEYS) as pipeline:
        url, headers = f"{pipeline.server.http_url}/v1/frames", {"content-type": ARROW}
        assert pipeline.client.post(url, content=body, headers=headers).status_code == 401
        assert pipeline.client.post(url, content=body, headers=bearer(ACME)).status_code == 415
        assert sent(held, lambda: pipeline.client.post(url, content=body, headers=headers | bearer(ACME))).is_success
    [export] = taken
    assert (export.signal, export.records) == (Signal.FRAMES, 2)
    assert pa.ipc.open_stream(export.payload).schema.metadata[VERIFIED.encode()] == b"acme"
