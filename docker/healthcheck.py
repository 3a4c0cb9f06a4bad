"""Whether the process in this container does its work: ``python healthcheck.py up|receiver|sink|worker|page``.

The receiver must accept connections and the page must answer. Sink and worker listen nowhere; of them it is asked that
the database answers with their own address and password, and that its tables are there.
"""

from __future__ import annotations

import socket
import sys
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tidegauge.config import Settings, load

TIMEOUT_S = 4.0


def receiver(settings: Settings) -> None:
    """The OTLP/HTTP port takes connections."""
    socket.create_connection(("127.0.0.1", settings.receiver.http_port), TIMEOUT_S).close()


def page(settings: Settings) -> None:
    """The built-in page answers; an error status raises."""
    with urlopen(f"http://127.0.0.1:{settings.page.port}/", timeout=TIMEOUT_S) as answer:
        answer.read(1)


def database(settings: Settings) -> None:
    """ClickHouse lets us in and holds the schema."""
    dsn = urlsplit(settings.dsn)
    query = f"SELECT throwIf(count() = 0) FROM {settings.clickhouse.database}.schema_migrations"  # noqa: S608 - checked name
    request = Request(f"http://{dsn.hostname}:{dsn.port or 8123}/", data=query.encode())
    request.add_header("X-ClickHouse-User", unquote(dsn.username or "default"))
    request.add_header("X-ClickHouse-Key", unquote(dsn.password or ""))
    with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - fixed scheme
        answer.read()


CHECKS = {
    "up": (receiver, page),
    "receiver": (receiver,),
    "sink": (database,),
    "worker": (database,),
    "page": (page, database),
}


def main(role: str) -> int:
    """0 when every check of ``role`` passes, 1 with one line on why not."""
    try:
        settings = load()
        for check in CHECKS[role]:
            check(settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is "not healthy"
        sys.stderr.write(f"{role}: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
