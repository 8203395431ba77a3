"""The layout of rounded weights in files and in memory.

8-bit weights have the layout that kernels read: blocks of 64 rows; four adjacent columns of each row, then the next four.
Codes of fewer bits are stored row by row as bit planes: one 32-bit word per bit of 32 columns. Files store ternary codes as
numbers to the base 3, five to a byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vsearch.kernels.encoders.fields import BLOCK, GROUP, TOGETHER, TOKENS

if TYPE_CHECKING:
    from numpy.typing import NDArray


TRITS = 5
"""Ternary codes in a byte, since 3^5 = 243."""

TRIT_BYTES = -(-GROUP // TRITS)
"""Bytes of the ternary codes of a group; its last byte holds two codes."""


def up_to(count: int, multiple: int) -> int:
    """Round a count up to a multiple."""
    return -(-count // multiple) * multiple


def pack_blocks(integers: NDArray[np.int8]) -> NDArray[np.int8]:
    """Pack weights (rows, columns) as blocks (rows / 64, columns * 64), padded with zeros to multiples of 64 and 32."""
    rows, columns = integers.shape
    padded = np.zeros((up_to(rows, BLOCK), up_to(columns, GROUP)), np.int8)
    padded[:rows, :columns] = integers
    words = padded.reshape(len(padded) // BLOCK, BLOCK, -1, TOGETHER)
    return np.ascontiguousarray(words.transpose(0, 2, 1, 3)).reshape(len(words), -1)


def unpack_blocks(blocks: NDArray[np.int8], rows: int, columns: int) -> NDArray[np.int8]:
    """Invert `pack_blocks`."""
    words = blocks.reshape(len(blocks), -1, BLOCK, TOGETHER)
    return np.ascontiguousarray(words.transpose(0, 2, 1, 3).reshape(len(blocks) * BLOCK, -1)[:rows, :columns])


def row_sums(blocks: NDArray[np.int8], rows: int) -> NDArray[np.int32]:
    """Return the sums int32 (rows,) of the weights of each row."""
    from vsearch.kernels.encoders.api import sum_weights

    sums, columns = np.empty(rows, np.int32), blocks.shape[1] // BLOCK
    sum_weights(blocks, np.empty((1, columns), np.uint8), np.empty((TOKENS, BLOCK), np.int32), sums)
    return sums


def pack_planes(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint32]:
    """Pack codes (rows, columns), a multiple of 32 columns, as bit planes uint32 (rows, columns / 32 * bits)."""
    grouped = codes.reshape(len(codes), -1, 1, GROUP)
    planes = grouped >> np.arange(bits, dtype=np.uint8)[:, None] & np.uint8(1)
    return np.packbits(planes, axis=-1, bitorder="little").view("<u4").reshape(len(codes), -1)


def unpack_planes(planes: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    """Invert `pack_planes`."""
    octets = np.ascontiguousarray(planes).view(np.uint8).reshape(len(planes), -1, bits, GROUP // 8)
    plane_bits = np.unpackbits(octets, axis=-1, bitorder="little")
    return (plane_bits << np.arange(bits, dtype=np.uint8)[:, None]).sum(axis=2, dtype=np.uint8).reshape(len(planes), -1)


def pack_trits(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack ternary codes (rows, columns), a multiple of 32 columns, five to a byte: uint8 (rows, columns / 32 * 7)."""
    padded = np.zeros((codes.size // GROUP, TRIT_BYTES * TRITS), np.uint8)
    padded[:, :GROUP] = codes.reshape(-1, GROUP)
    powers = 3 ** np.arange(TRITS, dtype=np.uint8)
    return (padded.reshape(len(padded), TRIT_BYTES, TRITS) * powers).sum(axis=2, dtype=np.uint8).reshape(len(codes), -1)


def are_trits(trits: NDArray[np.uint8]) -> bool:
    """Whether bytes can be the result of `pack_trits`."""
    last = trits.reshape(-1, TRIT_BYTES)[:, -1]
    return int(trits.max(initial=0)) < 3**TRITS and int(last.max(initial=0)) < 3 ** (GROUP % TRITS)


def trits_to_planes(trits: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Convert ternary codes from `pack_trits` to two bit planes, as from `pack_planes`."""
    digits = np.arange(256)[:, None] // 3 ** np.arange(TRITS) % 3
    grouped = trits.reshape(len(trits), -1, TRIT_BYTES)
    planes = np.zeros((*grouped.shape[:2], 2), np.uint32)
    for bit in range(2):
        words = ((digits >> bit & 1) << np.arange(TRITS)).sum(axis=1).astype(np.uint32)
        for place in range(TRIT_BYTES):
            planes[:, :, bit] |= words[grouped[:, :, place]] << np.uint32(TRITS * place)
    return planes.reshape(len(trits), -1)
