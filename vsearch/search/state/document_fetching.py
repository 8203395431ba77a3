"""Read the stored multi-vector documents of a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.document_codes import (
    DocumentCodes,
    concatenate_documents,
    document_lengths,
    read_documents,
)
from vsearch.storage.files.bundle import open_bundle

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot


def documents_at(snapshot: Snapshot, rows: NDArray[np.int64]) -> DocumentCodes | None:
    """Return the documents at positions of a snapshot; None if the index has one vector per row."""
    entry = snapshot.manifest.documents
    if entry is None:
        return None
    first = snapshot.shards[0]  # an empty selection determines the columns even if `rows` is empty
    parts, places = [read_documents(first.files, first.rows, entry, rows[:0])], [rows[:0]]
    for run, at, run_rows in snapshot.locate(rows):
        parts.append(read_documents(run.files, run.rows, entry, run_rows))
        places.append(at)
    joined = concatenate_documents(parts)
    return None if joined is None else joined.take(np.argsort(np.concatenate(places)))


def count_vectors(snapshot: Snapshot) -> int:
    """Vectors of the documents of a snapshot that are not removed. No tail is needed: functions hold none of its documents."""
    manifest, gone, total = snapshot.manifest, snapshot.gone, 0
    for run in snapshot.runs:
        total += _vectors_left(document_lengths(run.files, run.rows), run.gone)
    if not manifest.live or gone is None:
        return total
    for entry, delta in zip(manifest.live.deltas, snapshot.deltas, strict=True):
        documents = delta.rows.documents
        if documents is not None:
            lengths = documents.lengths
        elif entry.rows:
            bundle = open_bundle(snapshot.store, entry.bundle, manifest.snapshot)
            lengths = document_lengths(bundle.files, entry.rows)
        else:
            continue
        total += _vectors_left(lengths, gone.of(entry.number))
    return total


def _vectors_left(lengths: NDArray[np.uint32], gone: NDArray[np.int64]) -> int:
    return int(lengths.sum(dtype=np.int64)) - int(lengths[gone].sum(dtype=np.int64))
