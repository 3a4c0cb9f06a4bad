"""The decorator: what it understands, and that it changes nothing."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydantic import BaseModel
from sdk_sink import Sink

import tidegauge
from tidegauge.collectors.sdk import start

RECORD = {"age": 41, "city": "Oslo", "member": True, "visits": None}
SENT = {"feature.age": 41.0, "category.city": "Oslo", "category.member": "true"}


def logged(client: tidegauge.Client, sink: Sink) -> list[dict[str, Any]]:
    """Every prediction, without its id."""
    assert client.flush(20)
    assert client.rejects == {}
    return [{key: each[key] for key in each if key != "prediction.id"} for each in sink.predictions()]


@dataclass
class Customer:
    age: int
    city: str
    member: bool
    visits: int | None = None


class Applicant(BaseModel):
    age: int
    city: str
    member: bool
    visits: int | None = None


class Row(NamedTuple):
    age: int
    city: str
    member: bool


class Verdict(NamedTuple):
    label: str
    confidence: float


RECORDS: dict[str, Callable[[], Any]] = {
    "mapping": lambda: RECORD,
    "mapping with something else in it": lambda: RECORD | {"history": [1, 2], "raw": object()},
    "dataclass": lambda: Customer(41, "Oslo", True),
    "pydantic model": lambda: Applicant(age=41, city="Oslo", member=True),
    "named tuple": lambda: Row(41, "Oslo", True),
    "numpy scalars": lambda: {"age": np.int64(41), "city": np.str_("Oslo"), "member": np.bool_(True)},
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_is_understood_in_many_forms(client: tidegauge.Client, sink: Sink, kind: str) -> None:
    @tidegauge.track_predictions(model="churn", version="3")
    def predict(record: Any, threshold: float = 0.5) -> str:
        return "stays"

    assert predict(RECORDS[kind]()) == "stays"
    common = {"model.name": "churn", "model.version": "3", "prediction.value": "stays"}
    assert logged(client, sink) == [common | SENT]


def test_without_a_record_the_scalar_arguments_are_the_features(client: tidegauge.Client, sink: Sink) -> None:
    @tidegauge.track_predictions
    def price(rooms: int, city: str, *, garden: bool = False, database: Any = None, **more: float) -> float:
        return 2.5

    price(3, city="Oslo", database=object(), noise=0.25)
    expected = {"feature.rooms": 3, "category.city": "Oslo", "category.garden": "false", "feature.noise": 0.25}
    assert logged(client, sink) == [
        expected | {"model.name": "price", "prediction.value": "2.5", "prediction.score": 2.5}
    ]


SINGLE: dict[str, tuple[Any, str, float | None]] = {
    "label": ("yes", "yes", None),
    "number": (3, "3", None),
    "regression": (0.25, "0.25", 0.25),
    "bool": (True, "true", None),
    "label and score": (("yes", 0.75), "yes", 0.75),
    "mapping": ({"prediction": "yes", "score": 0.75, "took": 3}, "yes", 0.75),
    "mapping of one": ({"anything": "yes"}, "yes", None),
    "mapping of probabilities": ({"label": "b", "probabilities": [0.25, 0.75]}, "b", 0.75),
    "named tuple": (Verdict("yes", 0.75), "yes", 0.75),
    "two probabilities": (np.array([0.75, 0.25]), "0", 0.25),
    "probabilities": (np.array([0.125, 0.625, 0.25]), "1", 0.625),
    "probabilities of one record": (np.array([[0.125, 0.625, 0.25]]), "1", 0.625),
    "array of one": (np.array(["yes"]), "yes", None),
    "numpy scalar": (np.float32(0.25), "0.25", 0.25),
    "list of one": (["yes"], "yes", None),
    "series of one": (pd.Series(["yes"]), "yes", None),
    "frame of one": (pl.DataFrame({"prediction": ["yes"], "score": [0.75]}), "yes", 0.75),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_the_result_for_a_record_is_understood_in_many_forms(client: tidegauge.Client, sink: Sink, kind: str) -> None:
    result, value, score = SINGLE[kind]
    tracked = tidegauge.track_predictions(lambda record: result, model="m")
    assert tracked(RECORD) is result
    [found] = logged(client, sink)
    assert (found["prediction.value"], found.get("prediction.score")) == (value, score)


SEVERAL: dict[str, Callable[[int], Any]] = {
    "list": lambda n: [f"c{i}" for i in range(n)],
    "array": lambda n: np.array([f"c{i}" for i in range(n)]),
    "series": lambda n: pl.Series([f"c{i}" for i in range(n)]),
    "labels and scores": lambda n: (np.array([f"c{i}" for i in range(n)]), np.linspace(0, 0.5, n)),
    "pairs": lambda n: [(f"c{i}", 0.5) for i in range(n)],
    "mappings": lambda n: [{"label": f"c{i}", "score": 0.5} for i in range(n)],
    "mapping of columns": lambda n: {"label": [f"c{i}" for i in range(n)], "score": np.full(n, 0.5)},
    "pandas": lambda n: pd.DataFrame({"prediction": [f"c{i}" for i in range(n)], "score": 0.5}),
    "polars": lambda n: pl.DataFrame({"prediction": [f"c{i}" for i in range(n)]}),
}
BATCHES: dict[str, Callable[[int], Any]] = {
    "pandas": lambda n: pd.DataFrame({"a": np.arange(n), "b": ["x"] * n, "c": [[1]] * n}),
    "polars": lambda n: pl.DataFrame({"a": np.arange(n), "b": ["x"] * n}),
    "mappings": lambda n: [{"a": i, "b": "x"} for i in range(n)],
}


@pytest.mark.parametrize("result", SEVERAL)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_batch_gives_a_prediction_for_every_record(
    client: tidegauge.Client, sink: Sink, result: str, count: int
) -> None:
    tracked = tidegauge.track_predictions(lambda batch: SEVERAL[result](count), model="m")
    tracked(BATCHES["polars"](count))
    found = logged(client, sink)
    assert [(each["feature.a"], each["prediction.value"]) for each in found] == [(i, f"c{i}") for i in range(count)]


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("count", [5, 150])
def test_batches_of_every_kind_arrive_small_and_large(
    client: tidegauge.Client, sink: Sink, kind: str, count: int
) -> None:
    tracked = tidegauge.track_predictions(
        lambda batch: (np.arange(count) % 2, np.linspace(0, 1, count)), model="m", slices=["b"], version="3"
    )
    tracked(BATCHES[kind](count))
    ids = tidegauge.last_prediction_ids()
    assert len(set(ids)) == count
    assert client.flush(20)
    assert (client.rejects, client.drops, client.sent) == ({}, {}, count)
    if count < 100:
        found = sink.predictions()
        assert [each["prediction.id"] for each in found] == ids
        assert [each["feature.a"] for each in found] == list(range(count))
        assert {each["slice.b"] for each in found} == {"x"}


@pytest.mark.parametrize("count", [3, 150])
def test_a_matrix_has_columns_by_number_or_by_name(client: tidegauge.Client, sink: Sink, count: int) -> None:
    def predict_proba(matrix: Any) -> Any:
        return np.full((len(matrix), 2), 0.5)

    tidegauge.track_predictions(predict_proba, model="m")(np.ones((count, 2)))
    tidegauge.track_predictions(predict_proba, model="m", features=["a", "b"])(np.ones((count, 2)))
    assert client.flush(20)
    assert (client.rejects, client.sent) == ({}, 2 * count)
    if count < 100:
        names = {tuple(sorted(key for key in each if "feature." in key)) for each in sink.predictions()}
        assert names == {("feature.x0", "feature.x1"), ("feature.a", "feature.b")}


def test_a_vector_is_one_record(client: tidegauge.Client, sink: Sink) -> None:
    tidegauge.track_predictions(lambda vector: 1, model="m")(np.array([1.5, 2.5]))
    [found] = logged(client, sink)
    assert (found["feature.x0"], found["feature.x1"]) == (1.5, 2.5)


def test_what_is_meant_can_be_said(client: tidegauge.Client, sink: Sink) -> None:
    @tidegauge.track_predictions(
        model="m",
        features=["age"],
        prediction="answer",
        score=lambda result: result["inner"]["p"],
        id="order",
        slices=lambda everything: {"where": everything["city"]},
    )
    def predict(record: dict[str, Any], order: str) -> dict[str, Any]:
        return {"answer": "yes", "other": 1, "inner": {"p": 0.5}}

    predict(RECORD, "o-17")
    assert tidegauge.last_prediction_id() == "o-17"
    assert client.flush(20)
    assert sink.predictions() == [
        {
            "model.name": "m",
            "prediction.id": "o-17",
            "prediction.value": "yes",
            "prediction.score": 0.5,
            "feature.age": 41.0,
            "slice.where": "Oslo",
        }
    ]


def test_features_may_be_a_function_of_the_arguments(client: tidegauge.Client, sink: Sink) -> None:
    @tidegauge.track_predictions(model="m", features=lambda text, *, lang: {"length": len(text), "lang": lang})
    def classify(text: str, *, lang: str) -> str:
        return "spam"

    classify("hello", lang="en")
    assert logged(client, sink) == [
        {"model.name": "m", "prediction.value": "spam", "feature.length": 5.0, "category.lang": "en"}
    ]


NOT_UNDERSTOOD: dict[str, tuple[Any, Any]] = {
    "no result": (RECORD, None),
    "an object": (RECORD, object()),
    "a mapping without a hint": (RECORD, {"a": 1, "b": 2}),
    "texts": (RECORD, ["a", "b"]),
    "nothing to use as a feature": ({"a": [1], "b": object()}, 1),
    "fewer results than records": ([{"a": 1}] * 3, [1, 2]),
    "one result for several records": ([{"a": 1}] * 3, "yes"),
    "a list as an array": (np.ones((2, 2, 2)), object()),
}


@pytest.mark.parametrize("kind", NOT_UNDERSTOOD)
@pytest.mark.parametrize("strict", [False, True])
def test_what_is_not_understood_is_counted_and_logged_and_never_raised(
    sink: Sink, caplog: pytest.LogCaptureFixture, kind: str, strict: bool
) -> None:
    client = tidegauge.init("shop", sink.url, strict=strict)
    argument, result = NOT_UNDERSTOOD[kind]
    tracked = tidegauge.track_predictions(lambda record: result, model="m")
    assert tracked(argument) is result
    assert tracked(argument) is result
    assert client.rejects == {"track_predictions": 2}
    assert len([each for each in caplog.records if "not understood" in each.getMessage()]) == 1
    assert tidegauge.last_prediction_id() == ""
    client.shutdown()


def test_hooks_that_fail_do_no_harm(client: tidegauge.Client) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("in a hook")

    for hook in ("features", "prediction", "score", "id", "slices"):
        options: dict[str, Any] = {hook: fail}
        assert tidegauge.track_predictions(lambda record: 1, model="m", **options)(RECORD) == 1
    assert client.rejects == {"track_predictions": 5}


def test_exceptions_go_on_up_and_are_counted_without_their_text(client: tidegauge.Client, sink: Sink) -> None:
    error = ValueError("customer 4711")

    @tidegauge.track_predictions(model="m", version="3")
    def predict(record: Any) -> int:
        raise error

    with pytest.raises(ValueError, match="customer 4711") as caught:
        predict(RECORD)
    assert caught.value is error
    assert logged(client, sink) == []
    assert sink.named("tidegauge.prediction.error") == [
        {"model.name": "m", "model.version": "3", "error.type": "ValueError"}
    ]
    assert b"4711" not in b"".join(body for _, body in sink.requests)


def test_a_decorated_function_looks_as_before() -> None:
    def predict(record: dict[str, float], /, cut: float = 0.5, *, fast: bool = False) -> str:
        """What it says."""
        return "x"

    for tracked in (tidegauge.track_predictions(predict), tidegauge.track_predictions(model="m")(predict)):
        assert inspect.signature(tracked) == inspect.signature(predict)
        assert (tracked.__name__, tracked.__doc__) == ("predict", "What it says.")
        assert tracked.__annotations__ == predict.__annotations__
        with pytest.raises(TypeError):
            tracked()  # type: ignore[call-arg]


def test_without_a_client_the_function_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_started", [])
    assert tidegauge.track_predictions(lambda record: 1)(RECORD) == 1


class Model:
    @tidegauge.track_predictions
    def method(self, record: dict[str, Any]) -> int:
        return 1

    @classmethod
    @tidegauge.track_predictions
    def of_class(cls, record: dict[str, Any]) -> int:
        return 2

    @tidegauge.track_predictions
    @staticmethod
    def static(record: dict[str, Any]) -> int:
        return 3

    @tidegauge.track_predictions
    async def later(self, record: dict[str, Any]) -> int:
        return 4


def test_methods_of_every_kind(client: tidegauge.Client, sink: Sink) -> None:
    model = Model()
    answers = [model.method(RECORD), Model.of_class(RECORD), model.static(RECORD), asyncio.run(model.later(RECORD))]
    assert answers == [1, 2, 3, 4]
    found = logged(client, sink)
    assert [each["model.name"] for each in found] == ["Model.method", "Model.of_class", "Model.static", "Model.later"]
    assert all(SENT.items() <= each.items() for each in found)


def test_async_functions_stay_async_and_tasks_keep_their_ids_apart(client: tidegauge.Client, sink: Sink) -> None:
    @tidegauge.track_predictions(model="m")
    async def predict(record: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return record["n"]

    async def one(number: int) -> tuple[int, str]:
        return await predict({"n": number}), tidegauge.last_prediction_id()

    async def many() -> list[tuple[int, str]]:
        return await asyncio.gather(*(one(number) for number in range(20)))

    assert inspect.iscoroutinefunction(predict)
    answers = asyncio.run(many())
    assert client.flush(20)
    by_id = {each["prediction.id"]: each["prediction.value"] for each in sink.predictions()}
    assert [by_id[identifier] for _, identifier in answers] == [str(number) for number in range(20)]


def test_a_function_that_returns_a_coroutine_is_tracked_when_it_is_awaited(
    client: tidegauge.Client, sink: Sink
) -> None:
    async def inner() -> str:
        return "late"

    tracked = tidegauge.track_predictions(lambda record: inner(), model="m")
    assert asyncio.run(_awaited(tracked(RECORD))) == "late"
    assert [each["prediction.value"] for each in logged(client, sink)] == ["late"]


async def _awaited(each: Any) -> Any:
    return await each


def test_generators_give_one_prediction_and_stay_generators(client: tidegauge.Client, sink: Sink) -> None:
    @tidegauge.track_predictions(model="text")
    def answer(question: str) -> Iterator[str]:
        got = yield "a"
        try:
            yield f"b{got}"
        except KeyError:
            yield "c"

    @tidegauge.track_predictions(model="steps")
    async def improve(start: int) -> AsyncIterator[int]:
        for number in range(start, start + 3):
            got = yield number
            assert got in (None, "sent")

    async def through() -> list[int]:
        steps: Any = improve(4)
        return [await steps.asend(None), await steps.asend("sent"), *[each async for each in steps]]

    assert inspect.isgeneratorfunction(answer)
    assert inspect.isasyncgenfunction(improve)
    talk: Any = answer("why")
    assert [next(talk), talk.send(1), talk.throw(KeyError())] == ["a", "b1", "c"]
    assert list(talk) == []
    assert asyncio.run(through()) == [4, 5, 6]
    assert [(each["model.name"], each["prediction.value"]) for each in logged(client, sink)] == [
        ("text", "ab1c"),
        ("steps", "6"),
    ]


def test_a_generator_that_is_given_up_logs_nothing_and_closes_the_inner_one(
    client: tidegauge.Client, sink: Sink
) -> None:
    closed: list[str] = []

    @tidegauge.track_predictions(model="m")
    def answer() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append("sync")

    @tidegauge.track_predictions(model="m")
    async def later() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append("async")

    async def through() -> None:
        steps: Any = later()
        await anext(steps)
        await steps.aclose()

    talk: Any = answer()
    next(talk)
    talk.close()
    asyncio.run(through())
    assert closed == ["sync", "async"]
    assert logged(client, sink) == []


def test_threads_keep_their_ids_apart(client: tidegauge.Client) -> None:
    tracked = tidegauge.track_predictions(lambda record: 1, model="m", id="n")
    found: dict[int, str] = {}

    def work(number: int) -> None:
        tracked({"n": number})
        found[number] = tidegauge.last_prediction_id()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: str(number) for number in range(8)}


def test_predictions_inside_a_request_belong_to_it(client: tidegauge.Client, sink: Sink) -> None:
    tracked = tidegauge.track_predictions(lambda record: 1, model="m")
    with client.request("ask", tenant="acme") as root:
        tracked(RECORD)
    [found] = logged(client, sink)
    assert found["tenant"] == "acme"
    assert sink.events()[0].trace_id.hex() == root.trace_id
