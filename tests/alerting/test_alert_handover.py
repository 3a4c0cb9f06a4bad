"""E-mail to a small SMTP server on loopback, and alerts handed to a real Alertmanager where there is one."""

from __future__ import annotations

import json
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tidegauge.alerting.http import Delivered, Failed, RetryAfter
from tidegauge.alerting.notifiers import Alertmanager, Email, Surroundings, notifiers
from tidegauge.alerting.notifiers.alertmanager import build as build_alertmanager
from tidegauge.alerting.notifiers.pagerduty import build as build_pagerduty
from tidegauge.alerting.states import Notice, State
from tidegauge.clock import SystemClock
from tidegauge.config import Alerting, EmailReceiver
from tidegauge.errors import ConfigError
from tidegauge.store import Store

HOSTILE = "<script>x</script>\r\nBcc: everybody@example.org\x1b[31m {{ 7*7 }} <!channel>"


@dataclass
class Sink:
    """An SMTP server that keeps what it is sent and answers each command as ``answers`` says, else with success."""

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    mails: list[EmailMessage] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    drip_s: float = 0.0


@pytest.fixture
def sink() -> Iterator[Sink]:
    found = Sink()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, word: str, usual: bytes) -> None:
            for byte in found.answers.get(word, usual) + b"\r\n":
                self.wfile.write(bytes([byte]))
                time.sleep(found.drip_s)

        def handle(self) -> None:
            with suppress(OSError):
                self.say("connect", b"220 ready")
                while line := self.rfile.readline():
                    word = line.split(b":")[0].split()[0].decode().lower()
                    found.commands.append(line.decode().strip())
                    if word == "data":
                        self.say("data", b"354 go on")
                        self.read()
                    elif word == "quit":
                        self.say("quit", b"221 bye")
                        break
                    else:
                        self.say(word, b"250 fine")

        def read(self) -> None:
            body = b""
            while not body.endswith(b"\r\n.\r\n"):
                body += self.rfile.readline()
            found.mails.append(message_from_bytes(body[:-5], policy=policy.default))
            self.say("stored", b"250 stored")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def email(sink: Sink, timeout_s: float = 5, **changes: Any) -> Email:
    values = {"name": "mail", "host": "127.0.0.1", "port": sink.port, "tls": "none", "sender": "a@example.org"}
    settings = EmailReceiver.model_validate(values | {"to": ["on@example.org", "call@example.org"]} | changes)
    return Email(settings, timeout_s, "https://page.example", allow_internal=True)


def test_a_mail_says_what_since_when_how_sure_and_what_to_do_to_everybody_it_is_for(
    sink: Sink, make_alert: Any
) -> None:
    alert = make_alert()

    assert email(sink).send([alert]) == Delivered("SMTP 250")

    (mail,) = sink.mails
    text = mail.get_content()
    assert mail["Subject"] == "[Tidegauge] FIRING: High refusal rate"
    assert (mail["To"], mail["Auto-Submitted"]) == ("on@example.org, call@example.org", "auto-generated")
    assert [each for each in sink.commands if each.startswith("rcpt")] == [
        "rcpt TO:<on@example.org>",
        "rcpt TO:<call@example.org>",
    ]
    for part in (
        "8 % of 1,000 (6 % to 10 %)",
        "Since: 2026-03-01 11:30 UTC",
        "Action: roll back",
        alert.fingerprint[:12],
    ):
        assert part in text


def test_a_repetition_has_the_same_message_id_and_the_end_is_in_the_same_thread(sink: Sink, make_alert: Any) -> None:
    over = make_alert(notice=Notice.RESOLVE, state=State.RESOLVED, at=datetime(2026, 3, 1, 13, tzinfo=UTC))
    for each in (make_alert(), make_alert(), over):
        email(sink).send([each])

    first, second, end = sink.mails
    assert first["Message-ID"] == second["Message-ID"] != end["Message-ID"]
    assert first["References"] == end["References"]
    assert end["Subject"] == "[Tidegauge] RESOLVED: High refusal rate"


def test_what_a_model_wrote_is_text_in_a_mail_and_never_a_header(sink: Sink, make_alert: Any) -> None:
    email(sink).send([make_alert(rule=HOSTILE, labels={"service": HOSTILE}, note=HOSTILE)])

    (mail,) = sink.mails
    assert mail["Bcc"] is None
    assert [each for each in sink.commands if "everybody" in each] == []
    assert mail.get_content_type() == "text/plain"
    assert "\x1b" not in mail.get_content()


@pytest.mark.parametrize(
    ("word", "said", "kind", "words"),
    [
        ("connect", b"554 no", Failed, "SMTP 554"),
        ("connect", b"421 busy", RetryAfter, "SMTP 421"),
        ("mail", b"451 later", RetryAfter, "SMTP 451: later"),
        ("rcpt", b"550 unknown", Failed, "SMTP [550]"),
        ("rcpt", b"450 greylisted", RetryAfter, "SMTP [450]"),
        ("stored", b"552 too big\x1b[31m", Failed, "SMTP 552: too big"),
        ("connect", b"no mail server", RetryAfter, "SMTP -1"),
    ],
)
def test_what_the_server_answers_decides_whether_it_is_tried_again(
    sink: Sink, make_alert: Any, word: str, said: bytes, kind: type, words: str
) -> None:
    sink.answers[word] = said

    found = email(sink).send([make_alert()])

    assert isinstance(found, kind)
    assert words in found.detail and found.detail.isprintable()


