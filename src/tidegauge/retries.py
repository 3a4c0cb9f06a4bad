"""What an answer says about when to ask again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by the Retry-After header, in seconds or as a date (RFC 9110); None where it says nothing.

    A date is measured against the answer's own Date header, so that a wrong clock on either side does no harm, and
    against ``now`` where there is none. Names of ``headers`` are in lower case.

    >>> sent = {"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    >>> retry_after(sent, datetime(2020, 1, 1)), retry_after({"retry-after": "12"}, datetime(2020, 1, 1))
    (30.0, 12.0)
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        base = parsedate_to_datetime(headers["date"]) if "date" in headers else now
        return max(0.0, (parsedate_to_datetime(text) - base).total_seconds())
    except (ValueError, TypeError, IndexError):
        return None
