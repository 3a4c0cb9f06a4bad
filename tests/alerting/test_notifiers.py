"""What notifiers say, and what they make of receivers that misbehave."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tidegauge.alerting.http import MAX_ANSWER_BYTES, Delivered, Failed, Poster, Reply, RetryAfter, outcome
from tidegauge.alerting.notifiers import PagerDuty, Slack, Webhook, pagerduty, slack, webhook
from tidegauge.alerting.states import Notice, State
from tidegauge.alerting.text import format_transition, plain, web_link

HOSTILE = "<!channel> <@U1> <http://evil|click> & *b* {{ 7*7 }} :tada:\n\x1b[31mred\u202eevil\u200b"


def poster(receiver: Any, timeout_s: float = 5) -> Poster:
    return Poster(receiver.url, timeout_s, allow_internal=True)


def strings(data: Any) -> list[str]:
    if isinstance(data, dict):
        return [each for value in data.values() for each in strings(value)]
    if isinstance(data, list):
        return [each for value in data for each in strings(value)]
    return [data] if isinstance(data, str) else []


def test_a_slack_message_says_what_since_when_which_slice_how_sure_and_what_to_do(make_alert: Any) -> None:
    message = slack.build([make_alert()], "https://gauge.example")

    everything = "\n".join(strings(message["blocks"]))
    for expected in (
        "FIRING: High refusal rate", "service=shop", "since 2026-03-01 11:30 UTC", "6 % to 10 %", "Owner: team shop",
        "Action: roll back", "<https://example.org/runbook|Runbook>", "<https://gauge.example/alerts|Page>",
    ):  # fmt: skip
        assert expected in everything


def test_text_from_a_model_is_shown_as_text_in_slack(make_alert: Any) -> None:
    message = slack.build([make_alert(labels={"intent": HOSTILE}, note=HOSTILE, reason=HOSTILE, rule=HOSTILE)])

    for text in (message["text"], *strings(message["blocks"])):
        assert "<" not in text.replace("<https://example.org/runbook|Runbook>", "")
        assert "\x1b" not in text
        assert "\u202e" not in text
    kinds = {block["type"]: block for block in message["blocks"]}
    assert kinds["section"]["fields"][0]["type"] == "plain_text"
    assert all(not block["text"]["emoji"] for block in message["blocks"] if block["type"] == "header")
    assert "{{ 7*7 }}" in "".join(strings(message))


def test_a_runbook_that_could_break_out_of_a_link_is_no_link() -> None:
    assert web_link("https://x.example/a>|<!channel>") == ""
    assert web_link("javascript:alert(1)") == ""
    assert web_link("https://x.example/a?b=c&d=e") == "https://x.example/a?b=c&d=e"


def test_slices_of_one_rule_go_as_one_slack_message_within_its_limits(make_alert: Any) -> None:
    many = [make_alert(labels={"service": f"s{i}", "text": "x" * 500}) for i in range(200)]

    message = slack.build(many)

    assert message["blocks"][0]["text"]["text"] == "FIRING: High refusal rate (200 slices)"
    assert len(message["blocks"]) <= 50
    assert all(len(text) <= 3000 for text in strings(message["blocks"]))
    assert "and " in message["blocks"][1]["text"]["text"].splitlines()[-1]


def test_slack_takes_the_most_groups_that_a_message_may_hold(make_alert: Any) -> None:
    alerts = [make_alert(rule=f"rule {i}") for i in range(Slack.max_groups)]

    assert len(slack.build(alerts, "https://p.example")["blocks"]) <= 50


def test_pagerduty_fires_and_resolves_under_the_same_key(make_alert: Any) -> None:
    fire = pagerduty.build(make_alert(), "key")
    over = pagerduty.build(make_alert(notice=Notice.RESOLVE, state=State.RESOLVED, open=False), "key")

    assert (fire["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert fire["dedup_key"] == over["dedup_key"] == make_alert().fingerprint
    assert fire["payload"]["severity"] == "critical"
    assert len(fire["payload"]["summary"]) <= 1024


def test_a_pagerduty_event_is_cut_to_512_kb_with_a_note(make_alert: Any) -> None:
    labels = {f"label_{i}": "ü" * 20_000 for i in range(40)}

    event = pagerduty.build(make_alert(labels=labels), "key")

    assert len(json.dumps(event).encode()) <= pagerduty.MAX_EVENT_BYTES
    assert "512 kB" in event["payload"]["custom_details"]["note"]
    assert event["dedup_key"] == make_alert(labels=labels).fingerprint


def test_a_webhook_carries_names_and_numbers_intact(make_alert: Any) -> None:
    (alert,) = webhook.build([make_alert(labels={"intent": HOSTILE})])["alerts"]

    assert alert["labels"] == {"intent": HOSTILE}
    assert (alert["value"], alert["low"], alert["high"], alert["samples"]) == (0.08, 0.06, 0.1, 1000)
    assert alert["dedup_key"] in alert["event_id"]


def test_a_transition_is_one_line_without_control_characters(make_alert: Any) -> None:
    line = format_transition(make_alert(labels={"x": HOSTILE}, receivers=("ops",)))

    assert "\n" not in line
    assert "\x1b" not in line
    assert "pending -> firing" in line
    assert "told ops" in line


def test_a_long_text_is_cut_with_a_mark() -> None:
    assert plain("a" * 50, 10) == "a" * 9 + "…"
    assert plain("a " * 100_000, 10).endswith("…")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, Delivered), (204, Delivered), (302, Failed), (400, Failed), (404, Failed), (408, RetryAfter),
     (429, RetryAfter), (500, RetryAfter), (503, RetryAfter)],
)  # fmt: skip
def test_a_status_decides_between_delivered_again_and_never(
    receiver: Any, respond: Any, make_alert: Any, status: int, expected: type
) -> None:
    receiver.answers = [respond(status)]

    assert isinstance(Webhook("w", poster(receiver)).send([make_alert()]), expected)


def test_a_redirect_is_not_followed(receiver: Any, other_receiver: Any, respond: Any, make_alert: Any) -> None:
    receiver.answers = [respond(307, Location=other_receiver.url)]

    result = Webhook("w", poster(receiver)).send([make_alert()])

    assert isinstance(result, Failed)
    assert "redirect" in result.detail
    assert other_receiver.got == []


def test_slack_and_pagerduty_do_not_take_200_for_success_when_the_body_says_otherwise(
    receiver: Any, respond: Any, make_alert: Any
) -> None:
    bodies = [(200, b"<html>log in</html>"), (202, b'{"status": "success"}'), (202, b"{")]
    receiver.answers = [respond(status, body) for status, body in bodies]

    assert isinstance(Slack("s", poster(receiver)).send([make_alert()]), RetryAfter)
    assert isinstance(PagerDuty("p", poster(receiver), "k").send([make_alert()]), Delivered)
    assert isinstance(PagerDuty("p", poster(receiver), "k").send([make_alert()]), RetryAfter)


def test_a_receiver_may_say_when_to_ask_again(receiver: Any, respond: Any, make_alert: Any) -> None:
    receiver.answers = [respond(429, Retry_After="3"), respond(503)]

    first, second = (Webhook("w", poster(receiver)).send([make_alert()]) for _ in range(2))

    assert first == RetryAfter(3.0, "HTTP 429")
    assert second == RetryAfter(None, "HTTP 503")


def test_a_receiver_that_never_answers_ends_at_the_deadline(receiver: Any, make_alert: Any) -> None:
    receiver.answers = [lambda handler: receiver.released.wait(10)]
    start = time.monotonic()

    result = Webhook("w", poster(receiver, 0.3)).send([make_alert()])

    assert isinstance(result, RetryAfter)
    assert 0.25 < time.monotonic() - start < 1.5


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_slow_drip_ends_at_the_deadline_of_the_whole_attempt(receiver: Any, make_alert: Any, part: str) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        lead = b"HTTP/1.1 200 OK\r\n" if part == "headers" else b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        handler.wfile.write(lead)
        while not receiver.released.wait(0.05):
            handler.wfile.write(b"X-A: b\r\n" if part == "headers" else b"x")
            handler.wfile.flush()

    receiver.answers = [drip]
    start = time.monotonic()

    result = Webhook("w", poster(receiver, 0.5)).send([make_alert()])

    assert isinstance(result, RetryAfter)
    assert time.monotonic() - start < 1.5


def test_a_huge_body_is_read_to_64_kib_and_no_further(receiver: Any) -> None:
    written: list[int] = []

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while not receiver.released.is_set() and len(written) < 10_000:
            handler.wfile.write(b"x" * 65_536)
            written.append(65_536)

    receiver.answers = [flood]

    reply = poster(receiver).post(b"{}")

    assert isinstance(reply, Reply)
    assert len(reply.body) == MAX_ANSWER_BYTES
    time.sleep(0.05)
    assert sum(written) < 32 * 2**20


def test_a_compressed_bomb_is_not_unpacked(receiver: Any, respond: Any) -> None:
    receiver.answers = [respond(200, b"\x1f\x8b" + b"\0" * 100, Content_Encoding="gzip")]

    reply = poster(receiver).post(b"{}")

    assert isinstance(reply, Reply)
    assert reply.body[:2] == b"\x1f\x8b"


@pytest.mark.parametrize(
    "broken", [b"", b"HTTP/9 what\r\n\r\n", b"\0" * 1000, b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"]
)
def test_what_is_no_answer_in_http_is_tried_again(receiver: Any, make_alert: Any, broken: bytes) -> None:
    receiver.answers = [lambda handler: handler.wfile.write(broken) and None]

    assert isinstance(Webhook("w", poster(receiver)).send([make_alert()]), RetryAfter)


def test_nobody_listening_is_tried_again_and_the_detail_holds_no_secret(unused_port: int, make_alert: Any) -> None:
    silent = Poster(f"http://127.0.0.1:{unused_port}/T000/secret-token", 2, allow_internal=True)

    result = Slack("s", silent).send([make_alert()])

    assert isinstance(result, RetryAfter)
    assert "secret" not in result.detail


def test_a_certificate_is_held_against_the_name_and_not_against_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo",
        lambda host, *rest, **more: real("127.0.0.1" if str(host).endswith(".example") else host, *rest, **more),
    )  # fmt: skip
    server = HTTPServer(("127.0.0.1", 0), _AlwaysOk)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    server.socket = serving.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    trust = ssl.create_default_context(cafile=str(certificate))

    def post(name: str, context: ssl.SSLContext | None) -> Any:
        url = f"https://{name}:{server.server_port}/"
        return outcome(Poster(url, 5, allow_internal=True, context=context).post(b"{}"))

    right, wrong_name = post("hooks.example", trust), post("other.example", trust)
    untrusted = post("hooks.example", None)
    server.shutdown()
    thread.join()
    server.server_close()

    assert isinstance(right, Delivered)
    assert isinstance(wrong_name, RetryAfter)
    assert isinstance(untrusted, RetryAfter)


class _AlwaysOk(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def test_a_webhook_with_a_secret_signs_its_body_and_the_time(receiver: Any, make_alert: Any) -> None:
    Webhook("hook", poster(receiver), secret="shared").send([make_alert()])
    Webhook("hook", poster(receiver)).send([make_alert()])

    signed, unsigned = receiver.got
    headers = {name.lower(): value for name, value in signed.headers.items()}
    text = headers["tidegauge-timestamp"].encode() + b"." + signed.body
    assert headers["tidegauge-signature"] == "v1=" + hmac.new(b"shared", text, hashlib.sha256).hexdigest()
    assert abs(int(headers["tidegauge-timestamp"]) - time.time()) < 60
    assert not any("tidegauge-signature" in name.lower() for name in unsigned.headers)
