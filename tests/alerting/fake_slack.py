"""A small Slack on loopback: the methods of its Web API that are used, with what it refuses, and one channel."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

CHANNEL, TOKEN = "C0ALERTS", "xoxb-secret"
Answered = tuple[int, dict[str, str], dict[str, Any]]


@dataclass
class FakeSlack:
    """Keeps every message; ``troubles`` are given instead of the next answers, by method."""

    posts: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    troubles: dict[str, list[Answered]] = field(default_factory=dict)
    after_post: list[Callable[[], object]] = field(default_factory=list)
    after_upload: list[Callable[[], object]] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_ready: int = 0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    @property
    def roots(self) -> list[dict[str, Any]]:
        return [each for each in self.posts if "thread_ts" not in each]

    def replies(self, root: dict[str, Any]) -> list[dict[str, Any]]:
        return [each for each in self.posts if each.get("thread_ts") == root["ts"]]

    def called(self, method: str) -> list[dict[str, Any]]:
        return [asked for name, asked in self.calls if name == method]

    def answer(self, method: str, asked: dict[str, Any], token: str) -> Answered:
        self.calls.append((method, asked))
        if trouble := self.troubles.get(method):
            return trouble.pop(0)
        if token != f"Bearer {TOKEN}":
            return 200, {}, {"ok": False, "error": "invalid_auth"}
        if asked.get("channel", CHANNEL) != CHANNEL:
            return 200, {}, {"ok": False, "error": "channel_not_found"}
        work = getattr(self, f"_{method.replace('.', '_')}", None)
        return (200, {}, work(asked)) if work else (200, {}, {"ok": False, "error": "unknown_method"})

    def upload(self, path: str, body: bytes) -> None:
        self.files[path.rsplit("/", 1)[-1]]["bytes"] = body

    def _files_getUploadURLExternal(self, asked: dict[str, Any]) -> dict[str, Any]:
        file = f"F0{len(self.files):08d}"
        self.files[file] = asked | {"done": False}
        return {"ok": True, "file_id": file, "upload_url": f"http://127.0.0.1:{self.port}/upload/{file}"}

    def _files_completeUploadExternal(self, asked: dict[str, Any]) -> dict[str, Any]:
        for each in json.loads(asked["files"]):
            kept = self.files[each["id"]]
            if len(kept.get("bytes", b"")) != int(kept["length"]):
                return {"ok": False, "error": "file_not_found"}
            kept |= {"done": True, "title": each["title"]}
        return {"ok": True, "files": []}

    def _refused(self, asked: dict[str, Any]) -> bool:
        """Whether a block shows a file that is not there, or that is still being worked on."""
        shown = [each["slack_file"]["id"] for each in asked.get("blocks", ()) if each["type"] == "image"]
        if shown and self.not_ready:
            self.not_ready -= 1
            return True
        return any(not self.files.get(each, {}).get("done") for each in shown)

    def _chat_postMessage(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self._refused(asked):
            return {"ok": False, "error": "invalid_blocks"}
        message = asked | {"ts": f"1772366400.{len(self.posts):06d}"}
        self.posts.append(message)
        return {"ok": True, "ts": message["ts"], "channel": CHANNEL}

    def _chat_update(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self._refused(asked):
            return {"ok": False, "error": "invalid_blocks"}
        for each in self.posts:
            if each["ts"] == asked["ts"]:
                each.update(asked)
                return {"ok": True, "ts": asked["ts"]}
        return {"ok": False, "error": "message_not_found"}

    def _chat_postEphemeral(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True}

    def _conversations_history(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "messages": self.roots[::-1], "response_metadata": {"next_cursor": ""}}

    def _conversations_replies(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [each for each in self.posts if asked["ts"] in (each["ts"], each.get("thread_ts"))]
        return {"ok": True, "messages": found, "response_metadata": {"next_cursor": ""}}


@contextmanager
def slack_server() -> Iterator[FakeSlack]:
    fake = FakeSlack()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/upload/"):
                fake.upload(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"OK")
                if fake.after_upload:
                    fake.after_upload.pop(0)()
                return
            as_json = self.headers["Content-Type"].startswith("application/json")
            asked = json.loads(body) if as_json else dict(parse_qsl(body.decode()))
            method = self.path.removeprefix("/api/")
            with fake.lock:
                status, headers, said = fake.answer(method, asked, self.headers.get("Authorization", ""))
            if method == "chat.postMessage" and fake.after_post:
                fake.after_post.pop(0)()
            data = json.dumps(said).encode()
            with suppress(OSError):
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
