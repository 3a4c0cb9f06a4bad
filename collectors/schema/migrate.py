"""Numbered, forward-only migrations, applied on start."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from tidegauge.errors import StoreError
from tidegauge.store import Store

NUMBERED = re.compile(r"^(\d{4})_(\w+)\.sql\.j2$")
LEDGER = """CREATE TABLE IF NOT EXISTS schema_migrations (
  version UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = MergeTree ORDER BY version SETTINGS non_replicated_deduplication_window = 1000"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file, rendered into its statements."""

    version: int
    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Identifies the rendered text; a migration that was applied must never change."""
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]


def migrations() -> list[Migration]:
    """All migrations in order. Raises StoreError when a number is missing or double."""
    names = sorted(each.name for each in (files(__package__) / "migrations").iterdir() if NUMBERED.match(each.name))
    found = [_render(name) for name in names]
    if [each.version for each in found] != list(range(1, len(found) + 1)):
        raise StoreError(f"migrations must be numbered 1, 2, 3 ... without gaps, found {names}")
    return found


def migrate(store: Store) -> list[Migration]:
    """Bring ``store`` to the newest schema; returns what was applied now.

    Every statement is idempotent (``IF NOT EXISTS``), so two processes that start together do no harm.

    Raises:
        StoreError: a migration that was applied earlier has a different text now.
    """
    store.execute(LEDGER)
    applied = {row["version"]: row["checksum"] for row in store.rows("SELECT version, checksum FROM schema_migrations")}
    return [each for each in migrations() if _apply(store, each, applied.get(each.version))]


def _apply(store: Store, migration: Migration, checksum: str | None) -> bool:
    if checksum == migration.checksum:
        return False
    if checksum is not None:
        raise StoreError(
            f"migration {migration.version} ({migration.name}) was changed after it was applied to {store.address}: "
            "put the change into a new migration, or start with an empty database"
        )
    for statement in migration.statements:
        store.execute(statement)
    store.insert(
        "schema_migrations",
        [{"version": migration.version, "name": migration.name, "checksum": migration.checksum}],
        token=migration.checksum,  # of two processes that start together, one entry
    )
    return True


def _render(filename: str) -> Migration:
    match = NUMBERED.match(filename)
    assert match
    loader = PackageLoader("tidegauge.collectors.schema", "migrations")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 - SQL, not HTML
    text = environment.get_template(filename).render()
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    statements = tuple(part.strip() for part in bare.split(";\n") if part.strip())
    return Migration(int(match[1]), match[2], tuple(part.rstrip(";").strip() for part in statements))
