"""Small indexes to search, and the expected answers computed by NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

METRICS = ("cosine", "ip", "l2")
RERANKS = ("int8", "float16", "float32", None)


def clustered(n, d=24, seed=0, clusters=12):
    """Vectors float32 (n, d) as embeddings are: some clusters, unlike spreads, unlike lengths, not around the origin."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(4321).standard_normal((clusters, d))
    spread = 0.9 ** np.arange(d)
    made = centers[rng.integers(0, clusters, n)] + 0.7 * rng.standard_normal((n, d)) * spread + 0.5
    return (made * rng.uniform(0.5, 1.5, (n, 1))).astype(np.float32)


def rows(n=300, d=8):
    return clustered(n, d)


def table(n=300):
    """Attributes of as many rows."""
    return pa.table({"number": np.arange(n), "name": [f"row {i}" for i in range(n)]})


def files_of(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def same(one, two):
    """Assert that two answers are bitwise equal."""
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.scores, two.scores)


def brute_force(metric, queries, vectors):
    """Scores float64 (queries, rows) as users see them: similarities, or squared distances."""
    queries, vectors = np.atleast_2d(queries).astype(np.float64), np.asarray(vectors, np.float64)
    if metric == "l2":
        return ((queries[:, None, :] - vectors) ** 2).sum(axis=2)
    if metric == "cosine":
        lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, vectors)]
        queries, vectors = (
            np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
            for rows, length in zip((queries, vectors), lengths, strict=True)
        )
    return queries @ vectors.T


def unit(metric, queries, vectors):
    """How large the terms are that a score is the sum of, (queries, rows): rounding errors are relative to it."""
    if metric == "cosine":
        return np.ones((len(queries), len(vectors)))
    longest = np.linalg.norm(vectors.astype(np.float64), axis=1)
    own = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    return own * longest if metric == "ip" else (own + longest) ** 2


def best(metric, scores, k, allowed=None):
    """Rows of the k best scores of every query, int64 (queries, k), -1 where there are none."""
    ranked = scores if metric == "l2" else -scores
    if allowed is not None:
        ranked = np.where(allowed, ranked, np.inf)
    order = np.argsort(ranked, axis=1, kind="stable")[:, :k]
    order = np.where(np.isinf(np.take_along_axis(ranked, order, axis=1)), -1, order)
    return np.pad(order, ((0, 0), (0, max(0, k - order.shape[1]))), constant_values=-1)


def check_exact(hits, metric, true, allowed_error, k, allowed=None):
    """Hits are the best rows by the `true` scores (queries, rows), each up to its `allowed_error` (queries, rows)."""
    many, rows = true.shape
    allowed = np.ones(rows, bool) if allowed is None else allowed
    expected = min(k, int(allowed.sum()))
    assert hits.ids.shape == hits.scores.shape == (many, k)
    assert hits.scores.dtype == np.float32
    assert (hits.ids[:, expected:] == -1).all()
    assert np.isnan(hits.scores[:, expected:]).all()
    ids, scores = hits.ids[:, :expected], hits.scores[:, :expected].astype(np.float64)
    assert ((ids >= 0) & (ids < rows)).all()
    assert allowed[ids].all()
    sign = -1 if metric == "l2" else 1
    assert (np.diff(sign * scores, axis=1) <= 0).all(), "not in order"
    for query in range(many):
        assert len(set(ids[query])) == expected, "a row twice"
        error = allowed_error[query]
        assert (np.abs(scores[query] - true[query, ids[query]]) <= error[ids[query]]).all(), "a score is off"
        left = np.setdiff1d(np.flatnonzero(allowed), ids[query])
        if expected and len(left):
            # a row that was left out is not clearly better than the worst that was taken
            worst = sign * scores[query, -1]
            assert (sign * true[query, left] - error[left] <= worst + 1e-6 * abs(worst)).all(), (
                "a better row was left out"
            )
