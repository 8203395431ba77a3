"""What a product of a text encoder consists of, as a block of int64 fields that Python packs and kernels read by name."""

from __future__ import annotations

from enum import IntEnum

BLOCK = 64
"""Rows of weights that lie together."""

TOGETHER = 4
"""Columns of a row that lie together."""

GROUP = 32
"""Columns that share a scale and an offset where weights have fewer than 8 bits."""

TOKENS = 6
"""Tokens that are multiplied at a time."""

LANES = 16
"""Floats that are added up at a time."""

PRODUCTS = 4
"""Products of a layer: query, key and value; attention's output; up; down."""

NORMS = 2
"""Normalizations of a layer: after attention, and after the feed-forward part."""


class ProductField(IntEnum):
    """Sizes, and addresses of arrays."""

    ROWS = 0
    COLUMNS = 1
    BLOCKS = 2
    BLOCK_BYTES = 3
    WEIGHTS = 4
    STEPS = 5
    BIAS = 6
    SUMS = 7
    SCALES = 8
