"""Evaluate a leaf on the cells of a column, to a table of 256 results: no, maybe or yes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch.predicates.bound import KeyRange, NullTest, Pattern, StringRange
from vsearch.predicates.columns import CellColumn

NO, MAYBE, YES = 0, 1, 3
"""Bit 0: some rows of the cell may match. Bit 1: all rows of the cell match."""


def cell_table(leaf: Any, column: CellColumn) -> npt.NDArray[np.uint8]:
    """Return the result of a leaf for every cell, uint8 (256,): `NO`, `MAYBE` or `YES`; `NO` for unused cells."""
    table = np.zeros(256, np.uint8)
    values = len(column.low)
    if isinstance(leaf, NullTest):
        table[0 if leaf.null else slice(1, values + 1)] = YES
    elif isinstance(leaf, KeyRange):
        at = np.searchsorted(leaf.highs, column.low)
        reachable = at < len(leaf.lows)
        near = np.minimum(at, len(leaf.lows) - 1)
        overlap = reachable & (leaf.lows[near] <= column.high)
        covered = overlap & (leaf.lows[near] <= column.low) & (leaf.highs[near] >= column.high)
        table[1 : values + 1] = np.where(covered, YES, np.where(overlap, MAYBE, NO))
    elif column.dictionary is not None and isinstance(leaf, Pattern):
        table[1 : values + 1] = np.where(column.dictionary.like(leaf.tokens, leaf.fold) == leaf.matching, YES, NO)
    elif column.dictionary is not None and isinstance(leaf, StringRange):
        for start, stop in zip(*column.dictionary.selected(leaf.intervals, leaf.fold), strict=True):
            table[1 + start : 1 + stop] = YES
    else:
        raise TypeError(f"{type(leaf).__name__} does not apply to the {column.type} column {column.name!r}")
    return table


def is_exact(table: npt.NDArray[np.uint8]) -> bool:
    """Return whether a table has no `MAYBE`."""
    return not np.any(table == MAYBE)
