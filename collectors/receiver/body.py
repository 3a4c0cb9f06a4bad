"""Request bodies within a limit that holds before and after decompression, so that a small bomb stays small."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import Protocol

import zstandard

from tidegauge.errors import InvalidPayload, TidegaugeError

ENCODINGS = ("gzip", "deflate", "zstd", "identity")


class TooLarge(TidegaugeError):
    """A body beyond the receiver's limit. Final."""


class _Decoder(Protocol):
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


async def read(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """The body as it came. Raises TooLarge beyond ``limit`` bytes."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the request is larger than {limit} bytes; send smaller batches")
    return bytes(body)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its content encoding.

    Raises:
        TooLarge: it would be larger than ``limit``; at most ``limit`` + 1 bytes were produced to find out.
        InvalidPayload: an unknown encoding, or bytes that are not in it.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ENCODINGS:
        raise InvalidPayload(f"Content-Encoding {encoding!r} is none of {', '.join(ENCODINGS)}")
    try:
        plain = _inflate(body, encoding, limit)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise InvalidPayload(f"the body is not {encoding}: {error}") from error
    if len(plain) > limit:
        raise TooLarge(f"the request is larger than {limit} bytes when decompressed; send smaller batches")
    return plain


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            return reader.read(limit + 1)
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, told by its header
    plain = decoder.decompress(body, limit + 1)
    if not decoder.eof and len(plain) <= limit:
        raise EOFError("it ends too early")
    return plain
