"""Words for people: amounts with their unit, labels, and text from outside made safe to show."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from tidegauge.alerting.states import Transition

CUT = "…"


def plain(text: str, limit: int = 300) -> str:
    """``text`` on one line, at most ``limit`` characters, without control, format or bidirectional characters.

    What a model or a client wrote can stand in a message only in this form: newlines, terminal escapes and invisible
    characters become spaces.

    >>> plain("a\\nb\\x1b[31m")
    'a b [31m'
    """
    head = text[: limit * 4]
    shown = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in head)
    line = " ".join(shown.split())
    return line if len(line) <= limit and len(head) == len(text) else line[: limit - 1] + CUT


def labels_text(labels: Mapping[str, str]) -> str:
    """``service=shop, prompt_version=v7``, or ``all traffic``.

    >>> labels_text({})
    'all traffic'
    """
    return ", ".join(f"{plain(name, 60)}={plain(value, 120)}" for name, value in labels.items()) or "all traffic"


def amount(value: float | None, unit: str) -> str:
    """A number as people read it.

    >>> [amount(0.0812, "share"), amount(1234.5, "USD"), amount(None, "s"), amount(0.1234, "score")]
    ['8.12 %', 'USD 1,234.50', 'nothing', '0.123']
    """
    if value is None:
        return "nothing"
    if unit == "share":
        return f"{value * 100:.3g} %"
    if unit == "USD":
        return f"USD {value:,.2f}" if abs(value) >= 1 else f"USD {value:.3g}"
    if unit in ("records", "findings", "tokens", "tokens/min"):
        return f"{value:,.0f} {unit.removesuffix('s') if value == 1 else unit}"
    return f"{value:.3g} s" if unit == "s" else f"{value:.3g}"


def moment(time: datetime) -> str:
    """To the minute, in UTC.

    >>> moment(datetime(2026, 3, 1, 9, 5, tzinfo=UTC))
    '2026-03-01 09:05 UTC'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def web_link(address: str) -> str:
    """``address`` when it is an http or https URL without characters that could end a link, else empty."""
    parts = urlsplit(address)
    sound = parts.scheme in ("http", "https") and bool(parts.hostname)
    return address if sound and not any(each in address for each in "<>|\"' \n\r\t\\") else ""


def format_transition(transition: Transition) -> str:
    """One line for a terminal or a log.

    It holds no control characters, whatever the labels hold.
    """
    change = f"{transition.previous.value} -> {transition.state.value}"
    who = f"{transition.severity}, {plain(transition.owner, 60)}" if transition.severity else ""
    told = f"; told {', '.join(transition.receivers)}" if transition.receivers and transition.notice else ""
    head = f"{transition.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} {change:<22} {plain(transition.rule, 80)}"
    return f"{head} [{labels_text(transition.labels)}] {plain(transition.reason, 300)} ({who}{told})"
