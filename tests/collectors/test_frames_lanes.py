"""The same frame through the columnar lane and through OTLP leaves the same rows in every table."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from kafka import KafkaProducer

from tidegauge import instruments
from tidegauge.collectors import frames
from tidegauge.collectors.frames import CONTENT_TYPE, Frame, Kind, Layout, Roles
from tidegauge.collectors.schema import insert_exports
from tidegauge.collectors.sdk import frames_otlp
from tidegauge.model import Signal, Transport
from tidegauge.store import Store

if TYPE_CHECKING:
    from broker import KafkaBroker

    from conftest import Pipeline

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
NOW_NS = int(NOW.timestamp()) * 10**9
ATTRIBUTES = {
    "service.name": "shop",
    "tidegauge.model.version": "3",
    "tidegauge.role": "shadow",
    "tidegauge.version.base_model": "b1",
    "tidegauge.version.data": "h4sh",
    "tidegauge.slice.region": "eu",
}
ROWS = 6
NUMBERS = pa.array([1.5, None, math.nan, math.inf, -math.inf, -0.0])
ODD: dict[str, Any] = {
    "double": NUMBERS,
    "half": pa.array(np.array([1.5, 0, 2, 3, 4, 5], np.float16)),
    "float": pa.array([0.1, None, 1e-20, 2.0, 3.0, 1e20], pa.float32()),
    "int8": pa.array([1, -128, None, 127, 0, 5], pa.int8()),
    "uint64": pa.array([2**64 - 1, 0, None, 2**53 + 1, 1, 2], pa.uint64()),
    "decimal": pa.array([Decimal("1.50"), None, Decimal("-2.25"), Decimal(0), Decimal(1), Decimal(2)]),
    "bool": pa.array([True, None, False, True, True, False]),
    "text": pa.array(["a", None, "", "nan", "1.5", "é\x00'"]),
    "large": pa.array(["a", None, "", "x" * 5_000, "b", "c"], pa.large_string()),
    "view": pa.array(["a", None, "", "a text of more than twelve bytes", "b", "c"], pa.string_view()),
    "coded": pa.array(["red", None, "blue", "red", "red", "blue"]).dictionary_encode(),
    "coded_numbers": pa.array([1, None, 2, 1, 1, 2]).dictionary_encode(),
    "nothing": pa.nulls(ROWS),
    "a name with 'quotes', `ticks` and .dots": pa.array([1, 2, 3, 4, 5, 6]),
}
VALUES: dict[str, Any] = {
    "integers": pa.array([1, 2, None, -4, 2**62, 0]),
    "floats": pa.array([1.0, 0.1, None, 1e-7, 1e300, -0.0]),
    "not finite": pa.array([math.nan, math.inf, -math.inf, 1e15, 123456789.25, 5e-324]),
    "float32": pa.array([0.1, 1.0, None, 3.5, 1e-6, 1e20], pa.float32()),
    "decimals": pa.array([Decimal("1.50"), None, Decimal(2), Decimal("-0.25"), Decimal(4), Decimal(5)]),
    "bools": pa.array([True, None, False, True, True, False]),
    "text": pa.array(["yes", None, "", "no", "1e5", "a\nb"]),
    "dates": pa.array([date(2026, 1, 2), None, date(1960, 1, 1), date(2026, 1, 2), date(2, 1, 1), date(9999, 12, 31)]),
}


def frame_of(columns: dict[str, Any], model: str = "m", **roles: Any) -> Frame:
    layout = Layout(Kind.PREDICTIONS, model, Roles(**roles), ATTRIBUTES, NOW_NS, "f00d")
    return frames.check(pa.table(columns), layout)


def as_arrow(frame: Frame) -> list[tuple[str, str, bytes]]:
    return [("frames", CONTENT_TYPE, frames.encode(part)) for part in frames.parts(frame)]


def as_otlp(frame: Frame) -> list[tuple[str, str, bytes]]:
    return [("logs", "application/x-protobuf", payload) for payload, _ in frames_otlp.otlp_requests(frame)]


LANES = {"arrow": as_arrow, "otlp": as_otlp}


def sent(pipeline: Pipeline, requests: list[tuple[str, str, bytes]]) -> None:
    """All at once, so that they share inserts."""
    with ThreadPoolExecutor(16) as workers:
        for answer in workers.map(lambda each: pipeline.post(each[0], each[2], each[1]), requests):
            assert answer.status_code == 200, answer.text


def tables(pipeline: Pipeline, model: str) -> dict[str, list[dict[str, Any]]]:
    """What is in every table of ``model``; storing times, which no two inserts share, left out."""
    rows = {
        "predictions": "* EXCEPT (stored_at, model)",
        "labels": "* EXCEPT (stored_at, model)",
        "feature_kinds": "version, feature, kind, min(first_seen), max(last_seen), sum(predictions)",
        "predictions_1h": "hour, version, dimension, slice, sum(predictions), sum(scored), sum(score_sum), "
        "sum(score_sum_squares), quantilesTDigestMerge(0.1, 0.25, 0.5, 0.75, 0.9)(score)",
        "predictions_1m": "minute, sum(predictions)",
    }
    groups = {
        "feature_kinds": "GROUP BY version, feature, kind",
        "predictions_1h": "GROUP BY hour, version, dimension, slice",
        "predictions_1m": "GROUP BY minute",
    }
    found = {}
    for table, columns in rows.items():
        sql = f"SELECT {columns} FROM {table} WHERE model = {{model:String}} {groups.get(table, '')} ORDER BY ALL"
        found[table] = [ordered(row) for row in pipeline.store.rows(sql, {"model": model})]
    return found


def ordered(row: dict[str, Any]) -> dict[str, Any]:
    """As text, so that nan equals nan, and with the keys of maps in order."""
    return {name: repr(sorted(value.items()) if isinstance(value, dict) else value) for name, value in row.items()}


def ingest(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Records by service and kind, in the two tables of volume."""
    kinds = "WHERE startsWith(kind, 'tidegauge.') GROUP BY service, kind"
    both = (
        f"SELECT service, kind, sum(records) AS records FROM {each} {kinds}"
        for each in ("ingest_1m", "ingest_delay_1m")
    )
    return pipeline.store.rows(" UNION ALL ".join(both))


