"""Read the vectors of multi-vector documents: the stored ones, or those decoded from codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.multivector.opening import decode_documents, open_documents

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot


def read_vectors(snapshot: Snapshot, rows: NDArray[np.int64]) -> tuple[list[NDArray[np.float32]], str]:
    """Return the vectors of documents, float32 (n, d) each, and their source: the ``store`` of the build, or "codes".

    Raises
    ------
    InputError
        The index has no documents.
    """
    if snapshot.manifest.documents is None:
        raise InputError("this index has one vector per row: use vectors")
    index = open_documents(snapshot)
    exact = all(documents.exact is not None for documents in index.shards)
    matrices: list[NDArray[np.float32]] = [np.empty((0, index.dimensions), np.float32)] * len(rows)
    codes = "codes"
    for run, places, run_rows in snapshot.locate(rows):
        documents = index.shards[run.number]
        if exact and documents.exact is not None:
            codes = str(documents.exact.dtype)
        vectors, offsets = decode_documents(index, documents, run_rows, exact=exact)
        for place, start, stop in zip(places.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            matrices[place] = vectors[start:stop]
    return matrices, codes
