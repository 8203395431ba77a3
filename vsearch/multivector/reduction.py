"""Fewer vectors per document, before anything is encoded: the most salient ones kept, and near ones merged."""

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
"""Documents, and for every vector its place in the document that was given (None: the same)."""


def check_reduction(keep: float, pool: float | None, *, saliency: bool) -> None:
    """Raise InputError unless the options are in range and `keep` has a saliency to go by."""
    if not (_is_number(keep) and 0 < keep <= 1):
        msg = f"keep must be above 0 and at most 1, got {keep!r}"
        raise InputError(msg)
    if pool is not None and not (_is_number(pool) and pool >= 1):
        msg = f"pool must be a factor of 1 or more, or None, got {pool!r}"
        raise InputError(msg)
    if keep < 1 and not saliency:
        msg = f"keep={keep} needs a saliency of each vector to go by; give saliency=, or pool= to merge near vectors"
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
    """Keep the most salient share of each document's vectors, then merge near ones by a factor.

    Streams: one document at a time, the vectors and their places spooled to `scratch`.

    Parameters
    ----------
    keep : float
        ceil(keep * vectors) of each document stay, in their order; ties go to the earlier vector.
    pool : float or None
        ceil(vectors / pool) groups of each document become one vector each.
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
    """Places of the ceil(keep * n) most salient vectors, ascending."""
    many = int(np.ceil(keep * len(saliency) - 1e-9))
    return np.sort(np.argsort(-saliency, kind="stable")[: max(1, many)]).astype(np.int32)


def merge_vectors(vectors: NDArray[np.float32], groups: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Merge vectors (n, d) into groups by Ward's clustering.

    Returns
    -------
    merged : float32 (groups, d)
        Means, as long as their members are on average, ordered by their first member.
    central : int32 (groups,)
        The member most like each mean.
    """
    labels = cluster(vectors, groups)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(groups))
    sizes = np.diff(np.append(starts, len(vectors)))
    means = np.add.reduceat(vectors[order], starts, axis=0) / sizes[:, None].astype(np.float32)
    norms = np.linalg.norm(vectors, axis=1)
    wanted = np.add.reduceat(norms[order], starts) / sizes
    lengths = np.linalg.norm(means, axis=1)
    means *= np.divide(wanted, lengths, out=np.ones_like(lengths), where=lengths > 0)[:, None]
    alike = np.einsum("ij,ij->i", vectors, means[labels])
    best = np.lexsort((np.arange(len(vectors)), -alike, labels))
    return means.astype(np.float32, copy=False), best[starts].astype(np.int32)


def cluster(vectors: NDArray[np.float32], groups: int) -> NDArray[np.int64]:
    """Ward's clustering of vectors (n, d): a label 0 to groups - 1 each, by first member. O(n^2 * d), n^2 floats."""
    from vsearch.kernels.multivector.pooling import cut_merges, merge_chain

    n = len(vectors)
    if groups >= n:
        return np.arange(n)
    centred = vectors - vectors.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    distances = np.maximum(squares[:, None] + squares - 2 * (centred @ centred.T), 0)
    merges, heights = np.empty((n - 1, 2), np.int64), np.empty(n - 1, np.float32)
    merge_chain(distances, np.ones(n, np.int64), np.empty(n, np.int64), merges, heights)
    labels = np.empty(n, np.int64)
    cut_merges(merges, np.argsort(heights, kind="stable"), groups, labels)
    return labels
