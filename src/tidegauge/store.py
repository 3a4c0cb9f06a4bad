"""The one door to ClickHouse, embedded or a server: every statement of Tidegauge goes through here.

What it guarantees, so that callers need not know the engine:

- a handle per thread, because a client is a lock;
- after a failed statement that handle is thrown away: the embedded engine otherwise prepends the partial bytes of the
  failed result to the next answer;
- values travel as bound parameters (``{name:Type}``), never inside the text;
- inserts may carry a deduplication token, which every table behind a view honours as well.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from tidegauge.errors import StoreError
from tidegauge.protobuf import varint

Params = Mapping[str, Any]
Rows = list[dict[str, Any]]

INSERT_SETTINGS = {
    "async_insert": 0,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_partitions_per_insert_block": 0,  # a backfill of years is one batch like any other
}
PIPE_BYTES = 2**20
PROTOBUF_SETTINGS = {"input_format_protobuf_oneof_presence": 1}
SESSION_SETTINGS = {
    "session_timezone": "UTC",
    "allow_suspicious_low_cardinality_types": 1,
    "output_format_arrow_compression_method": "none",  # with a query it costs the embedded engine five statements
    "output_format_arrow_string_as_string": 1,
    "distributed_product_mode": "global",  # the rest is for clusters alone: docs/retention.md
    "distributed_foreground_insert": 1,
    "load_balancing": "in_order",
}


class Store:
    """A ClickHouse database reached by ``dsn``.

    Args:
        dsn: ``chdb:///some/folder`` for the embedded engine, or ``clickhouse://user:password@host:8123`` for a server.
        database: Created when it does not exist.
    """

    def __init__(self, dsn: str, database: str = "tidegauge") -> None:
        self.dsn = dsn
        self.database = _identifier(database)
        self._local = threading.local()
        self._clients: WeakSet[Client] = WeakSet()
        self._lock = threading.Lock()
        if self.embedded:
            Path(dsn.removeprefix("chdb://")).mkdir(parents=True, exist_ok=True)
        self._root = self._open()
        self._root.command(f"CREATE DATABASE IF NOT EXISTS {self.database}")

    @property
    def embedded(self) -> bool:
        """Whether the engine lives in this process."""
        return self.dsn.startswith("chdb://")

    @property
    def address(self) -> str:
        """Where the database is, without credentials."""
        scheme, _, rest = self.dsn.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def rows(self, sql: str, params: Params | None = None) -> Rows:
        """Run a query; its rows as dictionaries, datetimes aware and in UTC."""
        with self._client() as client:
            result = client.query(sql, parameters=_bindable(params))
            return [dict(zip(result.column_names, map(_aware, row), strict=True)) for row in result.result_rows]

    def value(self, sql: str, params: Params | None = None) -> Any:
        """The first column of the first row, or None when there is no row."""
        found = self.rows(sql, params)
        return next(iter(found[0].values())) if found else None

    def arrow(self, sql: str, params: Params | None = None) -> pa.Table:
        """Run a query; its result as an Arrow table, schema kept when it is empty."""
        with self._client() as client:
            return client.query_arrow(sql, parameters=_bindable(params))

    def execute(self, sql: str, params: Params | None = None) -> None:
        """Run a statement that returns nothing."""
        with self._client() as client:
            client.command(sql, parameters=_bindable(params))

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]], token: str | None = None) -> None:
        """Insert dictionaries that all have the keys of the first one."""
        if not rows:
            return
        columns = list(rows[0])
        with self._client() as client:
            client.insert(
                _identifier(table),
                [[row[name] for name in columns] for row in rows],
                columns,
                settings=_settings(token),
            )

    def insert_arrow(self, table: str, data: pa.Table, token: str | None = None) -> None:
        """Insert an Arrow table by column name."""
        with self._client() as client:
            client.insert_arrow(_identifier(table), data, settings=_settings(token))

    def insert_protobuf(
        self, table: str, messages: Sequence[bytes], schema: Path, message: str, token: str | None = None
    ) -> None:
        """Insert serialized protobuf messages of type ``message``, which ClickHouse decodes by the file ``schema``.

        A ``oneof`` of the schema may have an Enum8 column of its name: the number of the field that is set, else 0.
        """
        settings = _settings(token) | PROTOBUF_SETTINGS | self._schema(schema) | {"format_schema_message_name": message}
        parts = [part for each in messages for part in (varint(len(each)), each)]
        with self._client() as client:
            if self.embedded:
                _pipe(client, f"INSERT INTO {_identifier(table)}", parts, settings, "Protobuf")
            else:
                client.raw_insert(_identifier(table), insert_block=b"".join(parts), fmt="Protobuf", settings=settings)

    def close(self) -> None:
        """Close every handle; the embedded engine then frees its folder."""
        with self._lock:
            clients = [*self._clients, self._root]
        for client in clients:
            client.close()
        self._local = threading.local()

    def _schema(self, path: Path) -> dict[str, str]:
        """The embedded engine reads the file: sent as text it would be kept in a folder below the working directory."""
        if self.embedded:
            return {"format_schema": str(path)}
        return {"format_schema_source": "string", "format_schema": _text(path)}

    def _open(self) -> Client:
        try:
            return self._connect("")
        except ClickHouseError as error:
            hint = "; has another process opened it? An embedded database belongs to one" if self.embedded else ""
            raise StoreError(f"cannot open the database at {self.address}{hint}: {error}", _code(error)) from error

    def _connect(self, database: str) -> Client:
        options: dict[str, Any] = {"database": database, "settings": dict(SESSION_SETTINGS), "tz_mode": "schema"}
        if self.embedded:
            return clickhouse_connect.get_client(interface="chdb", path=self.dsn.removeprefix("chdb://"), **options)
        return clickhouse_connect.get_client(dsn=self.dsn, autogenerate_session_id=False, **options)

    def _new_client(self) -> Client:
        """A database that is away while its tables are wanted is away like any other: the caller may try again."""
        try:
            return self._connect(self.database)
        except ClickHouseError as error:
            raise StoreError(str(error), _code(error)) from error

    @contextmanager
    def _client(self) -> Iterator[Client]:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._new_client()
            self._local.client = client
            with self._lock:
                self._clients.add(client)
        try:
            yield client
        except ClickHouseError as error:
            self._forget(client)
            raise StoreError(str(error), _code(error)) from error
        except BaseException:
            self._forget(client)
            raise

    def _forget(self, client: Client) -> None:
        self._local.client = None
        with self._lock:
            self._clients.discard(client)
        client.close()


@cache
def _text(path: Path) -> str:
    return path.read_text()


def _pipe(client: Client, insert: str, parts: Sequence[bytes], settings: Mapping[str, Any], fmt: str) -> None:
    """Hand bytes to the embedded engine through a pipe.

    clickhouse-connect writes them into a file first, at twice the cost; chdb's own ``send_insert`` does not, but it
    reports success when a view has failed.
    """
    clause = ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())
    reading, writing = os.pipe()
    writer = threading.Thread(target=_write, args=(writing, parts), name="tidegauge-insert")
    writer.start()
    try:
        client.command(f"{insert} FROM INFILE '/dev/fd/{reading}' SETTINGS {clause} FORMAT {fmt}")
    finally:
        os.close(reading)  # where the statement failed, the writer now gets a broken pipe
        writer.join()


def _write(descriptor: int, parts: Sequence[bytes]) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb", buffering=PIPE_BYTES) as pipe:
        with suppress(OSError, AttributeError):  # more than this user may have, or not Linux; any size does
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        pipe.writelines(parts)


def _literal(value: Any) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _settings(token: str | None) -> dict[str, Any]:
    return INSERT_SETTINGS | ({"insert_deduplication_token": token} if token else {})


def _identifier(name: str) -> str:
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise StoreError(f"{name!r} is not a table or database name: use letters, digits and underscores")
    return name


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _bindable(params: Params | None) -> dict[str, Any]:
    return {name: _utc_text(value) for name, value in (params or {}).items()}


def _utc_text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_utc_text(each) for each in value]
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a query parameter is the naive datetime {value}; use datetime(..., tzinfo=UTC)")
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    return value


def _code(error: ClickHouseError) -> int:
    text = str(error)
    start = text.find("Code: ")
    digits = text[start + 6 :].split(".", 1)[0] if start >= 0 else ""
    return int(digits) if digits.isdigit() else 0
