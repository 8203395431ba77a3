"""Approximate vectors of rows, decoded to the coordinates in which they were indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.bits import nearest_bits
from vsearch.errors import InputError
from vsearch.metrics import normalize
from vsearch.search.state.fetching import reconstruct

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot

TOGETHER = 1 << 14
"""Rows decoded at a time, to keep intermediate arrays small."""


def decode_vectors(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return vectors of rows, float32 (..., d) for rows (...), NaN for row -1. O(rows d^2).

    Raises
    ------
    InputError
        The rows are multi-vector documents.
    """
    if snapshot.manifest.documents is not None:
        raise InputError("this index has multi-vector documents: use document_vectors")
    shape, rows = rows.shape, rows.reshape(-1)
    vectors = np.full((len(rows), snapshot.model.dimensions), np.nan, np.float32)
    present = np.flatnonzero(rows >= 0)
    for start in range(0, len(present), TOGETHER):
        places = present[start : start + TOGETHER]
        vectors[places] = _decode(snapshot, rows[places])
    return vectors.reshape(*shape, snapshot.model.dimensions)


def _decode(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    model = snapshot.model
    # In float64, since products of float32 matrices depend on how many rows are decoded together.
    vectors = model.original(reconstruct(snapshot, rows).astype(np.float64))
    if model.far_apart or model.metric == "l2":
        vectors += model.mean
    plain = vectors.astype(np.float32)
    if model.bitwise:
        return nearest_bits(plain)
    return normalize(plain) if model.metric == "cosine" and not model.far_apart else plain