def cases() -> Iterator[tuple[str, Frame]]:
    moments = pa.array([NOW + timedelta(microseconds=n) for n in range(ROWS)], pa.timestamp("us", "UTC"))
    ids = pa.array([f"id-{n}" for n in range(ROWS)])
    whole = {
        **ODD,
        "y": VALUES["text"],
        "p": NUMBERS,
        "t": moments,
        "i": ids,
        "who": pa.array(["x", None, "", "y", "z", "x"]),
    }
    roles: dict[str, Any] = {"prediction": "y", "score": "p", "timestamp": "t", "id": "i", "slices": ("who", "bool")}
    yield "every type of feature", frame_of(whole, **roles, features=tuple(ODD))
    for name, values in VALUES.items():
        yield f"prediction of {name}", frame_of({"y": values}, prediction="y")
        yield f"slice and id of {name}", frame_of({"i": pa.array(range(ROWS)), "s": values}, slices=("s",), id="i")
    for unit in ("s", "ms", "us", "ns"):
        for zone in ("UTC", "Europe/Berlin", "-05:30"):
            at = pa.array([NOW] * ROWS, pa.timestamp(unit, zone))
            yield f"time in {unit} of {zone}", frame_of({"t": at, "x": NUMBERS}, timestamp="t")
    text: dict[str, Any] = {name: name for name in ("tenant", "intent", "session", "version")}
    named = {name: pa.array([f"{name}{n % 2}" if n else None for n in range(ROWS)]) for name in text}
    traced = {"tr": pa.array(["ab" * 16] * ROWS), "sp": pa.array(["cd" * 8] * ROWS)}
    named["region"] = pa.array(["us", None, "", "eu", "us", "ap"])
    text["slices"] = ("region",)
    yield "context by row", frame_of({**named, **traced}, **text, trace_id="tr", span_id="sp", features=())
    yield "no features", frame_of({"y": VALUES["bools"]}, prediction="y")
    yield "ids made up", frame_of({"x": NUMBERS})
    many = {f"f{n}": pa.array(np.arange(3.0)) for n in range(500)}
    yield "five hundred features", frame_of(many)


CASES = dict(cases())


