"""The clock that a replay holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from tidegauge.clock import EPOCH, ReplayClock, SystemClock, epoch_ns


def test_a_frozen_clock_returns_to_the_microsecond_what_was_set(rng: np.random.Generator) -> None:
    clock = ReplayClock(EPOCH, frozen=True)
    for microseconds in rng.integers(-(2**54), 2**55, 5_000).tolist():
        moment = EPOCH + timedelta(microseconds=microseconds)
        clock.set(moment)
        assert clock.now() == moment
        assert clock.now_ns() == microseconds * 1_000 == epoch_ns(moment)


def test_a_frozen_clock_moves_only_when_told() -> None:
    clock = ReplayClock(datetime(2026, 3, 29, 1, 30, tzinfo=UTC), frozen=True)
    assert clock.now() == clock.now()
    clock.advance(timedelta(hours=1))
    assert clock.now() == datetime(2026, 3, 29, 2, 30, tzinfo=UTC)
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.now() == datetime(2020, 1, 1, tzinfo=UTC)


def test_a_flowing_clock_keeps_the_pace_of_real_time() -> None:
    clock, real = ReplayClock(datetime(2001, 1, 1, tzinfo=UTC)), SystemClock()
    before, began = clock.now_ns(), real.now_ns()
    while real.now_ns() - began < 20_000_000:
        pass
    assert 0 < clock.now_ns() - before < 10_000_000_000
    assert clock.now() - datetime(2001, 1, 1, tzinfo=UTC) < timedelta(seconds=10)


def test_time_is_told_in_utc_whatever_zone_it_was_set_in() -> None:
    clock = ReplayClock(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), frozen=True)
    assert clock.now() == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
    assert SystemClock().now().tzinfo is UTC


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware datetime"):
        ReplayClock(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="aware datetime"):
        ReplayClock(EPOCH).set(datetime(2026, 1, 1))  # noqa: DTZ001
