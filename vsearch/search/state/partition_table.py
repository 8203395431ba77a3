"""The partitions of a run, or of its copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.kernels.scan.blocks import BLOCK


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

    def extents(self, partitions: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return the first row of partitions and the row after their last, and the same of their blocks."""
        rows = self.rows[partitions]
        starts, first = self.row_starts[partitions], self.block_starts[partitions]
        return starts, starts + rows, first, first + (rows + BLOCK - 1) // BLOCK