def test_both_lanes_leave_the_same_rows_in_every_table(pipeline: Pipeline) -> None:
    requests = []
    for name, case in CASES.items():
        for lane, encode in LANES.items():
            requests += encode(replace(case, layout=replace(case.layout, model=f"{name} {lane}")))
    sent(pipeline, requests)
    pipeline.flush()
    for name, case in CASES.items():
        found = tables(pipeline, f"{name} arrow")
        assert found == tables(pipeline, f"{name} otlp"), name
        assert len(found["predictions"]) == case.table.num_rows


def test_labels_are_the_same_by_both_lanes_and_join_predictions_sent_before(pipeline: Pipeline) -> None:
    requests = []
    for name, values in VALUES.items():
        table = pa.table({"i": pa.array([f"id-{n}" for n in range(ROWS)]), "l": values})
        for lane, encode in LANES.items():
            layout = Layout(Kind.LABELS, f"{name} {lane}", Roles(id="i", label="l"), ATTRIBUTES, NOW_NS)
            requests += encode(frames.check(table, layout))
    sent(pipeline, requests)
    pipeline.flush()
    for name in VALUES:
        found = tables(pipeline, f"{name} arrow")
        assert found == tables(pipeline, f"{name} otlp"), name
        assert len(found["labels"]) == ROWS


def test_both_lanes_count_the_same_volume(direct: Pipeline) -> None:
    case = CASES["every type of feature"]
    sent(direct, as_arrow(case))
    arrow = ingest(direct)
    for table in ("ingest_1m", "ingest_delay_1m"):
        direct.store.execute(f"TRUNCATE TABLE {table}")
    sent(direct, as_otlp(case))
    assert arrow == ingest(direct)
    assert [each["records"] for each in arrow] == [ROWS, ROWS]


@pytest.mark.parametrize(
    ("moment", "note"),
    [
        (NOW + timedelta(days=1), "ahead"),
        (datetime(1950, 1, 1, tzinfo=UTC), "no time"),
        (datetime(2299, 1, 1, tzinfo=UTC), "ahead"),
    ],
)
def test_a_time_that_cannot_be_is_noted_and_takes_nothing_with_it(
    direct: Pipeline, moment: datetime, note: str
) -> None:
    table = {"t": pa.array([NOW, moment], pa.timestamp("s", "UTC")), "x": pa.array([1, 2])}
    sent(direct, as_arrow(frame_of(table, timestamp="t")))
    found = direct.store.rows(
        "SELECT features['x'] AS x, time_note, timestamp < now() + 1 AS past FROM predictions ORDER BY x"
    )
    assert [(row["x"], row["time_note"], row["past"]) for row in found] == [(1, "", 1), (2, note, 1)]


# What the receiver does with frames


def test_the_same_frame_sent_again_is_stored_once(pipeline: Pipeline) -> None:
    [request] = as_arrow(frame_of({"x": NUMBERS}, model="again"))
    sent(pipeline, [request, request, request])
    pipeline.flush()
    assert len(tables(pipeline, "again")["predictions"]) == ROWS


def test_a_batch_inserted_again_under_its_token_changes_no_table(store: Store) -> None:
    bodies = [body for case in list(CASES.values())[:3] for _, _, body in as_arrow(case)]
    sums = """SELECT (SELECT count() FROM predictions) AS rows, (SELECT sum(predictions) FROM predictions_1h) AS hourly,
        (SELECT sum(predictions) FROM predictions_1m) AS by_minute,
        (SELECT sum(records) FROM ingest_1m) AS volume, (SELECT sum(predictions) FROM feature_kinds) AS kinds"""
    insert_exports(store, Signal.FRAMES, bodies, "one token")
    before = store.rows(sums)
    insert_exports(store, Signal.FRAMES, bodies, "one token")
    assert store.rows(sums) == before
    assert before[0]["rows"] == 3 * ROWS
    insert_exports(store, Signal.FRAMES, bodies, "another token")
    assert store.rows(sums)[0]["rows"] == 6 * ROWS


