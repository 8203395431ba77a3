"""A run of a shard: its partitions, codes, factors and rerank codes, read on first use."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.forking import cached_property
from vsearch.kernels.scan.blocks import BLOCK
from vsearch.search.state.model import Model
from vsearch.search.state.partition_table import PartitionTable
from vsearch.search.state.run_state import RunState, with_remainder
from vsearch.storage import ensure_together
from vsearch.storage.snapshots.kinds import CODES, RERANK, ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vsearch.search.state.arguments import KernelArguments
    from vsearch.storage.files.segment_file import SegmentFile
    from vsearch.storage.snapshots.manifest import EncodingEntry

    Part = tuple[SegmentFile, str, NDArray[np.int64], NDArray[np.int64]]
    """Rows of an array to read: (file, array, starts, stops)."""

BY_ROW = 1 << 18
"""Bytes of the rerank codes of a run, above which a search reads only those of the rows that it reranks."""

BY_ROW_UNTIL = 0.25
"""Share of the rerank codes of a run from which on a search reads them by partition: so many queries soon need all of them."""

RERANK_CODES = "rerank"
"""The array with the rerank codes."""

POSITION = "row"
"""The array with the row of the run that each copy belongs to, uint32."""

RERANK_DTYPES = {"int8": np.int8, "float16": np.float16, "float32": np.float32}


@dataclass(frozen=True, eq=False)
class Addresses:
    """Addresses of rows: segments uint32 (n,), and rows within them int64 (n,)."""

    segments: NDArray[np.uint32]
    rows: NDArray[np.int64]


@dataclass(eq=False)
class Shard:
    """A run of an open snapshot. An unchanged shard has one run; others have up to three.

    Attributes
    ----------
    number, first_partition, first_row : int
        Position among the runs of the snapshot; rows are numbered over all runs, partitions over the index.
    table : PartitionTable
    files : dict of str to SegmentFile
        Segment files by kind.
    native : KernelArguments
        The run as arguments of the fused kernels.
    encodings : mapping of str to EncodingEntry
        Encodings of its attributes, by field name.
    segment : int or Addresses
        Segment number; for a tail, the addresses of its rows.
    gone : int64 (removed,)
        Removed rows, ascending.
    read : RunState
        Shared with another run of the same files if `state` is passed.
    copies : Copies or None
        Codes of its rows in second partitions.
    """

    number: int
    first_partition: int
    first_row: int
    rows: int
    table: PartitionTable
    files: dict[str, SegmentFile]
    arrays: ShardArrays
    native: KernelArguments
    encodings: Mapping[str, EncodingEntry] = field(default_factory=dict)
    segment: int | Addresses = 0
    gone: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    state: RunState | None = None
    copies: Copies | None = None
    read: RunState = field(init=False)
    _live: NDArray[np.uint64] | None = None
    _live_ready: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.read = RunState(self.table.rows, by_row=self._by_row()) if self.state is None else self.state

    def _by_row(self) -> bool:
        """Whether rerank codes are worth a request for each row: they are many, and neither mapped nor in memory."""
        file = self.files.get(RERANK)
        if file is None or not len(self.arrays.rerank_scales):
            return False
        return file.arrays[RERANK_CODES].bytes > BY_ROW and not file.mapped and not file.complete

    @property
    def reads_by_row(self) -> bool:
        """Whether searches now read its rerank codes by row."""
        return self.read.by_row and self.files[RERANK].share_read < BY_ROW_UNTIL

    @property
    def partitions(self) -> int:
        return len(self.table.rows)

    @property
    def ready(self) -> bool:
        """Whether all partitions with live rows are read and verified: kernels read nothing of rows that are masked.

        Copies are read completely, since other runs may have rows in their partitions.
        """
        if self.copies is not None and not self.copies.read.all_scannable:
            return False
        if self.read.all_ready or self._live_ready:
            return True
        if len(self.gone):
            self._live_ready = bool((self.read.ready | self.emptied).all())
        return self._live_ready

    @cached_property
    def emptied(self) -> NDArray[np.bool_]:
        """Which partitions have no live rows, bool (partitions,)."""
        partitions = np.searchsorted(self.table.row_starts + self.table.rows, self.gone, side="right")
        return np.bincount(partitions, minlength=self.partitions) == self.table.rows

    @property
    def live(self) -> NDArray[np.uint64] | None:
        """Bit mask of the live rows, uint64 (ceil(rows / 64),); None if no row is removed."""
        if self._live is None and len(self.gone):
            bits = np.ones(-(-self.rows // 64) * 64, np.uint8)
            bits[self.rows :] = 0
            bits[self.gone] = 0
            self._live = np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64, copy=False)
        return self._live

    def without(self, rows: NDArray[np.int64]) -> Shard:
        """Return the run with more rows removed (ascending); some may be removed already."""
        places = np.searchsorted(self.gone, rows)
        fresh = np.ones(len(rows), np.bool_)
        inside = places < len(self.gone)
        fresh[inside] = self.gone[places[inside]] != rows[inside]
        if not fresh.any():
            return self
        rows, live = rows[fresh], None
        if self._live is not None:
            live = self._live.copy()
            np.bitwise_and.at(live, rows >> 6, ~(np.uint64(1) << (rows & 63).astype(np.uint64)))
        return replace(self, gone=np.insert(self.gone, places[fresh], rows), state=self.read, _live=live)

    def addresses(self, inside: NDArray[np.int64]) -> Addresses:
        """Return the addresses of rows of this run."""
        if isinstance(self.segment, Addresses):
            return Addresses(self.segment.segments[inside], self.segment.rows[inside])
        return Addresses(np.full(len(inside), self.segment, np.uint32), inside)

    def missing(self, partitions: NDArray[np.int32], *, scanned: bool = False) -> NDArray[np.int64]:
        """Return those of the partitions, numbered within the run, that are not read yet, ascending; if `scanned`, for a scan.

        For a run in a folder, all remaining partitions are returned once they have few rows: a completely read run is searched in one
        native call.
        """
        state = self.read
        if state.all_ready or (scanned and state.all_scannable):
            return np.empty(0, np.int64)
        return with_remainder(state, state.unread(partitions, scanned=scanned), self.table, self.files[CODES])

    def ensure(self, partitions: NDArray[np.int32]) -> None:
        """Read and verify the scanned data of partitions; cheap if they are read already."""
        ensure_runs([(self, self.missing(partitions))])

    def parts(self, missing: NDArray[np.int64], *, scanned: bool = False) -> list[Part]:
        """Return what to read for partitions; if `scanned`, only for a scan, without rerank codes that are read by row."""
        starts, stops, first, last = self.table.extents(missing)
        ranges = self.arrays.ranges(first, last, starts, stops, reranked=not (scanned and self.read.by_row))
        return [(self.files[kind], name, low, high) for kind, names, low, high in ranges for name in names]

    def row_arrays(self) -> list[tuple[SegmentFile, str]]:
        """Return the arrays that are read by row for reranking; the partition of a row may not be read."""
        if not self.read.by_row:
            return []
        offset = [(self.files[ROWS], "offset")] if len(self.arrays.offsets) else []
        return [(self.files[RERANK], RERANK_CODES), (self.files[ROWS], "rerank_scale"), *offset]

    def row_parts(self, rows: NDArray[np.int64]) -> tuple[list[Part], NDArray[np.int64]]:
        """Return what to read for the reranking of rows, int64 (n,), and the partitions that are then completely read."""
        if self.reads_by_row:
            return [(file, name, rows, rows + 1) for file, name in self.row_arrays()], np.empty(0, np.int64)
        partitions = np.searchsorted(self.table.row_starts + self.table.rows, rows, side="right")
        missing = self.missing(partitions.astype(np.int32))
        return self.parts(missing), missing

    def ensure_rows(self, rows: NDArray[np.int64]) -> None:
        """Read and verify what the reranking of rows needs, or their partitions; cheap if they are read already."""
        parts, read = self.row_parts(rows)
        ensure_together(parts)
        self.read.note(read)

    def bytes_fetched(self) -> int:
        """Return the bytes read from the store so far."""
        return sum(file.bytes_read for file in self.files.values())


@dataclass(frozen=True, eq=False)
class Copies:
    """The copies of rows of a run, in the order of their partitions, which are those of the run.

    Attributes
    ----------
    first_partition, rows : int
        `rows` is the number of copies.
    table : PartitionTable
    files : dict of str to SegmentFile
        By the kinds of files of rows.
    arrays : ShardArrays
        Without rerank codes.
    positions : uint32 (rows,)
        The row of the run that each is a copy of.
    native : KernelArguments
    read : RunState
    """

    first_partition: int
    rows: int
    table: PartitionTable
    files: dict[str, SegmentFile]
    arrays: ShardArrays
    positions: NDArray[np.uint32]
    native: KernelArguments
    read: RunState

    def missing(self, partitions: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return those of the partitions, numbered within the run, whose copies are not read yet, ascending."""
        if self.read.all_scannable:
            return np.empty(0, np.int64)
        return with_remainder(self.read, self.read.unread(partitions, scanned=True), self.table, self.files[CODES])

    def parts(self, missing: NDArray[np.int64]) -> list[Part]:
        """Return what to read for partitions."""
        starts, stops, first, last = self.table.extents(missing)
        ranges = self.arrays.ranges(first, last, starts, stops)
        parts = [(self.files[kind], name, low, high) for kind, names, low, high in ranges for name in names]
        return [*parts, (self.files[ROWS], POSITION, starts, stops)]

    def owners(self, partitions: NDArray[np.int64], run: Shard) -> NDArray[np.int32]:
        """Return the partitions of the rows that the copies in partitions, which are read, belong to, ascending."""
        positions, table = self.positions_in(partitions), run.table
        local = np.searchsorted(table.row_starts + table.rows, positions, side="right")
        return np.unique(local).astype(np.int32)

    def check(self, partitions: NDArray[np.int64], run: Shard) -> None:
        """Check the rows that the copies in partitions belong to, before kernels follow them.

        Raises
        ------
        CorruptIndexError
            The run does not have one of these rows.
        """
        positions = self.positions_in(partitions)
        if len(positions) and int(positions.max()) >= run.rows:
            reason = f"a copy belongs to row {positions.max()}, its run has {run.rows}; restore the file"
            raise CorruptIndexError(self.files[ROWS].path, reason)

    def positions_in(self, partitions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows that the copies in partitions, which are read, belong to."""
        starts, stops, _, _ = self.table.extents(partitions)
        ranges = [self.positions[low:high] for low, high in zip(starts.tolist(), stops.tolist(), strict=True)]
        return np.concatenate([np.empty(0, np.uint32), *ranges]).astype(np.int64)

    def copies_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a copy of each row of the run, int64 (n,); -1 if it has none. O(copies log copies); all must be read."""
        order = np.argsort(self.positions, kind="stable")
        ordered = self.positions[order]
        places = np.searchsorted(ordered, rows)
        inside = np.minimum(places, len(ordered) - 1)
        if not len(ordered):
            return np.full(len(rows), -1, np.int64)
        return np.where(ordered[inside] == rows, order[inside], -1)


def ensure_runs(missing_partitions: Sequence[tuple[Shard, NDArray[np.int64]]]) -> None:
    """Read and verify missing partitions of several runs, all of them in one round of requests."""
    missing_partitions = [(run, missing) for run, missing in missing_partitions if len(missing)]
    ensure_together([part for run, missing in missing_partitions for part in run.parts(missing)])
    for run, missing in missing_partitions:
        run.read.note(missing)


@dataclass(frozen=True, eq=False)
class ShardArrays:
    """The arrays of a run as kernels take them; arrays that the index does not have are empty."""

    first_codes: NDArray[np.uint8]
    later_codes: NDArray[np.uint8]
    factors: NDArray[np.uint16]
    first_factors: NDArray[np.uint16]
    offsets: NDArray[np.float32]
    rerank_scales: NDArray[np.uint16]
    rerank_bytes: NDArray[np.int8]
    rerank_halves: NDArray[np.uint16]
    rerank_floats: NDArray[np.float32]

    def ranges(
        self,
        first: NDArray[np.int64],
        last: NDArray[np.int64],
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
        *,
        reranked: bool = True,
    ) -> list[tuple[str, list[str], NDArray[np.int64], NDArray[np.int64]]]:
        """Return the ranges to read for blocks and rows: (file kind, arrays, starts, stops); rerank codes only if `reranked`."""
        codes = ["first"] + (["later"] if self.later_codes.shape[1] else [])
        rows = ["factor"] if len(self.factors) else []
        rows += ["first_factor"] if len(self.first_factors) else []
        rows += ["offset"] if len(self.offsets) else []
        rows += ["rerank_scale"] if len(self.rerank_scales) else []
        needed = [(CODES, codes, first, last), (ROWS, rows, starts, stops)]
        if reranked and len(self.rerank_scales):
            needed.append((RERANK, [RERANK_CODES], starts, stops))
        return needed


def view_arrays(
    model: Model, rows: int, blocks: int, files: dict[str, SegmentFile], *, reranked: bool = True
) -> ShardArrays:
    """Return the arrays of a run, with every shape and dtype checked against the model before kernels use them.

    Without `reranked`, rerank codes are left out; copies have none.
    """

    def take(kind: str, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        if kind not in files:
            raise CorruptIndexError("manifest", f"a shard has no file of kind {kind!r}")
        file = files[kind]
        array = file.array(name)
        if array.dtype != np.dtype(dtype) or array.shape != shape:
            expected = f"{np.dtype(dtype)} {shape}"
            raise CorruptIndexError(file.entry.path, f"{name} is {array.dtype} {array.shape}, expected {expected}")
        return array

    stages = model.quantizer.stage_bytes
    d = model.dimensions
    staged, cells = len(stages) == 2, model.quantizer.scan == "cells"
    offset = model.metric == "l2" and (model.rerank is not None or not cells)
    bytes_ = halves = floats = None
    reranked = reranked and model.rerank is not None
    if reranked:
        codes = take(RERANK, RERANK_CODES, RERANK_DTYPES[str(model.rerank)], (rows, d))
        bytes_ = codes if model.rerank == "int8" else None
        halves = codes.view(np.uint16) if model.rerank == "float16" else None
        floats = codes if model.rerank == "float32" else None

    def half(name: str, present: bool) -> NDArray[np.uint16]:
        if not present:
            return np.empty(0, np.uint16)
        return take(ROWS, name, np.float16, (rows,)).view(np.uint16)

    return ShardArrays(
        first_codes=take(CODES, "first", np.uint8, (blocks, stages[0] * BLOCK)),
        later_codes=take(CODES, "later", np.uint8, (blocks, stages[1] * BLOCK))
        if staged
        else np.empty((blocks, 0), np.uint8),
        factors=half("factor", not cells),
        first_factors=half("first_factor", staged and not cells),
        offsets=take(ROWS, "offset", np.float32, (rows,)) if offset else np.empty(0, np.float32),
        rerank_scales=half("rerank_scale", reranked),
        rerank_bytes=np.empty((0, d), np.int8) if bytes_ is None else bytes_,
        rerank_halves=np.empty((0, d), np.uint16) if halves is None else halves,
        rerank_floats=np.empty((0, d), np.float32) if floats is None else floats,
    )
