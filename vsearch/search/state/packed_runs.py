"""The runs of a table, and their copies, as arguments of the fused kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import RunField
from vsearch.search.state.arguments import KernelArguments, address

if TYPE_CHECKING:
    from vsearch.search.state.run_state import RunState
    from vsearch.search.state.shard import Copies, Shard
    from vsearch.storage.files.segment_file import SegmentFile


def pack_run(run: Shard, first_row: int, end: int, reaches: NDArray[np.float32] | None) -> KernelArguments:
    """Pack a run of a table, without a mask; the arguments are those of `RunTable`."""
    block = _pack(run.native, run.read, first_row, end)
    row_arrays = [_flags_of(file, name) for file, name in run.row_arrays()]
    block.point(RunField.ROW_ARRAYS, np.array(row_arrays, np.int64).reshape(-1, 5), np.int64)
    block.values[RunField.ROW_ARRAY_COUNT] = len(row_arrays)
    if reaches is not None:
        block.point(RunField.REACHES, reaches, np.float32)
        block.values[RunField.REACH_COUNT] = len(reaches)
    return block


def pack_copied(copies: Copies, owner: KernelArguments, first_row: int, end: int) -> KernelArguments:
    """Pack the copies of a run, whose block is `owner`."""
    block = _pack(copies.native, copies.read, first_row, end)
    block.values[RunField.OWNER] = owner.address
    return block


def _pack(native: KernelArguments, state: RunState, first_row: int, end: int) -> KernelArguments:
    block = KernelArguments(len(RunField))
    block.values[RunField.SHARD] = native.address
    block.values[RunField.FIRST_ROW], block.values[RunField.END] = first_row, end
    block.point(RunField.READ, state.scannable.view(np.uint8), np.uint8)
    block.point(RunField.COMPLETE, state.ready.view(np.uint8), np.uint8)
    block.values[RunField.READ_COUNT] = len(state.ready)
    return block


def _flags_of(file: SegmentFile, name: str) -> tuple[int, int, int, int, int]:
    """Return where kernels see which rows of an array are read: see `RunField.ROW_ARRAYS`."""
    shared, entry = file.shared, file.arrays[name]
    flags = np.frombuffer(shared.flags, np.uint8)
    return address(flags), len(flags), entry.offset, entry.row_bytes, shared.chunk.bit_length() - 1
