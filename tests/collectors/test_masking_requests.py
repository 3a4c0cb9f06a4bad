"""Masking in whole requests: every place, every signal, and nothing else changed."""

from __future__ import annotations

import base64
import json
import random
import threading
from typing import Any

import masking_corpus
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp_payloads import attributes, logs, metrics, record, span, traces, value
from otlp_places import Place, places

from tidegauge import instruments
from tidegauge.collectors.masking import Masker, scanner
from tidegauge.collectors.masking.wire import ROOTS, Node
from tidegauge.collectors.otlp import REQUESTS
from tidegauge.collectors.receiver.json import to_protobuf
from tidegauge.config import Masking
from tidegauge.model import Signal

MASKER = Masker(Masking())
SIGNALS = (Signal.TRACES, Signal.LOGS, Signal.METRICS)
EVERYWHERE = [place for signal in SIGNALS for place in places(signal)]
SECRETS = masking_corpus.secrets()
ALL = "\n".join(case.text for case in SECRETS)


def left_in(payload: bytes) -> list[str]:
    return [case.text for case in SECRETS if case.secret.encode() in payload]


def spans(payload: bytes) -> list[Span]:
    return list(ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans)


def plain(pairs: Any) -> dict[str, Any]:
    return {each.key: MessageToDict(each.value) for each in pairs}


@pytest.mark.parametrize("place", EVERYWHERE, ids=str)
def test_every_secret_is_masked_wherever_text_can_stand(place: Place) -> None:
    payload = place.request(ALL)
    assert len(left_in(payload)) == len(SECRETS)
    masked = MASKER.mask(place.signal, payload)
    assert left_in(masked) == []
    REQUESTS[place.signal].FromString(masked)
    assert MASKER.mask(place.signal, masked) is masked


@pytest.mark.parametrize("place", EVERYWHERE, ids=str)
def test_what_only_looks_like_a_secret_is_the_same_object_afterwards(place: Place) -> None:
    payload = place.request("\n".join(masking_corpus.LOOK_ALIKES))
    assert MASKER.mask(place.signal, payload) is payload


@pytest.mark.parametrize("place", [each for each in EVERYWHERE if each.path[-1] != "bytes_value"][::7], ids=str)
def test_a_request_that_came_as_json_is_masked_alike(place: Place) -> None:
    sent = json.dumps(MessageToDict(REQUESTS[place.signal].FromString(place.request(ALL)))).encode()
    assert left_in(MASKER.mask(place.signal, to_protobuf(place.signal, sent))) == []


NAME = Place(Signal.TRACES, ("resource_spans", "scope_spans", "spans", "name"))
VALUE = Place(Signal.TRACES, (*NAME.path[:-1], "attributes", "value", "string_value"))


@pytest.mark.parametrize("place", [NAME, VALUE], ids=str)
def test_the_bytes_of_lengths_and_tags_next_to_a_text_hide_nothing(place: Place) -> None:
    numbers = ("4111111111111111", "DE89370400440532013000", "123-45-6789", "+4915112345678", "jane@example.com")
    missed = [
        (number, extra)
        for number in numbers
        for extra in range(200)
        if number.encode() in MASKER.mask(Signal.TRACES, place.request(number + " " + "." * extra))
    ]
    assert missed == []


def test_the_card_hint_knows_the_tag_of_every_field_of_text() -> None:
    tags = set()

    def gather(node: Node, seen: set[str]) -> None:
        if node.name not in seen:
            seen.add(node.name)
            for number, (_, inside) in node.fields.items():
                if inside and not inside.name:
                    tags.add(number << 3 | 2)
                elif inside:
                    gather(inside, seen)

    for root in ROOTS.values():
        gather(root, set())
    assert tags <= {0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x3A, 0x62}


def test_only_the_span_that_is_hit_changes_and_says_so() -> None:
    clean = [span(number, attributes=attributes({"text": "quite " * 50})) for number in range(50)]
    hit = span(99, attributes=attributes({"text": "jane@example.com and 4111111111111111"}))
    payload = traces(*clean, hit, *clean).SerializeToString()
    found = spans(MASKER.mask(Signal.TRACES, payload))
    assert found[:50] == clean
    assert found[51:] == clean
    assert plain(found[50].attributes) == {
        "text": {"stringValue": "[email] and [card]"},
        "tidegauge.masked": {"stringValue": "card,email"},
    }


