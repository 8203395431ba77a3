"""Regions: groups of nearby partitions, which routing scores first if there are many partitions.

An index stores the region of each partition; everything else is derived from the centroids. See `vsearch.kernels.query.regions`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.kernels.query.fields import TOGETHER
from vsearch.search.state.packed_centroids import CoarseCentroids, coarse_dimensions, encode_centroids

CHUNK = 1 << 16  # centroids whose distances to their region are computed together


@dataclass(frozen=True, eq=False)
class RegionTable:
    """The regions of p partitions, r of them with at least one.

    Attributes
    ----------
    members : int32 (positions,)
        Partitions in the order of their regions, ascending within a region. Each region begins at a multiple of 64; -1 fills up.
    starts, sizes : int64 (r,)
        First position of each region, and the number of its partitions.
    means : float32 (r, d)
        Mean centroid of each region.
    squares, spreads : float32 (r,)
        Squared norm of the mean, and root mean square distance of the centroids to it.
    """

    members: NDArray[np.int32]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    means: NDArray[np.float32]
    squares: NDArray[np.float32]
    spreads: NDArray[np.float32]

    @classmethod
    def of(cls, regions: NDArray[np.int32], centroids: NDArray[np.float32]) -> RegionTable:
        """Derive the table from the region of each partition and the centroids float32 (p, d). O(p d)."""
        _, places = np.unique(regions, return_inverse=True)  # numbers without partitions are skipped
        sizes = np.bincount(places).astype(np.int64)
        padded = -(-sizes // TOGETHER) * TOGETHER
        starts = np.cumsum(padded) - padded
        order = np.argsort(places, kind="stable")
        members = np.full(int(padded.sum()), -1, np.int32)
        members[starts[places[order]] + np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)] = order
        means = mean_centroids(places, centroids, len(sizes))
        squares = np.empty(len(centroids), np.float64)
        for first in range(0, len(centroids), CHUNK):
            part = slice(first, first + CHUNK)
            squares[part] = np.square(centroids[part] - means[places[part]]).sum(axis=1, dtype=np.float64)
        spreads = np.sqrt(np.bincount(places, squares) / sizes).astype(np.float32)
        return cls(members, starts, sizes, means, np.einsum("ij,ij->i", means, means), spreads)

    def at_positions(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values of the partitions at their positions, float32 (positions,); 0 elsewhere."""
        placed = values[self.members]
        placed[self.members < 0] = 0
        return placed

    def by_partition(self, values: NDArray[np.float32], partitions: int) -> NDArray[np.float32]:
        """Invert `at_positions`: return the values of the partitions, float32 (partitions,)."""
        used, result = self.members >= 0, np.empty(partitions, np.float32)
        result[self.members[used]] = values[used]
        return result

    def encode(self, centroids: NDArray[np.float32], dimensions: int | None = None) -> CoarseCentroids:
        """Encode centroids at their positions, with as many dimensions as needed if None; there are zeros elsewhere."""
        dimensions = coarse_dimensions(centroids) if dimensions is None else dimensions
        placed = np.zeros((len(self.members), centroids.shape[1]), np.float32)
        used = self.members >= 0
        placed[used] = centroids[self.members[used]]
        return encode_centroids(placed, dimensions)


def mean_centroids(regions: NDArray[np.integer], centroids: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the mean centroid of `count` regions, float32 (count, d); 0 for regions without partitions."""
    sizes = np.maximum(np.bincount(regions, minlength=count), 1)
    sums = np.empty((count, centroids.shape[1]), np.float64)
    for column in range(centroids.shape[1]):
        sums[:, column] = np.bincount(regions, centroids[:, column], count)
    return (sums / sizes[:, None]).astype(np.float32)


def check_regions(regions: NDArray[np.generic] | None, partitions: int) -> NDArray[np.int32] | None:
    """Check the regions stored in a model.

    Raises
    ------
    CorruptIndexError
        They are not numbers of regions, one for each partition.
    """
    if regions is None:
        return None
    if regions.dtype != np.int32 or regions.shape != (partitions,):
        raise CorruptIndexError("model", f"regions must be an int32 array of shape ({partitions},)")
    if regions.min(initial=0) < 0 or regions.max(initial=0) >= max(1, partitions):
        raise CorruptIndexError("model", "regions must be from 0 to the number of partitions - 1")
    return np.asarray(regions, np.int32)
