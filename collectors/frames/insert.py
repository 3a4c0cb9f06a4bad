"""Frames into ClickHouse, as Arrow."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tidegauge.collectors.frames.rows import stored
from tidegauge.collectors.frames.stream import read
from tidegauge.store import Store

TABLE = "frames_in"


def insert_frames(store: Store, payloads: Sequence[bytes], token: str | None = None) -> None:
    """Insert serialized frames as one batch; with a ``token`` the same batch sent again changes nothing.

    Raises:
        StoreError: ClickHouse refused the batch.
        InvalidPayload: a payload is no frame.
    """
    tables = [stored(frame) for frame in map(read, payloads) if frame.table.num_rows]
    if tables:
        store.insert_arrow(TABLE, pa.concat_tables(tables).unify_dictionaries().combine_chunks(), token)
