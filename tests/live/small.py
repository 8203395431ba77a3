"""Small live indexes, each with a dict of its expected contents."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

import vsearch
from tests.indexes import clustered

D = 8


class Twin:
    """An index and a dict of id to (vector, number): changed together, compared on demand."""

    def __init__(self, url, n=120, **options):
        self.url, self.rows, self.next = url, {}, n
        vectors = clustered(n, D, seed=1)
        options = {"metric": "l2", "rerank": "float32", **options}
        self.index = vsearch.build(vectors, url, attributes=numbers(np.arange(n)), ids=np.arange(n), **options)
        self.keep(np.arange(n), vectors, np.arange(n))

    def keep(self, ids, vectors, values):
        self.rows |= dict(zip(map(int, ids), zip(vectors, map(int, values), strict=True), strict=True))

    def append(self, n, seed=0, index=None, far=0.0):
        ids = np.arange(self.next, self.next + n)
        self.next += n
        vectors = clustered(n, D, seed=seed + 100) + np.float32(far)
        commit = (index or self.index).append(vectors, numbers(ids), ids)
        self.keep(ids, vectors, ids)
        return commit

    def upsert(self, ids, seed=0, index=None):
        vectors = clustered(len(ids), D, seed=seed + 900)
        commit = (index or self.index).upsert(vectors, numbers(np.asarray(ids) + 1000), ids)
        self.keep(ids, vectors, np.asarray(ids) + 1000)
        return commit

    def delete(self, ids, index=None):
        commit = (index or self.index).delete(ids)
        for one in ids:
            self.rows.pop(int(one), None)
        return commit

    def check(self, index=None, rows=None):
        check(index or self.index, self.rows if rows is None else rows)


def numbers(values):
    return pa.table({"number": pa.array(np.asarray(values), pa.int64())})


def check(index, rows):
    """Assert that an index contains these rows: ids, attributes, exact answers, counts under a filter."""
    assert len(index) == len(rows)
    if not rows:
        assert index.search(clustered(1, D, seed=7), k=3).ids.size in (0, 3)
        return
    ids = np.array(sorted(rows))
    assert index.get(ids)["number"].to_pylist() == [rows[int(one)][1] for one in ids]
    vectors = np.stack([rows[int(one)][0] for one in ids]).astype(np.float64)
    queries = clustered(5, D, seed=7)
    k = min(10, len(ids))
    hits = index.search(queries, k=k, exact=True)
    squares = ((queries[:, None].astype(np.float64) - vectors) ** 2).sum(axis=2)
    np.testing.assert_allclose(hits.scores, np.sort(squares, axis=1)[:, :k], rtol=2e-3, atol=2e-3)
    low = sorted(value for _, value in rows.values())[len(rows) // 3]
    passing = sum(value <= low for _, value in rows.values())
    found = index.search(queries[0], k=min(passing, 10_000), where=f"number <= {low}").ids
    assert sorted(found[0].tolist()) == sorted(one for one, (_, value) in rows.items() if value <= low)
