"""Unusual data: few rows, one dimension, zeros, duplicates, outliers; every row is found."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.indexes import METRICS, brute_force, check_exact, clustered, rows, unit

ODD = {
    "one row": lambda: rows(1),
    "two rows": lambda: rows(2),
    "fewer rows than dimensions": lambda: clustered(5, 40),
    "one dimension": lambda: clustered(200, 1),
    "two dimensions": lambda: clustered(200, 2),
    "all zero": lambda: np.zeros((50, 6), np.float32),
    "constant": lambda: np.full((300, 6), 3.25, np.float32),
    "mostly duplicates": lambda: np.repeat(rows(6), 100, axis=0),
    "some zero rows": lambda: rows() * (np.arange(300) % 2)[:, None].astype(np.float32),
    "dead dimensions": lambda: np.concatenate([rows(), np.zeros((300, 20), np.float32)], axis=1),
    "constant dimensions": lambda: np.concatenate([rows(), np.full((300, 20), 7, np.float32)], axis=1),
    "one-hot": lambda: np.eye(60, dtype=np.float32),
    "far from the origin": lambda: rows() + np.float32(1000),
    "tiny": lambda: rows() * np.float32(1e-12),
    "huge": lambda: rows() * np.float32(1e12),
    "unlike lengths": lambda: rows() * np.geomspace(1e-6, 1e6, 300, dtype=np.float32)[:, None],
    "an outlier": lambda: np.concatenate([rows(), np.full((1, 8), 1e6, np.float32)]),
    "rows in dimensions of their own": lambda: np.concatenate(
        [np.pad(rows(400, 16), ((0, 0), (0, 16))), np.pad(rows(4, 16), ((0, 0), (16, 0)))]
    ),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ODD)
def test_odd_data(tmp_path, kind, metric):
    vectors = ODD[kind]()
    bits, shards = ((0.25, 1), (1.0, 1), (4.0, min(2, len(vectors))))[METRICS.index(metric)]
    rerank = ("int8", "float32", "float16")[(list(ODD).index(kind) + METRICS.index(metric)) % 3]
    vsearch.build(vectors, tmp_path / "index", metric=metric, bits=bits, shards=shards, rerank=rerank)
    index = vsearch.open(tmp_path / "index")
    queries, k = vectors[:: max(1, len(vectors) // 7)], 10
    true = brute_force(metric, queries, vectors)
    # of the residual, which is at most as long as the two farthest vectors are apart; and rounding
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    own = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    spread = 2.0 if metric == "cosine" else 2 * np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).max()
    reach = 1.0 if metric == "cosine" else own if metric == "ip" else 2 * spread
    allowed = {"int8": 0.02, "float16": 2e-3, "float32": 0}[rerank] * reach * spread + 1e-5 * np.maximum(
        unit(metric, queries, vectors), unit(metric, queries, np.full((1, vectors.shape[1]), lengths.max() / 10))
    )
    check_exact(index.search(queries, k=k, exact=True), metric, true, allowed * np.ones_like(true), k)
    hits = index.search(queries, k=k)
    found = min(k, len(vectors))
    assert (hits.ids[:, :found] >= 0).all()
    assert (hits.ids[:, found:] == -1).all()
    assert index.tune(0.9, k=3).reached
    assert index.recall(k=3).recall >= 0.85
