"""Benchmark data: vectors, held-out queries, the truth, and recall by score.

A dataset is a folder with ``base.npy`` and ``queries.npy``, and optionally ``neighbours.npy`` (exact nearest rows of every
query) and ``attributes.parquet``.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyarrow import parquet

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

CACHE = Path(tempfile.gettempdir()) / "vsearch-bench"
SAMPLE = "wordnet-10k"
METRICS = ("cosine", "ip", "l2")
TOLERANCE = 1e-6  # of the score's scale: below the float32 precision of peers
BLOCK = 16_384  # rows per matrix product
MARGIN = 32  # candidates beyond k from float32 products, to be scored exactly


@dataclass(frozen=True)
class Truth:
    """The exact k best rows of every query.

    Attributes
    ----------
    ids : (queries, k) int64
        Rows, best first; -1 if there are fewer than k rows.
    scores : (queries, k) float64
        Their exact scores, where greater is better; -inf for -1.
    """

    ids: Rows
    scores: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """A dataset in memory, with unit vectors if the metric is cosine."""

    name: str
    metric: str
    base: Floats
    queries: Floats
    truth: Truth

    @property
    def rows(self) -> int:
        return int(self.base.shape[0])

    @property
    def k(self) -> int:
        """Neighbors per query."""
        return int(self.truth.ids.shape[1])

    @property
    def dimensions(self) -> int:
        return int(self.base.shape[1])


def sample() -> Path:
    """The bundled sample, laid out as a folder of this form."""
    from vsearch import datasets

    folder = CACHE / SAMPLE
    if not (folder / "attributes.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        shipped: Any = datasets.load(SAMPLE)
        np.save(folder / "base.npy", shipped.vectors)
        np.save(folder / "queries.npy", shipped.queries)
        parquet.write_table(shipped.attributes, folder / "attributes.parquet")
    return folder


def load(
    folder: Path,
    *,
    rows: int | None = None,
    queries: int | None = None,
    metric: str = "cosine",
    k: int = 10,
) -> Data:
    """Read a dataset, or ``rows`` evenly spaced rows and the first ``queries``, with its truth.

    ``neighbours.npy`` is used if it applies (all rows, at least k columns); otherwise the truth is computed, and cached in a
    temporary folder for the next run.

    Raises
    ------
    FileNotFoundError
        ``base.npy`` or ``queries.npy`` is missing.
    ValueError
        An unknown metric, or shapes that do not match.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {METRICS}, got {metric!r}")
    stored = np.load(folder / "base.npy", mmap_mode="r")
    stored_queries = np.load(folder / "queries.npy", mmap_mode="r")
    if stored.ndim != 2 or stored_queries.ndim != 2 or stored.shape[1] != stored_queries.shape[1]:
        raise ValueError(f"base {stored.shape} and queries {stored_queries.shape} do not fit together")
    all_rows = rows is None or rows >= len(stored)
    base = prepare(stored if all_rows else stored[spaced(len(stored), rows or 1)], metric)
    held_out = prepare(stored_queries[:queries], metric)
    truth_file = folder / "neighbours.npy"
    if all_rows and truth_file.exists():
        ids = np.load(truth_file, mmap_mode="r")[: len(held_out), :k].astype(np.int64)
        if ids.shape == (len(held_out), k):
            return Data(folder.name, metric, base, held_out, _scored(base, held_out, ids, metric))
    truth = _cached_truth(base, held_out, k, metric)
    return Data(folder.name, metric, base, held_out, truth)


def spaced(total: int, rows: int) -> Rows:
    """``rows`` evenly spaced row numbers: files are often sorted, so their first rows are not representative."""
    return np.arange(rows, dtype=np.int64) * total // rows


