"""E-mail by SMTP: one message for all that waits, alerts of one series in one thread; plain text, and charts in HTML.

``smtplib`` bounds each operation and not their sum, and resolves the name itself; so the connection is made here, to
the address that was checked, and cut when the time of the attempt is over.
"""

from __future__ import annotations

import hashlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape

from tidegauge.addresses import Refused, Unresolved, resolve
from tidegauge.alerting.http import Delivered, Failed, Outcome, RetryAfter
from tidegauge.alerting.notifiers.contract import Group, facts, grouped, links
from tidegauge.alerting.pictures import alt_text, draw
from tidegauge.alerting.states import Transition
from tidegauge.alerting.text import plain
from tidegauge.config import EmailReceiver

MOST_IN_FULL = 20


def build(alerts: Sequence[Transition], settings: EmailReceiver, page_url: str = "") -> EmailMessage:
    """The message; its ``Message-ID`` is the same for the same alerts, so that a repetition can be told."""
    groups = grouped(alerts)
    message = EmailMessage()
    more = f" and {len(groups) - 1} more" if len(groups) > 1 else ""
    message["Subject"] = plain(f"[Tidegauge] {groups[0].title}{more}", 200)
    message["From"], message["To"] = settings.sender, ", ".join(settings.to)
    message["Date"] = format_datetime(alerts[-1].at)
    names = [f"{each.fingerprint} {each.at.isoformat()} {each.notice}" for each in alerts]
    message["Message-ID"] = f"<{hashlib.sha256(' '.join(names).encode()).hexdigest()[:32]}@tidegauge>"
    message["References"] = f"<{alerts[0].fingerprint}@tidegauge>"
    message["Auto-Submitted"] = "auto-generated"
    parts = [group.title + "\n\n" + "\n\n".join(_body(each, page_url) for each in group.alerts) for group in groups]
    if len(alerts) > MOST_IN_FULL:
        parts = [f"{group.title}: {plain(group.alerts[0].summary, 400)}" for group in groups]
    message.set_content("\n\n".join(parts) + "\n")
    if len(alerts) <= MOST_IN_FULL:
        _illustrate(message, groups, page_url)
    return message


class Email:
    """Sends by one server to one list of people."""

    kind = "email"
    max_groups = 50
    max_alerts = 200
    spacing_s = 1.0
    refresh_s = 0.0

    def __init__(
        self,
        settings: EmailReceiver,
        timeout_s: float,
        page_url: str = "",
        *,
        allow_internal: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = settings.name
        self._settings, self._timeout_s, self._page_url = settings, timeout_s, page_url
        self._allow_internal = allow_internal
        self._context = context or ssl.create_default_context()

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Delivered when the server took it for at least one of those that it is for."""
        message = build(alerts, self._settings, self._page_url)
        try:
            return self._exchange(message)
        except Refused as error:
            return Failed(str(error))
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            said = f"SMTP {sorted(codes)}: nobody of those it is for was accepted"
            return Failed(said) if min(codes) >= 500 else RetryAfter(None, said)
        except smtplib.SMTPResponseException as error:
            said = f"SMTP {error.smtp_code}: {_said(error.smtp_error)}"
            return Failed(said) if error.smtp_code >= 500 else RetryAfter(None, said)
        except (Unresolved, smtplib.SMTPException, OSError, ValueError) as error:
            return RetryAfter(None, f"{type(error).__name__}: {plain(str(error), 200)}")

    def _exchange(self, message: EmailMessage) -> Outcome:
        settings = self._settings
        addresses = resolve(settings.host, settings.port, self._timeout_s, allow_internal=self._allow_internal)
        server = _Server(settings, addresses[0], self._timeout_s, self._context)
        cut = threading.Timer(self._timeout_s, server.cut)
        cut.start()
        try:
            server.open()
            refused = server.send_message(message)
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            cut.cancel()
            server.close()
        return Delivered(f"SMTP 250, refused for {len(refused)} of {len(settings.to)}" if refused else "SMTP 250")


class _Server(smtplib.SMTP):
    """A connection to the address that was checked."""

    def __init__(self, settings: EmailReceiver, address: str, timeout_s: float, context: ssl.SSLContext) -> None:
        super().__init__(timeout=timeout_s)
        self._settings, self._address, self._tls = settings, address, context
        self._host = settings.host

    def open(self) -> None:
        """Connect, encrypt and log in as configured."""
        code, said = self.connect(self._settings.host, self._settings.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)
        if self._settings.tls == "starttls":
            self.starttls(context=self._tls)
        if self._settings.username:
            self.login(self._settings.username, self._settings.password.get_secret_value())

    def cut(self) -> None:
        """End every operation under way."""
        if self.sock:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((self._address, port), timeout)
        if self._settings.tls != "tls":
            return connection
        try:
            return self._tls.wrap_socket(connection, server_hostname=host)
        except BaseException:
            connection.close()
            raise


def _body(alert: Transition, page_url: str) -> str:
    lines = [f"{name}: {text}" for name, text in facts(alert)]
    shown = [each for each in links(alert, page_url) if each[0] != "Runbook"]
    return "\n".join([*lines, *(f"{name}: {url}" for name, url in shown), f"Id: {alert.fingerprint[:12]}"])


def _illustrate(message: EmailMessage, groups: Sequence[Group], page_url: str) -> None:
    """Add the same as HTML, with the alerts' charts in it, where there are any that can be drawn."""
    drawn: list[tuple[str, bytes]] = []
    parts = []
    for group in groups:
        parts.append(f"<h2>{escape(group.title)}</h2>")
        for each in group.alerts:
            parts.append(f'<pre style="white-space: pre-wrap">{escape(_body(each, page_url))}</pre>')
            if each.evidence.chart and (png := draw(each.evidence.chart)):
                name = f"{each.fingerprint}.{each.at:%Y%m%d%H%M%S}@tidegauge"
                drawn.append((name, png))
                words = escape(alt_text(each.evidence.chart))
                parts.append(f'<p><img src="cid:{name}" alt="{words}" width="640" style="max-width: 100%"></p>')
    if drawn:
        message.add_alternative("<!doctype html>\n" + "\n".join(parts) + "\n", subtype="html")
        _, page = message.iter_parts()
        for name, png in drawn:
            page.add_related(png, "image", "png", cid=f"<{name}>", disposition="inline", filename="chart.png")


def _said(answer: bytes | str) -> str:
    return plain(answer.decode(errors="replace") if isinstance(answer, bytes) else answer, 200)
