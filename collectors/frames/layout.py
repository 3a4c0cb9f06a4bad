"""What a frame's columns mean: written into, and read from, the schema's metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from tidegauge.errors import InvalidPayload

KIND, COLUMNS, MODEL, TIME = "tidegauge.kind", "tidegauge.columns", "tidegauge.model.name", "tidegauge.time_unix_nano"
FRAME, FIRST_ROW = "tidegauge.frame.id", "tidegauge.frame.first_row"
VERIFIED = "tidegauge.tenant.verified"
SLICE, VERSION = "tidegauge.slice.", "tidegauge.version."
MAX_TIME = 9_223_372_036_000_000_000


class Kind(StrEnum):
    """What each row of a frame is."""

    PREDICTIONS = "predictions"
    LABELS = "labels"


class Roles(BaseModel):
    """Which columns mean what; an empty name is no column. ``features`` None is every column without another role."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    features: tuple[str, ...] | None = None
    prediction: str = ""
    score: str = ""
    label: str = ""
    id: str = ""
    timestamp: str = ""
    slices: tuple[str, ...] = ()
    version: str = ""
    tenant: str = ""
    intent: str = ""
    session: str = ""
    trace_id: str = ""
    span_id: str = ""

    @property
    def single(self) -> dict[str, str]:
        """The roles that one column has, by role."""
        named = self.model_dump(exclude={"features", "slices"})
        return {role: column for role, column in named.items() if column}

    @property
    def used(self) -> tuple[str, ...]:
        """Every column that is named, once."""
        return tuple(dict.fromkeys([*(self.features or ()), *self.single.values(), *self.slices]))


@dataclass(frozen=True, slots=True)
class Layout:
    """A frame's description.

    ``attributes`` are what all rows share, under their OTLP names: ``service.name``, ``tidegauge.model.version``,
    ``tidegauge.role``, ``tidegauge.tenant``, ``tidegauge.slice.*``, ``tidegauge.version.*`` ...

    Args:
        time_ns: Event time of every row where no column has it, in nanoseconds since 1970.
        frame: Begins the ids of predictions that no column names: ``{frame}-{row}``; empty: the payload's digest.
        first_row: Number of the first row, where a frame is sent in parts.
    """

    kind: Kind
    model: str
    roles: Roles
    attributes: Mapping[str, str] = field(default_factory=dict)
    time_ns: int = 0
    frame: str = ""
    first_row: int = 0

    def metadata(self) -> dict[str, str]:
        """The schema metadata that says all this."""
        numbers = {TIME: self.time_ns, FIRST_ROW: self.first_row}
        texts = {KIND: self.kind.value, MODEL: self.model, FRAME: self.frame}
        columns = {COLUMNS: self.roles.model_dump_json(exclude_defaults=True)}
        described = texts | {key: str(value) for key, value in numbers.items() if value} | columns
        return {key: value for key, value in (dict(self.attributes) | described).items() if value}

    def resolved(self, names: list[str]) -> Roles:
        """The roles over columns called ``names``, with ``features`` spelled out.

        Raises:
            InvalidPayload: a column that is not there, or there twice, or a role that the kind needs and lacks.
        """
        others = set(self.roles.model_copy(update={"features": ()}).used)
        given = self.roles.features
        spelled = given if given is not None or self.kind is Kind.LABELS else [n for n in names if n not in others]
        roles = self.roles.model_copy(update={"features": tuple(spelled or ())})
        _refuse_missing(roles, names)
        if self.kind is Kind.LABELS and not (roles.id and roles.label):
            raise InvalidPayload("a frame of labels needs a column with the role id and one with the role label")
        if not roles.timestamp and not self.time_ns:
            raise InvalidPayload(f"give a column the role timestamp, or set {TIME} for all rows")
        return roles


def parse(metadata: Mapping[bytes, bytes] | None) -> Layout:
    """The layout that a schema's metadata describes. Raises InvalidPayload naming the key that is wrong."""
    texts = {_utf8(key): _utf8(value) for key, value in (metadata or {}).items()}
    kind = texts.get(KIND, "")
    if kind not in list(Kind):
        raise InvalidPayload(f"the schema's metadata must have {KIND} = {' or '.join(Kind)}, found {kind[:80]!r}")
    if not texts.get(MODEL):
        raise InvalidPayload(f"the schema's metadata must have {MODEL}: the name that predictions are watched under")
    own = {KIND, MODEL, COLUMNS, TIME, FRAME, FIRST_ROW, "pandas", "ARROW:schema"}
    return Layout(
        Kind(kind),
        texts[MODEL],
        _roles(texts.get(COLUMNS, "{}")),
        {key: value for key, value in texts.items() if key not in own},
        _number(texts, TIME),
        texts.get(FRAME, ""),
        _number(texts, FIRST_ROW),
    )


def describe(table: pa.Table, layout: Layout) -> pa.Table:
    """``table`` with ``layout`` in its metadata, and none besides."""
    bare = [each.remove_metadata() for each in table.schema]
    return table.cast(pa.schema(bare)).replace_schema_metadata(layout.metadata())


def _roles(text: str) -> Roles:
    try:
        return Roles.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors()[:5])
        raise InvalidPayload(f"{COLUMNS} must be a JSON object of roles and column names: {problems}") from None


def _refuse_missing(roles: Roles, names: list[str]) -> None:
    seen = Counter(names)
    missing = [name for name in roles.used if not seen[name]]
    if missing:
        shown = ", ".join(names[:50]) + (" ..." if len(names) > 50 else "")
        raise InvalidPayload(f"the frame has no column {', '.join(map(repr, missing[:10]))}; it has {shown or 'none'}")
    double = [name for name in roles.used if seen[name] > 1]
    double += [name for part in (roles.features or (), roles.slices) for name, n in Counter(part).items() if n > 1]
    if double:
        raise InvalidPayload(f"column {double[0]!r} is there more than once; give each a name of its own")


def _number(texts: Mapping[str, str], key: str) -> int:
    text = texts.get(key, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidPayload(f"{key} must be a whole number, found {text[:80]!r}")
    return min(int(text), MAX_TIME)


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"the schema's metadata must be UTF-8: {error}") from error
