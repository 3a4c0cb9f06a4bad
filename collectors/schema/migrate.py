"""Numbered, forward-only migrations, applied on start.

Every statement must be one that can run twice, and beside itself in another process: ``CREATE ... IF NOT EXISTS``,
``ALTER TABLE ... ADD COLUMN IF NOT EXISTS``, ``DROP ... IF EXISTS``. To change a materialized view, drop the input
table that feeds it, then the view, and make both anew, the input under another name: a sink of the version before
waits, and no row is missed. Its query is never modified: the tokens of such a view are others after a restart. What
depends on the configuration (retention, cluster) is no part of a checksum.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tidegauge.collectors.schema.cluster import Cluster
from tidegauge.config import ClickHouse
from tidegauge.errors import StoreError
from tidegauge.store import Store

NUMBERED = re.compile(r"^(\d{4})_(\w+)\.sql\.j2$")
LEDGER = """CREATE TABLE IF NOT EXISTS schema_migrations (
  version UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = MergeTree() ORDER BY (version) SETTINGS non_replicated_deduplication_window = 1000,
  replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file, rendered into its statements."""

    version: int
    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Identifies the text for one server; a migration that was applied must never change."""
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]


def migrations() -> list[Migration]:
    """All migrations in order. Raises StoreError when a number is missing or double."""
    names = sorted(each.name for each in (files(__package__) / "migrations").iterdir() if NUMBERED.match(each.name))
    found = [_render(name) for name in names]
    if [each.version for each in found] != list(range(1, len(found) + 1)):
        raise StoreError(f"migrations must be numbered 1, 2, 3 ... without gaps, found {names}")
    return found


def migrate(store: Store, settings: ClickHouse | None = None, *, again: bool = False) -> list[Migration]:
    """Bring ``store`` to the newest schema; returns what was applied now.

    Two processes may do so together: every statement can run twice, and of each migration there is one ledger entry.

    Args:
        store: The database.
        settings: Whether it is one of a cluster.
        again: Run the statements of all migrations, to create what is missing, as on a node that joined later.

    Raises:
        StoreError: a migration that was applied earlier has a different text now.
    """
    cluster = Cluster(settings.cluster, store.database, settings.shard_by) if settings and settings.cluster else None
    for statement in _ledger(cluster):
        store.execute(statement)
    rows = store.rows("SELECT version, name, checksum, applied_at FROM schema_migrations")
    applied = {row["version"]: row for row in rows}
    return [each for each in migrations() if _apply(store, each, applied.get(each.version), cluster, again)]


def _ledger(cluster: Cluster | None) -> Iterator[str]:
    if cluster:
        yield f"CREATE DATABASE IF NOT EXISTS {cluster.database} ON CLUSTER '{cluster.name}'"
    yield from cluster.statements([LEDGER]) if cluster else [LEDGER]


def _apply(
    store: Store, migration: Migration, entry: dict[str, Any] | None, cluster: Cluster | None, again: bool
) -> bool:
    if entry and entry["checksum"] != migration.checksum:
        raise StoreError(_changed(store, migration, entry))
    if entry and not again:
        return False
    for statement in cluster.statements(migration.statements) if cluster else migration.statements:
        store.execute(statement)
    if not entry:
        row = {"version": migration.version, "name": migration.name, "checksum": migration.checksum}
        store.insert("schema_migrations", [row], token=migration.checksum)  # of two processes, one entry
    return True


def _changed(store: Store, migration: Migration, entry: dict[str, Any]) -> str:
    when = f"{entry['applied_at']:%Y-%m-%d %H:%M} UTC"
    return (
        f"migration {migration.version} ({migration.name}) is not the one that was applied on {when} to the database "
        f"{store.database} at {store.address}: its checksum was {entry['checksum']} and is {migration.checksum}. Run "
        "the version of Tidegauge that applied it, or a later release. Where you changed the file or macros.j2 "
        "yourself: take the change back and put it into a new migration with the next number. A database without data "
        "worth keeping can be dropped; the next start makes it anew"
    )


def _render(filename: str) -> Migration:
    match = NUMBERED.match(filename)
    assert match
    loader = PackageLoader("tidegauge.collectors.schema", "migrations")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 - SQL, not HTML
    text = environment.get_template(filename).render()
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    statements = tuple(part.strip() for part in bare.split(";\n") if part.strip())
    return Migration(int(match[1]), match[2], tuple(part.rstrip(";").strip() for part in statements))
