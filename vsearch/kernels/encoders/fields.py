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


class LayersField(IntEnum):
    """All layers of a model without rotary positions, and the arrays of a text. t: tokens, T: tokens rounded up to `LANES`."""

    LAYERS = 0
    HEADS = 1
    HEAD_WIDTH = 2
    WIDTH = 3
    INNER_WIDTH = 4
    PRODUCTS = 5
    """Address of ``layers * 4`` blocks of `ProductField`. A product has no more outlier columns than width and inner."""

    EPSILON = 6
    """float32 (1,)"""

    NORMS = 7
    """float32 (NORM_COUNT, 2, width): of the embeddings, then the two of each layer; weight and bias"""

    NORM_COUNT = 8
    TOKENS = 9
    COLUMNS = 10
    """T"""

    WIDE_WIDTH = 11
    CODES_WIDTH = 12
    INNER_CODES_WIDTH = 13
    ROWS = 14
    """float32 (t, width): embeddings of tokens and positions, unless IDS are passed; overwritten with the output"""

    ATTENDED = 15
    """float32 (t, width), scratch"""

    WIDE = 16
    """float32 (t, 3 * width), scratch"""

    INNER = 17
    """float32 (t, inner), scratch"""

    CODES = 18
    """uint8 (t, width rounded up), scratch"""

    INNER_CODES = 19
    """uint8 (t, inner rounded up), scratch"""

    KEYS = 20
    """float32 (width / heads, T), scratch"""

    SCORES = 21
    """float32 (ATTENDING, T), scratch"""

    RECEIVED = 22
    """float32 (T,), output: the attention that tokens receive in the last layer, summed over tokens and heads"""

    FACTORS = 23
    """float32 (t, 2), scratch"""

    BOUNDS = 24
    """float32 (2, 16), scratch"""

    SUMS = 25
    """int32 (6, 64), scratch"""

    SCALED = 26
    """float32 (SCALED_WIDTH,), scratch: the larger of width and inner"""

    SCALED_WIDTH = 27
    IDS = 28
    """int32 (t,): the tokens, whose embeddings are looked up, less than TABLE_TOKENS; or 0"""

    TABLE_TOKENS = 29
    TABLE_CODES = 30
    """int8 (TABLE_TOKENS, width), or 0 without IDS"""

    TABLE_STEPS = 31
    """float32 (TABLE_TOKENS,)"""

    POSITIONS = 32
    """float32 (POSITION_COUNT, width); t is at most POSITION_COUNT"""

    POSITION_COUNT = 33
    MEAN = 34
    """1: VECTOR is the mean of the tokens; 0: the first"""

    VECTOR = 35
    """float32 (width,), output"""


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
