"""Which partitions can hold a matching row, told from the cells that occur in them, before any row is read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from vsearch.predicates.bound import AllOf, AnyOf, Bound, Everything
from vsearch.predicates.columns import CellColumn, EncodedColumn, frozen
from vsearch.predicates.tables import cell_table

Presence = npt.NDArray[np.uint8]


def partition_presence(column: CellColumn, row_starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Presence:
    """Note which cells occur in each partition.

    Parameters
    ----------
    column : CellColumn
    row_starts : int64 (partitions,)
        The first row of each partition.
    rows : int (partitions,)
        The number of rows of each partition.

    Returns
    -------
    uint8 (partitions, 32)
        Bit ``c % 8`` of byte ``c // 8``: cell c occurs.

    Raises
    ------
    ValueError
        A partition leaves the column.
    """
    from vsearch.kernels.filters.bitmaps import mark_presence

    starts = np.ascontiguousarray(row_starts, np.int64)
    stops = starts + np.asarray(rows, np.int64)
    if np.any(starts < 0) or np.any(stops < starts) or np.any(stops > len(column.cells)):
        raise ValueError("a partition has rows that the column does not have")
    presence = np.zeros((len(starts), 32), np.uint8)
    mark_presence(column.cells, frozen(starts), frozen(stops), presence)
    return presence


def prune(
    bound: Bound, columns: Mapping[str, EncodedColumn], presence: Mapping[str, Presence], partitions: int
) -> npt.NDArray[np.bool_]:
    """Find the partitions that can hold a matching row.

    Parameters
    ----------
    bound : Bound
        What `bind` returned.
    columns : mapping of str to CellColumn or PostingColumn
        At least those that `columns_of` names; the rows of a CellColumn are not looked at.
    presence : mapping of str to uint8 (partitions, 32)
        What `partition_presence` returned, for any of the cell columns.
    partitions : int

    Returns
    -------
    bool (partitions,)
        False only where no row matches.
    """
    if isinstance(bound, Everything):
        return np.full(partitions, bound.value)
    if isinstance(bound, AllOf | AnyOf):
        combine = np.logical_and if isinstance(bound, AllOf) else np.logical_or
        terms = [prune(term, columns, presence, partitions) for term in bound.terms]
        return combine.reduce(terms)
    column = columns[bound.column]
    if not isinstance(column, CellColumn) or bound.column not in presence:
        return np.full(partitions, True)
    bits = np.packbits(cell_table(bound, column) & 1, bitorder="little")
    return np.any(presence[bound.column] & bits, axis=1)
