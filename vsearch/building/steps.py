"""Steps that builds in one process share with builds of many tasks on a cluster.

Both pass a step the same rows in batches of the same lengths, so that the results are identical.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.elements import check_bounded
from vsearch.building.partitioning import LEAST_SAMPLE, assign, check_counts, deal_to_shards, sample_rows
from vsearch.building.training import (
    BuildOptions,
    Trained,
    choose_mean,
    prepare_vectors,
    train,
    train_quantizer,
)

BATCH_ROWS = 16384
"""Rows assigned at a time. Sums in a matrix product may depend on the number of rows, so chunks hold a multiple of it."""


def training_rows(rows: int, dimensions: int, options: BuildOptions) -> NDArray[np.int64]:
    """The rows to train on, int64 ascending.

    Raises
    ------
    InputError
        An option does not fit the number of rows or dimensions.
    """
    partitions, _ = check_counts(rows, options.partitions, options.shards)
    options.specification(dimensions)
    least = max(LEAST_SAMPLE, options.record.least_rows)
    return sample_rows(rows, partitions, dimensions, np.random.default_rng(options.seed), least)


def train_on(drawn: NDArray[np.generic], chosen: NDArray[np.int64], rows: int, options: BuildOptions) -> Trained:
    """Train centroids and codec on the vectors (n, d) of the rows `chosen`; the input has `rows` rows.

    Raises
    ------
    InputError
        Numbers are too large for the metric.
    """
    partitions, _ = check_counts(rows, options.partitions, options.shards)
    check_bounded(drawn, options.metric, chosen)
    mean = choose_mean(drawn, options.metric)
    sample = prepare_vectors(drawn, options.metric, mean)
    del drawn
    return train_quantizer(sample, train(sample, partitions, options), mean, options)


def assign_batch(raw: NDArray[np.generic], first: int, trained: Trained, options: BuildOptions) -> NDArray[np.int32]:
    """The nearest centroid of each of at most `BATCH_ROWS` vectors (n, d), the first of which is row `first`.

    Raises
    ------
    InputError
        Numbers are too large for the metric.
    """
    check_bounded(raw, options.metric, first)
    return assign(prepare_vectors(raw, options.metric, trained.mean), trained.centroids)


def deal(
    trained: Trained, counts: NDArray[np.int64], rows: int, options: BuildOptions
) -> tuple[Trained, list[NDArray[np.int64]]]:
    """Deal partitions to shards, given the number of rows of each partition.

    Returns
    -------
    trained : Trained
        With the centroids in the order of the shards.
    dealt : list of int64 arrays
        Partitions of each shard, as numbered before.
    """
    _, shards = check_counts(rows, options.partitions, options.shards)
    dealt = deal_to_shards(trained.centroids, counts, min(shards, len(counts)))
    return replace(trained, centroids=trained.centroids[np.concatenate(dealt)]), dealt
