"""Blocks of codes: 32 vectors transposed, so that one SIMD register holds the same code byte of all of them.

Byte ``j`` of vector ``v`` of a block is at ``block[j * 32 + v]``. For nibble codes, byte j contains nibble 2j in its
low half and nibble 2j + 1 in its high half.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import kernel

BLOCK = 32


@kernel
def transpose(codes, blocks):
    """Write row-major codes (n, bytes) to blocks (ceil(n / 32), bytes * 32); missing rows of the last block are 0."""
    rows, width = codes.shape
    for b in range(blocks.shape[0]):
        for v in range(32):
            row = b * 32 + v
            for j in range(width):
                blocks[b, j * 32 + v] = codes[row, j] if row < rows else np.uint8(0)


@kernel
def untranspose(blocks, codes):
    """Invert `transpose` for the first ``len(codes)`` rows."""
    rows, width = codes.shape
    for row in range(rows):
        for j in range(width):
            codes[row, j] = blocks[row // 32, j * 32 + row % 32]
