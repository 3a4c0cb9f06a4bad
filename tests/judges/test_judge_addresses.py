"""Where judged texts may not go: decided on the resolved address, and that is the one connected to."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from judge_endpoint import Endpoint
from resolver import resolver_says
from tls_certificate import CERTIFICATE, PRIVATE_KEY

from tidegauge.config import Judges
from tidegauge.errors import ConfigError
from tidegauge.judges.client import JudgeUnavailable, OpenAIJudge
from tidegauge.judges.rubric import Prompt

PROMPT = Prompt("be a judge", "judge this")
NAME = "judge.example"


def named(endpoint: Endpoint) -> Endpoint:
    """The same endpoint by a name."""
    endpoint.url = endpoint.url.replace("127.0.0.1", NAME)
    return endpoint


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:10.0.0.1]", "2130706433", "0177.0.0.1", "169.254.169.254"]
)
def test_an_internal_address_in_any_spelling_is_refused_when_the_settings_are_taken(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAIJudge(Judges(base_url=f"http://{host}:8000/v1", model="m"))

    assert "is an internal address; allow_internal_addresses: true would allow it" in caught.value.problems[0]


def test_a_name_that_turned_internal_is_refused_when_a_question_is_put(
    monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint
) -> None:
    judge = OpenAIJudge(named(endpoint).settings(allow_internal_addresses=False), retries=0)
    resolver_says(monkeypatch, "127.0.0.1")

    with pytest.raises(JudgeUnavailable, match=r"resolves to the internal address 127\.0\.0\.1") as caught:
        judge.ask(PROMPT)

    judge.close()
    assert caught.value.reason == "unreachable"
    assert endpoint.requests == []


def test_the_connection_goes_to_the_address_that_was_checked_under_the_name_that_it_has(
    monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint
) -> None:
    asked = resolver_says(monkeypatch, "127.0.0.1")
    judge = OpenAIJudge(named(endpoint).settings(), retries=0)

    judge.ask(PROMPT)

    judge.close()
    assert asked == [NAME]
    assert endpoint.headers[0]["host"] == f"{NAME}:{urlsplit(endpoint.url).port}"


def test_a_retry_goes_to_the_next_address_of_the_name(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> None:
    resolver_says(monkeypatch, "127.0.0.9", "127.0.0.1")  # on the first nobody listens
    judge = OpenAIJudge(named(endpoint).settings())

    assert judge.ask(PROMPT).text

    judge.close()


def test_a_certificate_is_asked_for_and_checked_by_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    pem.write_text(PRIVATE_KEY + CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=shake_hands, args=(server, context), daemon=True)
        answering.start()
        resolver_says(monkeypatch, "127.0.0.1")
        url = f"https://{NAME}:{server.getsockname()[1]}/v1"
        judge = OpenAIJudge(Endpoint(url=url).settings(), retries=0)

        with pytest.raises(JudgeUnavailable, match=r"(?i)certificate"):
            judge.ask(PROMPT)

        judge.close()
        answering.join(5)
    assert names == [NAME]


def shake_hands(server: socket.socket, context: ssl.SSLContext) -> None:
    """With one client, who breaks off."""
    client, _ = server.accept()
    with client, pytest.raises((ssl.SSLError, OSError)), context.wrap_socket(client, server_side=True) as secure:
        secure.recv(1)
        raise OSError("the client read on")