@pytest.mark.kafka
def test_a_frame_in_kafka_that_cannot_be_read_is_put_aside_and_the_good_one_stored(
    _kafka_transport: Transport, clean_kafka: KafkaBroker, store: Store
) -> None:
    [(_, _, good)] = as_arrow(frame_of({"x": NUMBERS}, model="good"))
    before = _dead_letters()
    producer = KafkaProducer(bootstrap_servers=clean_kafka.bootstrap)
    for value in (good[:-200], b"not a frame", good):
        producer.send(str(Signal.FRAMES), value=value).get(30)
    producer.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (
        store.value("SELECT count() FROM predictions") and _dead_letters() - before >= 2
    ):
        time.sleep(0.05)
    assert store.rows("SELECT model, count() AS n FROM predictions GROUP BY model") == [{"model": "good", "n": ROWS}]
    assert _dead_letters() - before == 2


def _dead_letters() -> float:
    topic = {"topic": str(Signal.FRAMES), "reason": "undecodable"}
    return instruments.REGISTRY.get_sample_value("tidegauge_dead_letters_total", topic) or 0


def test_an_empty_frame_is_a_success(direct: Pipeline) -> None:
    before = direct.metric("tidegauge_accepted_records_total", signal="frames")
    sent(direct, [("frames", CONTENT_TYPE, frames.encode(frame_of({"x": pa.array([], pa.float64())})))])
    assert direct.count("predictions") == 0
    assert direct.metric("tidegauge_accepted_records_total", signal="frames") == before


def test_a_bad_frame_is_refused_with_its_reason_and_the_good_one_stored(pipeline: Pipeline) -> None:
    good = as_arrow(frame_of({"x": NUMBERS}, model="good"))
    table = pa.table({"x": pa.array([[1]])}).replace_schema_metadata(frame_of({"x": [1]}).layout.metadata())
    bad = frames.serialize(table)
    refused = pipeline.post("frames", bad, CONTENT_TYPE)
    sent(pipeline, good)
    pipeline.flush()
    assert refused.status_code == 400
    assert "feature column 'x' is list" in refused.text
    assert len(tables(pipeline, "good")["predictions"]) == ROWS


def test_every_source_of_a_frame_gives_the_same_rows(direct: Pipeline) -> None:
    from tidegauge.collectors.sdk.frames import predictions, table

    plain = {"x": [0.5, math.nan, 2.0] * 50, "n": [1, 2, 3] * 50, "y": [0, 1, 1] * 50}
    matrix = np.array([plain["x"], plain["n"], plain["y"]]).T
    made = {
        "polars": table(pl.DataFrame(plain)),
        "pandas": table(pd.DataFrame(plain)),
        "arrow": table(pa.table(plain)),
        "numpy": table(matrix, ["x", "n", "y"]),
        "dictionaries": table([dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]),
    }
    for name, data in made.items():
        frame = predictions(data, name, Roles(prediction="y"), {}, NOW_NS)
        sent(direct, as_arrow(replace(frame, layout=replace(frame.layout, frame="same"))))
    found = {name: tables(direct, name) for name in made}
    assert all(each == found["polars"] for each in found.values())
    assert len(found["numpy"]["predictions"]) == 150


def test_the_example_of_the_documentation_works(direct: Pipeline) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "columnar.md").read_text()
    [example] = [each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "pyarrow" in each]
    exec(example.replace("http://127.0.0.1:4318", direct.server.http_url), {})
    found = direct.store.rows("SELECT service, model, categories, score, slices FROM predictions ORDER BY score DESC")
    assert [row["score"] for row in found] == [0.9, 0.2]
    assert found[0]["slices"] == {"country": "DE"}


def test_the_tenant_of_the_key_stands_above_the_payload(direct: Pipeline) -> None:
    frame = frame_of({"x": NUMBERS, "who": ["mallory"] * ROWS}, model="keyed", tenant="who")
    [(_, kind, body)] = as_arrow(frame)
    stamped = frames.stamp(body, "acme")
    sent(direct, [("frames", kind, stamped)])
    found = direct.store.rows("SELECT DISTINCT slices['tenant'] AS tenant FROM predictions")
    assert found == [{"tenant": "acme"}]


def test_a_receiver_without_frames_is_told_by_its_answer(direct: Pipeline) -> None:
    [(_, _, body)] = as_arrow(frame_of({"x": NUMBERS}))
    answer = httpx.post(f"{direct.server.http_url}/v1/frames", content=body, trust_env=False)
    assert answer.status_code == 415  # without a content type
