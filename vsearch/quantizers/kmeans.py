"""K-means by FAISS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import MissingDependencyError
from vsearch.forking import with_threads_of_its_own


def import_faiss() -> Any:
    """Return the module `faiss`, which only builds and training need.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingDependencyError("building and training an index need faiss: pip install faiss-cpu") from error
    return faiss


@with_threads_of_its_own
def train_kmeans(sample: NDArray[np.float32], centroids: int, rounds: int, seed: int) -> NDArray[np.float32]:
    """Return the centroids, float32 (at most ``centroids``, d), of a sample (n, d), n >= 1.

    There are fewer if the sample has fewer distinct vectors.
    """
    faiss = import_faiss()
    kmeans = faiss.Kmeans(
        sample.shape[1],
        min(centroids, len(sample)),
        niter=rounds,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=1 << 30,
    )
    kmeans.train(np.ascontiguousarray(sample, np.float32))
    return np.unique(np.asarray(kmeans.centroids, np.float32), axis=0)