def test_a_server_that_drips_is_cut_at_the_end_of_the_attempt(sink: Sink, make_alert: Any) -> None:
    sink.drip_s = 0.05
    begun = time.monotonic()

    found = email(sink, timeout_s=0.4).send([make_alert()])

    assert isinstance(found, RetryAfter)
    assert time.monotonic() - begun < 3


def test_an_internal_mail_server_is_refused_unless_allowed_and_a_server_without_tls_gets_nothing(
    sink: Sink, make_alert: Any
) -> None:
    settings = email(sink)._settings
    refused = Email(settings, 5).send([make_alert()])
    plain_only = email(sink, tls="starttls").send([make_alert()])

    assert isinstance(refused, Failed) and "internal address 127.0.0.1" in refused.detail
    assert isinstance(plain_only, RetryAfter)
    assert sink.mails == []


def test_an_address_with_a_line_break_is_refused_on_load() -> None:
    values = {"kind": "email", "name": "m", "host": "h", "sender": "a@b\nBcc: c@d", "to": ["x@y"]}
    with pytest.raises(ValueError, match="sender"):
        Alerting.model_validate({"receivers": [values]})


def test_pagerduty_is_told_of_reminders_acknowledgements_and_causes_under_the_same_key(make_alert: Any) -> None:
    elsewhere = (Notice.NONE, Notice.DIGEST, Notice.PROPOSE, Notice.HOOK, Notice.CALL)
    found = [build_pagerduty(make_alert(notice=each), "k") for each in Notice if each not in elsewhere]

    actions = ["trigger", "resolve", "trigger", "trigger", "acknowledge", "trigger"]
    assert [each["event_action"] for each in found] == actions
    assert len({each["dedup_key"] for each in found}) == 1


def test_names_and_values_are_such_as_alertmanager_takes(make_alert: Any) -> None:
    alert = make_alert(labels={"gen_ai.model": HOSTILE, "2nd": "", "": "x"})
    (body,) = build_alertmanager([alert])

    assert set(body["labels"]) == {"gen_ai_model", "_", "alertname", "severity", "tidegauge_id"}
    assert body["labels"]["gen_ai_model"].isprintable()
    assert body["endsAt"] == (alert.at + timedelta(minutes=10)).isoformat()
    assert build_alertmanager([make_alert(notice=Notice.ACKNOWLEDGE)]) == []


def test_an_internal_alertmanager_is_refused_unless_allowed(store: Store) -> None:
    values = {"kind": "alertmanager", "name": "am", "url": "http://127.0.0.1:9093/api/v2/alerts"}
    with pytest.raises(ConfigError, match="internal address"):
        notifiers(Alerting.model_validate({"receivers": [values]}), around(store))


def around(store: Store) -> Surroundings:
    return Surroundings(store, SystemClock().now)


@pytest.fixture
def alertmanager(tmp_path: Path, unused_port: int) -> Iterator[str]:
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("hand-over needs an Alertmanager (Debian: prometheus-alertmanager)")
    config = "route: {receiver: nobody, group_by: [alertname]}\nreceivers: [{name: nobody}]\n"
    (tmp_path / "alertmanager.yml").write_text(config)
    listen = [f"--web.listen-address=127.0.0.1:{unused_port}", "--cluster.listen-address="]
    files = [f"--config.file={tmp_path / 'alertmanager.yml'}", f"--storage.path={tmp_path / 'data'}"]
    with subprocess.Popen([program, *listen, *files], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", unused_port), 1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{unused_port}/api/v2/alerts"
        process.terminate()


def test_a_real_alertmanager_takes_alerts_with_their_labels_and_their_end(
    store: Store, alertmanager: str, make_alert: Any
) -> None:
    values = {"kind": "alertmanager", "name": "am", "url": alertmanager}
    settings = Alerting.model_validate({"receivers": [values], "allow_internal_addresses": True})
    (receiver,) = notifiers(settings, around(store))
    assert isinstance(receiver, Alertmanager)
    now = datetime.now(UTC) - timedelta(seconds=5)
    alert = make_alert(at=now, since=now - timedelta(minutes=30), labels={"gen_ai.model": HOSTILE, "service": "shop"})

    fired = receiver.send([alert])
    (active,) = listed(alertmanager)
    again = receiver.send([make_alert(**shape(alert), notice=Notice.REMIND)])
    still = listed(alertmanager)
    over = receiver.send([make_alert(**shape(alert), notice=Notice.RESOLVE, state=State.RESOLVED)])

    assert [type(each) for each in (fired, again, over)] == [Delivered] * 3, (fired, again, over)
    assert active["labels"]["alertname"] == "High refusal rate"
    assert active["labels"]["service"] == "shop" and active["labels"]["severity"] == "page"
    assert active["annotations"]["action"] == "roll back"
    assert [each["fingerprint"] for each in still] == [active["fingerprint"]]
    assert listed(alertmanager) == []


def shape(alert: Any) -> dict[str, Any]:
    return {"at": alert.at + timedelta(seconds=1), "since": alert.since, "labels": alert.labels}


def listed(url: str) -> Any:
    with urlopen(f"{url}?active=true", timeout=5) as answer:
        return json.load(answer)
