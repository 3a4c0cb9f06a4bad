"""Secrets are in none of the places where what was sent ends up: the bytes are searched for them."""

from __future__ import annotations

import logging
import time
from typing import Any

import httpx
import pytest
from kafka import KafkaConsumer, TopicPartition
from masking_places import SENT, everything, left_in, stored
from otlp_payloads import attributes, span, traces

from tidegauge.collectors.masking import mask_logs
from tidegauge.collectors.masking.logs import MaskingFormatter
from tidegauge.config import Masking
from tidegauge.model import Signal


def test_secrets_are_in_no_table_log_line_answer_or_metric(pipeline: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answers = [pipeline.post(signal, each.SerializeToString()) for signal, each in everything().items()]
    answers += [pipeline.post(signal, b"\xff" + "\n".join(SENT).encode()) for signal in everything()]
    answers.append(pipeline.post("logs", f'{{"resourceLogs": "{SENT[0]}"}}'.encode(), "application/json"))
    assert [each.status_code for each in answers] == [200] * 3 + [400] * 4
    pipeline.flush()
    assert pipeline.count("otel_traces") == 1
    assert left_in(stored(pipeline.store)) == []
    assert left_in(pipeline.client.get(f"{pipeline.server.http_url}/metrics").text) == []
    assert left_in("".join(each.text for each in answers[:-1])) == []
    assert left_in(caplog.text) == []
    assert pipeline.metric("tidegauge_masked_total", rule="card", signal="traces") > 0


def test_the_rules_that_hit_can_be_counted_per_service_in_sql(direct: Any) -> None:
    for number, text in enumerate(("clean", "jane@example.com", "jane@example.com")):
        sent = span(number + 1, attributes=attributes({"gen_ai.operation.name": "chat", "gen_ai.input.messages": text}))
        direct.post("traces", traces(sent, service="shop").SerializeToString())
    direct.flush()
    sql = """SELECT countIf(has(splitByChar(',', SpanAttributes['tidegauge.masked']), 'email')) AS hit, count() AS all
        FROM otel_traces WHERE ServiceName = 'shop' GROUP BY ServiceName"""
    assert direct.store.rows(sql) == [{"hit": 2, "all": 3}]


@pytest.mark.kafka
def test_no_secret_reaches_kafka_from_the_receiver(request: pytest.FixtureRequest, receiving: Any) -> None:
    transport, broker = request.getfixturevalue("_kafka_transport"), request.getfixturevalue("clean_kafka")
    with receiving(transport) as ready:
        for signal, each in everything().items():
            assert ready.post(signal, each.SerializeToString()).status_code == 200
        ready.flush()
    assert left_in(_in_topics(broker.bootstrap).decode("latin-1")) == []


def _in_topics(bootstrap: str) -> bytes:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    places = [TopicPartition(str(s), p) for s in Signal for p in consumer.partitions_for_topic(str(s)) or ()]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    found, ends, deadline = [], consumer.end_offsets(places), time.monotonic() + 30
    while any(consumer.position(each) < ends[each] for each in places):
        assert time.monotonic() < deadline
        found += [each for some in consumer.poll(500).values() for each in some]
    consumer.close(autocommit=False)
    assert len(found) >= 3
    return b"".join(each.value + repr(each.headers).encode() for each in found)


def test_one_prompt_of_five_megabytes_is_cut_and_the_rest_of_its_batch_is_whole(receiving: Any, held: Any) -> None:
    sent = [span(n, attributes=attributes({"n": n})) for n in range(1, 20)]
    sent.append(span(20, attributes=attributes({"n": 20, "gen_ai.input.messages": "x" * 5 * 2**20})))
    with receiving(held, max_body_bytes=2**24) as ready:
        with pytest.raises(httpx.ReadTimeout):
            ready.post("traces", traces(*sent).SerializeToString(), timeout=2)
        [(export, _)] = held.taken
        held.settle()
    found = type(traces()).FromString(export.payload).resource_spans[0].scope_spans[0].spans
    assert list(found[:19]) == sent[:19]
    kept = {each.key: each.value for each in found[19].attributes}
    assert kept["n"].int_value == 20
    assert kept["gen_ai.input.messages"].string_value == "x" * 2**18 + "...[cut by tidegauge: 5242880 bytes]"
    assert kept["tidegauge.truncated"].string_value == "gen_ai.input.messages"


def test_log_lines_and_tracebacks_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    formatter = MaskingFormatter(logging.Formatter("%(levelname)s %(message)s"), Masking())
    try:
        raise ValueError("of jane@example.com")
    except ValueError as error:
        raised = (ValueError, error, error.__traceback__)
    line = logging.LogRecord("x", logging.ERROR, "x.py", 1, "refused %r", ("password=swordfish",), raised)
    text = formatter.format(line)
    assert "ERROR refused 'password=[secret]'" in text
    assert "ValueError: of [email]" in text
    logging.getLogger().addHandler(handler)
    try:
        mask_logs(Masking())
        assert isinstance(handler.formatter, MaskingFormatter)
    finally:
        for each in logging.getLogger().handlers:
            if isinstance(each.formatter, MaskingFormatter):
                each.setFormatter(None)
        logging.getLogger().removeHandler(handler)
