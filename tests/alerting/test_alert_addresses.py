"""Where notifications may not go."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from resolver import resolver_says

from tidegauge.addresses import Refused, Unresolved, check_url, is_public, resolve
from tidegauge.alerting.http import Delivered, Failed, Poster, outcome
from tidegauge.alerting.notifiers import Surroundings, notifiers
from tidegauge.clock import SystemClock
from tidegauge.config import Alerting
from tidegauge.errors import ConfigError
from tidegauge.store import Store

INTERNAL = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1", "192.168.1.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
    "2002:7f00:1::", "2001:0:1:2:3:4:5:6", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "2001:db8::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1", "2002:101:101::"]
LOCAL_SPELLINGS = [
    "127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
    "169.254.169.254", "[64:ff9b::a9fe:a9fe]", "[::ffff:a9fe:a9fe]",
]  # fmt: skip


@pytest.mark.parametrize("address", INTERNAL)
def test_an_internal_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public_also_when_another_carries_it(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", LOCAL_SPELLINGS)
def test_every_spelling_of_an_internal_address_is_refused_before_anything_is_sent(host: str) -> None:
    with pytest.raises(Refused, match="internal"):
        check_url(f"http://{host}:80/", allow_internal=False)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://x/",
        "ftp://x/",
        "//x/",
        "http://",
        "http:///x",
        "x",
        "http://[::1",
        "http://x:99999/",
    ],
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        check_url(url, allow_internal=True)


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "127.1", "localhost", "::ffff:127.0.0.1"])
def test_resolving_gives_the_meant_address_and_refuses_it(host: str) -> None:
    with pytest.raises(Refused, match=r"resolves to the internal address"):
        resolve(host, 80, 5, allow_internal=False)


def test_a_name_that_is_public_and_internal_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver_says(monkeypatch, "1.1.1.1", "10.0.0.1")

    with pytest.raises(Refused, match=r"10\.0\.0\.1"):
        resolve("two-faced.example", 443, 5, allow_internal=False)


def test_a_resolver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    stuck = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: stuck.wait(5) and [])

    with pytest.raises(Unresolved, match="within"):
        resolve("slow.example", 443, 0.05, allow_internal=False)
    stuck.set()


def test_a_name_that_turns_internal_after_it_was_configured_is_refused_at_the_send(
    monkeypatch: pytest.MonkeyPatch, receiver: Any
) -> None:
    poster = Poster(f"http://rebound.example:{receiver.port}/", 5)
    resolver_says(monkeypatch, "127.0.0.1")

    result = outcome(poster.post(b"{}"))

    assert result == Failed("resolves to the internal address 127.0.0.1, which needs allow_internal_addresses: true")
    assert receiver.got == []


def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, receiver: Any
) -> None:
    asked = resolver_says(monkeypatch, "127.0.0.1")
    poster = Poster(f"http://hooks.example:{receiver.port}/x?y=1", 5, allow_internal=True)

    result = outcome(poster.post(b"{}"))

    assert isinstance(result, Delivered)
    assert asked == ["hooks.example"]
    assert receiver.got[0].headers["Host"] == f"hooks.example:{receiver.port}"
    assert receiver.got[0].path == "/x?y=1"


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, receiver: Any) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert isinstance(outcome(Poster(receiver.url, 5, allow_internal=True).post(b"{}")), Delivered)


def test_every_receiver_with_a_refused_address_is_named_when_the_settings_are_taken(store: Store) -> None:
    receivers = [
        {"kind": "slack", "name": "a", "url": "http://127.0.0.1/"},
        {"kind": "webhook", "name": "b", "url": "http://169.254.169.254/latest"},
        {"kind": "webhook", "name": "b", "url": "https://example.org/"},
        {"kind": "pagerduty", "name": "c", "routing_key": "k", "url": "file:///x"},
    ]

    with pytest.raises(ConfigError) as caught:
        notifiers(Alerting.model_validate({"receivers": receivers}), Surroundings(store, SystemClock().now))

    assert [each.split(" ")[1] for each in caught.value.problems] == ["(a):", "(b):", "(c):", "the"]
