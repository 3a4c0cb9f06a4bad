"""Request bodies within a limit that holds before and after decompression, so that a small bomb stays small."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

import zstandard

from tidegauge.errors import InvalidPayload, TidegaugeError

ZSTD_WINDOW = 8 * 2**20  # the largest that Content-Encoding: zstd may ask for (RFC 9659)
ZSTD_STEP = 256  # bytes of input at a time: not more than 8 MiB of output, for 4 bytes may stand for 128 KiB
ENCODINGS = ("gzip", "deflate", "zstd", "identity")


class TooLarge(TidegaugeError):
    """A body beyond the receiver's limit. Final."""


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
        TooLarge: it would be larger than ``limit``; little more than ``limit`` bytes were produced to find out.
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
    """All members or frames of ``body``, one after the other; it stops soon after ``limit`` bytes."""
    plain = bytearray()
    while body and len(plain) <= limit:
        parts = _zstd(body) if encoding == "zstd" else _zlib(body, limit + 1)
        for part, rest in parts:
            plain += part
            body = rest
            if len(plain) > limit:
                break
    return bytes(plain)


def _zlib(body: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, told by its header
    plain = decoder.decompress(body, limit)
    if not decoder.eof and len(plain) < limit:
        raise EOFError("it ends too early")
    yield plain, decoder.unused_data


def _zstd(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
    for at in range(0, len(body), ZSTD_STEP):
        step = body[at : at + ZSTD_STEP]
        yield decoder.decompress(step), b""
        if decoder.eof:
            yield b"", decoder.unused_data + body[at + ZSTD_STEP :]
            return
    raise EOFError("it ends too early")
