"""Train the linear adapter of the queries on the vectors themselves, rather than on their codes.

The errors of codes are noise to the adapter: trained without them, it ranks unseen rows better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vsearch.jpq.loss import LOSSES, Lists
from vsearch.jpq.mining import list_candidates
from vsearch.jpq.optimizer import AdamW
from vsearch.jpq.quality import measure
from vsearch.training.rates import schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.jpq.options import TrainOptions
    from vsearch.jpq.pairs import Pairs
    from vsearch.jpq.reassign import Source

ADAPTER_RATE = 1.2e-2
"""Learning rate relative to the typical size of an entry."""

SPREAD = 1.5
"""Standard deviation to which the scores of a list are scaled before the loss."""

MOST_ROWS = 1 << 16
"""Maximum number of rows that are searched: the relevant rows of as many queries as fill half of them, and random others."""

CHUNK = 256
"""Number of queries that are scored against these rows at a time."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Sample:
    """Vectors of some rows, float32 (n, d), and the pairs whose relevant rows are among them, numbered within the sample."""

    vectors: NDArray[np.float32]
    training: Pairs
    validation: Pairs


def sharpness_of(scores: NDArray[np.float32], lists: Lists) -> float:
    """Return the multiplier that scales the spread of the scores within lists to `SPREAD`."""
    spread = float(np.nanmean(np.nanstd(np.where(lists.valid, scores, np.nan), axis=1)))
    return SPREAD / spread if spread > 0 else 1.0


def train_float_adapter(
    source: Source, training: Pairs, validation: Pairs, options: TrainOptions, report: Progress
) -> NDArray[np.float32]:
    """Train the adapter by searching the vectors exactly with the current one, for every batch.

    Returns
    -------
    float32 (d, d)
        The adapter of the best epoch by the nDCG@10 of the validation queries; the identity if none was better than that.
    """
    sample = draw_sample(source, training, validation, options.seed)
    dimensions, depth = sample.vectors.shape[1], min(options.depth, len(sample.vectors))
    adapter = best = np.eye(dimensions, dtype=np.float32)
    optimizer = AdamW.of(adapter, options.learning_rate * ADAPTER_RATE / dimensions**0.5)
    scores_of_best, best_epoch = _validate(sample, adapter), 0
    latest, sharpness, step = scores_of_best, 0.0, 0
    batches = max(1, len(sample.training) // options.batch)
    for epoch in range(options.epochs):
        order = np.random.default_rng([options.seed, 3, epoch]).permutation(len(sample.training))
        stage = f"adapter, epoch {epoch + 1} of {options.epochs}, nDCG@10 {latest:.4f}"
        for number, chosen in enumerate(np.array_split(order, batches)):
            pairs = sample.training.take(chosen)
            adapted = pairs.queries @ adapter.T
            lists = list_candidates(nearest_rows(adapted, sample.vectors, depth), pairs)
            candidates = sample.vectors[np.maximum(lists.rows, 0)]
            scores = np.matmul(candidates, adapted[:, :, None])[:, :, 0]
            sharpness = sharpness or sharpness_of(scores, lists)
            _, slopes = LOSSES[options.loss](scores * np.float32(sharpness), lists)
            slopes = np.where(lists.valid, slopes, 0).astype(np.float32) * np.float32(sharpness)
            gradient = np.matmul(slopes[:, None, :], candidates)[:, 0].T @ pairs.queries
            step += 1
            adapter = optimizer.update(adapter, gradient, step, schedule(step, options.epochs * batches))
            report(stage, number + 1, batches)
        latest = _validate(sample, adapter)
        if latest > scores_of_best:
            best, scores_of_best, best_epoch = adapter, latest, epoch + 1
        elif epoch + 1 - best_epoch >= options.patience:
            break
    return best


def draw_sample(source: Source, training: Pairs, validation: Pairs, seed: int) -> Sample:
    """Draw rows to search, and the pairs that are among them."""
    rng = np.random.default_rng([seed, 4])
    rows = len(source.order)
    if rows > MOST_ROWS:
        validation, training = (_fit(pairs, most, rng) for pairs, most in ((validation, 8), (training, 2)))
    relevant = np.union1d(training.rows, validation.rows)
    others = np.setdiff1d(np.arange(rows), relevant, assume_unique=True)
    count = max(0, min(MOST_ROWS, rows) - len(relevant))
    drawn = np.union1d(relevant, rng.permutation(others)[:count])
    local = [replace(pairs, rows=np.searchsorted(drawn, pairs.rows)) for pairs in (training, validation)]
    return Sample(source.take(source.order[drawn]), *local)


def _fit(pairs: Pairs, part: int, rng: np.random.Generator) -> Pairs:
    """Return random queries whose relevant rows take up at most a part of the sample; at least one query."""
    order = rng.permutation(len(pairs))
    filled = np.cumsum(np.diff(pairs.starts)[order])
    return pairs.take(np.sort(order[: max(1, int(np.searchsorted(filled, MOST_ROWS // part, side="right")))]))


def nearest_rows(queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the k rows with the largest inner products, best first, int64 (m, k)."""
    nearest = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), CHUNK):
        scores = queries[start : start + CHUNK] @ vectors.T
        top = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        nearest[start : start + CHUNK] = np.take_along_axis(top, order, axis=1)
    return nearest


def _validate(sample: Sample, adapter: NDArray[np.float32]) -> float:
    """Return the nDCG@10 of the validation queries."""
    pairs = sample.validation
    nearest = nearest_rows(pairs.queries @ adapter.T, sample.vectors, min(10, len(sample.vectors)))
    return measure(nearest, pairs.padded()).means()["ndcg@10"]
