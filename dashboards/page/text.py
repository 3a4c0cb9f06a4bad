"""How values are written on the page. Everything that comes from telemetry stays text."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tidegauge.model import Slice

MANY, TINY = 1e15, 1e-4


def environment() -> Environment:
    """Jinja with autoescape on for every template, and our filters."""
    loader = PackageLoader("tidegauge.dashboards.page", "templates")
    env = Environment(
        loader=loader,
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "number": number,
        "share": share,
        "when": when,
        "ago": ago,
        "span": span,
        "link": link,
        "segment": segment,
        "runbook": runbook,
        "shorten": shorten,
        "sides": sides,
        "p_value": p_value,
    }
    return env


def sides(dimension: str, value: str) -> tuple[Slice, ...]:
    """The slice, or both slices of a pair.

    >>> [str(each) for each in sides("country & device", "de & ios")]
    ['country=de', 'device=ios']
    """
    return Slice(dimension, value).sides


def number(value: float | int | None, digits: int = 3) -> str:
    """A number for people, or a dash.

    >>> number(1234567), number(0.12345), number(None), number(0.00002)
    ('1,234,567', '0.123', '–', '2e-05')
    """
    if value is None or value != value:
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < MANY):
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < MANY else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"


def share(value: float | None) -> str:
    """A share as percent.

    >>> share(0.1372), share(0.0004), share(1.0)
    ('13.7 %', '0.04 %', '100 %')
    """
    if value is None or value != value:
        return "–"
    return f"{number(100 * value, 3)} %"


def p_value(value: float | None) -> str:
    """A p-value; one too small to mean its digits is only bounded.

    >>> p_value(0.0312), p_value(1e-9), p_value(None)
    ('0.031', '< 0.0001', '–')
    """
    if value is None:
        return "–"
    return "< 0.0001" if value < TINY else f"{value:.2g}"


def when(moment: datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "–"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long before ``now`` a moment was."""
    return f"{span((now - moment).total_seconds())} ago" if moment else "–"


def span(seconds: float | None) -> str:
    """A duration in its two largest units.

    >>> span(0.0123), span(75), span(200_000)
    ('12.3 ms', '1 min 15 s', '2 d 7 h')
    """
    if seconds is None or seconds != seconds:
        return "–"
    if abs(seconds) < 1:
        return f"{seconds * 1000:.3g} ms"
    if abs(seconds) < 60:
        return f"{seconds:.3g} s"
    for size, name, smaller, smaller_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if abs(seconds) >= size:
            whole, rest = divmod(int(abs(seconds)), size)
            return f"{'-' if seconds < 0 else ''}{whole} {name}" + (
                f" {rest // smaller} {smaller_name}" if rest // smaller else ""
            )
    return "–"


def link(url: Any) -> str:
    """``url`` if it may be followed, else nothing: only http and https.

    >>> link("https://runbooks.example.com/a"), link("javascript:alert(1)"), link("//evil")
    ('https://runbooks.example.com/a', '', '')
    """
    text = str(url or "").strip()
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.netloc else ""


def runbook(path: Any) -> str:
    """The name of our page for a runbook that is a file, else nothing.

    >>> runbook("docs/runbooks/drift-found.md"), runbook("https://example.com/a.md"), runbook("ask Ann")
    ('drift-found', '', '')
    """
    text = str(path or "").strip()
    return PurePosixPath(text).stem if text.endswith(".md") and "://" not in text else ""


def segment(text: str) -> str:
    """``text`` as one part of a path."""
    return quote(text, safe="")


def shorten(text: Any, size: int = 4000) -> str:
    """The first ``size`` characters, and how many more there are.

    >>> shorten("abcdef", 4)
    'abcd ... (2 more characters)'
    """
    whole = str(text)
    return whole if len(whole) <= size else f"{whole[:size]} ... ({len(whole) - size:,} more characters)"
