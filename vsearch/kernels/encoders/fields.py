"""The parameters of products and layers of a text encoder: int64 fields that Python packs and kernels read by name."""

from __future__ import annotations

from enum import IntEnum

BLOCK = 64
"""Rows of a block of weights."""

TOGETHER = 4
"""Adjacent columns of a row that are stored contiguously."""

GROUP = 32
"""Columns that share a scale and an offset if weights have fewer than 8 bits."""

TOKENS = 6
"""Tokens processed at a time."""

ATTENDING = 4
"""Tokens whose attention is computed at a time."""

LANES = 16
"""Floats accumulated at a time."""

PRODUCTS = 4
"""Products per layer: query, key and value; attention output; up; down."""

NORMS = 2
"""Normalizations per layer: after attention, and after the feed-forward network."""


class ProductField(IntEnum):
    """Sizes and array addresses."""

    ROWS = 0
    COLUMNS = 1
    BLOCKS = 2
    BLOCK_BYTES = 3
    WEIGHTS = 4
    STEPS = 5
    BIAS = 6
    SUMS = 7
    SCALES = 8
    APART = 9
    APART_COLUMNS = 10
    APART_WEIGHTS = 11


class LayerField(IntEnum):
    """Settings of a layer with rotary positions."""

    PRODUCTS = 0
    """Address of its four blocks of `ProductField`."""

    HEADS = 1
    """Number of attention heads."""

    BASE = 2
    """Index of its tables of angles, among those of all bases."""

    DISTANCE = 3
    """Largest distance, in tokens, between a token and those it attends to."""

    NORMED = 4
    """Whether there is a normalization before attention."""
