"""The tenant of the sender's key, written into a frame on its way in."""

from __future__ import annotations

import pyarrow as pa

from tidegauge.collectors.frames import header
from tidegauge.collectors.frames.layout import VERIFIED
from tidegauge.collectors.frames.stream import read, serialize
from tidegauge.errors import InvalidPayload


def stamp(payload: bytes, tenant: str) -> bytes:
    """The same stream with ``tenant`` as the verified one in its schema's metadata; empty: with none.

    Only the schema message is written anew, unless it numbers its dictionaries in another way than pyarrow does.

    Raises:
        InvalidPayload: no Arrow IPC stream.
    """
    head = header.measure(payload)
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(payload))
    except pa.ArrowException as error:
        raise InvalidPayload(f"not an Arrow IPC stream: {error}") from error
    kept = {key: value for key, value in (schema.metadata or {}).items() if key != VERIFIED.encode()}
    marked = schema.with_metadata(kept | ({VERIFIED.encode(): tenant.encode()} if tenant else {}))
    if marked.metadata == schema.metadata:
        return payload
    message = marked.serialize().to_pybytes()
    own = header.schema_table(pa.ipc.read_message(message))
    if tuple(header.dictionary_ids(own)) == head.dictionaries and head.little_endian:
        return bytes(message + payload[head.schema_end :])
    return serialize(read(payload).table.replace_schema_metadata(marked.metadata))
