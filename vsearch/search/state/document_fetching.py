"""Documents of many vectors as a snapshot stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.document_codes import DocumentCodes, concatenate_documents, read_documents
from vsearch.storage.snapshots import kinds

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot


def documents_at(snapshot: Snapshot, rows: NDArray[np.int64]) -> DocumentCodes | None:
    """The documents at some positions of a snapshot; None in an index of single vectors."""
    entry = snapshot.manifest.documents
    if entry is None:
        return None
    first = snapshot.shards[0]  # which says what columns there are, also where no row is asked for
    parts, places = [read_documents(first.files, first.rows, entry, rows[:0])], [rows[:0]]
    for run, at, inside in snapshot.locate(rows):
        parts.append(read_documents(run.files, run.rows, entry, inside))
        places.append(at)
    joined = concatenate_documents(parts)
    return None if joined is None else joined.take(np.argsort(np.concatenate(places)))


def count_vectors(snapshot: Snapshot) -> int:
    """Vectors of the documents of a snapshot that are not removed."""
    total = 0
    for run in snapshot.shards:
        file = run.files[kinds.DOCUMENTS]
        file.ensure_all()
        lengths = file.array("vectors")
        total += int(lengths.sum(dtype=np.int64)) - int(lengths[run.gone].sum(dtype=np.int64))
    return total
