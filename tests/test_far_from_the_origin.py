"""Vectors that share a large offset: distances between them are small differences of large numbers."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from vsearch.building.partitioning import assign, split_loose, train_centroids

ROWS, DIMENSIONS, K = 1500, 16, 10


def distances(queries, vectors):
    return np.square(queries[:, None].astype(np.float64) - vectors[None].astype(np.float64)).sum(axis=2)


def shifted(offset):
    vectors = np.random.default_rng(3).normal(size=(ROWS, DIMENSIONS)) * np.linspace(2, 0.5, DIMENSIONS)
    return (vectors + offset).astype(np.float32)


SHIFTS = {
    "everywhere": np.full(DIMENSIONS, 1e6),
    "one dimension": np.eye(DIMENSIONS)[3] * 4e6,
    "to both sides": np.where(np.arange(DIMENSIONS) % 2, 1e5, -1e6),
}
QUANTIZERS = [("osq", "float32", 1e-3), ("osq", "float16", 0.05), ("osq", "int8", 0.3), ("osq-lloyd", "float32", 1e-3)]


@pytest.mark.slow
@pytest.mark.parametrize(("quantizer", "rerank", "allowed"), QUANTIZERS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_distances_are_those_of_the_vectors(tmp_path, shift, quantizer, rerank, allowed):
    vectors = shifted(SHIFTS[shift])
    index = vsearch.build(vectors, tmp_path / "index", metric="l2", quantizer=quantizer, rerank=rerank, bits=4)
    queries = vectors[::30]
    true = distances(queries, vectors)
    hits = index.search(queries, k=K, exact=True)
    own = np.take_along_axis(true, hits.ids, axis=1)
    assert np.abs(hits.scores - own).max() <= allowed
    worst = np.sort(true, axis=1)[:, K - 1 : K]
    assert (own <= worst + allowed).all()
    least = 0.7 if quantizer == "osq-lloyd" else 0.9  # cells cut by fixed shares, wherever the data lie
    assert np.mean(np.take_along_axis(true, index.search(queries, k=K).ids, axis=1) <= worst + allowed) >= least


@pytest.mark.slow
def test_estimates_of_product_codes_are_as_good_as_near_the_origin(tmp_path):
    found = []
    for name, offset in (("near", 0), ("far", 1e6)):
        vectors = shifted(np.full(DIMENSIONS, offset, np.float64))
        index = vsearch.build(vectors, tmp_path / name, metric="l2", quantizer=vsearch.PQ(DIMENSIONS))
        true = distances(vectors[::30], vectors)
        hits = index.search(vectors[::30], k=K, exact=True)
        found.append(np.mean(np.take_along_axis(true, hits.ids, axis=1) <= np.sort(true, axis=1)[:, K - 1 : K]))
    assert found[1] >= found[0] - 0.02


def test_a_few_rows_far_out_do_not_blur_the_others(tmp_path):
    vectors = shifted(np.full(DIMENSIONS, 1e3))
    vectors[:5] = 3e7
    index = vsearch.build(vectors, tmp_path / "index", metric="l2", rerank="float32")
    hits = index.search(vectors[5::30], k=K, exact=True)
    own = np.take_along_axis(distances(vectors[5::30], vectors), hits.ids, axis=1)
    assert np.abs(hits.scores - own).max() <= 1e-3


def test_positions_in_metres_from_the_center_of_the_earth(tmp_path):
    rng = np.random.default_rng(1)
    meters = (np.array([4208848.0, 2334863.5, 4171170.2]) + rng.uniform(-2000, 2000, (ROWS, 3))).astype(np.float32)
    index = vsearch.build(meters, tmp_path / "index", metric="l2", rerank="float32")
    hits = index.search(meters[::30], k=K)
    own = np.take_along_axis(distances(meters[::30], meters), hits.ids, axis=1)
    np.testing.assert_allclose(hits.scores, own, rtol=1e-4, atol=5)
    np.testing.assert_allclose(own[:, 0], 0, atol=5)


def apart(kind):
    """Clusters of spread 1 (positions: 2 km), far from each other; and the share of neighbors that float32 can tell."""
    rng = np.random.default_rng(5)
    if kind == "positions":
        cities = np.array([[4208848.0, 2334863.5, 4171170.2], [-2694045.0, -4297222.0, 3854100.5]])
        return cities[rng.integers(0, 2, ROWS)] + rng.uniform(-2000, 2000, (ROWS, 3)), 0.9
    sides = {
        "two sides": np.array([[1e6], [-1e6]]) * np.ones(DIMENSIONS),
        "near": rng.uniform(-30, 30, (15, DIMENSIONS)),
    }
    centers = sides.get(kind, rng.uniform(-1e5, 1e5, (15, DIMENSIONS)))
    return centers[rng.integers(0, len(centers), ROWS)] + rng.normal(size=(ROWS, DIMENSIONS)), 0.95


@pytest.mark.usefixtures("full_tuning")
@pytest.mark.parametrize("rerank", ["int8", "float32"])
@pytest.mark.parametrize("kind", ["positions", "two sides", "spread", "near"])
def test_clusters_far_from_each_other(tmp_path, kind, rerank):
    vectors, told = apart(kind)
    vectors = vectors.astype(np.float32)
    index = vsearch.build(vectors, tmp_path / "index", metric="l2", rerank=rerank)
    queries = vectors[::30]
    true = distances(queries, vectors)
    worst = np.sort(true, axis=1)[:, K - 1 : K]
    for exact in (True, False):
        hits = index.search(queries, k=K, exact=exact)
        own = np.take_along_axis(true, hits.ids, axis=1)
        assert np.mean(own <= worst) >= told - (0 if exact else 0.05)
        step = 8e4 if kind == "positions" and rerank == "int8" else 3  # of one byte for some kilometers
        np.testing.assert_allclose(hits.scores, own, rtol=0.03, atol=step)


@pytest.mark.usefixtures("full_tuning")
@pytest.mark.parametrize(("clusters", "apart_by"), [(2, 1e6), (20, 1e6), (200, 1e6), (2, 1e7), (200, 1e4)])
def test_tuned_recall_holds_in_clusters_far_from_each_other(tmp_path, clusters, apart_by):
    rng = np.random.default_rng(clusters)  # 200 of them are more than there are partitions
    centers = apart_by * rng.uniform(-1, 1, (clusters, 32))
    rows, asked = (
        (centers[rng.integers(0, clusters, n)] + rng.normal(size=(n, 32))).astype(np.float32) for n in (10_000, 200)
    )
    index = vsearch.build(rows, tmp_path / "index", metric="l2")
    wide = asked.astype(np.float64)
    true = np.stack([np.square(rows - query).sum(axis=1) for query in wide])
    worst = np.sort(true, axis=1)[:, K - 1 : K]
    least = 0.75 if apart_by == 1e7 else 0.97  # float32 holds whole numbers only there
    for options, lost in (({"exact": True}, 0.0), ({}, 0.04)):
        own = np.take_along_axis(true, index.search(asked, k=K, **options).ids, axis=1)
        assert np.mean(own <= worst) >= least - lost


def test_partitions_are_split_only_where_they_hold_clusters_far_from_each_other():
    rng = np.random.default_rng(4)
    plain = rng.normal(size=(3000, 8)).astype(np.float32)
    heavy = (plain * rng.lognormal(size=(3000, 1))).astype(np.float32)
    heavier = (plain * rng.lognormal(0, 2, size=(3000, 1))).astype(np.float32)
    alike = np.concatenate(
        [plain, np.repeat(plain[:5], 300, axis=0) + rng.normal(0, 1e-3, (1500, 8)).astype(np.float32)]
    )
    repeated = np.repeat(plain[:5], 600, axis=0)
    for vectors, more in ((plain, 1.0), (heavy, 1.5), (heavier, 1.5), (alike, 1.5), (repeated, 1.0)):
        centroids = train_centroids(vectors, 40, 0)
        assert len(split_loose(vectors, centroids, 0)) <= more * len(centroids)
    centers = rng.uniform(-1e4, 1e4, (50, 8))
    vectors = (centers[rng.integers(0, 50, 3000)] + rng.normal(size=(3000, 8))).astype(np.float32)
    mixed = train_centroids(vectors, 40, 0)
    apart = split_loose(vectors, mixed, 0)
    assert len(apart) <= 4 * len(mixed)
    assert distances(vectors, mixed).min(axis=1).max() > 1e6
    assert distances(vectors, apart).min(axis=1).max() < 100


@pytest.mark.parametrize(("metric", "least"), [("l2", 0.98), ("ip", 0.98), ("cosine", 0.9)])
def test_recall_holds_where_clusters_are_more_than_partitions(tmp_path, metric, least):
    """Against the original vectors: 8 bits resolve distances within a cluster only if its partition holds no other."""
    rng = np.random.default_rng(5)
    centers = rng.normal(size=(120, 48))
    vectors = (centers[np.arange(6060) % 120] + rng.normal(0, 0.05, (6060, 48))).astype(np.float32)
    vectors, queries = vectors[:6000], vectors[6000:]
    index = vsearch.build(vectors, tmp_path / "index", metric=metric)
    wide = vectors.astype(np.float64)
    products = queries.astype(np.float64) @ wide.T
    squares = np.square(wide).sum(axis=1)
    scores = {"ip": products, "l2": 2 * products - squares, "cosine": products / np.sqrt(squares)}[metric]
    worst = np.sort(scores, axis=1)[:, -K : -K + 1]
    for exact in (True, False):
        own = np.take_along_axis(scores, index.search(queries, k=K, exact=exact).ids, axis=1)
        assert np.mean(own >= worst) >= least - (0 if exact else 0.02)
    assert index.info()["partitions"] <= 4 * 93


@pytest.mark.parametrize("quantizer", ["osq", vsearch.PQ(8)])
def test_estimates_of_clusters_are_as_good_as_those_of_one(tmp_path, quantizer):
    vectors = apart("near")[0].astype(np.float32)
    index = vsearch.build(vectors, tmp_path / "index", metric="l2", quantizer=quantizer, rerank=None, bits=4)
    true = distances(vectors[::30], vectors)
    hits = index.search(vectors[::30], k=K, exact=True)
    assert np.mean(np.take_along_axis(true, hits.ids, axis=1) <= np.sort(true, axis=1)[:, K - 1 : K]) >= 0.85


@pytest.mark.parametrize("spread", [1.0, 1e-5])
def test_partitions_far_from_the_origin_are_as_tight_as_near_it(spread):
    rng = np.random.default_rng(2)
    plain = rng.normal(size=(3000, 8)).astype(np.float32)
    far = (plain * spread + 1e5 * spread).astype(np.float32)
    loose = []
    for vectors in (plain, far):
        centroids = train_centroids(vectors, 40, 0)
        nearest = distances(vectors, centroids)
        loose.append(np.take_along_axis(nearest, assign(vectors, centroids)[:, None], axis=1).mean())
        assert loose[-1] <= 1.01 * nearest.min(axis=1).mean()
    assert loose[1] <= 1.1 * loose[0] * spread**2