def test_a_log_record_and_a_resource_say_so_and_a_metrics_point_does_not() -> None:
    log = logs(record(1, body=value("I am jane@example.com"))).SerializeToString()
    masked: Any = REQUESTS[Signal.LOGS].FromString(MASKER.mask(Signal.LOGS, log))
    found = masked.resource_logs[0].scope_logs[0].log_records[0]
    assert found.body.string_value == "I am [email]"
    assert plain(found.attributes) == {"tidegauge.masked": {"stringValue": "email"}}
    point = NumberDataPoint(as_int=1, attributes=attributes({"user": "jane@example.com"}))
    sent = metrics(Metric(name="m", gauge=Gauge(data_points=[point])), service="jane@example.com").SerializeToString()
    masked = REQUESTS[Signal.METRICS].FromString(MASKER.mask(Signal.METRICS, sent))
    kept = masked.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    assert plain(kept.attributes) == {"user": {"stringValue": "[email]"}}
    assert plain(masked.resource_metrics[0].resource.attributes)["tidegauge.masked"] == {"stringValue": "email"}


KEYED: dict[str, Any] = {
    "http.request.header.authorization": ["Token swordfish"],
    "http.request.header.cookie": ["a=swordfish"],
    "http.response.header.set-cookie": ["a=swordfish"],
    "http.request.header.x-api-key": "swordfish",
    "db.connection_string": "host=db;swordfish",
    "app.password": "swordfish",
    "apiKey": "swordfish",
    "aws.secretAccessKey": "swordfish",
    "client_secret": {"current": "swordfish", "old": ["swordfish"]},
    "PRIVATE_KEY": b"swordfish",
    "config": {"db": {"passwd": "swordfish"}},
    "session_token": "swordfish",
    "http.request.cookies": "swordfish",
    "http.request.header.x_api_key": "swordfish",
    "auth.token": "swordfish-a1b2c3d4",
}


@pytest.mark.parametrize("key", KEYED)
def test_the_key_says_that_the_whole_value_is_secret(key: str) -> None:
    payload = traces(span(1, attributes=attributes({key: KEYED[key], "after": "kept"}))).SerializeToString()
    masked = MASKER.mask(Signal.TRACES, payload)
    assert b"swordfish" not in masked
    assert b"[secret]" in masked
    assert plain(spans(masked)[0].attributes)["after"] == {"stringValue": "kept"}
    assert MASKER.mask(Signal.TRACES, masked) is masked


COUNTS: dict[str, Any] = {
    "gen_ai.usage.input_tokens": 1234,
    "gen_ai.usage.output_tokens": 99,
    "gen_ai.token.type": "input",
    "llm.token_count.prompt": 17,
    "gen_ai.request.max_tokens": 4096,
    "session_tokens": 12345,
    "next_token": "hello",
    "has_password": True,
    "password": "",
    "cookie": "[redacted]",
    "tidegauge.feature.has_password": 1.0,
    "tidegauge.category.password": "weak",
    "tidegauge.feature.account": 4111111111111111.0,
    "card": 4111111111111111,
}


def test_counts_of_tokens_features_and_what_others_have_masked_are_left_alone() -> None:
    payload = traces(span(1, attributes=attributes(COUNTS))).SerializeToString()
    assert MASKER.mask(Signal.TRACES, payload) is payload


def test_identifiers_that_others_join_on_keep_what_is_only_shaped_like_a_number_and_no_secret() -> None:
    names = ("tidegauge.prediction.id", "gen_ai.response.id", "gen_ai.conversation.id", "session.id")
    numbers = traces(span(1, attributes=attributes(dict.fromkeys(names, "4111111111111111")))).SerializeToString()
    assert MASKER.mask(Signal.TRACES, numbers) is numbers
    token = "AK" + "IAIOSFODNN7EXAMPLE"
    secret = traces(span(1, attributes=attributes(dict.fromkeys(names, token)))).SerializeToString()
    assert token.encode() not in MASKER.mask(Signal.TRACES, secret)


def test_settings_name_keys_that_are_exempt_or_secret() -> None:
    masker = Masker(Masking(exempt_keys=("support.*",), secret_keys=("user.full_name", "*.pin")))
    sent = {"support.contact": "help@example.com", "user.full_name": "Jane", "app.pin": 1234, "pinned": "yes"}
    payload = traces(span(1, attributes=attributes(sent | {"mail": "jane@example.com"}))).SerializeToString()
    found = plain(spans(masker.mask(Signal.TRACES, payload))[0].attributes)
    assert found["support.contact"] == {"stringValue": "help@example.com"}
    assert found["user.full_name"] == found["app.pin"] == {"stringValue": "[secret]"}
    assert found["pinned"] == {"stringValue": "yes"}
    assert found["mail"] == {"stringValue": "[email]"}


