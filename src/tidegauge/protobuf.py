"""The one piece of the protobuf wire format that the protobuf package does not offer."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """A non-negative integer as a base-128 varint.

    >>> varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
