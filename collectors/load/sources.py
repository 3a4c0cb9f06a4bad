"""Tables in files of five formats, read in pieces: memory follows the piece, not the file."""

from __future__ import annotations

import glob
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from tidegauge.errors import ConfigError, InvalidRecord

STDIN = "-"
BLOCK_BYTES = 8 * 2**20
Opened = tuple[pa.Schema, Iterator[pa.RecordBatch]]


class Hints(NamedTuple):
    """Columns that a format without types must not guess: ``text`` in CSV whatever it looks like, such as ids, and
    ``time`` in JSON, whose reader would forget the zone."""

    text: Sequence[str] = ()
    time: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One file."""

    name: str
    open: Callable[[Hints], Opened]

    def pieces(self, rows: int, hints: Hints) -> Iterator[pa.Table]:
        """Its rows in tables of ``rows``, the last one of what is left; at least one table, which may be empty.

        Raises:
            InvalidRecord: it cannot be read; says where.
        """
        done = 0
        try:
            schema, batches = self.open(hints)
            waiting = schema.empty_table()
            for batch in batches:
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
                while waiting.num_rows >= rows:
                    yield waiting.slice(0, rows)
                    waiting, done = waiting.slice(rows), done + rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InvalidRecord(f"{self.name}, after row {done:,}: {error}") from error
        if waiting.num_rows or not done:
            yield waiting


def sources(names: Sequence[str]) -> list[Source]:
    """The files that ``names`` mean: paths, patterns such as ``day-*.parquet``, ``-`` for an Arrow stream on stdin.

    Raises:
        ConfigError: lists every name that is no file, or no format that is known.
    """
    problems: list[str] = []
    found = [each for name in names for each in _matching(name, problems)]
    for path in found:
        if path != STDIN and _format(path) is None:
            problems.append(f"{path}: must end in {', '.join(FORMATS)}")
    if problems:
        raise ConfigError("tidegauge load", problems)
    return [_source(path) for path in found]


def _matching(name: str, problems: list[str]) -> list[str]:
    if name == STDIN or Path(name).is_file():
        return [name]
    found = sorted(each for each in glob.glob(name, recursive=True) if Path(each).is_file())  # noqa: PTH207 - also absolute
    if not found:
        problems.append(f"{name}: there is no such file" + (", and no file in it" if Path(name).is_dir() else ""))
    return found


def _source(path: str) -> Source:
    if path == STDIN:
        return Source("stdin", lambda hints: _batches(pa.ipc.open_stream(sys.stdin.buffer)))
    reader = _format(path)
    assert reader
    return Source(path, lambda hints: reader(path, hints))


def _format(path: str) -> Callable[[str, Hints], Opened] | None:
    return FORMATS.get(Path(path).suffix.lower())


def _parquet(path: str, hints: Hints) -> Opened:
    file = pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK_BYTES)
    return file.schema_arrow, file.iter_batches(batch_size=10_000)


def _csv(path: str, hints: Hints) -> Opened:
    """One thread: only then does an error name the row."""
    reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    kinds = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(hints.text, pa.string()))
    return _batches(pyarrow.csv.open_csv(path, read_options=reading, convert_options=kinds))


def _json(path: str, hints: Hints) -> Opened:
    reading = pyarrow.json.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    time = [(hints.time, pa.string())] if isinstance(_first_object(path).get(hints.time), str) else []
    parsing = pyarrow.json.ParseOptions(explicit_schema=pa.schema(time))
    return _batches(pyarrow.json.open_json(path, read_options=reading, parse_options=parsing))


def _first_object(path: str) -> dict[str, Any]:
    with Path(path).open(encoding="utf-8") as lines:
        line = next((each for each in lines if each.strip()), "{}")
    try:
        found = json.loads(line)
    except ValueError:  # an object over several lines; the reader says what it makes of it
        return {}
    return found if isinstance(found, dict) else {}


def _arrow(path: str, hints: Hints) -> Opened:
    source = pa.memory_map(path)
    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return _batches(pa.ipc.open_stream(source))
    return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


def _batches(reader: Any) -> Opened:
    return reader.schema, iter(reader)


FORMATS: dict[str, Callable[[str, Hints], Opened]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".ndjson": _json,
    ".jsonl": _json,
    ".arrow": _arrow,
    ".feather": _arrow,
}
