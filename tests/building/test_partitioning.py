from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.building import partitioning
from vsearch.building.partitioning import (
    LARGEST_OVER_MEAN,
    Partitioning,
    assign,
    check_counts,
    deal_to_shards,
    default_partitions,
    default_shards,
    sample_rows,
    split_loose,
    split_oversize,
    train_centroids,
)
from vsearch.errors import InputError


def vectors(n, d=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def split(rows, partitions, seed=0):
    centroids = train_centroids(rows, partitions, seed)
    return split_oversize(Partitioning(centroids, assign(rows, centroids)), lambda asked: rows[asked], seed)


def check_split(rows, found):
    counts = np.bincount(found.members, minlength=len(found.centroids))
    assert found.members.shape == (len(rows),)
    assert len(counts) == len(found.centroids)
    assert counts.min() > 0
    # eight rows are never too many: below that, a partition costs more than it saves
    assert counts.max() <= max(LARGEST_OVER_MEAN * counts.mean(), 8)
    assert np.isfinite(found.centroids).all()


# -- how many


def test_defaults_from_one_row_to_a_hundred_million():
    counts = np.unique(np.geomspace(1, 100_000_000, 400).astype(int)).tolist()
    partitions = [default_partitions(rows) for rows in counts]
    assert partitions[0] == 1
    assert partitions == sorted(partitions)
    for rows, many in zip(counts, partitions, strict=True):
        assert 1 <= many <= rows
        assert many == 1 or rows / many >= 64
        assert rows / many <= 4000
        shards = default_shards(rows)
        assert shards == -(-rows // 1_000_000)
        assert shards <= many
        assert check_counts(rows, None, None) == (many, shards)
    assert default_partitions(115_659) in range(500, 2000)
    assert default_partitions(100_000_000) in range(10_000, 100_000)


@pytest.mark.parametrize("rows", [1, 2, 255, 256, 257, 10_000])
def test_sampled_rows_are_distinct_and_ascend(rows):
    rng = np.random.default_rng(0)
    sample = sample_rows(rows, default_partitions(rows), 16, rng)
    assert (np.diff(sample) > 0).all()
    assert sample[0] >= 0
    assert sample[-1] < rows
    assert len(sample) == min(rows, max(4096, 48 * default_partitions(rows)))


def test_sample_is_bounded():
    assert len(sample_rows(1_000_000, 30_000, 4096, np.random.default_rng(0))) * 4 * 4096 <= 512 << 20


@pytest.mark.parametrize("partitions", [0, -1, 101, 1.5, "3", True])
def test_unusable_counts(partitions):
    for name in ("partitions", "shards"):
        with pytest.raises(InputError, match=rf"{name} must be .*1 to the number of rows \(100\)"):
            check_counts(100, **{"partitions": 50, "shards": 1, name: partitions})


def test_shards_hold_whole_partitions():
    with pytest.raises(InputError, match="shards=3 is more than partitions=2"):
        check_counts(100, 2, 3)
    assert check_counts(100, None, 3) == (3, 3)
    assert check_counts(1000, 10, np.int64(3)) == (10, 3)


# -- centroids


@pytest.mark.parametrize(("n", "partitions"), [(1, 1), (50, 1), (50, 7), (50, 50)])
def test_centroids_are_distinct(n, partitions):
    rows = vectors(n)
    centroids = train_centroids(rows, partitions, 0)
    assert centroids.dtype == np.float32
    assert len(np.unique(centroids, axis=0)) == len(centroids) <= partitions
    if partitions == 1:
        np.testing.assert_allclose(centroids[0], rows.mean(axis=0), atol=1e-6)


def test_fewer_centroids_than_asked_for_where_vectors_repeat():
    rows = np.repeat(vectors(3), 40, axis=0)
    assert len(train_centroids(rows, 10, 0)) <= 10
    check_split(rows, split(rows, 10))


def test_rows_go_to_their_nearest_centroid():
    rows, centroids = vectors(300), vectors(20, seed=1)
    distances = ((rows[:, None, :].astype(np.float64) - centroids) ** 2).sum(axis=2)
    np.testing.assert_array_equal(assign(rows, centroids), distances.argmin(axis=1))
    assert (assign(rows, centroids[:1]) == 0).all()


@pytest.mark.usefixtures("two_threads")
def test_same_seed_same_centroids():
    rows = vectors(500)
    np.testing.assert_array_equal(train_centroids(rows, 9, 4), train_centroids(rows, 9, 4))


# -- splitting


@settings(max_examples=12)
@given(n=st.integers(1, 400), partitions=st.integers(1, 40), seed=st.integers(0, 100), clumps=st.integers(1, 5))
def test_no_partition_is_over_four_times_the_mean(n, partitions, seed, clumps):
    """Most rows in a few tight clumps, which k-means gives a centroid each."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((clumps, 6))[rng.integers(0, clumps, n)] * 10
    rows = (rows + rng.standard_normal((n, 6)) * rng.choice([0, 0.01, 1], (n, 1))).astype(np.float32)
    check_split(rows, split(rows, min(partitions, n)))


@pytest.mark.parametrize("n", [1, 9, 100, 3000])
def test_duplicates_are_dealt_out(n):
    """K-means cannot tell them apart; copies of the centroid can hold them all the same."""
    rows = np.ones((n, 4), np.float32)
    found = split(rows, min(n, 20))
    check_split(rows, found)
    np.testing.assert_allclose(found.centroids, 1, atol=1e-4)


def test_many_duplicates_among_others():
    rows = np.concatenate([vectors(500), np.zeros((4000, 8), np.float32)])
    found = split(rows, 64)
    check_split(rows, found)
    # the duplicates went to copies of their own centroid
    assert np.abs(found.centroids[found.members[500:]]).max() < 0.5


def test_splitting_keeps_partitions_that_are_small_enough():
    rows = vectors(1000)
    centroids = train_centroids(rows, 10, 0)
    members = assign(rows, centroids)
    found = split_oversize(Partitioning(centroids, members), lambda asked: rows[asked], 0)
    np.testing.assert_array_equal(found.centroids, centroids)
    np.testing.assert_array_equal(found.members, members)


def test_empty_partitions_are_dropped():
    rows = vectors(100)
    centroids = np.concatenate([np.full((1, 8), 1e6, np.float32), train_centroids(rows, 4, 0)])
    found = split_oversize(Partitioning(centroids, assign(rows, centroids)), lambda asked: rows[asked], 0)
    check_split(rows, found)
    assert np.abs(found.centroids).max() < 100


# -- shards


@settings(max_examples=50)
@given(partitions=st.integers(1, 120), shards=st.integers(1, 20), seed=st.integers(0, 1000), flat=st.booleans())
def test_shards_are_balanced(partitions, shards, seed, flat):
    shards = min(shards, partitions)
    rng = np.random.default_rng(seed)
    centroids = np.zeros((partitions, 5), np.float32) if flat else vectors(partitions, 5, seed)
    counts = rng.integers(1, 100, partitions).astype(np.int64)
    dealt = deal_to_shards(centroids, counts, shards)
    assert len(dealt) == shards
    assert all(len(own) for own in dealt)
    np.testing.assert_array_equal(np.sort(np.concatenate(dealt)), np.arange(partitions))
    # every halving is off by at most one partition
    rows = np.array([counts[own].sum() for own in dealt])
    halvings = int(np.ceil(np.log2(shards))) + 1
    assert rows.max() <= rows.mean() + halvings * counts.max()


def test_near_partitions_share_a_shard():
    centroids = np.concatenate([vectors(10) + 100, vectors(10, seed=1) - 100])
    shuffled = np.random.default_rng(0).permutation(20)
    dealt = deal_to_shards(centroids[shuffled], np.full(20, 50), 2)
    assert {len(np.unique(shuffled[own] < 10)) for own in dealt} == {1}


def test_shards_of_many_partitions_are_dealt_without_a_copy_of_their_centroids(monkeypatch):
    monkeypatch.setattr(partitioning, "SPREAD_BYTES", 1 << 18)  # 1,024 centroids of 32 dimensions
    centers = 50 * vectors(8, 32, seed=3)
    count, rng = 40_000, np.random.default_rng(4)
    owners = np.sort(rng.permutation(np.repeat(np.arange(8), count // 8))[: count // 2])
    owners = np.concatenate([owners, rng.permutation(owners)])  # half of them ordered by cluster, the rest not
    centroids = centers[owners] + vectors(count, 32, seed=5)
    tracemalloc.start()
    try:
        dealt = deal_to_shards(centroids, np.ones(count, np.int64), 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(np.sort(np.concatenate(dealt)), np.arange(count))
    assert max(len(own) for own in dealt) <= count // 64 + 7
    assert np.mean([len(np.unique(owners[own])) for own in dealt]) < 1.5
    assert peak < 32 * count + 5 * (1 << 18) + 200_000 < centroids.nbytes


@pytest.mark.parametrize("seed", [1, 2, 9114])
def test_splitting_duplicates_ends(seed, monkeypatch):
    """Pieces of equal vectors have equal centroids, of which one is kept: then there is nothing left to split."""
    distinct = np.random.default_rng(seed).normal(size=(31, 8)).astype(np.float32)
    vectors = np.repeat(distinct, 10, axis=0)[:300]
    centroids = train_centroids(vectors, 20, 0)
    calls = []

    def counting(sample, partitions, seed):
        calls.append(partitions)
        assert len(calls) < 100
        return train_centroids(sample, partitions, seed)

    monkeypatch.setattr(partitioning, "train_centroids", counting)
    assert len(split_loose(vectors, centroids, 0)) <= 4 * len(centroids)
