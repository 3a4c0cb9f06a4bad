"""What the columns of a file mean, and pieces of it as frames that follow from the file and its meaning alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from tidegauge.clock import epoch_ns
from tidegauge.collectors.frames import Frame, Kind, Layout, Roles, check, columns, serialize
from tidegauge.collectors.frames.layout import describe
from tidegauge.collectors.frames.rows import identifiers
from tidegauge.collectors.load.sources import Hints
from tidegauge.errors import InvalidPayload, InvalidRecord

# A role that is not given falls to the column of this name, where there is one.
USUAL = {
    "prediction": "prediction",
    "score": "score",
    "id": "prediction_id",
    "timestamp": "timestamp",
    "label": "label",
}
TimeUnit = Literal["s", "ms", "us", "ns"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """How to read a file.

    Args:
        roles: Columns by role. ``label`` makes labels of the rows that have one, beside their predictions.
        attributes: What all rows share: ``service.name``, ``tidegauge.role``, ``tidegauge.version.*`` ...
        exclude: Columns that are no features.
        labels_only: The rows are labels and no predictions.
        at: Event time of every row, where no column has it.
        timezone: Of times that do not say theirs.
        time_unit: Of times that are numbers since 1970.
    """

    model: str
    roles: Roles = field(default_factory=Roles)
    attributes: Mapping[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    labels_only: bool = False
    at: datetime | None = None
    timezone: str = ""
    time_unit: TimeUnit | None = None

    @property
    def hints(self) -> Hints:
        """What a format without types is told of the columns."""
        text = [self.roles.id or USUAL["id"], self.roles.version, *self.roles.slices]
        return Hints([name for name in text if name], self.roles.timestamp or USUAL["timestamp"])

    def completed(self, names: list[str]) -> Meaning:
        """With the usual columns in the roles that none was given for, and every feature spelled out.

        Raises:
            InvalidRecord: a column that is not there.
        """
        guesses = {role: name for role, name in USUAL.items() if name in names and name not in self.roles.used}
        given = {role: getattr(self.roles, role) or guesses.get(role, "") for role in USUAL}
        roles = self.roles.model_copy(update=given)
        if missing := [name for name in (*roles.used, *self.exclude) if name not in names]:
            raise InvalidRecord(f"there is no column {', '.join(map(repr, missing))}; there are {', '.join(names)}")
        features = roles.features
        if features is None:
            others = {*roles.used, *self.exclude}
            features = tuple(name for name in names if name not in others)
        return replace(self, roles=roles.model_copy(update={"features": () if self.labels_only else features}))

    def frames(self, piece: pa.Table, first_row: int) -> Iterator[Frame]:
        """The frames of rows ``first_row`` and on of a file: predictions, then the labels that are known of them.

        Raises:
            InvalidRecord: names the column that is missing or of the wrong kind, and the row where there is one.
        """
        try:
            timed = self._timed(piece, first_row)
            predictions = self._predictions(timed, first_row)
            if not self.labels_only:
                yield predictions
            if self.roles.label:
                yield from self._labels(timed, predictions)
        except InvalidPayload as error:
            raise InvalidRecord(str(error)) from error

    def _predictions(self, piece: pa.Table, first_row: int) -> Frame:
        layout = self._layout(Kind.PREDICTIONS, self.roles.model_copy(update={"label": ""}), first_row)
        return _named(check(piece.select(list(layout.roles.used)), layout))

    def _labels(self, piece: pa.Table, predictions: Frame) -> Iterator[Frame]:
        """Under the ids of their predictions, generated ones too."""
        if self.labels_only and not self.roles.id:
            raise InvalidRecord("labels need a column of prediction ids: name it with --id")
        named = {"prediction_id": identifiers(predictions), "label": piece.column(self.roles.label)}
        if self.roles.timestamp:
            named["timestamp"] = piece.column(self.roles.timestamp)
        roles = Roles(id="prediction_id", label="label", timestamp="timestamp" if self.roles.timestamp else "")
        table = pa.table(named)
        known = table.filter(pa.array(~columns.missing(table.column("label"))))
        if known.num_rows:
            yield _named(check(known, self._layout(Kind.LABELS, roles, predictions.layout.first_row)))

    def _layout(self, kind: Kind, roles: Roles, first_row: int) -> Layout:
        time_ns = epoch_ns(self.at) if self.at else 0
        return Layout(kind, self.model, roles, self.attributes, time_ns, "", first_row)

    def _timed(self, piece: pa.Table, first_row: int) -> pa.Table:
        """With times that know their zone, and no row without a time or an id."""
        name = self.roles.timestamp
        if not name and not self.at:
            raise InvalidRecord("no column has the time: name it with --timestamp, or give all rows one with --at")
        if name:
            at = piece.column_names.index(name)
            piece = piece.set_column(at, name, self._moments(name, piece.column(name)))
        for column in filter(None, (name, self.roles.id)):
            empty = columns.missing(piece.column(column))
            if empty.any():
                row = first_row + int(empty.argmax()) + 1
                raise InvalidRecord(f"row {row:,}, column {column!r}: is empty; every row needs one")
        return piece

    def _moments(self, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        try:
            return self._zoned(name, values)
        except pa.ArrowInvalid as error:
            raise InvalidRecord(f"column {name!r}: {error}; times look like 2026-01-31T12:00:00Z") from error

    def _zoned(self, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if self.time_unit and columns.is_number(values.type):
            return values.cast(pa.int64()).cast(pa.timestamp(self.time_unit, "UTC"))
        if columns.is_text(values.type):
            values = values.cast(pa.timestamp("us", None if self.timezone else "UTC"))
        if pa.types.is_date(values.type):
            values = values.cast(pa.timestamp("ms"))
        if columns.is_moment(values.type):
            return values
        if not pa.types.is_timestamp(values.type):
            raise InvalidRecord(f"column {name!r} holds {values.type}, no times; numbers need --time-unit s, ms ...")
        if not self.timezone:
            raise InvalidRecord(f"column {name!r} holds times without a time zone: name it, such as --timezone UTC")
        return pc.assume_timezone(values, self.timezone, ambiguous="earliest", nonexistent="latest")


def _named(frame: Frame) -> Frame:
    """Under a name made of its content: the same rows of the same file are the same frame, whenever they are read."""
    used = describe(frame.table.select(list(frame.roles.used)), replace(frame.layout, roles=frame.roles))
    digest = xxhash.xxh3_64_hexdigest(serialize(used.combine_chunks(), compression=None))
    return replace(frame, layout=replace(frame.layout, frame=digest))
