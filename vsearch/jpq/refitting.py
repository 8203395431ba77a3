"""Encode the vectors again, with the most precision in the directions that matter to the adapted queries.

The error of a score is the inner product of a query and the error of a vector. Its mean square is the squared length of
``W @ error``, where ``W @ W`` are the second moments of the queries; so vectors are transformed by W before PQ, and queries by its
inverse. A smaller exponent preserves more of the other directions, which matter to unusual queries.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from vsearch.jpq.reassign import encode_again
from vsearch.jpq.scoring import Documents, load_documents
from vsearch.quantizers.pq import TRAINING_ROWS, train_pq
from vsearch.search.state.snapshot import open_snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.jpq.reassign import Source

EXPONENT = 0.25
"""Exponent of the second moments of the queries in the transform of the vectors. 1/2 would minimize the mean squared error of scores."""

LEAST = 1e-4
"""Lower limit of second moments, relative to the largest."""


def fit_transform(queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a symmetric transform of the vectors for queries float32 (m, d), and its inverse, float32 (d, d) each."""
    moments = (queries.T @ queries).astype(np.float64) / len(queries)
    values, directions = np.linalg.eigh(moments)
    if not values[-1] > 0:
        identity = np.eye(len(moments), dtype=np.float32)
        return identity, identity
    scales = np.maximum(values, values[-1] * LEAST) ** EXPONENT
    scales /= np.exp(np.log(scales).mean())
    return tuple(np.asarray((directions * by) @ directions.T, np.float32) for by in (scales, 1 / scales))  # type: ignore[return-value]


def balanced_rotation(residuals: NDArray[np.float32], parts: int) -> NDArray[np.float32]:
    """Return a rotation float32 (d, d) to principal directions, dealt to the parts so that products of their variances are similar.

    Notes
    -----
    The parametric solution of Ge, He, Ke and Sun, Optimized Product Quantization, 2013. It takes a fraction of the time of the
    iterations that follow it there.
    """
    values, directions = np.linalg.eigh((residuals.T @ residuals).astype(np.float64))
    floor = max(values[-1] * LEAST, np.finfo(np.float64).tiny)
    width = len(values) // parts
    dealt: list[list[int]] = [[] for _ in range(parts)]
    smallest = [(0.0, part) for part in range(parts)]  # sums of logarithms, as a heap
    for place in range(len(values) - 1, -1, -1):  # the largest first
        total, part = heappop(smallest)
        dealt[part].append(place)
        if len(dealt[part]) < width:
            heappush(smallest, (total + float(np.log(max(values[place], floor) / floor)), part))
    return np.ascontiguousarray(directions[:, np.concatenate(dealt)].T, np.float32)


def refit_codes(
    documents: Documents, adapter: NDArray[np.float32], source: Source, queries: NDArray[np.float32], writer: str
) -> Documents:
    """Return the index with a transform and centroids for these queries and their adapter, and new codes.

    Parameters
    ----------
    queries : float32 (m, d)
        Prepared, before the adapter.
    writer : str
        Prefix of the names of new files.

    Returns
    -------
    Documents
        Not committed. Rows stay in their partitions.
    """
    snapshot, codec = documents.snapshot, documents.codec
    model, manifest = snapshot.model, snapshot.manifest
    transform, inverse = fit_transform(queries @ adapter.T)
    centroids = model.centroids @ model.inverse_rotation
    rng = np.random.default_rng([manifest.seed, 5])
    rows = np.sort(rng.permutation(manifest.rows)[:TRAINING_ROWS])
    residuals = (source.take(source.order[rows]) - centroids[documents.partitions[rows]]) @ transform
    turn = balanced_rotation(residuals, codec.spec.subquantizers)
    trained = train_pq(residuals @ turn.T, replace(codec.spec, rotation=False), manifest.seed)
    rotation = np.ascontiguousarray(turn @ transform)
    moved = np.ascontiguousarray(centroids @ rotation.T)
    refitted = replace(
        model,
        quantizer=replace(trained, rotation=rotation),
        centroids=moved,
        centroid_squares=np.einsum("ij,ij->i", moved, moved),
        adapter=np.ascontiguousarray(inverse @ (inverse @ adapter)),
    )
    written = encode_again(replace(snapshot, model=refitted), source, f"{writer}-refit")
    return load_documents(replace(open_snapshot(snapshot.store, written), model=refitted))