def test_hits_are_counted_by_rule_and_signal() -> None:
    before = {rule: instruments.MASKED.labels(rule, "traces")._value.get() for rule in ("email", "card", "secret")}
    text = "jane@example.com joe@example.com 4111111111111111"
    MASKER.mask(Signal.TRACES, traces(span(1, name=text, attributes=attributes({"pwd": "x"}))).SerializeToString())
    after = {rule: instruments.MASKED.labels(rule, "traces")._value.get() for rule in before}
    assert {rule: after[rule] - before[rule] for rule in before} == {"email": 2, "card": 1, "secret": 1}


def _reference(message: Any, masker: Masker) -> None:
    """Masks each text of a decoded request: the slow and simple way."""
    for described, inside in message.ListFields():
        many = isinstance(inside, list) or hasattr(inside, "append")
        if described.type == FieldDescriptor.TYPE_MESSAGE:
            for each in inside if many else [inside]:
                _reference(each, masker)
        elif described.type == FieldDescriptor.TYPE_STRING:
            if many:
                inside[:] = [masker.mask_text(each) for each in inside]
            else:
                setattr(message, described.name, masker.mask_text(inside))


def _without_notes(message: Any) -> None:
    for described, inside in message.ListFields():
        if described.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        many = hasattr(inside, "append")
        if many and described.message_type.name == "KeyValue":
            kept = [each for each in inside if each.key != "tidegauge.masked"]
            del inside[:]
            inside.extend(kept)
        for each in inside if many else [inside]:
            _without_notes(each)


def _fill(message: Any, rng: random.Random, depth: int = 0) -> None:
    """Random content in random fields."""
    for each in message.DESCRIPTOR.fields:
        if rng.random() < 0.35 or depth > 14:
            continue
        many = hasattr(getattr(message, each.name), "append")
        for _ in range(rng.randrange(3) if many else 1):
            _put(message, each, many, rng, depth)


def _put(message: Any, described: Any, many: bool, rng: random.Random, depth: int) -> None:
    inside = getattr(message, described.name)
    if described.type == FieldDescriptor.TYPE_MESSAGE:
        _fill(inside.add() if many else inside, rng, depth + 1)
        return
    drawn = _drawn(described, rng)
    if many:
        inside.append(drawn)
    else:
        setattr(message, described.name, drawn)


def _drawn(described: Any, rng: random.Random) -> Any:
    if described.type == FieldDescriptor.TYPE_STRING:
        secret = f" {rng.choice(SECRETS).text} " if rng.random() < 0.1 else ""
        return "".join(rng.choices('abc 4.é@-日\\"', k=rng.randrange(12))) + secret
    if described.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.randrange(20))
    if described.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return rng.gauss(0, 1e9)
    return described.type == FieldDescriptor.TYPE_BOOL or rng.randrange(2**20) if not described.enum_type else 1


@pytest.mark.parametrize("seed", range(60))
def test_a_random_request_is_masked_as_if_each_of_its_texts_were(seed: int) -> None:
    rng = random.Random(seed)
    signal = rng.choice(SIGNALS)
    request: Any = REQUESTS[signal]()
    _fill(request, rng)
    found: Any = REQUESTS[signal].FromString(MASKER.mask(signal, request.SerializeToString()))
    _without_notes(found)
    _reference(request, MASKER)
    assert found == request


@pytest.mark.parametrize("seed", range(200))
def test_bytes_that_are_no_request_are_blotted_out_and_nothing_is_raised(seed: int) -> None:
    rng = random.Random(seed)
    payload = bytearray(traces(span(1, name=ALL, attributes=attributes({"k": ALL}))).SerializeToString())
    for _ in range(3):
        payload[rng.randrange(60)] = rng.randrange(256)
    broken = bytes(payload)
    masked = MASKER.mask(Signal.TRACES, broken)
    assert b"4111111111111111" not in masked
    assert b"jane.doe@example.com" not in masked


def test_fields_of_a_later_otlp_are_dropped_where_something_is_found_in_them() -> None:
    unknown = b"\xa2\x06\x10jane@example.com" + b"\xaa\x06\x04fine"
    payload = traces(span(1)).SerializeToString() + unknown
    assert MASKER.mask(Signal.TRACES, payload) == traces(span(1)).SerializeToString() + b"\xaa\x06\x04fine"


def test_more_hits_than_are_remembered_are_masked_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "MAX_HITS", 10)
    sent = [span(number, attributes=attributes({"text": "jane@example.com " * 5, "n": 1})) for number in range(20)]
    masked = MASKER.mask(Signal.TRACES, traces(*sent).SerializeToString() + b"\xaa\x06\x04fine")
    assert b"jane" not in masked
    assert masked.count(b"[email]") == 100
    assert masked.endswith(b"fine")


