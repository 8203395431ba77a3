"""Read the files and arrays of attributes, and of scans, in one round of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from vsearch.search.state.run_table import ensure_copied
from vsearch.search.state.shard import Shard
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import EncodingEntry, FileEntry, SegmentFile, ensure_together
from vsearch.storage.snapshots.kinds import (
    ATTRIBUTES,
    CELLS,
    CODES,
    COPY_CODES,
    COPY_PARTITIONS,
    COPY_ROWS,
    IDS,
    PARTITIONS,
    RERANK,
    ROWS,
    column_kinds,
)

T = TypeVar("T", SegmentFile, FileEntry)

ALL_CELLS = 254
"""Columns with fewer distinct values have one cell per value, so no row is undecided."""

SCANNED = (CODES, ROWS, RERANK, COPY_PARTITIONS, COPY_CODES, COPY_ROWS, IDS)
"""Parts of a bundle that every search of its rows reads."""


def load_columns(snapshot: Snapshot, names: Sequence[str], *, exact: bool) -> None:
    """Read the encoded columns of all open runs; cheap if they are read already.

    Parameters
    ----------
    names : sequence of str
        Names of attributes.
    exact : bool
        Whether to also read the exact values in bundles if cells may leave rows undecided; those in other files are prefetched.
    """
    fields = fields_of(snapshot, names)
    parts: list[tuple[SegmentFile, str, None, None]] = []
    for run in snapshot.shards if fields else ():
        for file, array in column_arrays(run.files, run.encodings, fields):
            if not file.complete and (array is None or array in file.arrays):
                parts += [(file, name, None, None) for name in ([array] if array else file.arrays)]
        if exact and is_bundle(run):
            table = run.files.get(ATTRIBUTES)
            arrays = exact_arrays(run.encodings, fields)
            parts += [(table, name, None, None) for name in arrays if table is not None and name in table.arrays]
    if parts:
        ensure_together(parts)


def load_scanned(snapshot: Snapshot) -> None:
    """Read the scanned parts of runs in bundles; those in other files are prefetched."""
    runs = [run for run in snapshot.shards if is_bundle(run) and not run.ready and not run.files[CODES].mapped]
    files = [run.files[kind] for run in runs for kind in SCANNED if kind in run.files]
    ensure_together([(file, name, None, None) for file in files for name in file.arrays])
    for run in runs:
        run.ensure(np.arange(run.partitions, dtype=np.int32))
        ensure_copied([] if run.copies is None else [(run, run.copies, np.arange(run.partitions, dtype=np.int32))])


def is_bundle(run: Shard) -> bool:
    """Whether all parts of a run are in one file."""
    return run.files[PARTITIONS].path == run.files[CODES].path


def fields_of(snapshot: Snapshot, names: Sequence[str]) -> list[str]:
    """Return the field names of attributes."""
    return [entry.field_name for entry in snapshot.manifest.attributes if entry.name in names]


def column_arrays(
    files: Mapping[str, T], encodings: Mapping[str, EncodingEntry], fields: Sequence[str]
) -> list[tuple[T, str | None]]:
    """Return the files with the encodings of fields, each with the required array, or None for all arrays."""
    required: list[tuple[T, str | None]] = []
    for name in fields:
        encoding = encodings.get(name)
        if encoding is not None:
            required += [(files[kind], None) for kind in column_kinds(files, encoding.position)]
            required += [(files[CELLS], str(encoding.position))] if CELLS in files else []
    return required


def exact_arrays(encodings: Mapping[str, EncodingEntry], fields: Sequence[str]) -> list[str]:
    """Return the arrays with the exact values of fields whose cells may leave rows undecided."""
    arrays = []
    for name in fields:
        encoding = encodings.get(name)
        if encoding is not None and encoding.header.form == "cells" and encoding.header.values >= ALL_CELLS:
            arrays += [f"{name}.values", f"{name}.validity"]
    return arrays
