"""Frames of files to a receiver: several at a time, noted when they are durable, tried again while it is away."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from random import Random

import pyarrow as pa
import xxhash

from tidegauge.collectors.frames import Frame, Kind, encode, parts
from tidegauge.collectors.load.journal import Journal
from tidegauge.collectors.load.meaning import Meaning
from tidegauge.collectors.load.sources import Source
from tidegauge.collectors.sdk.post import Answer, Lane, Later, Post, Refused
from tidegauge.collectors.sdk.retry import Backoff
from tidegauge.errors import InvalidPayload, InvalidRecord, TidegaugeError

PIECE_ROWS = 10_000
PIECE_CELLS = 1_000_000  # rows times columns
AT_ONCE = 4  # requests under way
Progress = Callable[["Loaded"], None]


@dataclass(slots=True)
class Loaded:
    """What became of one file; counts of rows."""

    file: str
    read: int = 0
    predictions: int = 0
    labels: int = 0
    skipped: int = 0  # predictions and labels that the journal knows


@dataclass(slots=True)
class _Sent:
    answer: Future[None]
    key: str
    frame: Frame
    row: int


class Loader:
    """Sends files by ``connect``, which makes the way to deliver for each thread.

    Args:
        endpoint: Part of what the journal remembers: one service's load is not another's.
        give_up_after_s: A request that is put off is tried again for so long.
        again: Send what the journal knows as well.
        sleep: Waits; for tests.
    """

    def __init__(
        self,
        connect: Callable[[], Post],
        endpoint: str,
        journal: Journal,
        *,
        give_up_after_s: float = 600,
        again: bool = False,
        progress: Progress = lambda loaded: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._post, self._endpoint, self._journal = connect(), endpoint, journal
        self._give_up_after_s, self._again = give_up_after_s, again
        self._progress, self._sleep = progress, sleep
        self._workers = ThreadPoolExecutor(AT_ONCE, "tidegauge-load")
        self._waiting: deque[_Sent] = deque()

    def load(self, source: Source, meaning: Meaning) -> Loaded:
        """Send one file; returns when all of it is durable.

        Raises:
            InvalidRecord: the file is not what ``meaning`` says; what came before the place it names is stored.
            TidegaugeError: the receiver refuses a frame, or is away for too long.
        """
        loaded = Loaded(source.name)
        try:
            for frame, row in frames_of(source, meaning, loaded):
                self._offer(frame, row, loaded)
        finally:
            self._drain(loaded)  # what is under way is noted, whatever has happened since
        return loaded

    def close(self) -> None:
        """Stop."""
        self._workers.shutdown()
        self._post.close()

    def _offer(self, frame: Frame, row: int, loaded: Loaded) -> None:
        identity = f"{self._endpoint}\0{frame.layout.frame}\0{frame.layout.first_row}"
        key = xxhash.xxh3_128_hexdigest(identity.encode())
        if key in self._journal and not self._again:
            loaded.skipped += frame.table.num_rows
            self._progress(loaded)
            return
        while len(self._waiting) >= AT_ONCE:
            self._settle(loaded)
        self._waiting.append(_Sent(self._workers.submit(self._deliver, encode(frame)), key, frame, row))

    def _drain(self, loaded: Loaded) -> None:
        problems = []
        while self._waiting:
            try:
                self._settle(loaded)
            except TidegaugeError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def _settle(self, loaded: Loaded) -> None:
        sent = self._waiting.popleft()
        rows = sent.frame.table.num_rows
        try:
            sent.answer.result()
        except TidegaugeError as error:
            raise TidegaugeError(f"{loaded.file}, rows {sent.row + 1:,} to {sent.row + rows:,}: {error}") from error
        self._journal.add(sent.key)
        if sent.frame.layout.kind is Kind.LABELS:
            loaded.labels += rows
        else:
            loaded.predictions += rows
        self._progress(loaded)

    def _deliver(self, payload: bytes) -> None:
        backoff, deadline = Backoff(Random()), time.monotonic() + self._give_up_after_s  # noqa: S311 - spreads retries
        while isinstance(answer := self._post(Lane.FRAMES, payload), Later):
            wait_s = backoff.wait_s(answer.after_s)
            if time.monotonic() + wait_s > deadline:
                raise TidegaugeError(
                    f"{self._endpoint} could not take it for {self._give_up_after_s:g} s ({answer.reason}); "
                    "run the same command again to go on from here"
                )
            self._sleep(wait_s)
        _refuse(self._endpoint, answer)


def frames_of(source: Source, meaning: Meaning, loaded: Loaded) -> Iterator[tuple[Frame, int]]:
    """The frames of a file, each small enough for a request, and its first row. Raises InvalidRecord with the place."""
    pieces = source.pieces(PIECE_ROWS, meaning.hints)
    first = next(pieces)
    try:
        complete = meaning.completed(first.column_names)
        for piece in _narrow(chain([first], pieces)):
            for whole in complete.frames(piece, loaded.read):
                for part in parts(whole):
                    if part.table.num_rows:
                        yield part, part.layout.first_row
            loaded.read += piece.num_rows
    except (InvalidRecord, InvalidPayload) as error:
        place = "" if str(error).startswith(source.name) else f"{source.name}, after row {loaded.read:,}: "
        raise InvalidRecord(f"{place}{error}") from error


def understood(source: Source, meaning: Meaning) -> dict[str, object]:
    """What ``load`` would make of a file, by its first rows: its columns by role, and the types of its features.

    Raises:
        InvalidRecord: the file is not what ``meaning`` says.
    """
    first = next(source.pieces(PIECE_ROWS, meaning.hints))
    try:
        complete = meaning.completed(first.column_names)
        made = list(dict.fromkeys(frame.layout.kind.value for frame in complete.frames(first, 0)))
    except InvalidRecord as error:
        raise InvalidRecord(f"{source.name}: {error}") from error
    named = complete.roles.model_dump(exclude_defaults=True, exclude={"features"})
    kinds = {name: str(first.schema.field(name).type) for name in complete.roles.features or ()}
    return {"file": source.name, "makes": made, "columns": named, "features": kinds}


def _narrow(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Wide pieces cut, so that each holds at most PIECE_CELLS."""
    for piece in pieces:
        rows = max(1, PIECE_CELLS // max(1, piece.num_columns))
        for start in range(0, max(1, piece.num_rows), rows):
            yield piece.slice(start, rows)


def _refuse(endpoint: str, answer: Answer) -> None:
    if isinstance(answer, Refused):
        raise TidegaugeError(f"{endpoint} refuses it: {answer.reason}")
    if not isinstance(answer, Later) and answer.rejected:
        raise TidegaugeError(f"{endpoint} refuses {answer.rejected} row(s) of it: {answer.reason}")
