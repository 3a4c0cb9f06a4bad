"""Dead letters: listed, shown, sent again and then stored once."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka_bench import TOPIC, Bench, drain, new_group, position, until
from otlp_payloads import metrics, predictions, traces, value
from typer.testing import CliRunner

from tidegauge import cli
from tidegauge.collectors.kafka import inserter as inserter_module
from tidegauge.collectors.kafka import patience as patience_module
from tidegauge.collectors.kafka import redrive as redrive_module
from tidegauge.collectors.kafka.batch import Batch, Message
from tidegauge.collectors.kafka.ledger import Ledger, Stored
from tidegauge.collectors.kafka.letters import Selection, letters, select
from tidegauge.collectors.kafka.redrive import redrive
from tidegauge.collectors.schema import insert_exports
from tidegauge.config import Kafka
from tidegauge.errors import StoreError, TidegaugeError
from tidegauge.protobuf import varint

pytestmark = pytest.mark.kafka


def cursed(store: Any, signal: Any, payloads: list[bytes], token: str) -> None:
    if any(b"cursed" in each for each in payloads):
        raise StoreError("Code: 53. no such column", 53)
    insert_exports(store, signal, payloads, token)


def put_aside(bench: Bench, settings: Kafka, model: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Twelve good requests, one that the store refuses and one that is no OTLP; returns the first offset."""
    start = bench.start_at_end(settings)
    good = [predictions([str(number)], model) for number in range(12)]
    end = bench.send(*good, predictions(["cursed"], model), b"\xff bad")
    with monkeypatch.context() as broken:
        broken.setattr(inserter_module, "insert_exports", cursed)
        sink = bench.sink(settings)
        drain(sink, lambda: position(sink) >= end)
        bench.sinks.pop().close()
    return start


def test_a_letter_sent_again_after_the_cause_was_mended_is_stored_once_however_often(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, settings = new_group(), bench.settings(new_group())
    start = put_aside(bench, settings, model, monkeypatch)
    wanted = Selection(reason="no such column", again=False)
    chosen = select(settings, wanted)
    assert [each.key for each in chosen] == [f"{TOPIC}:0:{start + 12}"]

    with monkeypatch.context() as dying:  # between sending and marking
        dying.setattr(redrive_module, "DONE", None)
        with pytest.raises(TypeError):
            redrive(settings, chosen)
    chosen = select(settings, wanted)
    assert len(chosen) == 1
    sink = bench.sink(settings)
    redrive(settings, chosen)
    [again] = redrive(settings, chosen)
    drain(sink, lambda: position(sink) > again.offset)

    assert bench.stored(model) == (13, 13, 13)
    assert select(settings, wanted) == []
    assert [bool(each.redriven) for each in letters(settings)] == [True, False]

    # Long after the window for repeats, by another sink: the ledger still knows it.
    bench.sinks.pop().close()
    later = bench.settings(settings.group_id, duplicate_window_s=0)
    [again] = redrive(later, letters(later)[:1])
    sink = bench.sink(later)
    drain(sink, lambda: position(sink) > again.offset)
    assert bench.stored(model) == (13, 13, 13)


@pytest.mark.parametrize("last", [b"\0", b"\0\0", b" ", b"\\", b"'", b"\xff", b"\0" * 16])
def test_the_ledger_knows_a_request_whatever_its_digest_ends_in(store: Any, last: bytes) -> None:
    """Compared as text, one in 256 was not known again and would have been stored twice: zeros at its end were lost."""
    digest = os.urandom(16 - len(last)) + last
    batch = Batch(TopicPartition(TOPIC, 0), 0, new_group(), None, 0.0)
    batch.add(Message(0, b"x", 1, digest=digest))
    ledger = Ledger(store)
    assert not ledger.has(TOPIC, digest)
    ledger.write(batch, Stored([], []))
    assert ledger.has(TOPIC, digest)
    assert not ledger.has(TOPIC, digest[:-1] + bytes([digest[-1] ^ 1]))


def test_a_letter_that_is_still_bad_becomes_a_letter_again_and_says_where_it_came_from(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, settings = new_group(), bench.settings(new_group())
    start = put_aside(bench, settings, model, monkeypatch)
    [again] = redrive(settings, select(settings, Selection(reason="undecodable")))
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) > again.offset)

    *_, newest = letters(settings)
    assert (newest.key, newest.payload) == (f"{TOPIC}:0:{again.offset}", b"\xff bad")
    assert dict(newest.headers)["tidegauge.redriven"] == f"{TOPIC}:0:{start + 13}".encode()


