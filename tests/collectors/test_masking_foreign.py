"""What comes into Kafka past the receiver: from the official Collector, for example."""

from __future__ import annotations

import pytest
from kafka_bench import Bench, drain, new_group, position
from masking_places import ALL, everything, left_in, stored

from tidegauge.collectors.kafka import Sink
from tidegauge.collectors.masking import Masker
from tidegauge.config import Masking


@pytest.mark.kafka
def test_what_comes_past_the_receiver_is_masked_by_the_sink_and_in_the_dead_letters(bench: Bench) -> None:
    settings = bench.settings(new_group())
    bench.start_at_end(settings)
    end = bench.send(everything()["logs"].SerializeToString(), b"\xff" + ALL.encode())
    sink = Sink(bench.store, settings, mask=Masker(Masking()).mask)
    bench.sinks.append(sink)
    drain(sink, lambda: position(sink) >= end)
    assert bench.store.value("SELECT count() FROM otel_logs") == 3
    assert left_in(stored(bench.store)) == []
    [letter] = bench.dead_letters(settings)
    assert letter.value.startswith(b"\xff")
    assert left_in(letter.value.decode("latin-1")) == []
