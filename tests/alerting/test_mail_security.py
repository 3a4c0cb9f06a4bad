"""E-mail to a real SMTP server that encrypts and takes a login: what it gets, and what no other server gets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from tls_certificate import CERTIFICATE, PRIVATE_KEY

from tidegauge.alerting.http import Delivered, Failed, Outcome, RetryAfter
from tidegauge.alerting.notifiers.email import Email
from tidegauge.config import EmailReceiver

USER, PASSWORD = "pager", "a long password"
LOGIN = USER.encode(), PASSWORD.encode()


@dataclass
class Mailbox:
    """What came, and who logged in."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 kept"

    def login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, said: Any) -> AuthResult:
        assert isinstance(said, LoginPassword)
        self.logins.append((said.login, said.password))
        return AuthResult(success=self.logins[-1] == LOGIN, handled=False)


@pytest.fixture(params=["starttls", "tls"])
def tls(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "cert.pem"
    path.write_text(CERTIFICATE)
    return path


@pytest.fixture
def mailbox(tls: str, certificate: Path) -> Iterator[Mailbox]:
    key = certificate.with_name("key.pem")
    key.write_text(PRIVATE_KEY)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = Mailbox(port)
    how: dict[str, Any] = {"tls_context": serving, "require_starttls": True, "auth_required": True}
    if tls == "tls":
        how = {"ssl_context": serving, "auth_require_tls": False}  # it does not count what is encrypted from the start
    controller = Controller(found, hostname="127.0.0.1", port=port, authenticator=found.login, **how)
    controller.start()
    yield found
    controller.stop()


def send(mailbox: Mailbox, alert: Any, trust: ssl.SSLContext | None, **changes: Any) -> Outcome:
    values = {"name": "mail", "host": "127.0.0.1", "port": mailbox.port, "sender": "a@example.org"}
    login = {"to": ["on@example.org"], "username": USER, "password": PASSWORD}
    settings = EmailReceiver.model_validate(values | login | changes)
    return Email(settings, 5, allow_internal=True, context=trust).send([alert])


def test_a_mail_is_sent_encrypted_and_with_the_login(
    mailbox: Mailbox, tls: str, certificate: Path, make_alert: Any
) -> None:
    trust = ssl.create_default_context(cafile=str(certificate))

    said = send(mailbox, make_alert(), trust, tls=tls)

    assert said == Delivered("SMTP 250")
    assert mailbox.logins == [LOGIN]
    assert [each["Subject"] for each in mailbox.mails] == ["[Tidegauge] FIRING: High refusal rate"]


def test_a_wrong_password_is_a_failure_that_says_so_and_does_not_show_it(
    mailbox: Mailbox, tls: str, certificate: Path, make_alert: Any
) -> None:
    trust = ssl.create_default_context(cafile=str(certificate))

    said = send(mailbox, make_alert(), trust, tls=tls, password="another one")

    assert isinstance(said, Failed)
    assert said.detail.startswith("SMTP 535")
    assert "another one" not in said.detail
    assert mailbox.mails == []


def test_a_server_whose_certificate_is_not_trusted_gets_neither_password_nor_mail(
    mailbox: Mailbox, tls: str, make_alert: Any
) -> None:
    said = send(mailbox, make_alert(), None, tls=tls)

    assert isinstance(said, RetryAfter)
    assert "certificate" in said.detail.lower()
    assert (mailbox.logins, mailbox.mails) == ([], [])
