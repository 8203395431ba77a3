"""Divide partitions into regions, by k-means on their centroids; see `vsearch.search.state.regions`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsearch.building.partitioning import assign, lost_in_float32
from vsearch.quantizers.kmeans import train_kmeans
from vsearch.search.state.regions import mean_centroids

LEAST_PARTITIONS = 8192
"""Partitions from which an index has regions: with fewer, scoring all of them takes less time than the rest of a query."""

PER_REGION = 64  # centroids for each region that k-means is trained on
ROUNDS = 8


def divide_into_regions(centroids: NDArray[np.float32]) -> NDArray[np.int32] | None:
    """Return the region of each partition, int32 (partitions,), about the square root of their number; None if there are few.

    Also None if the centroids are so far from the origin that float32 cannot tell which are near each other.
    O(partitions^1.5 d): 7 processor seconds for 10^6 partitions of 96 dimensions.
    """
    partitions = len(centroids)
    if partitions < LEAST_PARTITIONS or lost_in_float32(centroids, centroids[:: max(1, partitions // 256)]):
        return None
    count = round(partitions**0.5)
    step = max(1, partitions // (PER_REGION * count))
    return assign(centroids, train_kmeans(centroids[::step], count, ROUNDS, 0))


def extend_regions(
    regions: NDArray[np.int32], before: NDArray[np.float32], added: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Return the nearest region of each added partition, int32 (n,), given those of the partitions before, by their centroids."""
    names, places = np.unique(regions, return_inverse=True)
    return names[assign(added, mean_centroids(places, before, len(names)))]
