"""ClickHouse's own engine behind the part of its HTTP interface that Tidegauge's client speaks, for tests.

The embedded engine belongs to one process. With this in front of it several real processes of Tidegauge share one
database, and the database can be killed, frozen, made slow or made to refuse without touching them::

    python clickhouse_server.py PORT FOLDER

Beside the interface there is ``POST /fault`` with a JSON object of :class:`Fault`'s fields, whose absence mends
everything, and ``GET /counts``: how many inserts of records came, how many of them a fault struck, and the bytes of the
largest. Only inserts of records are touched by a fault.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import lz4.frame  # type: ignore[import-untyped]
import zstandard

from tidegauge.collectors.frames.insert import TABLE as FRAMES
from tidegauge.collectors.schema.otlp import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the HTTP interface itself takes from the query string; everything else there is a setting.
OWN = {
    *("query", "database", "session_id", "query_id", "compress", "decompress", "client_protocol_version", "role"),
    *("wait_end_of_query", "send_progress_in_http_headers", "http_headers_progress_interval_ms"),
    *("enable_http_compression", "default_format"),
}
INSERT = re.compile(r"^\s*INSERT\s+INTO\s+(.*?)\s+FORMAT\s+(\w+)\s*$", re.IGNORECASE | re.DOTALL)
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
CODE = re.compile(r"Code: (\d+)")
RECORDS = {*TABLES.values(), FRAMES}
GREETING = "SELECT displayName(), version(), revision(), timezone()"  # how ClickHouse's Go client begins


@dataclass
class Fault:
    """What happens to the next ``times`` inserts of records (-1: to all) that hold ``marker``.

    Each waits for ``delay_s``; then it is refused with ClickHouse's error ``code``, unless that is 0; and with ``cut``
    it is carried out and its connection closed without an answer.
    """

    delay_s: float = 0.0
    code: int = 0
    cut: bool = False
    marker: str = ""
    times: int = -1

    def strikes(self, body: bytes) -> bool:
        """Whether it is meant for this insert."""
        return self.times != 0 and self.marker.encode() in body


class Engine:
    """Handles of one embedded database, one for each request at a time."""

    def __init__(self, folder: Path) -> None:
        import chdb

        self._open: Callable[[], Any] = functools.partial(chdb.connect, str(folder))
        self._root = self._open()

    def run(
        self,
        sql: str,
        body: bytes,
        database: str,
        settings: dict[str, str],
        params: dict[str, str],
        shape: str = "TabSeparated",
    ) -> bytes:
        """One statement, answered in ``shape`` unless it names another; raises RuntimeError with ClickHouse's text."""
        with self._handle() as handle:
            if database:
                handle.query(f"USE {database}")
            for name, value in settings.items():
                handle.query(f"SET {name} = '{_escaped(value)}'")
            if found := INSERT.match(sql):
                return self._insert(handle, found[1], found[2], body)
            named = FORMAT.search(sql)
            answer = handle.query(sql, named[1] if named else shape, params=params)
            return bytes(answer.bytes() or b"")

    def _insert(self, handle: Any, into: str, shape: str, body: bytes) -> bytes:
        """By a file: the engine's ``send_insert`` reports success when a view has failed."""
        with NamedTemporaryFile(prefix="insert-") as file:
            file.write(body)
            file.flush()
            handle.query(f"INSERT INTO {into} FROM INFILE '{file.name}' FORMAT {shape}")
        return b""

    @contextmanager
    def _handle(self) -> Iterator[Any]:
        """A new one for each: settings stick to a handle, and what a failed statement had produced would stand before
        the next answer."""
        handle = self._open()
        try:
            yield handle
        finally:
            handle.close()


class Handler(BaseHTTPRequestHandler):
    """One connection; the class's attributes are the server's state."""

    protocol_version = "HTTP/1.1"
    engine: Engine
    fault = Fault()
    counts: ClassVar = {"inserts": 0, "struck": 0, "largest": 0}
    lock = threading.Lock()

    def do_GET(self) -> None:
        self._answer(200, json.dumps(self.counts).encode() if self.path == "/counts" else b"Ok.\n")

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/fault":
            type(self).fault = Fault(**json.loads(body))
            self._answer(200, b"")
            return
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = _plain(body, self.headers.get("content-encoding", ""))
        sql, body = _statement(given.get("query", ""), body)
        try:
            cut = self._suffer(sql, body)
            self._answer(200, self._run(sql, body, given), cut=cut)
        except RuntimeError as error:
            self._refuse(str(error))

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _run(self, sql: str, body: bytes, given: dict[str, str]) -> bytes:
        params = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
        settings = {name: value for name, value in given.items() if name not in OWN and not name.startswith("param_")}
        shape = given.get("default_format", "TabSeparated")
        if sql == GREETING:
            return _greeted(self.engine.run("SELECT version()", b"", "", {}, {}).decode().strip())
        return self.engine.run(sql, body, given.get("database", ""), settings, params, shape)

    def _suffer(self, sql: str, body: bytes) -> bool:
        """Apply the fault; True when the answer is to be lost."""
        found = INSERT.match(sql)
        if not found or re.split(r"[\s(]", found[1], maxsplit=1)[0].strip("`") not in RECORDS:
            return False
        with self.lock:
            fault, self.counts["inserts"] = self.fault, self.counts["inserts"] + 1
            self.counts["largest"] = max(self.counts["largest"], len(body))
            if not fault.strikes(body):
                return False
            fault.times -= 1
            self.counts["struck"] += 1
        time.sleep(fault.delay_s)
        if fault.code:
            raise RuntimeError(f"Code: {fault.code}. DB::Exception: refused by the test")
        return fault.cut

    def _refuse(self, text: str) -> None:
        text = text[max(0, text.find("Code: ")) :]
        found = CODE.search(text)
        self._answer(500, text.encode(), {"X-ClickHouse-Exception-Code": found[1] if found else "1002"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, cut: bool = False) -> None:
        if cut:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test reads the other processes' logs."""


def _greeted(version: str) -> bytes:
    """A block of Native with the header that newer revisions have; it says that all others are of revision 0, without.

    That is how the embedded engine writes them.
    """

    def text(written: str) -> bytes:
        return bytes([len(written)]) + written.encode()

    columns = {
        "displayName()": ("String", text("test")),
        "version()": ("String", text(version)),
        "revision()": ("UInt32", bytes(4)),
        "timezone()": ("String", text("UTC")),
    }
    header = b"\x01\x00\x02\xff\xff\xff\xff\x00" + bytes([len(columns), 1])
    return header + b"".join(text(name) + text(kind) + b"\x00" + value for name, (kind, value) in columns.items())


def _statement(query: str, body: bytes) -> tuple[str, bytes]:
    """The statement and its data, which follows it in the body where it is not in the query string."""
    if query:
        return query, body
    first, _, rest = body.partition(b"\n")
    if INSERT.match(first.decode(errors="replace")):
        return first.decode(), rest
    return body.decode(), b""


def _plain(body: bytes, encoding: str) -> bytes:
    if encoding == "lz4":
        return bytes(lz4.frame.decompress(body))
    return zstandard.ZstdDecompressor().decompressobj().decompress(body) if encoding == "zstd" else body


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def main(port: int, folder: Path) -> None:
    """Serve until the process is ended."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder.parent)  # the engine keeps schemas that come as text below its working directory
    Handler.engine = Engine(folder)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
