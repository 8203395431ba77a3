"""OSQ as published in SQUASH: cells of each KLT dimension by Lloyd's algorithm, ranking by lower bounds.

Kept for comparison with `osq`. Here the dimensions are truly decorrelated, no bits go to dimensions that have 8 bits or
no variance, the outer cells are unbounded, and all cell numbers are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import cached_property
from vsearch.quantizers.klt import fit_klt
from vsearch.quantizers.protocol import Calibration, Encoded, Scan
from vsearch.quantizers.record import Forecast, QuantizerRecord, TrainingRows

MAX_BITS = 8
DEAD = 1e-9  # of the largest variance: dimensions below it contain only rounding noise
ROUNDING = 1e-12  # of a vector's mean square: variance that float32 rounding can cause by itself
SETTLED = 0.005  # relative change of the error at which Lloyd's algorithm stops
ROUNDS = 250


@dataclass(frozen=True, eq=False)
class LloydOSQ:
    """A trained codec of cells. It encodes rotated vectors, not residuals, so that partitions share one set of tables.

    Attributes
    ----------
    bits : float
        Requested average number of bits per dimension, without the sign bits.
    rotation : float32 (d, d)
        The KLT.
    means : float32 (d,)
        Means of the rotated dimensions.
    signs : int
        Number of leading dimensions that have a sign bit: those with variance. The bit after them marks zero vectors,
        which have no direction, so that cosine can distinguish them from near vectors.
    dimension_bits : int32 (D,)
        Bits of the leading dimensions; the other d - D have none.
    centers : float32 (cells,)
        Representatives of the cells of all dimensions, ascending within a dimension. The edges are the midpoints.
    """

    bits: float
    rotation: NDArray[np.float32]
    means: NDArray[np.float32]
    signs: int
    dimension_bits: NDArray[np.int32]
    centers: NDArray[np.float32]

    name = "osq-lloyd"
    scan: ClassVar[Scan] = "cells"

    @property
    def dimensions(self) -> int:
        return len(self.rotation)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First cell of each dimension, int64 (D,)."""
        cells = np.int64(1) << self.dimension_bits.astype(np.int64)
        return np.cumsum(cells) - cells

    @cached_property
    def lowers(self) -> NDArray[np.float32]:
        """Lower edges of all cells, float32 (cells,); -inf for the first cell of a dimension."""
        edges = np.empty_like(self.centers)
        edges[1:] = self.centers[:-1] + (self.centers[1:] - self.centers[:-1]) / np.float32(2)
        edges[self.starts] = -np.inf
        return edges

    @cached_property
    def stage_bytes(self) -> tuple[int, ...]:
        """Bytes of the sign code and of the packed cells; one zero byte for the latter if no dimension has bits."""
        return self.signs // 8 + 1, max(1, -(-int(self.dimension_bits.sum()) // 8))

    @property
    def calibration(self) -> Calibration:
        """The identity: lower bounds, unlike estimates, need no correction."""
        return Calibration(np.ones(2, np.float32), np.zeros(2, np.float32))

    def encode(self, vectors: NDArray[np.float32]) -> Encoded:
        from vsearch.kernels.scan.cells import encode_cells

        vectors = np.ascontiguousarray(vectors, np.float32)
        codes = np.zeros((len(vectors), sum(self.stage_bytes)), np.uint8)
        means, first = self.means[: self.signs], self.stage_bytes[0]
        encode_cells(vectors, means, self.dimension_bits, self.starts, self.lowers, first, codes)
        return Encoded(codes, np.empty(0, np.float32), None)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        from vsearch.kernels.scan.cells import unpack_cells

        coded = len(self.dimension_bits)
        cells = np.empty((len(codes), coded), np.uint8)
        unpack_cells(np.ascontiguousarray(codes[:, self.stage_bytes[0] :]), self.dimension_bits, cells)
        values = np.repeat(self.means[None, :], len(codes), axis=0)
        values[:, :coded] = self.centers[self.starts + cells]
        return values

    def tables(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        from vsearch.kernels.scan.cells import gap_tables

        gaps = np.empty(len(self.centers), np.float32)
        gap_tables(query, self.dimension_bits, self.starts, self.lowers, gaps)
        return gaps

    def configuration(self) -> dict[str, Any]:
        return {"bits": self.bits, "signs": self.signs}

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {
            "rotation": self.rotation,
            "means": self.means,
            "dimension_bits": self.dimension_bits,
            "centres": self.centers,
        }


def train_lloyd(vectors: NDArray[np.float32], bits: float) -> LloydOSQ:
    """Train on vectors in the space that is searched: rotated queries and rows must share one origin.

    Parameters
    ----------
    vectors : float32 (n, d)
        A sample, n >= 1.
    bits : float
        Average bits per dimension; bits that the dimensions with variance cannot use are left unspent.
    """
    dimensions = vectors.shape[1]
    rotation = fit_klt(vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)).matrix
    rotated = vectors @ rotation.T
    means = rotated.mean(axis=0, dtype=np.float64)
    variances = rotated.var(axis=0, dtype=np.float64)
    floor = DEAD * variances.max() + ROUNDING * float(np.sum(means**2 + variances))
    energies = np.where(variances > floor, variances, 0.0)
    dimension_bits = np.trim_zeros(greedy_bits(energies, int(bits * dimensions)), "b")
    columns = np.sort(rotated[:, : len(dimension_bits)], axis=0)
    centers = [lloyd_centers(columns[:, j], 1 << width) for j, width in enumerate(dimension_bits.tolist())]
    return LloydOSQ(
        bits=bits,
        rotation=rotation,
        means=means.astype(np.float32),
        signs=int(np.flatnonzero(energies).max(initial=-1)) + 1,
        dimension_bits=dimension_bits,
        centers=np.concatenate([np.empty(0), *centers]).astype(np.float32),
    )