def test_the_commands_list_show_and_send_again(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    model, settings = new_group(), bench.settings(new_group())
    start = put_aside(bench, settings, model, monkeypatch)
    kafka = {"bootstrap_servers": list(settings.bootstrap_servers), "group_id": settings.group_id, "partitions": 1}
    config = tmp_path / "tidegauge.yaml"
    config.write_text(json.dumps({"kafka": kafka | {"dead_letter_topic": settings.dead_letter_topic}}))

    def run(*words: str) -> Any:
        return CliRunner().invoke(cli.app, [*words, "--config", str(config)])

    listed = json.loads(run("dlq", "list", "--json").stdout)
    assert {each["key"]: each["kind"] for each in listed} == {
        f"{TOPIC}:0:{start + 12}": "refused",
        f"{TOPIC}:0:{start + 13}": "undecodable",
    }
    assert run("dlq", "list", "--topic", "otlp_spans").stdout == "there are no such dead letters\n"
    shown = json.loads(run("dlq", "show", f"{TOPIC}:0:{start + 12}").stdout)
    assert "no such column" in shown["reason"]
    assert "cursed" in json.dumps(shown["payload"])
    assert shown["version"] and shown["time"].endswith("Z")
    assert "base64" in json.loads(run("dlq", "show", f"{TOPIC}:0:{start + 13}").stdout)["payload"]
    assert isinstance(run("dlq", "show", "nonsense").exception, TidegaugeError)
    assert isinstance(run("dlq", "show", f"{TOPIC}:0:{10**9}").exception, TidegaugeError)

    done = json.loads(run("dlq", "redrive", "--reason", "no such column", "--json").stdout)
    assert [each["key"] for each in done] == [f"{TOPIC}:0:{start + 12}"]
    assert run("dlq", "redrive", f"{TOPIC}:0:{start + 12}").stdout == "there are no such dead letters left\n"
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) > done[0]["offset"])
    assert bench.stored(model) == (13, 13, 13)


def test_poison_of_every_kind_is_put_aside_and_the_good_ones_flow(bench: Bench) -> None:
    deep = value("bottom").SerializeToString()
    for _ in range(200):
        items = b"\x0a" + varint(len(deep)) + deep
        deep = b"\x2a" + varint(len(items)) + items
    for number in (5, 2, 2, 1):  # body, log record, scope, resource
        deep = bytes([number << 3 | 2]) + varint(len(deep)) + deep
    poison = {
        "text": b"hello, I am no OTLP",
        "json": b'{"resourceLogs": [{}]}',
        "deep": deep,
        "cut off": predictions(["x"], "m")[:-3],
        "avro": b"Obj\x01\x04\x14avro.codec\x08null",
        "random": bytes(range(200, 256)) * 9,
    }
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    end = bench.send(*poison.values(), *[predictions([str(number)], model) for number in range(30)])
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    assert bench.stored(model) == (30, 30, 30)
    assert {each.payload for each in letters(settings)} == set(poison.values())


@pytest.mark.parametrize("other", [traces, metrics])
def test_another_signals_requests_store_no_row_and_stop_no_one(bench: Bench, other: Any) -> None:
    """Empty requests of all signals look alike, so a wrong one is put aside, or stored as nothing; never as logs."""
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    end = bench.send(other().SerializeToString(), predictions(["a"], model))
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    assert bench.stored(model) == (1, 1, 1)


def test_while_the_dead_letter_topic_takes_nothing_the_sink_waits_and_commits_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, settings = new_group(), bench.settings(new_group())
    start = bench.start_at_end(settings)
    monkeypatch.setattr(patience_module, "BACKOFF_S", (0.05,))
    sink = bench.sink(settings)
    put, tried, back = sink._dead_letters.put, threading.Semaphore(0), threading.Event()

    def blocked(*given: Any) -> None:
        tried.release()
        if not back.is_set():
            raise KafkaTimeoutError("the dead-letter topic is down")
        put(*given)

    monkeypatch.setattr(sink._dead_letters, "put", blocked)
    end = bench.send(predictions(["a"], model), b"\xff bad", predictions(["b"], model))
    thread = threading.Thread(target=sink.run)
    thread.start()
    assert all(tried.acquire(timeout=20) for _ in range(3))
    assert bench.committed(settings) == start
    assert "dead letters" in sink.health.reasons
    back.set()
    until(lambda: position(sink) >= end)
    sink.stop()
    thread.join(20)
    assert not sink.health.reasons
    assert bench.stored(model) == (2, 2, 2)
    assert len(letters(settings)) == 1


def test_where_there_is_no_dead_letter_topic_there_are_no_letters(bench: Bench) -> None:
    settings = bench.settings(new_group())
    assert letters(settings) == []
