"""A run of a shard: its partitions, codes, factors and rerank codes, read on first use."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.forking import cached_property, renew_in_children
from vsearch.kernels.scan.blocks import BLOCK
from vsearch.search.state.model import Model
from vsearch.storage import ensure_together
from vsearch.storage.snapshots.kinds import CODES, RERANK, ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vsearch.predicates import EncodedColumn
    from vsearch.search.state.arguments import KernelArguments
    from vsearch.storage.files.segment_file import SegmentFile
    from vsearch.storage.snapshots.manifest import EncodingEntry

REMAINDER = 1 / 32
"""Share of the rows of a run in a folder that is read at once when the rest has been read."""

RERANK_DTYPES = {"int8": np.int8, "float16": np.float16, "float32": np.float32}


@dataclass(frozen=True, eq=False)
class PartitionTable:
    """The partitions of a run, in the order of their rows.

    Attributes
    ----------
    rows, row_starts, block_starts : int64 (partitions,)
    radii : float32 (partitions,)
        Root mean square distance of the rows to the centroid.
    factor_scales, first_factor_scales, rerank_scales : float32 (partitions,)
        Scales of the float16 columns of the rows.
    """

    rows: NDArray[np.int64]
    row_starts: NDArray[np.int64]
    block_starts: NDArray[np.int64]
    radii: NDArray[np.float32]
    factor_scales: NDArray[np.float32]
    first_factor_scales: NDArray[np.float32]
    rerank_scales: NDArray[np.float32]

    @classmethod
    def from_arrays(cls, path: str, arrays: dict[str, NDArray[Any]], total: int) -> PartitionTable:
        """Check the arrays read from `path`, and compute the starts."""
        try:
            rows = np.asarray(arrays["rows"], np.int64)
            floats = [
                np.ascontiguousarray(arrays[name], np.float32)
                for name in ("radius", "factor_scale", "first_factor_scale", "rerank_scale")
            ]
        except KeyError as missing:
            raise CorruptIndexError(path, f"the partition table has no column {missing}") from None
        if rows.ndim != 1 or (rows < 0).any() or int(rows.sum()) != total or any(len(f) != len(rows) for f in floats):
            raise CorruptIndexError(path, f"the row counts of its partitions do not add up to {total}")
        if not all(np.isfinite(f).all() for f in floats):
            raise CorruptIndexError(path, "the numbers of its partition table must be finite")
        blocks = (rows + BLOCK - 1) // BLOCK
        return cls(rows, np.cumsum(rows) - rows, np.cumsum(blocks) - blocks, *floats)

    @property
    def blocks(self) -> int:
        return int(((self.rows + BLOCK - 1) // BLOCK).sum())


class RunState:
    """The data of a run that were read so far, shared by all snapshots that have the run.

    Of partitions without rows, according to their numbers of `rows`, there is nothing to read.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self.ready = rows == 0
        self.all_ready = bool(self.ready.all())
        self.columns: dict[str, EncodedColumn] = {}
        self.derived: dict[str, Any] = {}  # caches of other modules, by module name
        self.lock = threading.Lock()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent process may hold."""
        self.lock = threading.Lock()


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
    read: RunState = field(init=False)
    _live: NDArray[np.uint64] | None = None
    _live_ready: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.read = RunState(self.table.rows) if self.state is None else self.state

    @property
    def partitions(self) -> int:
        return len(self.table.rows)

    @property
    def ready(self) -> bool:
        """Whether all partitions with live rows are read and verified: kernels read nothing of rows that are masked."""
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

    def missing(self, partitions: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return those of the partitions, numbered within the run, whose scanned data are not read yet, ascending.

        Of a run in a folder they are all that are left, once these have few rows: a run that is read completely is searched in one
        native call.
        """
        state = self.read
        if state.all_ready:
            return np.empty(0, np.int64)
        needed = np.zeros(len(state.ready), np.bool_)
        needed[partitions] = True
        missing = needed & ~state.ready
        if missing.any() and self.files[CODES].mapped:
            unread = ~state.ready
            if self.table.rows[unread].sum() <= REMAINDER * self.rows:
                missing = unread
        return np.flatnonzero(missing)

    def ensure(self, partitions: NDArray[np.int32]) -> None:
        """Read and verify the scanned data of partitions; cheap if they are read already."""
        ensure_runs([(self, self.missing(partitions))])

    def parts(self, missing: NDArray[np.int64]) -> list[tuple[SegmentFile, str, NDArray[np.int64], NDArray[np.int64]]]:
        """Return what to read for partitions: (file, array, starts, stops)."""
        table = self.table
        starts, stops = table.row_starts[missing], table.row_starts[missing] + table.rows[missing]
        first = table.block_starts[missing]
        last = first + (table.rows[missing] + BLOCK - 1) // BLOCK
        ranges = self.arrays.ranges(first, last, starts, stops)
        return [(self.files[kind], name, low, high) for kind, names, low, high in ranges for name in names]

    def note(self, read: NDArray[np.int64]) -> None:
        """Remember that partitions are read and verified."""
        with self.read.lock:
            self.read.ready[read] = True
            self.read.all_ready = bool(self.read.ready.all())

    def bytes_fetched(self) -> int:
        """Return the bytes read from the store so far."""
        return sum(file.bytes_read for file in self.files.values())


def ensure_runs(wanted: Sequence[tuple[Shard, NDArray[np.int64]]]) -> None:
    """Read and verify missing partitions of several runs, all of them in one round of requests."""
    wanted = [(run, missing) for run, missing in wanted if len(missing)]
    ensure_together([part for run, missing in wanted for part in run.parts(missing)])
    for run, missing in wanted:
        run.note(missing)


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
        self, first: NDArray[np.int64], last: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
    ) -> list[tuple[str, list[str], NDArray[np.int64], NDArray[np.int64]]]:
        """Return the ranges to read for blocks and rows: (file kind, arrays, starts, stops)."""
        codes = ["first"] + (["later"] if self.later_codes.shape[1] else [])
        rows = ["factor"] if len(self.factors) else []
        rows += ["first_factor"] if len(self.first_factors) else []
        rows += ["offset"] if len(self.offsets) else []
        rows += ["rerank_scale"] if len(self.rerank_scales) else []
        needed = [(CODES, codes, first, last), (ROWS, rows, starts, stops)]
        if len(self.rerank_scales):
            needed.append((RERANK, ["rerank"], starts, stops))
        return needed


def view_arrays(model: Model, rows: int, blocks: int, files: dict[str, SegmentFile]) -> ShardArrays:
    """Return the arrays of a run, with every shape and dtype checked against the model before kernels use them."""

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
    if model.rerank is not None:
        codes = take(RERANK, "rerank", RERANK_DTYPES[model.rerank], (rows, d))
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
        rerank_scales=half("rerank_scale", model.rerank is not None),
        rerank_bytes=np.empty((0, d), np.int8) if bytes_ is None else bytes_,
        rerank_halves=np.empty((0, d), np.uint16) if halves is None else halves,
        rerank_floats=np.empty((0, d), np.float32) if floats is None else floats,
    )
