"""The ASGI middleware: what it records, and that no request feels it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from pydantic import BaseModel
from sdk_sink import Sink, attributes
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

import tidegauge

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def plain(request: Request) -> Response:
    return PlainTextResponse("hello")


async def fails(request: Request) -> Response:
    raise ValueError("customer 4711")


async def refuses(request: Request) -> Response:
    return PlainTextResponse("no", 503)


async def streams(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(0.05)
        yield b"second"

    return StreamingResponse(pieces())


async def breaks(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("midway")

    return StreamingResponse(pieces())


async def steps(request: Request) -> Response:
    client = tidegauge.current_client()
    assert client
    with client.llm_call("gpt"):
        pass
    return PlainTextResponse(tidegauge.trace_headers()["traceparent"])


def in_a_thread(request: Request) -> Response:
    client = tidegauge.current_client()
    assert client
    client.log_prediction("m", {"x": 1}, prediction=1)
    return PlainTextResponse("hello")


async def works_on(request: Request) -> Response:
    async def after() -> None:
        await asyncio.sleep(0.6)

    return PlainTextResponse("hello", background=BackgroundTask(after))


async def talks(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


ROUTES = [
    Route("/plain/{name}", plain),
    Route("/fails", fails),
    Route("/refuses", refuses, methods=["POST"]),
    Route("/streams", streams),
    Route("/breaks", breaks),
    Route("/steps", steps),
    Route("/thread", in_a_thread),
    Route("/works_on", works_on),
    Route("/healthz", plain),
    WebSocketRoute("/talks", talks),
    Mount("/under", routes=[Route("/plain", plain)]),
]


def calling(**options: Any) -> TestClient:
    app = Starlette(routes=ROUTES)
    app.add_middleware(tidegauge.Middleware, **options)
    return TestClient(app, raise_server_exceptions=False)


def spans(client: tidegauge.Client, sink: Sink) -> list[tuple[Any, dict[str, Any]]]:
    assert client.flush(20)
    assert client.rejects == {}
    return [(each, attributes(each.attributes)) for each in sink.spans()]


def test_a_request_is_a_span_with_its_status_size_and_time_to_first_byte(client: tidegauge.Client, sink: Sink) -> None:
    answer = calling().get("/plain/maria?email=a@b.c")
    [(span, found)] = spans(client, sink)
    assert answer.headers["traceresponse"] == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
    assert (span.kind, span.name.split()[0], span.status.code) == (2, "GET", 0)
    assert (found["http.request.method"], found["http.response.status_code"]) == ("GET", 200)
    assert found["http.response.body.size"] == 5
    assert 0 < found["tidegauge.http.time_to_first_byte_s"] < 5
    assert b"maria" not in span.SerializeToString()
    assert b"a@b.c" not in span.SerializeToString()


def test_tenant_session_and_intent_come_from_headers_or_functions_and_are_inherited(
    client: tidegauge.Client, sink: Sink
) -> None:
    calls = calling(
        tenant="X-Tenant", session=lambda scope: f"s-{scope['path']}", intent="x-intent", slices={"app": "x-app"}
    )
    calls.get("/steps", headers={"x-tenant": "acme" + "e" * 500, "x-intent": "refund", "x-app": "ios"})
    for _, found in spans(client, sink):
        assert found["tidegauge.tenant"] == ("acme" + "e" * 500)[:256]
        assert (found["session.id"], found["tidegauge.intent"], found["tidegauge.slice.app"]) == (
            "s-/steps",
            "refund",
            "ios",
        )


def test_headers_are_not_read_unless_they_are_named(client: tidegauge.Client, sink: Sink) -> None:
    calling().get("/plain/x", headers={"x-tenant": "acme", "authorization": "Bearer secret", "cookie": "id=4711"})
    [(span, found)] = spans(client, sink)
    assert "tidegauge.tenant" not in found
    assert not {b"secret", b"4711", b"acme"} & set(span.SerializeToString().split())
    assert b"secret" not in span.SerializeToString()


def test_trace_context_comes_in_and_goes_on(client: tidegauge.Client, sink: Sink) -> None:
    answer = calling().get("/steps", headers={"traceparent": CALLER, "tracestate": "a=1"})
    (step, _), (request, _) = spans(client, sink)
    assert request.trace_id.hex() == step.trace_id.hex() == CALLER.split("-")[1]
    assert (request.parent_span_id.hex(), step.parent_span_id) == (CALLER.split("-")[2], request.span_id)
    assert request.trace_state == "a=1"
    assert answer.text == f"00-{request.trace_id.hex()}-{request.span_id.hex()}-01"


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", CALLER + "-x" * 500])
def test_a_broken_trace_context_begins_a_new_trace(client: tidegauge.Client, sink: Sink, header: str) -> None:
    assert calling().get("/plain/x", headers={"traceparent": header}).status_code == 200
    [(span, _)] = spans(client, sink)
    assert span.parent_span_id == b""


def test_an_exception_goes_on_up_and_marks_the_request_without_its_text(client: tidegauge.Client, sink: Sink) -> None:
    app = Starlette(routes=ROUTES)
    app.add_middleware(tidegauge.Middleware)
    with pytest.raises(ValueError, match="4711"):
        TestClient(app).get("/fails")
    [(span, found)] = spans(client, sink)
    assert (span.status.code, found["error.type"]) == (2, "ValueError")
    assert b"4711" not in span.SerializeToString()


def test_a_server_error_without_an_exception_is_an_error_too(client: tidegauge.Client, sink: Sink) -> None:
    assert calling().post("/refuses").status_code == 503
    [(span, found)] = spans(client, sink)
    assert (span.status.code, found["error.type"], found["http.response.status_code"]) == (2, "503", 503)


def test_a_stream_is_timed_to_its_first_byte_and_to_its_last(client: tidegauge.Client, sink: Sink) -> None:
    assert calling().get("/streams").text == "firstsecond"
    [(span, found)] = spans(client, sink)
    whole = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    assert found["http.response.body.size"] == 11
    assert found["tidegauge.http.time_to_first_byte_s"] + 0.05 <= whole


def test_a_stream_that_breaks_is_an_error_although_it_began_well(client: tidegauge.Client, sink: Sink) -> None:
    with pytest.raises(RuntimeError, match="midway"):
        app = Starlette(routes=ROUTES)
        app.add_middleware(tidegauge.Middleware)
        TestClient(app).get("/breaks")
    [(_, found)] = spans(client, sink)
    assert (found["http.response.status_code"], found["error.type"]) == (200, "RuntimeError")


def test_work_after_the_response_is_not_part_of_its_time(client: tidegauge.Client, sink: Sink) -> None:
    calling().get("/works_on")
    [(span, _)] = spans(client, sink)
    assert (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 < 0.5


def test_what_a_sync_endpoint_logs_in_its_thread_belongs_to_the_request(client: tidegauge.Client, sink: Sink) -> None:
    calling(tenant="x-tenant").get("/thread", headers={"x-tenant": "acme"})
    [(span, _)] = spans(client, sink)
    [event] = sink.events()
    assert (event.trace_id, event.span_id) == (span.trace_id, span.span_id)
    assert attributes(event.attributes)["tidegauge.tenant"] == "acme"


def test_health_and_websockets_pass_through_unrecorded(client: tidegauge.Client, sink: Sink) -> None:
    calls = calling(exclude=["/healthz", "/plain/none"])
    assert calls.get("/healthz").status_code == 200
    assert calls.get("/plain/none").status_code == 200
    with calls.websocket_connect("/talks") as socket:
        socket.send_text("echo")
        assert socket.receive_text() == "echo"
    assert spans(client, sink) == []


def test_a_failing_function_costs_its_value_and_not_the_request(client: tidegauge.Client, sink: Sink) -> None:
    def fail(scope: Any) -> str:
        raise KeyError("no such thing")

    assert calling(tenant=fail, session=lambda scope: 5).get("/plain/x").text == "hello"
    assert client.flush(20)
    assert client.rejects == {"middleware: tenant": 1}
    [span] = sink.spans()
    assert attributes(span.attributes)["session.id"] == "5"


async def talk(app: Any, *received: dict[str, Any]) -> list[Any]:
    """One HTTP exchange with a bare ASGI application."""
    waiting, sent = list(received), list[Any]()

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"X-Latin", b"\xe9")], "scheme": "http"}
    await app(scope, receive, send)
    return sent


def test_a_client_that_goes_away_is_recorded_as_such(client: tidegauge.Client, sink: Sink) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    asyncio.run(talk(tidegauge.Middleware(slow), {"type": "http.request", "body": b""}))
    [(_, found)] = spans(client, sink)
    assert found["tidegauge.http.disconnected"] is True


def test_a_cancelled_request_stays_cancelled(client: tidegauge.Client, sink: Sink) -> None:
    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def cancelled() -> None:
        task = asyncio.create_task(talk(tidegauge.Middleware(stuck)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    [(_, found)] = spans(client, sink)
    assert found["error.type"] == "CancelledError"


def test_an_application_that_speaks_nonsense_is_left_to_the_server(client: tidegauge.Client, sink: Sink) -> None:
    async def odd(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": None})
        await send({"type": "http.response.debug"})

    assert len(asyncio.run(talk(tidegauge.Middleware(odd)))) == 2
    assert client.flush(20)
    assert client.rejects == {"middleware": 1}


def test_without_a_client_everything_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegauge.collectors.sdk.start._started", [])
    with calling(tenant="x") as calls:
        assert calls.get("/plain/x").text == "hello"


def test_what_is_queued_is_delivered_before_the_server_hears_that_the_application_is_down(
    client: tidegauge.Client, sink: Sink
) -> None:
    sink.released.clear()
    with calling() as calls:
        calls.get("/plain/x")
        assert sink.spans() == []
        sink.released.set()
    assert len(sink.spans()) == 1


async def shows(one: str) -> str:
    return one


def nested(**options: Any) -> Any:
    """Starlette and FastAPI in each other, by mounts, hosts and included routers, parameters on the way."""
    included, sub, inner, app = APIRouter(prefix="/shop/{shop}"), FastAPI(), FastAPI(), Starlette()
    included.get("/items/{one}")(shows)
    included.get("/files/{one:path}")(shows)
    sub.include_router(included, prefix="/v1")
    sub.get("/{one}")(shows)
    sub.mount("/inner/{tenant}", inner)
    inner.get("/last/{one}")(shows)
    app.router.routes += [
        Mount("/first/{shop}", routes=[Route("/shop/{shop}", plain), Mount("/second", routes=[Route("/", plain)])]),
        Mount("/numbers/{number:int}", routes=[Route("/x/{name}", plain)]),
        Mount("/api", app=sub),
        Mount("/raw", app=PlainTextResponse("anything")),
        Host("{region}.example.com", app=sub),
    ]
    app.add_middleware(tidegauge.Middleware)
    return TestClient(app, **options)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/first/maria/shop/first", "/first/{shop}/shop/{shop}"),
        ("/first/maria/second/", "/first/{shop}/second/"),
        ("/numbers/007/x/maria", "/numbers/{number:int}/x/{name}"),
        ("/api/maria", "/api/{one}"),
        ("/api/v1/shop/maria/items/shop", "/api/v1/shop/{shop}/items/{one}"),
        ("/api/v1/shop/maria/files/a/b", "/api/shop/{shop}/files/{one:path}"),  # where the prefix ends cannot be told
        ("/api/inner/maria/last/1", "/api/inner/{tenant}/last/{one}"),
        ("/raw/maria", "/raw"),
        ("/first/maria/nothing", "/first/{shop}"),
        ("/nothing/maria", None),
    ],
)
def test_the_route_has_what_stands_before_it_and_no_value_of_a_parameter(
    client: tidegauge.Client, sink: Sink, path: str, route: str | None
) -> None:
    nested().get(path)
    nested(root_path="/behind/proxy").get(f"/behind/proxy{path}")
    bare, proxied = spans(client, sink)
    assert (bare[1].get("http.route"), bare[0].name) == (route, f"GET {route}" if route else "GET")
    assert proxied[1].get("http.route") == (f"/behind/proxy{route}" if route else None)
    assert b"maria" not in bare[0].SerializeToString() + proxied[0].SerializeToString()


def test_a_route_of_a_host_with_a_parameter_is_the_application_s(client: tidegauge.Client, sink: Sink) -> None:
    nested().get("/maria", headers={"host": "eu.example.com"})
    [(_, found)] = spans(client, sink)
    assert found["http.route"] == "/{one}"


@pytest.mark.parametrize("root_path", ["/", ""])
def test_an_application_at_the_root_has_nothing_before_its_routes(
    client: tidegauge.Client, sink: Sink, root_path: str
) -> None:
    app = Starlette(routes=ROUTES)
    app.add_middleware(tidegauge.Middleware)
    TestClient(app, root_path=root_path).get("/plain/maria")
    [(_, found)] = spans(client, sink)
    assert found["http.route"] == "/plain/{name}"


def test_a_middleware_inside_a_mount_records_the_whole_route(client: tidegauge.Client, sink: Sink) -> None:
    sub = Starlette(routes=[Route("/plain/{name}", plain)])
    sub.add_middleware(tidegauge.Middleware)
    TestClient(Starlette(routes=[Mount("/tenants/{tenant}", app=sub)])).get("/tenants/maria/plain/x")
    [(span, found)] = spans(client, sink)
    assert found["http.route"] == "/tenants/{tenant}/plain/{name}"
    assert b"maria" not in span.SerializeToString()


class Applicant(BaseModel):
    age: int
    city: str


def test_fastapi_with_sync_and_async_endpoints_routes_and_tracked_functions(
    client: tidegauge.Client, sink: Sink
) -> None:
    app = FastAPI()
    app.add_middleware(tidegauge.Middleware, tenant="x-tenant")

    @app.post("/sync/{version}")
    @tidegauge.track_predictions(model="sync")
    def sync(version: int, applicant: Applicant) -> dict[str, Any]:
        return {"prediction": "yes", "score": 0.5}

    @app.post("/async")
    @tidegauge.track_predictions(model="async")
    async def later(applicant: Applicant) -> dict[str, Any]:
        if applicant.age < 0:
            raise HTTPException(422, "negative")
        return {"prediction": "no", "score": 0.25}

    calls = TestClient(app, headers={"x-tenant": "acme"})
    body = {"age": 41, "city": "Oslo"}
    assert calls.post("/sync/3", json=body).json() == {"prediction": "yes", "score": 0.5}
    assert calls.post("/async", json=body).json() == {"prediction": "no", "score": 0.25}
    assert calls.post("/async", json=body | {"age": -1}).status_code == 422
    assert calls.post("/async", json={}).status_code == 422

    found = spans(client, sink)
    assert [span.name for span, _ in found] == ["POST /sync/{version}", "POST /async", "POST /async", "POST /async"]
    assert [each["http.response.status_code"] for _, each in found] == [200, 200, 422, 422]
    first, second = sink.predictions()
    assert (first["model.name"], first["feature.age"], first["category.city"]) == ("sync", 41, "Oslo")
    assert (second["prediction.value"], second["prediction.score"], second["tenant"]) == ("no", 0.25, "acme")
    assert [each["error.type"] for each in sink.named("tidegauge.prediction.error")] == ["HTTPException"]
    by_trace = {event.trace_id for event in sink.events()}
    assert by_trace <= {span.trace_id for span, _ in found}
