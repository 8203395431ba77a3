"""Vectors and queries of any length that float32 can hold: cosine is right for all, l2 and ip are right or say why not."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.metrics import normalize

SIZES = (1e-40, 1e-30, 1e-20, 1e-12, 1.0, 1e15, 1e18, 1e25, 1e37)


def scaled(vectors, size):
    return np.asarray(vectors.astype(np.float64) / np.abs(vectors).max() * size, np.float32)


@pytest.fixture(scope="module")
def plain():
    return clustered(800, 24)


@pytest.fixture(scope="module")
def mixed(plain, tmp_path_factory):
    """An index of the same rows, each at a length of its own."""
    vectors = np.stack([scaled(row, SIZES[i % len(SIZES)] if i % 9 else 1e-38) for i, row in enumerate(plain)])
    index = vsearch.build(vectors, tmp_path_factory.mktemp("mixed") / "index", rerank="float32", partitions=8)
    return vectors, index


@pytest.mark.parametrize("size", SIZES)
def test_cosine_of_queries_and_rows_of_any_length(plain, mixed, size):
    vectors, index = mixed
    wide = vectors.astype(np.float64)
    queries = np.stack([scaled(plain[row], size) for row in (5, 11, 17, 23)])
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    asked = queries.astype(np.float64)
    true = (asked / np.linalg.norm(asked, axis=1, keepdims=True)) @ unit.T
    for hits in (
        index.search(queries, exact=True),
        index.search(queries, nprobe=8),
        index.search(queries, timeout=60, nprobe=8),
    ):
        assert (np.abs(hits.scores) <= 1).all()
        np.testing.assert_allclose(hits.scores, -np.sort(-true, axis=1)[:, :10], atol=2e-5)
    for query, row in zip(queries, true, strict=True):
        hits = index.search(query, nprobe=8)
        np.testing.assert_allclose(hits.scores[0], -np.sort(-row)[:10], atol=2e-5)
    assert index.recall(queries).recall >= 0.9


def test_normalised_rows_have_norm_1_or_0():
    rows = np.stack([np.full(3, size, np.float32) for size in (0, 1e-44, 1e-30, 1e-19, 1.0, 1e19, 3.4e38)])
    np.testing.assert_allclose(np.linalg.norm(normalize(rows), axis=1), [0, *[1] * 6], rtol=1e-6)


def test_no_cosine_is_above_1(tmp_path):
    vectors = clustered(500, 40)
    index = vsearch.build(vectors, tmp_path / "index", rerank="int8", shards=2)
    for exact in (False, True):
        assert np.abs(index.search(vectors[:100], exact=exact).scores).max() <= 1
        assert np.abs(index.search(vectors[7], exact=exact, k=3).scores).max() <= 1


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_what_other_metrics_cannot_square_is_refused(tmp_path, plain, metric):
    vectors = plain.copy()
    vectors[311, 3] = 1e16
    with pytest.raises(
        vsearch.InputError, match=rf"row 311 holds 1e.16 .dimension 3.: {metric} takes numbers up to 1e15"
    ):
        vsearch.build(vectors, tmp_path / "index", metric=metric)
    index = vsearch.build(scaled(plain, 1e15), tmp_path / "index", metric=metric, rerank="float32")
    hits = index.search(scaled(plain[:5], 1e15), k=10)
    assert np.isfinite(hits.scores).all()
    for size in (1e16, 1e30, 3e38):
        with pytest.raises(vsearch.InputError, match=r"query 0 contains"):
            index.search(scaled(plain[0], size))


@pytest.mark.parametrize("size", [1e16, 3e38])
def test_documents_refuse_them_too(tmp_path, plain, size):
    with pytest.raises(vsearch.InputError, match="takes numbers up to 1e15"):
        vsearch.build_documents([scaled(plain[:4], size)] * 3, None, tmp_path / "index")


@pytest.mark.parametrize("size", [1e-300, 1e-50, 1e-39, 1e50, 1e300])
def test_float64_beyond_float32(tmp_path, plain, size):
    """Directions of queries survive under cosine; rows are refused, since what is stored is float32 whatever the metric."""
    index = vsearch.build(plain, tmp_path / "index")
    queries = plain[:5].astype(np.float64)
    np.testing.assert_array_equal(index.search(queries * size).ids, index.search(queries).ids)
    rows = plain.astype(np.float64)
    rows[3] *= size
    with pytest.raises(vsearch.InputError, match=r"row 3 (holds|has) .*float32; scale the vectors"):
        vsearch.build(rows, tmp_path / "refused")


def test_small_numbers_beside_larger_ones_are_rounded(tmp_path, plain):
    rows = plain.astype(np.float64)
    rows[3, 1:], rows[4] = 1e-300, 0
    assert len(vsearch.build(rows, tmp_path / "index")) == len(rows)
