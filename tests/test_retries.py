"""When an answer says to ask again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidegauge.retries import retry_after

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("12", 12.0),
        ("0", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("nan", None),
        ("٣", None),
        ("soon", None),
        ("Thu, 01 Jan 2026 12:00:30", None),
    ],
)
def test_retry_after_has_seconds_or_a_date(said: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": said}, NOW) == seconds


def test_a_date_is_measured_against_the_answers_own_clock() -> None:
    sent = {"date": "Sun, 01 Mar 2026 12:00:00 GMT", "retry-after": "Sun, 01 Mar 2026 12:00:07 GMT"}

    assert retry_after(sent, NOW) == 7.0


def test_a_wait_of_very_many_digits_is_a_number() -> None:
    assert retry_after({"retry-after": "9" * 400}, NOW) == 999_999_999.0
