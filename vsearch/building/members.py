"""The partition of each row of a source, which may be in a mapped file that is larger than memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COUNTED_ROWS = 1 << 22
"""Rows whose partitions are looked at together."""


def count_rows(members: NDArray[np.int32], partitions: int) -> NDArray[np.int64]:
    """Number of rows of each partition, int64 (partitions,); needs no copy of the members, which may be in a mapped file."""
    counts = np.zeros(partitions, np.int64)
    for start in range(0, len(members), COUNTED_ROWS):
        counts += np.bincount(members[start : start + COUNTED_ROWS], minlength=partitions)
    return counts


def rows_of(members: NDArray[np.int32], partitions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of some partitions, int64 ascending, in one pass over the members."""
    rows, owners = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for start in range(0, len(members), COUNTED_ROWS):
        part = members[start : start + COUNTED_ROWS]
        chosen = np.flatnonzero(np.isin(part, partitions))
        rows.append(start + chosen)
        owners.append(part[chosen])
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    in_order, sorted_rows = owner[order], np.concatenate(rows)[order]
    return [sorted_rows[slice(*np.searchsorted(in_order, [p, p + 1]))] for p in partitions.tolist()]
