"""Reduce the vectors per document before encoding: keep the most salient ones, and merge similar ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.vectors import open_vectors
from vsearch.errors import InputError
from vsearch.multivector.sources import Documents

Reduced = tuple[Documents, NDArray[np.int32] | None]
"""Documents, and the position of every vector in its input document (None if unchanged)."""


def check_reduction(keep: float, pool: float | None, *, saliency: bool) -> None:
    """Raise InputError unless the options are in range and there is a saliency if `keep` needs one."""
    if not (_is_number(keep) and 0 < keep <= 1):
        msg = f"keep must be above 0 and at most 1, got {keep!r}"
        raise InputError(msg)
    if pool is not None and not (_is_number(pool) and pool >= 1):
        msg = f"pool must be a factor of at least 1, or None, got {pool!r}"
        raise InputError(msg)
    if keep < 1 and not saliency:
        msg = f"keep={keep} needs the saliency of each vector; pass saliency=, or pool= to merge similar vectors"
        raise InputError(msg)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and bool(np.isfinite(value))


def reduce_documents(
    documents: Documents,
    saliency: NDArray[np.floating[Any]] | None,
    keep: float,
    pool: float | None,
    scratch: Path,
    progress: Callable[[int, int], None],
) -> Reduced:
    """Keep the most salient share of each document's vectors, then merge similar ones by a factor.

    Documents are streamed one at a time; the vectors and their positions are spooled to `scratch`.

    Parameters
    ----------
    keep : float
        ceil(keep * vectors) of each document are kept, in order; ties go to the earlier vector.
    pool : float or None
        The remaining vectors of each document are merged into ceil(vectors / pool) groups of one vector each.
    """
    check_reduction(keep, pool, saliency=saliency is not None)
    if keep >= 1 and (pool is None or pool <= 1):
        return documents, None
    lengths: list[int] = []
    path = scratch / "positions"

    def reduced(file: BinaryIO) -> Iterator[NDArray[np.float32]]:
        for number in range(len(documents)):
            vectors, _ = documents.read(number, number + 1)
            places = np.arange(len(vectors), dtype=np.int32)
            if keep < 1 and saliency is not None:
                places = keep_salient(saliency[documents.offsets[number] : documents.offsets[number + 1]], keep)
                vectors = vectors[places]
            if pool is not None and pool > 1:
                vectors, central = merge_vectors(vectors, int(np.ceil(len(vectors) / pool)))
                places = places[central]
            lengths.append(len(vectors))
            file.write(places.tobytes())
            progress(number + 1, len(documents))
            yield vectors

    with path.open("wb") as file:
        source = open_vectors(reduced(file), scratch)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return Documents(source, offsets), np.memmap(path, np.int32, "r")


def keep_salient(saliency: NDArray[np.floating[Any]], keep: float) -> NDArray[np.int32]:
    """Return the positions of the ceil(keep * n) most salient vectors, ascending."""
    count = int(np.ceil(keep * len(saliency) - 1e-9))
    return np.sort(np.argsort(-saliency, kind="stable")[: max(1, count)]).astype(np.int32)


def merge_vectors(vectors: NDArray[np.float32], groups: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Merge vectors (n, d) into groups by Ward clustering.

    Returns
    -------
    merged : float32 (groups, d)
        Means, scaled to the average length of their members, ordered by first member.
    central : int32 (groups,)
        The member most similar to each mean.
    """
    labels = cluster(vectors, groups)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(groups))
    sizes = np.diff(np.append(starts, len(vectors)))
    means = np.add.reduceat(vectors[order], starts, axis=0) / sizes[:, None].astype(np.float32)
    norms = np.linalg.norm(vectors, axis=1)
    mean_norms = np.add.reduceat(norms[order], starts) / sizes
    lengths = np.linalg.norm(means, axis=1)
    means *= np.divide(mean_norms, lengths, out=np.ones_like(lengths), where=lengths > 0)[:, None]
    similarity = np.einsum("ij,ij->i", vectors, means[labels])
    best = np.lexsort((np.arange(len(vectors)), -similarity, labels))
    return means.astype(np.float32, copy=False), best[starts].astype(np.int32)


def cluster(vectors: NDArray[np.float32], groups: int) -> NDArray[np.int64]:
    """Ward clustering of vectors (n, d): labels 0 to groups - 1, by first member. O(n^2 * d) time, n^2 floats."""
    from vsearch.kernels.multivector.pooling import cut_merges, merge_chain

    n = len(vectors)
    if groups >= n:
        return np.arange(n)
    centered = vectors - vectors.mean(axis=0)
    squares = np.einsum("ij,ij->i", centered, centered)
    distances = np.maximum(squares[:, None] + squares - 2 * (centered @ centered.T), 0)
    merges, heights = np.empty((n - 1, 2), np.int64), np.empty(n - 1, np.float32)
    merge_chain(distances, np.ones(n, np.int64), np.empty(n, np.int64), merges, heights)
    labels = np.empty(n, np.int64)
    cut_merges(merges, np.argsort(heights, kind="stable"), groups, labels)
    return labels
