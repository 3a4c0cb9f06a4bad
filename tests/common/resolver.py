"""Names that resolve to what a test says."""

from __future__ import annotations

import socket
from typing import Any

import pytest


def resolver_says(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names resolve to ``addresses``; numeric hosts as ever. Returns the list of names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def fake(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if str(host)[0].isdigit():
            return real(host, port, *args, **kwargs)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return asked