def prepare(vectors: npt.NDArray[np.generic], metric: str) -> Floats:
    """Contiguous float32 rows, of unit length for cosine (zero vectors stay zero)."""
    floats = np.ascontiguousarray(vectors, dtype=np.float32)
    if metric != "cosine":
        return floats
    lengths = np.linalg.norm(floats, axis=1, keepdims=True)
    return np.asarray(floats / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def scores_of(base: Floats, queries: Floats, ids: Rows, metric: str) -> npt.NDArray[np.float64]:
    """Exact scores of given rows in float64; -inf for ids below 0.

    Equal vectors get bitwise equal scores, independent of the row.
    """
    scores = np.empty(ids.shape, dtype=np.float64)
    for i, query in enumerate(queries.astype(np.float64)):
        vectors = base[ids[i]].astype(np.float64)
        scores[i] = -((vectors - query) ** 2).sum(axis=1) if metric == "l2" else (vectors * query).sum(axis=1)
    return np.where(ids < 0, -np.inf, scores)


def exact(base: Floats, queries: Floats, k: int, metric: str) -> Truth:
    """The k best rows by exhaustive search: blocked float32 products, then float64."""
    keep = min(k + MARGIN, len(base))
    best = np.full((len(queries), keep), -np.inf, dtype=np.float32)
    ids = np.full((len(queries), keep), -1, dtype=np.int64)
    for start in range(0, len(base), BLOCK):
        block = base[start : start + BLOCK]
        scores = queries @ block.T
        if metric == "l2":
            scores = 2 * scores - np.einsum("ij,ij->i", block, block)
        scores = np.concatenate([best, scores], axis=1)
        numbers = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        numbers = np.concatenate([ids, numbers], axis=1)
        chosen = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
        best = np.take_along_axis(scores, chosen, axis=1)
        ids = np.take_along_axis(numbers, chosen, axis=1)
    return _scored(base, queries, ids, metric, k)


def _scored(base: Floats, queries: Floats, ids: Rows, metric: str, k: int | None = None) -> Truth:
    scores = scores_of(base, queries, ids, metric)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    truth = Truth(np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1))
    missing = 0 if k is None else k - order.shape[1]
    if missing <= 0:
        return truth
    pad = ((0, 0), (0, missing))
    return Truth(
        np.pad(truth.ids, pad, constant_values=-1),
        np.pad(truth.scores, pad, constant_values=-np.inf),
    )


def _cached_truth(base: Floats, queries: Floats, k: int, metric: str) -> Truth:
    # By content: the truth of other rows would be mistaken for this one, in everybody's favor.
    digest = hashlib.blake2b(f"{base.shape} {k} {metric}".encode(), digest_size=12)
    digest.update(base.data)
    digest.update(queries.data)
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"truth-{digest.hexdigest()}.npy"
    if path.exists():
        return _scored(base, queries, np.load(path), metric)
    truth = exact(base, queries, k, metric)
    np.save(path, truth.ids)
    return truth


def hits_by_score(data: Data, ids: Rows, truth: Truth | None = None) -> npt.NDArray[np.bool_]:
    """Which results belong to the true k best, judged by score rather than by row number.

    A result counts if its exact score reaches that of the k-th true neighbor, so that a duplicate of a true neighbor is as good
    as the neighbor itself; the same row counts only once.

    Returns
    -------
    (queries, results) bool
    """
    truth = data.truth if truth is None else truth
    scores = scores_of(data.base, data.queries, ids, data.metric)
    worst = np.where(np.isfinite(truth.scores), truth.scores, np.inf).min(axis=1, keepdims=True)
    slack = TOLERANCE * np.maximum(1.0, np.abs(worst, where=np.isfinite(worst), out=np.zeros_like(worst)))
    hits = (scores >= worst - slack) & (ids >= 0)
    order = np.argsort(ids, axis=1, kind="stable")
    ordered = np.take_along_axis(ids, order, axis=1)
    repeated = np.zeros_like(hits)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return np.asarray(hits & ~repeated)


def recall(data: Data, ids: Rows, truth: Truth | None = None) -> float:
    """Fraction of the true k best that was found; ids may have more than k columns.

    With n > k columns, this is the fraction of the true top k among the best n.
    """
    truth = data.truth if truth is None else truth
    true_counts = (truth.ids >= 0).sum(axis=1)
    hit_counts = np.minimum(hits_by_score(data, ids, truth).sum(axis=1), true_counts)
    total = int(true_counts.sum())
    return float(hit_counts.sum() / total) if total else 1.0