def greedy_bits(energies: NDArray[np.float64], budget: int) -> NDArray[np.int32]:
    """Assign each bit to the dimension with the most remaining energy; it doubles its cells and quarters its energy.

    This selects the `budget` largest among the energies of all dimensions after 0, 1, ... 7 bits.

    Parameters
    ----------
    energies : float64 (d,)
        Variances; a dimension of energy 0 gets no bits.
    budget : int
        Bits to assign. Bits that no dimension can take (at most 8 each) are left unspent.

    Returns
    -------
    bits : int32 (d,)
    """
    remaining = energies[:, None] * 0.25 ** np.arange(MAX_BITS)
    order = np.argsort(-remaining, axis=None, kind="stable")[: min(budget, MAX_BITS * np.count_nonzero(energies))]
    return np.bincount(order // MAX_BITS, minlength=len(energies)).astype(np.int32)


def lloyd_centers(values: NDArray[np.floating[Any]], cells: int) -> NDArray[np.float64]:
    """Find the representatives of cells by Lloyd's algorithm, starting from cells of equal numbers of values.

    Parameters
    ----------
    values : float (n,)
        Ascending, n >= 1.
    cells : int

    Returns
    -------
    centers : float64 (cells,)
        Ascending. An empty cell is represented by its midpoint.
    """
    n = len(values)
    origin = float(values[n // 2])
    shifted = values.astype(np.float64) - origin
    sums = np.concatenate([[0.0], np.cumsum(shifted)])
    total = float(shifted @ shifted)
    edges = shifted[np.arange(1, cells) * n // cells]
    previous = np.inf
    for _ in range(ROUNDS):
        splits = np.concatenate([[0], np.searchsorted(shifted, edges), [n]])
        counts, interval_sums = np.diff(splits), np.diff(sums[splits])
        bounds = np.concatenate([shifted[:1], edges, shifted[-1:]])
        centers = np.where(counts > 0, interval_sums / np.maximum(counts, 1), (bounds[:-1] + bounds[1:]) / 2)
        edges = (centers[:-1] + centers[1:]) / 2
        error = max(0.0, total - float(np.sum(interval_sums**2 / np.maximum(counts, 1))))
        if previous - error <= SETTLED * previous and previous < np.inf:
            break
        previous = error
    return centers + origin


def load_lloyd(configuration: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LloydOSQ:
    """Restore a trained codec from the results of `configuration` and `arrays`.

    Raises
    ------
    ValueError
        They are inconsistent.
    """
    codec = LloydOSQ(
        float(configuration["bits"]),
        np.asarray(arrays["rotation"], np.float32),
        np.asarray(arrays["means"], np.float32),
        int(configuration["signs"]),
        np.asarray(arrays["dimension_bits"], np.int32),
        np.asarray(arrays["centres"], np.float32),
    )
    bits, d = codec.dimension_bits, len(codec.rotation)
    sound = codec.rotation.shape == (d, d) and codec.means.shape == (d,) and 0 <= codec.signs <= d
    sound = sound and bits.ndim == 1 and len(bits) <= d and bool(((bits >= 0) & (bits <= MAX_BITS)).all())
    if not sound or codec.centers.shape != (int((1 << bits).sum()),):
        raise ValueError("the cells do not match the dimensions")
    ascending = np.diff(codec.centers) >= 0
    if not np.delete(ascending, codec.starts[1:] - 1).all():
        raise ValueError("the cells are not in ascending order")
    return codec


@dataclass(frozen=True)
class LloydSpecification:
    """Cells with an average number of bits per dimension."""

    bits: float

    def check(self, _: int) -> None:
        """Accept any number of dimensions."""

    def forecast(self, dimensions: int) -> Forecast:
        signs = dimensions // 8 + 1
        return Forecast("cells", signs + max(1, int(self.bits * dimensions + 7) // 8), 0)

    def train(self, rows: TrainingRows, _: int) -> LloydOSQ:
        return train_lloyd(rows.vectors, self.bits)


RECORD = QuantizerRecord(
    "osq-lloyd",
    lambda bits, _: LloydSpecification(bits),
    load_lloyd,
    metrics=("cosine", "l2"),
    refusal="quantizer='osq-lloyd' bounds distances, so metric must be 'cosine' or 'l2'; use quantizer='osq' for ip",
)
