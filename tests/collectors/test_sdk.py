"""What a service says through the SDK, and what of it is in the tables afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import tidegauge
from tidegauge.clock import ReplayClock
from tidegauge.errors import InvalidRecord

if TYPE_CHECKING:
    from conftest import Pipeline

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Connect = Callable[..., tidegauge.Client]
PROMPT = "my secret prompt"


@pytest.fixture
def connect(direct: Pipeline) -> Iterator[Connect]:
    """Clients of the test's receiver."""
    made: list[tidegauge.Client] = []

    def make(service: str = "shop", protocol: str = "http/protobuf", **options: Any) -> tidegauge.Client:
        endpoint = direct.server.grpc_url if protocol == "grpc" else direct.server.http_url
        made.append(tidegauge.init(service, endpoint, protocol=protocol, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.shutdown()


def delivered(client: tidegauge.Client, pipeline: Pipeline) -> None:
    assert client.flush(30)
    pipeline.flush()
    assert client.dropped == 0


COLUMNS = """timestamp, prediction_id, service, version, role, toJSONString(features) AS features,
    toJSONString(categories) AS categories, value, score, slices, versions"""
MEASURED: list[dict[str, Any]] = [
    {"id": "a", "n": 1, "x": 0.5, "carrier": "AA", "late": True, "answer": "yes", "p": 0.9, "who": "x"},
    {"id": "b", "n": -2, "x": math.nan, "carrier": "", "late": False, "answer": "no", "p": 0.1, "who": "y"},
    {"id": "c", "n": 0, "x": math.inf, "carrier": "\u00e9'`", "late": True, "answer": "", "p": None, "who": ""},
    {"id": "d", "n": 2**53, "x": -math.inf, "carrier": "B", "late": False, "answer": "1", "p": 0, "who": "z"},
]
ROWS = [row | {"at": NOON} for row in MEASURED]
FEATURES = ["n", "x", "carrier", "late"]


def as_pandas() -> pd.DataFrame:
    return pd.DataFrame(ROWS).astype({"carrier": "category"})


def as_polars() -> pl.DataFrame:
    return pl.DataFrame(ROWS, strict=False).with_columns(pl.col("carrier").cast(pl.Categorical))


WAYS: dict[str, Callable[[], Any]] = {
    "dictionaries": lambda: ROWS,
    "pandas": as_pandas,
    "polars": as_polars,
    "polars strings": lambda: pl.DataFrame(ROWS, strict=False),
    "pandas of objects": lambda: pd.DataFrame(ROWS).astype({"carrier": object, "late": object}),
}


def log_one_by_one(client: tidegauge.Client, model: str) -> None:
    for row in ROWS:
        client.log_prediction(
            model,
            {name: row[name] for name in FEATURES},
            prediction=row["answer"],
            score=row["p"],
            prediction_id=row["id"],
            version="3",
            timestamp=row["at"],
            role="shadow",
            slices={"who": row["who"]},
            versions={"data": "h4sh"},
        )


def log_frame(client: tidegauge.Client, model: str, frame: Any) -> list[str]:
    return client.log_predictions(
        model,
        frame,
        features=FEATURES,
        prediction="answer",
        score="p",
        prediction_id="id",
        timestamp="at",
        slices=["who"],
        version="3",
        role="shadow",
        versions={"data": "h4sh"},
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_every_way_to_log_a_prediction_gives_the_same_rows(connect: Connect, direct: Pipeline, protocol: str) -> None:
    client, ways = connect(protocol=protocol, strict=True), ["one by one", *WAYS]
    log_one_by_one(client, "one by one")
    for way, make in WAYS.items():
        assert log_frame(client, way, make()) == ["a", "b", "c", "d"]
    delivered(client, direct)

    sql = f"SELECT {COLUMNS} FROM predictions WHERE model = {{way:String}} ORDER BY prediction_id"
    found = {way: direct.store.rows(sql, {"way": way}) for way in ways}
    expected = found.pop("one by one")
    assert [row["features"] for row in expected] == [
        '{"n":1,"x":0.5}',
        '{"n":-2,"x":null}',  # nan, as JSON has it
        '{"n":0,"x":null}',
        '{"n":9007199254740992,"x":null}',
    ]
    assert [row["categories"] for row in expected][1] == '{"carrier":"","late":"false"}'
    assert [row["value"] for row in expected] == ["yes", "no", "", "1"]
    assert [row["score"] for row in expected] == [0.9, 0.1, None, 0]
    assert [row["slices"].get("who") for row in expected] == ["x", "y", None, "z"]
    common = {"timestamp": NOON, "service": "shop", "version": "3", "role": "shadow"}
    assert all(common.items() <= row.items() and row["versions"] == {"data": "h4sh"} for row in expected)
    for way, rows in found.items():
        assert rows == expected, way


def test_missing_values_are_told_from_infinite_ones_and_from_those_never_sent(
    connect: Connect, direct: Pipeline
) -> None:
    client = connect(strict=True)
    frame = pl.DataFrame({"x": [1.0, None, math.nan, math.inf], "t": ["a", None, "", "b"], "y": ["1", "2", "3", "4"]})
    client.log_predictions("m", frame, features=["x", "t"], prediction="y")
    client.log_prediction("m", {"x": None, "t": None}, prediction=5)
    delivered(client, direct)
    sql = """SELECT value, mapContains(features, 'x') AS sent, isNaN(features['x']) AS nan, features['x'] AS x,
        categories FROM predictions ORDER BY value"""
    one, two, three, four, five = direct.store.rows(sql)
    assert (one["x"], one["categories"]) == (1.0, {"t": "a"})
    assert (two["nan"], three["nan"]) == (1, 1)
    assert (two["categories"], three["categories"]) == ({"t": ""}, {"t": ""})
    assert four["x"] == math.inf
    assert (five["sent"], five["categories"]) == (0, {})


def test_numpy_scalars_integers_and_bools_are_understood_everywhere(connect: Connect, direct: Pipeline) -> None:
    client = connect(strict=True)
    sent = {"i": np.int8(-3), "f": np.float32(0.5), "b": np.bool_(True), "s": np.str_("t"), "u": np.uint64(2**63)}
    client.log_prediction("m", sent, prediction=np.int64(7), score=np.float32(0.25))  # type: ignore[arg-type]
    delivered(client, direct)
    [row] = direct.store.rows("SELECT features, categories, value, score FROM predictions")
    assert row["features"] == {"i": -3, "f": 0.5, "u": 2**63}
    assert (row["categories"], row["value"], row["score"]) == ({"b": "true", "s": "t"}, "7", 0.25)


def test_a_prediction_of_five_hundred_features_arrives_whole(connect: Connect, direct: Pipeline) -> None:
    client = connect(strict=True)
    client.log_prediction("m", {f"f{n}": float(n) for n in range(500)}, prediction=1)
    delivered(client, direct)
    assert direct.store.value("SELECT length(features) FROM predictions") == 500


def test_frames_of_many_rows_arrive_exactly_once_in_several_requests(connect: Connect, direct: Pipeline) -> None:
    client = connect(strict=True, on_full="wait")
    frame = pl.DataFrame({"x": np.arange(7_001.0), "y": np.arange(7_001)})
    ids = client.log_predictions("m", frame, features=["x"], prediction="y")
    delivered(client, direct)
    assert len(set(ids)) == 7_001
    sql = "SELECT count() AS n, uniqExact(prediction_id) AS ids, sum(features['x']) AS x FROM predictions"
    assert direct.store.rows(sql) == [{"n": 7_001, "ids": 7_001, "x": 7_001 * 7_000 / 2}]


def test_times_keep_their_microseconds_and_come_from_the_clock_where_none_is_given(
    connect: Connect, direct: Pipeline
) -> None:
    moments = [NOON + timedelta(microseconds=1_000_003 * n) for n in range(200)]
    clock = ReplayClock(NOON - timedelta(days=1), frozen=True)
    client = connect(strict=True, clock=clock)
    for moment in moments:
        client.log_prediction("single", {}, prediction=1, timestamp=moment)
    client.log_predictions("frame", pl.DataFrame({"y": 1, "t": moments}), features=[], prediction="y", timestamp="t")
    client.log_prediction("now", {}, prediction=1)
    client.log_predictions("now", [{"y": 1}], features=[], prediction="y")
    delivered(client, direct)
    sql = "SELECT timestamp FROM predictions WHERE model = {m:String} ORDER BY timestamp"
    found = {m: [r["timestamp"] for r in direct.store.rows(sql, {"m": m})] for m in ("single", "frame", "now")}
    assert found == {"single": moments, "frame": moments, "now": [clock.now()] * 2}


# What is refused

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001
BAD: dict[str, tuple[Callable[[tidegauge.Client], object], str]] = {
    "naive time": (lambda c: c.log_prediction("m", {}, prediction=1, timestamp=NAIVE), "has no time zone"),
    "time before 1970": (
        lambda c: c.log_prediction("m", {}, prediction=1, timestamp=datetime(1969, 1, 1, tzinfo=UTC)),
        "outside 1970",
    ),
    "time after 2262": (
        lambda c: c.log_prediction("m", {}, prediction=1, timestamp=datetime(9999, 1, 1, tzinfo=UTC)),
        "outside 1970",
    ),
    "naive column": (
        lambda c: c.log_predictions("m", [{"y": 1, "t": NAIVE}], features=[], prediction="y", timestamp="t"),
        "column 't' must hold datetimes with a time zone",
    ),
    "null time": (
        lambda c: c.log_predictions(
            "m", [{"y": 1, "t": NOON}, {"y": 1, "t": None}], features=[], prediction="y", timestamp="t"
        ),
        r"1 row\(s\) without a time",
    ),
    "null id": (
        lambda c: c.log_predictions(
            "m", [{"y": 1, "i": "a"}, {"y": 1, "i": None}], features=[], prediction="y", prediction_id="i"
        ),
        r"1 row\(s\) without a prediction id",
    ),
    "missing columns": (
        lambda c: c.log_predictions("m", [{"y": 1}], features=["a", "b"], prediction="y", slices=["s"]),
        "no column 'a', 'b', 's'; it has y",
    ),
    "no model": (lambda c: c.log_prediction("", {}, prediction=1), "model is empty"),
    "no model of frame": (lambda c: c.log_predictions("", [{"y": 1}], features=[], prediction="y"), "model is empty"),
    "list feature": (lambda c: c.log_prediction("m", {"a": [1]}, prediction=1), "feature 'a' is a list"),
    "array feature": (lambda c: c.log_prediction("m", {"a": np.ones(2)}, prediction=1), "size 1|scalar"),
    "list column": (lambda c: c.log_predictions("m", [{"y": 1, "a": [1]}], features=["a"], prediction="y"), "list"),
    "time feature": (
        lambda c: c.log_predictions("m", [{"y": 1, "a": NOON}], features=["a"], prediction="y"),
        "timestamp",
    ),
    "score of text": (lambda c: c.log_prediction("m", {}, prediction=1, score="high"), ""),  # type: ignore[arg-type]
    "score column of text": (
        lambda c: c.log_predictions("m", [{"y": 1, "p": "high"}], features=[], prediction="y", score="p"),
        "",
    ),
    "label without id": (lambda c: c.log_label("m", "", 1), "needs the prediction_id"),
    "labels of unequal length": (lambda c: c.log_labels("m", ["a"], [1, 2]), "equal length"),
    "labels with naive times": (lambda c: c.log_labels("m", ["a"], [1], timestamps=[NAIVE]), "time zone"),
    "thumbs out of range": (lambda c: c.log_feedback("thumbs", 5), r"lies in -1 \.\. 1"),
    "unknown feedback": (lambda c: c.log_feedback("shrug", 1), "'shrug' is none of"),  # type: ignore[arg-type]
    "trace id of no digits": (lambda c: c.log_feedback("thumbs", 1, trace_id="xyz"), "trace_id"),
    "outcome of text": (lambda c: c.log_outcome("click", "often"), ""),  # type: ignore[arg-type]
    "outcome of nan": (lambda c: c.log_outcome("click", math.nan), "finite"),
    "a frame that is none": (lambda c: c.log_predictions("m", 5, features=[], prediction="y"), ""),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_sent_raises_for_the_strict_and_is_counted_for_the_others(
    connect: Connect, direct: Pipeline, case: str
) -> None:
    call, message = BAD[case]
    strict, lenient = connect(strict=True), connect()
    with pytest.raises(InvalidRecord, match=message or None):
        call(strict)
    call(lenient)
    call(lenient)
    lenient.log_prediction("good", {"a": 1}, prediction=1)
    delivered(lenient, direct)
    assert (strict.rejected, lenient.rejected) == (0, 2)
    assert direct.count("otel_logs") == 1


def test_text_that_utf8_cannot_hold_takes_nothing_else_with_it(connect: Connect, direct: Pipeline) -> None:
    client = connect(capture_content=True)
    broken = "a\ud800b"
    client.log_prediction("m", {"x": 1, "t": broken}, prediction=broken, slices={"s": broken})
    client.log_predictions("m", [{"t": "b", "y": broken}], features=["t"], prediction="y")
    client.log_label("m", broken, broken)
    client.log_labels("m", [broken], [broken])
    client.log_feedback("correction", comment=broken)
    with client.request(tenant=broken), client.llm_call(broken) as call:
        call.input(broken)
        call.set("k", broken)
    client.log_prediction("m", {"x": 2}, prediction="fine")
    assert client.flush(30)
    direct.flush()
    assert direct.store.value("SELECT countIf(value = 'fine') FROM predictions") == 1
    lost = client.rejected + client.dropped
    assert direct.count("predictions") + direct.count("labels") + direct.count("feedback") == 6 - lost
    assert direct.store.value("SELECT input FROM llm_calls") == "a?b"


# Spans


def whole_request(client: tidegauge.Client, fail: bool = False) -> str:
    context = {"tenant": "acme", "intent": "refund", "session": "s1", "slices": {"tier": "gold"}}
    with client.request("ask", **context, role="canary", versions={"prompt": "v7"}) as root:  # type: ignore[arg-type]
        with client.guardrail("pii") as guard:
            guard.blocked()
        with client.retrieval("handbook", PROMPT, top_k=3) as search:
            search.documents([{"id": "d1", "score": np.float64(0.5), "text": PROMPT}])
        with client.tool_call("lookup", PROMPT) as tool:
            tool.output(PROMPT)
        with client.llm_call("gpt", provider="openai", prompt_name="refunds", prompt_version="7") as call:
            call.input(PROMPT)
            call.first_token()
            if fail:
                raise ValueError(f"the model choked on {PROMPT}")
            call.output(PROMPT)
            call.usage(120, 30, cache_read_tokens=20)
            call.cost(0.002)
            call.response(model="gpt-1", finish_reason="stop", id="r1")
            call.refused()
    return root.trace_id


def calls_by_kind(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    return {row["kind"]: row for row in pipeline.store.rows("SELECT * FROM llm_calls")}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_request_becomes_its_steps_which_inherit_its_context(
    connect: Connect, direct: Pipeline, protocol: str
) -> None:
    client = connect(protocol=protocol, capture_content=True)
    trace_id = whole_request(client)
    delivered(client, direct)

    calls = calls_by_kind(direct)
    assert calls.keys() == {"llm", "retrieval", "tool", "guardrail"}
    inherited = {"trace_id": trace_id, "tenant": "acme", "intent": "refund", "session": "s1", "role": "canary"}
    for call in calls.values():
        assert inherited.items() <= call.items()
        assert (call["slices"], call["versions"]) == ({"tier": "gold"}, {"prompt": "v7"})
    llm = calls["llm"]
    assert (llm["request_model"], llm["model"], llm["provider"]) == ("gpt", "gpt-1", "openai")
    assert (llm["input_tokens"], llm["output_tokens"], llm["cache_read_tokens"]) == (120, 30, 20)
    assert (llm["cost_usd"], llm["finish_reason"], llm["refused"]) == (0.002, "stop", True)
    assert (llm["prompt_name"], llm["prompt_version"], llm["error_type"]) == ("refunds", "7", "")
    assert (llm["input"], llm["output"]) == (PROMPT, PROMPT)
    assert 0 <= llm["time_to_first_token_s"] <= llm["duration_s"] < 60
    assert (calls["guardrail"]["name"], calls["guardrail"]["blocked"]) == ("pii", True)
    assert (calls["retrieval"]["name"], calls["retrieval"]["input"]) == ("handbook", PROMPT)
    assert (calls["tool"]["input"], calls["tool"]["output"]) == (PROMPT, PROMPT)
    root = direct.store.rows("SELECT SpanId FROM otel_traces WHERE ParentSpanId = '' AND SpanName = 'ask'")
    assert {call["parent_span_id"] for call in calls.values()} == {root[0]["SpanId"]}


@pytest.mark.parametrize("fail", [False, True])
def test_without_content_capture_the_prompt_is_nowhere_in_the_database(
    connect: Connect, direct: Pipeline, fail: bool
) -> None:
    client = connect()
    if fail:
        with pytest.raises(ValueError, match="choked"):
            whole_request(client, fail=True)
    else:
        whole_request(client)
    delivered(client, direct)
    assert calls_by_kind(direct).keys() == {"llm", "retrieval", "tool", "guardrail"}
    assert _tables_with(direct, "secret prompt") == []
    assert "otel_traces" in _tables_with(direct, "acme")
    documents = direct.store.value("SELECT documents FROM llm_calls WHERE kind = 'retrieval'")
    assert documents == '[{"id": "d1", "score": 0.5}]'


def _tables_with(pipeline: Pipeline, text: str) -> list[str]:
    """The tables that hold ``text`` anywhere in a row, whatever the column's type."""
    sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    search = "SELECT count() FROM {} WHERE toString(tuple(*)) LIKE {{text:String}}"
    names = [row["name"] for row in pipeline.store.rows(sql) if "_1" not in row["name"]]
    return [name for name in names if pipeline.store.value(search.format(name), {"text": f"%{text}%"})]


@pytest.mark.parametrize("capture", [False, True])
def test_an_exception_marks_the_step_and_the_request_as_failed_and_goes_on_up(
    connect: Connect, direct: Pipeline, capture: bool
) -> None:
    client = connect(capture_content=capture)
    with pytest.raises(ValueError, match="choked"):
        whole_request(client, fail=True)
    delivered(client, direct)
    assert calls_by_kind(direct)["llm"]["error_type"] == "ValueError"
    failed = direct.store.rows("SELECT SpanName, StatusMessage FROM otel_traces WHERE StatusCode = 'Error'")
    assert {row["SpanName"] for row in failed} == {"ask", "chat gpt"}
    assert {PROMPT in row["StatusMessage"] for row in failed} == {capture}
    assert direct.store.value("SELECT sum(errors) FROM llm_calls_1m") == 1


def test_a_prediction_inside_a_request_belongs_to_it(connect: Connect, direct: Pipeline) -> None:
    client = connect()
    with client.request(tenant="acme", slices={"tier": "gold"}, versions={"prompt": "v7"}) as root:
        client.log_prediction("m", {}, prediction=1, slices={"own": "x"})
    client.log_prediction("m", {}, prediction=2)
    delivered(client, direct)
    inside, outside = direct.store.rows("SELECT * FROM predictions ORDER BY value")
    assert (inside["trace_id"], inside["versions"]) == (root.trace_id, {"prompt": "v7"})
    assert inside["slices"] == {"tenant": "acme", "tier": "gold", "own": "x"}
    assert (outside["trace_id"], outside["slices"], outside["versions"]) == ("", {}, {})


def test_labels_feedback_and_outcomes_are_joined_to_what_they_are_about(connect: Connect, direct: Pipeline) -> None:
    client = connect(strict=True)
    ids = client.log_predictions("m", [{"y": n % 2} for n in range(6)], features=[], prediction="y")
    client.log_label("m", ids[0], True, timestamp=NOON)
    client.log_label("m", ids[0], False, timestamp=NOON + timedelta(hours=1))
    client.log_labels("m", ids[1:], [1, 0.5, "late", None, np.int64(4)], timestamps=[NOON] * 5)
    trace_id, span_id = "ab" * 16, "cd" * 8
    client.log_feedback("thumbs", -1, trace_id=trace_id, span_id=span_id, comment="wrong")
    client.log_feedback("csat", 4, prediction_id=ids[0])
    client.log_outcome("conversion", 12.5, trace_id=trace_id)
    client.log_outcome("click", prediction_id=ids[1])
    delivered(client, direct)

    view = "labelled(start = toDateTime(0), end = now() + 60, known_by = now() + 60, model = '')"
    found = direct.store.rows(f"SELECT prediction_id, label, label_number, labelled_at FROM {view}")
    labels = {row["prediction_id"]: (row["label"], row["label_number"]) for row in found}
    expected = [("false", None), ("1", 1), ("0.5", 0.5), ("late", None), ("", None), ("4", 4)]
    assert [labels[each] for each in ids] == expected
    thumbs, csat = direct.store.rows("SELECT * FROM feedback ORDER BY score")
    assert (thumbs["trace_id"], thumbs["span_id"], thumbs["kind"]) == (trace_id, span_id, "thumbs")
    assert (thumbs["score"], thumbs["comment"], csat["prediction_id"]) == (-1, "wrong", ids[0])
    click, conversion = direct.store.rows("SELECT * FROM outcomes ORDER BY name")
    assert (conversion["trace_id"], conversion["value"]) == (trace_id, 12.5)
    assert (click["prediction_id"], click["value"]) == (ids[1], 1)


def test_a_global_provider_that_samples_nothing_neither_takes_nor_hides_our_spans(
    connect: Connect, direct: Pipeline
) -> None:
    foreign = TracerProvider(sampler=ALWAYS_OFF)
    client = connect()
    with foreign.get_tracer("app").start_as_current_span("theirs") as theirs:
        trace_id = whole_request(client)
        assert trace.get_current_span() is theirs
    delivered(client, direct)
    foreign.shutdown()
    assert int(trace_id, 16) == theirs.get_span_context().trace_id
    assert len(calls_by_kind(direct)) == 4
    assert direct.count("otel_traces") == 5


def test_spans_of_other_instrumentations_may_come_here_too(connect: Connect, direct: Pipeline) -> None:
    client = connect(resource={"tidegauge.version.base_model": "b1"})
    with client.tracer_provider.get_tracer("other").start_as_current_span(
        "chat", attributes={"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 5}
    ):
        pass
    delivered(client, direct)
    call = calls_by_kind(direct)["llm"]
    assert (call["model"], call["input_tokens"], call["service"]) == ("m", 5, "shop")
    assert call["versions"] == {"base_model": "b1"}


def test_after_shutdown_nothing_raises_and_everything_is_counted_as_dropped(connect: Connect) -> None:
    client = connect()
    client.shutdown()
    client.log_predictions("m", [{"x": n, "y": 1} for n in range(10)], features=["x"], prediction="y")
    client.log_prediction("m", {}, prediction=1)
    with client.request():
        pass
    assert client.drops == {"client shut down": 12}
