"""The runs that are searched: bases, young runs, and the tail, which is assembled from deltas."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.search.state.copies import open_copies
from vsearch.search.state.partition_table import PartitionTable
from vsearch.search.state.run_table import RunTable
from vsearch.search.state.shard import Shard, view_arrays
from vsearch.search.state.shard_runs import ShardRuns, group_runs, list_runs
from vsearch.search.state.stored_ids import check_ids
from vsearch.search.state.workspace import pack_model, pack_shard
from vsearch.storage.snapshots.kinds import ATTRIBUTES, IDS, PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vsearch.search.state.arguments import KernelArguments
    from vsearch.search.state.deltas import Delta, Gone
    from vsearch.search.state.model import Model
    from vsearch.storage import Manifest, SegmentFile
    from vsearch.storage.snapshots.manifest import EncodingEntry


@dataclass(frozen=True)
class TailPlace:
    """The partitions of the tail, and the number of rows in runs, after which its rows are numbered."""

    partitions: range
    first_row: int


@dataclass(frozen=True, eq=False)
class Layout:
    """All runs of a snapshot, and totals over them; see the attributes of `Snapshot`."""

    shards: tuple[Shard, ...]
    groups: tuple[ShardRuns, ...]
    table: RunTable
    radii: NDArray[np.float32]
    partition_rows: NDArray[np.int64]
    native: KernelArguments


LAID_OUT = frozenset(field.name for field in fields(Layout))
"""Attributes of a snapshot that belong to its layout."""


def lay_out(
    model: Model,
    manifest: Manifest,
    runs: Sequence[Shard],
    place: TailPlace,
    deltas: Sequence[Delta],
    gone: Gone | None,
    *,
    plain: bool,
) -> Layout:
    """Assemble the tail from the live rows of deltas, and compute totals over all runs. O(delta rows + partitions)."""
    shards = list(runs)
    if deltas and gone is not None:
        from vsearch.search.state.runs import hold_tail, live_rows, rows_before

        rows, addresses = live_rows(deltas, gone)
        if rows is not None:
            where = place.partitions
            files, text = hold_tail(model, rows, where, plain=plain), manifest.id_type == "string"
            tail = open_run(model, files, where, len(rows), {}, text=text)
            tail.number, tail.segment = len(shards), addresses
            tail.first_row = place.first_row + rows_before(deltas, gone)
            tail.ensure(np.arange(len(where), dtype=np.int32))
            shards.append(tail)
    radii, rows_of = _add_up(shards, manifest.partitions)
    native = pack_model(model, radii, manifest.rows)
    groups = group_runs(manifest, shards)
    return Layout(tuple(shards), groups, list_runs(groups), radii, rows_of, native)


def open_run(
    model: Model,
    files: dict[str, SegmentFile],
    where: range,
    rows: int,
    encodings: Mapping[str, EncodingEntry],
    *,
    text: bool,
) -> Shard:
    """Open a run with a number of rows in some partitions of an index; `text` means that ids are strings.

    Raises
    ------
    CorruptIndexError
        Its files are incomplete, or do not have this number of rows.
    """
    if PARTITIONS not in files:
        raise CorruptIndexError("manifest", "a shard has no partition table; restore the manifest")
    file = files[PARTITIONS]
    file.ensure_all()
    arrays: dict[str, NDArray[Any]] = {name: file.array(name) for name in file.arrays}
    table = PartitionTable.from_arrays(file.path, arrays, rows)
    if len(table.rows) != len(where):
        raise CorruptIndexError(file.path, f"holds {len(table.rows)} partitions, the manifest says {len(where)}")
    views = view_arrays(model, rows, table.blocks, files)
    _check_rows(files, rows, text=text)
    native = pack_shard(where.start, rows, table, views)
    copies = open_copies(model, files, where.start, len(where))
    return Shard(0, where.start, 0, rows, table, files, views, native, encodings, copies=copies)


def _check_rows(files: Mapping[str, SegmentFile], rows: int, *, text: bool) -> None:
    """Check the lengths of ids and attributes, which are read row by row, against the number of rows."""
    if IDS not in files:
        raise CorruptIndexError("manifest", f"a shard has no file of kind {IDS!r}; restore the manifest")
    check_ids(files[IDS], rows, text=text)
    if ATTRIBUTES in files and files[ATTRIBUTES].entry.rows != rows:
        file = files[ATTRIBUTES]
        raise CorruptIndexError(file.path, f"holds attributes of {file.entry.rows} rows instead of {rows}")


def _add_up(shards: Sequence[Shard], partitions: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Radii and rows of all partitions over all runs."""
    radii, rows = np.zeros(partitions, np.float32), np.zeros(partitions, np.int64)
    for shard in shards:
        of_shard = slice(shard.first_partition, shard.first_partition + shard.partitions)
        more, before = shard.table.rows, rows[of_shard]
        nonempty = (more > 0) & (before > 0)
        joined = np.where(more > 0, shard.table.radii, radii[of_shard])
        if nonempty.any():
            squares = before * np.square(radii[of_shard], dtype=np.float64) + more * np.square(
                shard.table.radii, dtype=np.float64
            )
            joined[nonempty] = np.sqrt(squares[nonempty] / (before + more)[nonempty])
        radii[of_shard], rows[of_shard] = joined, before + more
    return radii, rows
