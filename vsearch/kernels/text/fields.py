"""The postings of one text column of a run: a block of int64 fields that Python packs and kernels read by name."""

from __future__ import annotations

from enum import IntEnum

BLOCK = 128
"""Postings per block; the last block of a list may have fewer."""

WINDOW = 2048
"""Rows whose scores are summed together."""

LARGEST = 65535
"""Largest length and count that blocks state; larger counts are stated as this, and mean any count."""


class TextField(IntEnum):
    """Sizes and array addresses."""

    ROWS = 0
    BLOCKS = 1
    WORDS = 2
    FIRST_ROWS = 3
    STARTS = 4
    GAP_BITS = 5
    COUNT_BITS = 6
    LARGEST_COUNTS = 7
    LEAST_LENGTHS = 8
    PACKED = 9
    LENGTHS = 10


class ListField(IntEnum):
    """Columns of the table of lists that a query scans."""

    COLUMN = 0
    FIRST_BLOCK = 1
    STOP_BLOCK = 2
    POSTINGS = 3


class CursorField(IntEnum):
    """Columns of the table of positions in these lists, initially (first block, -1, 0)."""

    BLOCK = 0
    DECODED = 1
    PLACE = 2


class SpanField(IntEnum):
    """The rows that a call scores, and the state of its heap."""

    FIRST = 0
    STOP = 1
    BASE = 2
    SIZE = 3
    SCORED = 4
