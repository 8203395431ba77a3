"""K-means in two levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsearch
from vsearch.building import partitioning
from vsearch.building.levels import divide, train_in_levels
from vsearch.building.partitioning import ITERATIONS, assign, train_centroids
from vsearch.quantizers.kmeans import train_kmeans


def flat(sample, centroids, seed):
    return train_kmeans(sample, centroids, ITERATIONS, seed)


def clusters(rows, d, seed=0, spread=0.3):
    random = np.random.default_rng(seed)
    centers = random.normal(size=(40, d))
    sizes = random.zipf(1.5, rows) % 40  # a few large clusters and many small ones
    return (centers[sizes] + spread * random.normal(size=(rows, d))).astype(np.float32)


def distance(sample, centroids):
    return float(np.square(sample - centroids[assign(sample, centroids)]).sum(axis=1).mean())


@pytest.mark.parametrize("spread", [0.01, 0.3, 2.0])
def test_two_levels_fit_about_as_well_as_one(spread):
    sample, held_out = clusters(6_000, 16, spread=spread), clusters(1_000, 16, seed=0, spread=spread)

    def fit(train):  # of several seeds, since any may miss a small cluster
        found = [train(seed) for seed in range(5)]
        assert all(180 <= len(centroids) <= 200 for centroids in found)
        return np.median([distance(held_out, centroids) for centroids in found])

    levels = fit(lambda seed: train_in_levels(sample, 200, flat, assign, seed))
    assert levels < 1.1 * fit(lambda seed: flat(sample, 200, seed))


def test_two_levels_are_deterministic():
    sample = clusters(3_000, 8)
    assert np.array_equal(train_in_levels(sample, 100, flat, assign, 3), train_in_levels(sample, 100, flat, assign, 3))


def test_equal_rows():
    found = train_in_levels(np.ones((500, 4), np.float32), 100, flat, assign, 0)
    assert 1 <= len(found) <= 100
    assert np.abs(found - 1).max() < 0.05  # FAISS moves copies of a centroid apart


def test_as_many_centroids_as_rows():
    sample = clusters(64, 4)
    found = train_in_levels(sample, 64, flat, assign, 0)
    assert distance(sample, found) < 1e-3


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.data())
def test_shares_are_proportional_and_complete(counts, data):
    counts = np.array(counts, np.int64)
    if not counts.any():
        return
    total = data.draw(st.integers(int(np.count_nonzero(counts)), int(counts.sum())))
    shares = divide(counts, total)
    assert shares.sum() == total
    assert ((shares > 0) == (counts > 0)).all()
    assert (shares <= counts).all()


def test_large_numbers_of_partitions_are_trained_in_levels(monkeypatch):
    sample, seen = clusters(6_000, 8), []
    monkeypatch.setattr(partitioning, "FLAT", 128)
    monkeypatch.setattr(partitioning, "train_in_levels", lambda *a: seen.append(a[1]) or train_in_levels(*a))
    train_centroids(sample, 127, 0)
    assert not seen
    train_centroids(sample, 128, 0)
    assert seen == [128]


def test_an_index_whose_centroids_have_two_levels(monkeypatch):
    monkeypatch.setattr(partitioning, "FLAT", 64)
    rows = clusters(6_000, 16, spread=1.0)
    index = vsearch.build(rows, "memory://levels/index", metric="l2", partitions=96)
    queries = clusters(50, 16, seed=1, spread=1.0)
    assert index.info()["partitions"] >= 90
    assert index.recall(queries, k=10).recall >= 0.9
