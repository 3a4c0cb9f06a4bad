"""Where numbers may stand: the few parts of a request that a search for them has to look at.

Card numbers and bank accounts begin with no text that a search could jump to; each digit or capital letter anywhere
holds it up. But they are runs of digits, capitals, spaces and hyphens, which prose, JSON and identifiers in small
letters hardly have: so the rest is passed by four bytes at a time, and what is left is searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SHORTEST = 11  # bytes from space to underscore in a row; any 11 hold two whole words of four
STEP = 2**19  # bytes looked at a time: they and what is made of them fit into a processor's cache
OVERLAP = 64  # longer than what a hint matches, with the bytes before it
_WORD, _BLOCK = 4, 16
# Byte by byte, 0x20 to 0x5f are those that with 0x20 added begin with the bits 01. A carry cannot hide one: it comes
# from a byte of 0xe0 or more, in the same word, which is none itself.
_ADDED, _BITS, _WANTED = np.uint32(0x20202020), np.uint32(0xC0C0C0C0), np.uint32(0x40404040)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The runs of one stretch of a request, one after the other, each with some bytes around it."""

    text: bytes
    _begin: int
    _blocks: npt.NDArray[np.int64]

    def places(self, places: Sequence[int]) -> list[int]:
        """Where in the request the bytes at ``places`` of the text stand."""
        number, byte = np.divmod(np.asarray(places, np.int64), _BLOCK)
        found: list[int] = (self._begin + self._blocks[number] * _BLOCK + byte).tolist()
        return found


def excerpts(data: bytes) -> Iterator[Excerpt]:
    """All runs of 11 bytes or more between space and underscore, with 16 bytes on either side; none is torn.

    Two excerpts may overlap, and runs that stand apart in ``data`` stand together here: who searches them finds all
    that ``data`` has, some of it twice, and perhaps more.
    """
    for begin in range(0, max(len(data) - OVERLAP, 1), STEP):
        size = min(STEP + OVERLAP, len(data) - begin)
        count = size // _BLOCK
        blocks = np.frombuffer(data, f"V{_BLOCK}", count, begin) if count else np.empty(0, f"V{_BLOCK}")
        kept = np.flatnonzero(_kept(blocks.view(np.uint32))) if count else np.empty(0, np.int64)
        rest = data[begin + count * _BLOCK : begin + size]
        yield Excerpt(blocks[kept].tobytes() + rest, begin, np.append(kept, count))


def _kept(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Which blocks to keep: those in which two words of a run begin, their neighbours, and the last one."""
    moved = words + _ADDED
    moved &= _BITS
    inside = moved == _WANTED
    inside[:-1] &= inside[1:]
    inside[-1] = False
    begun: npt.NDArray[np.bool_] = inside.view(np.uint32) != 0  # of the four words of a block, each a byte of 0 or 1
    kept: npt.NDArray[np.bool_] = begun.copy()
    kept[1:] |= begun[:-1]
    kept[:-1] |= begun[1:]
    kept[-1] = True
    return kept
