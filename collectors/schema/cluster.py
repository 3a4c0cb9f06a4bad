"""One schema for one server and for a cluster: the same statements, rewritten where a cluster is named.

Of every table ``t`` there is then ``t_local``, replicated, and ``t``, distributed over the ``t_local`` of all shards.
Readers and inserters use ``t``. Views run where a block of rows arrives and so connect ``_local`` tables. Plain views
read ``t``. What every node needs as a whole (EVERYWHERE) is replicated to all of them and not divided.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

EVERYWHERE = frozenset(
    {
        "schema_migrations",
        "alert_diagnoses",
        "alert_lease",
        "capped_values",
        "hook_events",
        "slack_messages",
        "slack_pictures",
        "golden_candidates",
        "golden_rounds",
    }
)
TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) (\(.*\)) ENGINE = (\w+)(\([^()]*\))?(.*)", re.DOTALL)
ORDER = re.compile(r"ORDER BY (\(.*\)|\w+)\s+SETTINGS", re.DOTALL)
VIEW = re.compile(r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+) TO (\w+) AS\b(.*)", re.DOTALL)
PLAIN_VIEW = re.compile(r"CREATE VIEW IF NOT EXISTS (\w+) AS\b(.*)", re.DOTALL)
ALTER = re.compile(r"ALTER TABLE (\w+) (?!MODIFY QUERY\b)(.*)", re.DOTALL)
DROP = re.compile(r"DROP (TABLE|VIEW) IF EXISTS (\w+)")
CREATED = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) ")
SOURCE = re.compile(r"\b(FROM|JOIN) (\w+)\b")
ATTRIBUTES = "{column}[1].resource.attributes"
SERVICE_NAME = f"ifNull(arrayFirst(a -> a.key = 'service.name', {ATTRIBUTES}).value.string_value, '')"
SERVICE_NAME_BYTES = f"substring({ATTRIBUTES}['service.name'], 3)"  # behind tag and length: migrations/wire.j2


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the statements are to run: ``name`` as the server's configuration has it, and what divides the rows."""

    name: str
    database: str
    shard_by: str = "request"

    def statements(self, plain: Sequence[str]) -> tuple[str, ...]:
        """The statements of one server as those of this cluster, in the same order.

        Raises:
            ValueError: a statement is of a kind that this does not know.
        """
        return tuple(each for statement in plain for each in self._rewritten(statement))

    def _rewritten(self, statement: str) -> Iterator[str]:
        if found := TABLE.fullmatch(statement):
            yield from self._table(*found.groups(default=""))
        elif found := VIEW.fullmatch(statement):
            name, target, query = found.groups()
            yield f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name} {self._on} TO {part_of(target)} AS{_localised(query)}"
        elif found := PLAIN_VIEW.fullmatch(statement):
            yield f"CREATE VIEW IF NOT EXISTS {found[1]} {self._on} AS{found[2]}"
        elif found := ALTER.fullmatch(statement):
            yield from self._alter(*found.groups())
        elif found := DROP.fullmatch(statement):
            names = [found[2], part_of(found[2])] if found[1] == "TABLE" else [found[2]]
            yield from (f"DROP {found[1]} IF EXISTS {name} {self._on}" for name in dict.fromkeys(names))
        else:
            raise ValueError(f"a migration has a statement that has no form for clusters: {statement[:80]}")

    @property
    def _on(self) -> str:
        return f"ON CLUSTER '{self.name}'"

    def _table(self, name: str, columns: str, engine: str, arguments: str, rest: str) -> Iterator[str]:
        local = part_of(name)
        if engine.endswith("MergeTree"):
            engine, arguments = f"Replicated{engine}", _replica(name, arguments[1:-1])
        yield f"CREATE TABLE IF NOT EXISTS {local} {self._on} {columns} ENGINE = {engine}{arguments}{rest}"
        if name not in EVERYWHERE:
            key = self._key(columns, rest)
            yield (
                f"CREATE TABLE IF NOT EXISTS {name} {self._on} AS {local} "
                f"ENGINE = Distributed('{self.name}', '{self.database}', '{local}', {key})"
            )

    def _alter(self, name: str, change: str) -> Iterator[str]:
        """Columns are changed locally and in the distributed table as well."""
        yield f"ALTER TABLE {part_of(name)} {self._on} {change}"
        if name not in EVERYWHERE and re.match(r"\w+ COLUMN ", change):
            yield f"ALTER TABLE {name} {self._on} {change}"

    def _key(self, columns: str, rest: str) -> str:
        """Follows from the row alone, so that a repeated insert comes to the shards that have its first copy."""
        first = columns[1:].split()[0]
        by_service = self.shard_by == "service"
        if first.startswith("resource_"):
            service_name = SERVICE_NAME if "value Tuple(" in columns else SERVICE_NAME_BYTES
            return f"cityHash64({service_name.format(column=first) if by_service else first})"
        if by_service and (service := re.search(r"\b(ServiceName|service) ", columns)):
            return f"cityHash64({service[1]})"
        if order := ORDER.search(rest):
            return f"cityHash64{order[1] if order[1].startswith('(') else f'({order[1]})'}"
        return "cityHash64(model, prediction_id)"


def part_of(name: str) -> str:
    """The table that holds the rows of ``name`` on each node."""
    return name if name in EVERYWHERE else f"{name}_local"


def _localised(query: str) -> str:
    """Every table that the query of a materialized view reads, as its part on this node."""
    return SOURCE.sub(lambda found: f"{found[1]} {found[2] if found[2] in VIEWS else part_of(found[2])}", query)


VIEWS = frozenset({"capped_now"})
"""Plain views that materialized views read; they read what is everywhere."""


def _replica(name: str, arguments: str) -> str:
    """Path and name of the replica, of the server's macros; then the engine's own arguments."""
    everywhere = name in EVERYWHERE
    path = f"/clickhouse/tables/{'' if everywhere else '{shard}/'}{{database}}/{{table}}"
    replica = "{shard}-{replica}" if everywhere else "{replica}"
    return f"('{path}', '{replica}'{', ' if arguments else ''}{arguments})"
