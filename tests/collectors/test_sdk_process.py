"""Forks, signals and ends of processes, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import pytest
from sdk_sink import Sink

START = """
import asyncio, os, signal, sys, threading, time
import multiprocessing
import tidegauge
url = sys.argv[1]
"""


def script(folder: Path, text: str) -> Path:
    path = folder / "service.py"
    path.write_text(START + textwrap.dedent(text))
    return path


def run(folder: Path, sink: Sink, text: str, code: int = 0) -> str:
    command = [sys.executable, "-W", "error::RuntimeWarning", str(script(folder, text)), sink.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def seen(sink: Sink) -> list[str]:
    return sorted(each["prediction.value"] for each in sink.predictions())


def test_a_process_that_ends_without_a_flush_loses_nothing(tmp_path: Path, sink: Sink) -> None:
    run(
        tmp_path,
        sink,
        """
        client = tidegauge.init("shop", url)
        for number in range(1_000):
            client.log_prediction("m", {"x": number}, prediction=number)
        """,
    )
    assert len(set(seen(sink))) == 1_000


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise ValueError('as told')"])
def test_nor_does_one_that_ends_by_an_exception(tmp_path: Path, sink: Sink, end: str) -> None:
    code = 3 if "3" in end else 1
    run(tmp_path, sink, f"tidegauge.init('shop', url).log_prediction('m', {{}}, prediction='last')\n{end}", code)
    assert seen(sink) == ["last"]


def test_an_end_while_the_receiver_hangs_takes_seconds_not_for_ever(tmp_path: Path, sink: Sink) -> None:
    sink.released.clear()
    begun = time.monotonic()
    said = run(
        tmp_path,
        sink,
        """
        from tidegauge.collectors.sdk import process
        assert process.EXIT_S == 5
        process.EXIT_S = 0.5
        tidegauge.init("shop", url).log_prediction("m", {}, prediction="last")
        """,
    )
    assert time.monotonic() - begun < 10
    assert "1 record(s) not delivered: not delivered before the end" in said


FORKS = """
    client = tidegauge.init("shop", url)
    {before}
    client.log_prediction("m", {{}}, prediction="parent before")
    children = []
    for number in range(3):
        child = os.fork()
        if not child:
            assert client.queued == 0 and client.sent == 0, "a child begins with nothing of its parent's"
            client.log_prediction("m", {{}}, prediction=f"child {{number}}")
            assert client.flush(20)
            {leave}
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    client.log_prediction("m", {{}}, prediction="parent after")
"""
FAMILY = ["child 0", "child 1", "child 2", "parent after", "parent before"]


WARM = "client.log_outcome('warm'); client.flush()"


@pytest.mark.parametrize(("before", "leave"), [("pass", "os._exit(0)"), (WARM, "sys.exit(0)")])
def test_forked_children_send_what_is_theirs_and_nothing_twice(
    tmp_path: Path, sink: Sink, before: str, leave: str
) -> None:
    run(tmp_path, sink, FORKS.format(before=before, leave=leave))
    assert seen(sink) == FAMILY


def test_forks_while_other_threads_log_leave_no_lock_behind(tmp_path: Path, sink: Sink) -> None:
    run(
        tmp_path,
        sink,
        """
        client, stop = tidegauge.init("shop", url), threading.Event()

        def busy():
            while not stop.is_set():
                client.log_prediction("m", {"x": 1.0}, prediction="busy")
                with client.request(): pass

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads: thread.start()
        for number in range(10):
            child = os.fork()
            if not child:
                signal.alarm(10)
                client.log_prediction("m", {}, prediction=f"child {number}")
                os._exit(0 if client.flush(8) else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
        """,
    )
    assert [each for each in seen(sink) if each != "busy"] == [f"child {number}" for number in range(10)]


def test_ids_of_parent_and_children_differ_however_the_service_seeds(tmp_path: Path, sink: Sink) -> None:
    run(
        tmp_path,
        sink,
        """
        import random
        client = tidegauge.init("shop", url)
        client.log_prediction("m", {}, prediction="first")
        for number in range(4):
            if not os.fork():
                random.seed(1)
                for _ in range(50):
                    with client.request(): client.log_prediction("m", {}, prediction="x")
                client.flush(20)
                os._exit(0)
        for number in range(4): os.wait()
        """,
    )
    assert len({each["prediction.id"] for each in sink.predictions()}) == len(sink.predictions()) == 201
    assert len({each.trace_id for each in sink.spans()}) == len({each.span_id for each in sink.spans()}) == 200


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_of_multiprocessing_deliver_at_their_end(tmp_path: Path, sink: Sink, method: str) -> None:
    run(
        tmp_path,
        sink,
        f"""
        client = tidegauge.init("shop", url)

        def work(number):
            client.log_prediction("m", {{}}, prediction=f"worker {{number}}")

        if __name__ == "__main__":
            client.log_prediction("m", {{}}, prediction="parent")
            context = multiprocessing.get_context("{method}")
            workers = [context.Process(target=work, args=(number,)) for number in range(3)]
            for worker in workers: worker.start()
            for worker in workers: worker.join()
            assert [worker.exitcode for worker in workers] == [0, 0, 0]
        """,
    )
    assert seen(sink) == ["parent", "worker 0", "worker 1", "worker 2"]


# SIGTERM


def started(command: list[str], folder: Path, ready: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    for line in process.stdout:
        if ready in line:
            return process
    raise AssertionError(f"{command} ended with {process.wait()}")


def ended(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    return process.returncode


@pytest.mark.parametrize("flushes", [True, False])
def test_sigterm_may_flush_and_still_ends_the_process_by_it(tmp_path: Path, sink: Sink, flushes: bool) -> None:
    sink.released.clear()  # the first request is under way, so that what follows is certainly still queued
    text = f"""
        client = tidegauge.init("shop", url, flush_on_sigterm={flushes})
        client.log_prediction("m", {{}}, prediction=1)
        while client.queued != 1 or not threading.active_count() > 1: time.sleep(0.01)
        print("ready", flush=True)
        time.sleep(60)
        """
    command = [sys.executable, str(script(tmp_path, text)), sink.url]
    process = started(command, tmp_path, "ready")
    sink.wait_for(lambda each: each.attempts == 1)
    sink.released.set() if flushes else None
    assert ended(process) == -signal.SIGTERM
    assert seen(sink) == (["1"] if flushes else [])


APP = """
import os
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
import tidegauge
client = tidegauge.init("shop", os.environ["SINK"])

async def predict(request):
    client.log_prediction("m", {"x": 1}, prediction=request.query_params["n"])
    return PlainTextResponse(str(os.getpid()))

app = Starlette(routes=[Route("/predict", predict)], middleware=[Middleware(tidegauge.Middleware)])
"""
SERVERS = {
    "uvicorn": ["-m", "uvicorn", "served:app", "--port", "{port}"],
    "uvicorn with reload": ["-m", "uvicorn", "served:app", "--port", "{port}", "--reload"],
    "gunicorn with preload": ["-m", "gunicorn", "wsgi:app", "-b", "127.0.0.1:{port}", "--workers", "2", "--preload"],
}
WSGI = """
import os
import tidegauge
client = tidegauge.init("shop", os.environ["SINK"])
client.log_prediction("m", {}, prediction="import")
client.flush()

def app(environ, start):
    client.log_prediction("m", {"x": 1}, prediction=environ["QUERY_STRING"].removeprefix("n="))
    start("200 OK", [])
    return [str(os.getpid()).encode()]
"""


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_told_to_stop_delivers_what_its_workers_logged(
    tmp_path: Path, sink: Sink, unused_port: int, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINK", sink.url)
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "wsgi.py").write_text(WSGI)
    command = [sys.executable, *(each.format(port=unused_port) for each in SERVERS[server])]
    process = started(command, tmp_path, "Booting worker" if "gunicorn" in server else "Application startup complete")
    url = f"http://127.0.0.1:{unused_port}/predict"
    transport = httpx.HTTPTransport(retries=8)
    with httpx.Client(transport=transport, trust_env=False, headers={"connection": "close"}) as http:
        workers = {http.get(url, params={"n": number}, timeout=30).text for number in range(20)}
    ended(process)
    assert str(os.getpid()) not in workers
    found = [each for each in seen(sink) if each != "import"]
    assert sorted(found, key=int) == [str(number) for number in range(20)]