def test_a_bytes_value_that_is_no_text_is_left_alone() -> None:
    raw = b"\xff\xfe jane@example.com"
    payload = traces(span(1, attributes=attributes({"blob": raw, "text": b"jane@example.com"}))).SerializeToString()
    found = spans(MASKER.mask(Signal.TRACES, payload))[0].attributes
    assert found[0].value.bytes_value == raw
    assert found[1].value.bytes_value == b"[email]"


def test_threads_share_one_masker() -> None:
    payload = traces(*(span(n, name=ALL) for n in range(20))).SerializeToString()
    expected = MASKER.mask(Signal.TRACES, payload)
    found: list[bool] = []

    def work() -> None:
        found.extend(MASKER.mask(Signal.TRACES, payload) == expected for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 18


LIMIT = 4096
CUTTER = Masker(Masking(max_attribute_bytes=LIMIT))


def cut(sent: dict[str, Any]) -> dict[str, Any]:
    payload = traces(span(7), span(8, attributes=attributes(sent)), span(9)).SerializeToString()
    found = spans(CUTTER.mask(Signal.TRACES, payload))
    assert (found[0], found[2]) == (span(7), span(9))
    return plain(found[1].attributes)


def test_one_oversized_attribute_is_cut_at_a_character_with_its_length_and_the_rest_is_kept() -> None:
    found = cut({"before": "x", "prompt": "é" * 3 * 2**20, "after": 3})
    assert found["before"] == {"stringValue": "x"}
    assert found["after"] == {"intValue": "3"}
    text = found["prompt"]["stringValue"]
    assert text == "é" * (LIMIT // 2) + f"...[cut by tidegauge: {6 * 2**20} bytes]"
    assert found["tidegauge.truncated"] == {"stringValue": "prompt"}


def test_json_that_is_cut_stays_json_with_its_short_texts_whole() -> None:
    messages = [
        {"role": "system", "parts": [{"type": "text", "content": 'say "yes"\n' * 100_000}]},
        {"role": "user", "parts": [{"type": "text", "content": "who is jane@example.com?"}]},
    ]
    found = cut({"gen_ai.input.messages": json.dumps(messages)})["gen_ai.input.messages"]["stringValue"]
    assert len(found.encode()) <= LIMIT
    first, second = json.loads(found)
    assert first["parts"][0]["content"].endswith("...[cut by tidegauge: 1000000 bytes]")
    assert second == {"role": "user", "parts": [{"type": "text", "content": "who is [email]?"}]}


def test_nested_values_that_are_too_long_become_json_that_is_cut() -> None:
    found = cut({"nested": {"role": "user", "text": "x" * 100_000}, "list": ["y" * 100_000, "z"]})
    assert json.loads(found["nested"]["stringValue"])["role"] == "user"
    assert json.loads(found["list"]["stringValue"])[1] == "z"
    assert found["tidegauge.truncated"] == {"stringValue": "nested,list"}
    numbers = cut({"vector": [0.5] * 10_000})["vector"]["stringValue"]
    assert numbers.startswith("[0.5,0.5")
    assert numbers.endswith("bytes]")


def test_bodies_bytes_names_and_status_messages_are_cut_too() -> None:
    body = logs(record(1, body=value("x" * 10_000))).SerializeToString()
    log: Any = REQUESTS[Signal.LOGS].FromString(CUTTER.mask(Signal.LOGS, body))
    found = log.resource_logs[0].scope_logs[0].log_records[0]
    assert found.body.string_value == "x" * LIMIT + "...[cut by tidegauge: 10000 bytes]"
    assert plain(found.attributes) == {"tidegauge.truncated": {"stringValue": "body"}}
    assert cut({"blob": b"\xff" * 10_000})["blob"]["bytesValue"].startswith(
        base64.b64encode(b"\xff" * 4000).decode()[:5000]
    )
    payload = traces(span(1, status=Status(message="m" * 10_000))).SerializeToString()
    assert spans(CUTTER.mask(Signal.TRACES, payload))[0].status.message.startswith("m" * LIMIT + "...[cut")


def test_a_value_just_within_the_limit_is_whole_and_the_request_the_same_object() -> None:
    pair = KeyValue(key="k", value=value("x" * (LIMIT - 20)))
    payload = traces(*(span(n, attributes=[pair]) for n in range(10))).SerializeToString()
    assert CUTTER.mask(Signal.TRACES, payload) is payload


def test_a_secret_that_the_cut_would_halve_is_masked_first() -> None:
    text = "x" * (LIMIT - 10) + " jane.doe@example.com " + "y" * 1000
    assert "jane" not in cut({"prompt": text})["prompt"]["stringValue"]
