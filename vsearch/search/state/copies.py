"""Copies of rows in second partitions (spilling): codes and factors next to those of the rows, read on first use.

A row near the border of its partition is often missed by a query on the other side. With a copy in a second partition
(Sun et al., "SOAR: Improved Indexing for Approximate Nearest Neighbor Search", 2023), visiting either of the two
suffices. A copy is another code of the same row: ids, attributes and rerank codes exist once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.kernels.query.fields import ShardField
from vsearch.search.state.partition_table import PartitionTable
from vsearch.search.state.run_state import RunState
from vsearch.search.state.shard import POSITION, Copies, ShardArrays, view_arrays
from vsearch.search.state.workspace import pack_shard
from vsearch.storage.snapshots.kinds import CODES, COPY_CODES, COPY_PARTITIONS, COPY_ROWS, PARTITIONS, ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vsearch.search.state.arguments import KernelArguments
    from vsearch.search.state.model import Model
    from vsearch.storage.files.segment_file import SegmentFile

OF_COPIES = {PARTITIONS: COPY_PARTITIONS, CODES: COPY_CODES, ROWS: COPY_ROWS}
"""The kinds of files of copies, by those of rows with the same arrays."""


def open_copies(model: Model, files: Mapping[str, SegmentFile], first_partition: int, partitions: int) -> Copies | None:
    """Open the copies of a run with a number of partitions; None if it has none.

    Raises
    ------
    CorruptIndexError
        The files are incomplete, or do not fit the model or the run.
    """
    present = [kind for kind in OF_COPIES.values() if kind in files]
    if not present:
        return None
    if len(present) < len(OF_COPIES) or model.rerank is None or model.quantizer.scan == "cells":
        reason = "the files of copies are incomplete, or the index has no rerank codes; restore the manifest"
        raise CorruptIndexError("manifest", reason)
    copied_files = {kind: files[copied] for kind, copied in OF_COPIES.items()}
    file = copied_files[PARTITIONS]
    file.ensure_all()
    arrays: dict[str, NDArray[Any]] = {name: file.array(name) for name in file.arrays}
    rows = int(np.asarray(arrays.get("rows", ()), np.int64).sum())
    table = PartitionTable.from_arrays(file.path, arrays, rows)
    if len(table.rows) != partitions:
        raise CorruptIndexError(file.path, f"holds copies in {len(table.rows)} partitions, its run has {partitions}")
    views = view_arrays(model, rows, table.blocks, copied_files, reranked=False)
    if POSITION not in copied_files[ROWS].arrays:
        raise CorruptIndexError(copied_files[ROWS].path, f"the column {POSITION!r} of the copies is missing")
    positions = copied_files[ROWS].array(POSITION)
    if positions.dtype != np.uint32 or positions.shape != (rows,):
        reason = f"{POSITION} is {positions.dtype} {positions.shape}, expected uint32 {(rows,)}"
        raise CorruptIndexError(copied_files[ROWS].path, reason)
    native = pack_copies(first_partition, rows, table, views, positions)
    state = RunState(table.rows, by_row=True)
    return Copies(first_partition, rows, table, copied_files, views, positions, native, state)


def pack_copies(
    first_partition: int, rows: int, table: PartitionTable, arrays: ShardArrays, positions: NDArray[np.uint32]
) -> KernelArguments:
    """Pack copies whose arrays were checked."""
    native = pack_shard(first_partition, rows, table, arrays)
    native.point(ShardField.POSITIONS, positions, np.uint32)
    return native


def moved_copies(copies: Copies | None, first_partition: int) -> Copies | None:
    """Return copies of a run whose partitions are numbered from another one."""
    if copies is None or copies.first_partition == first_partition:
        return copies
    native = pack_copies(first_partition, copies.rows, copies.table, copies.arrays, copies.positions)
    return Copies(
        first_partition,
        copies.rows,
        copies.table,
        copies.files,
        copies.arrays,
        copies.positions,
        native,
        copies.read,
    )
