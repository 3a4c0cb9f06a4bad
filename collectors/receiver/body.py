"""Request bodies within a limit that holds before and after decompression, so that a small bomb stays small."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Generator, Iterator, MutableMapping
from typing import Any

import zstandard

from tidegauge.collectors.receiver.room import Lease
from tidegauge.errors import InvalidPayload, TidegaugeError

ZSTD_WINDOW = 8 * 2**20  # the largest that Content-Encoding: zstd may ask for (RFC 9659)
OUTPUT_STEP = 2**20
ZLIB_STEP = 2**16
ZSTD_STEP = 256  # bytes of input at a time: not more than 8 MiB of output, for 4 bytes may stand for 128 KiB
ENCODINGS = ("gzip", "deflate", "zstd", "identity")


class TooLarge(TidegaugeError):
    """A body beyond the receiver's limit. Final."""


class Disconnected(TidegaugeError):
    """The client went away, or was sent away, before all of its body had come."""


async def read(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], limit: int, lease: Lease) -> bytes:
    """The body as it came, from an ASGI connection.

    Raises:
        TooLarge: beyond ``limit`` bytes.
        Backpressure: beyond what ``lease`` can be had for.
    """
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected("the client is gone")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the request is larger than {limit} bytes; send smaller batches")
        if size > lease.size:
            lease.resize(size)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def decompress(body: bytes, encoding: str, limit: int, lease: Lease | None = None) -> bytes:
    """The body without its content encoding.

    Raises:
        TooLarge: it would be larger than ``limit``; little more than ``limit`` bytes were produced to find out.
        InvalidPayload: an unknown encoding, or bytes that are not in it.
        Backpressure: beyond what ``lease`` can be had for.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ENCODINGS:
        raise InvalidPayload(f"Content-Encoding {encoding!r} is none of {', '.join(ENCODINGS)}")
    plain, size = [], 0
    try:
        for part in _parts(body, encoding):
            plain.append(part)
            size += len(part)
            if size > limit:
                raise TooLarge(f"the request is larger than {limit} bytes when decompressed; send smaller batches")
            if lease:
                lease.resize(len(body) + size)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise InvalidPayload(f"the body is not {encoding}: {error}") from error
    return b"".join(plain)


def _parts(body: bytes, encoding: str) -> Iterator[bytes]:
    """The members or frames of ``body``, one after the other, in parts of not more than some megabytes."""
    while body:
        body = yield from (_zstd(body) if encoding == "zstd" else _zlib(body))


def _zlib(body: bytes) -> Generator[bytes, None, bytes]:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, told by its header
    for at in range(0, len(body), ZLIB_STEP):
        data = body[at : at + ZLIB_STEP]
        while data and not decoder.eof:
            yield decoder.decompress(data, OUTPUT_STEP)
            data = decoder.unconsumed_tail
        if decoder.eof:
            return decoder.unused_data + body[at + ZLIB_STEP :]
    raise EOFError("it ends too early")


def _zstd(body: bytes) -> Generator[bytes, None, bytes]:
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
    for at in range(0, len(body), ZSTD_STEP):
        yield decoder.decompress(body[at : at + ZSTD_STEP])
        if decoder.eof:
            return decoder.unused_data + body[at + ZSTD_STEP :]
    raise EOFError("it ends too early")
