"""Vectors that are read back: as exact as the codes, in every metric, also of a changed index with several shards."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.indexes import METRICS, RERANKS, clustered

D = 24


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rerank", RERANKS)
def test_vectors_are_as_exact_as_their_codes(metric, rerank):
    name = f"memory://vectors-{metric}-{rerank}/i"
    rows, ids = clustered(500, D, seed=1), [f"row {i}" for i in range(500)]
    index = vsearch.build(rows[:400], name, ids=ids[:400], metric=metric, rerank=rerank, shards=2, partitions=8, bits=2)
    index.append(rows[400:], ids=ids[400:])
    index.delete(ids[10:30])
    index.upsert(rows[50:60], ids=ids[40:50])
    rows[40:50] = rows[50:60]
    asked = [450, 3, 45, 450, 199, 200]
    stored = index.vectors([ids[i] for i in asked])
    assert (stored.ids.tolist(), stored.codes) == ([ids[i] for i in asked], rerank or "codes")
    assert stored.vectors.dtype == np.float32
    true = (unit(rows) if metric == "cosine" else rows)[asked]
    if metric == "cosine":
        np.testing.assert_allclose(np.linalg.norm(stored.vectors, axis=1), 1, rtol=1e-6)
    error = np.linalg.norm(stored.vectors - true, axis=1) / np.linalg.norm(true, axis=1)
    most = {"float32": 2e-6, "float16": 1e-3, "int8": 0.03, None: 0.6}[rerank]
    assert error.max() < most
    everything = index.vectors([ids[i] for i in range(500) if not 10 <= i < 30]).vectors
    assert len(everything) == 480
    assert np.isfinite(everything).all()


def test_vectors_far_from_the_origin():
    rows = clustered(300, D) + np.float32(1000) * (np.arange(300) % 3)[:, None].astype(np.float32)
    index = vsearch.build(rows, "memory://vectors-far/i", metric="l2", rerank="float32", partitions=6)
    np.testing.assert_allclose(index.vectors(np.arange(300)).vectors, rows, atol=2e-3)


@pytest.mark.parametrize("quantizer", ["pq", "osq-lloyd"])
def test_vectors_of_other_codes(quantizer):
    rows = clustered(400, D)
    index = vsearch.build(
        rows, f"memory://vectors-{quantizer}/i", quantizer=quantizer, bits=4, rerank=None, partitions=4
    )
    stored = index.vectors(np.arange(400))
    assert stored.codes == "codes"
    assert np.einsum("ij,ij->i", stored.vectors, unit(rows)).min() > 0.8


@pytest.fixture(scope="module")
def index():
    return vsearch.build(clustered(200, D), "memory://vectors-hits/i", partitions=4, shards=2, rerank="float32")


def test_vectors_come_with_hits(index):
    queries = clustered(3, D, seed=9)
    hits = index.search(queries, k=5, where="id < 4", vectors=True)
    assert hits.vectors.shape == (3, 5, D)
    assert np.isnan(hits.vectors[:, 4:]).all()
    for ids, vectors, scores in zip(hits.ids, hits.vectors, hits.scores, strict=True):
        np.testing.assert_array_equal(vectors[:4], index.vectors(ids[:4]).vectors)
        assert np.isfinite(scores[:4]).all()
    np.testing.assert_allclose(np.einsum("qkd,qd->qk", hits.vectors, unit(queries)), hits.scores, atol=1e-5)
    assert index.search(queries, k=5).vectors is None
    assert index.search(queries[:0], k=5, vectors=True).vectors.shape == (0, 5, D)
    page = index.search(queries, k=2, offset=2, where="id < 4", vectors=True, exact=True)
    np.testing.assert_array_equal(page.vectors, hits.vectors[:, 2:4])


def test_missing_ids(index):
    assert index.vectors([5, 999, 3], missing="skip").ids.tolist() == [5, 3]
    assert index.vectors([999], missing="skip").vectors.shape == (0, D)
    assert len(index.vectors([])) == 0
    with pytest.raises(vsearch.InputError, match="no row has the id 999"):
        index.vectors([5, 999])
    with pytest.raises(vsearch.InputError, match="missing must be"):
        index.vectors([5], missing=None)


@pytest.mark.parametrize(("store", "error"), [("float32", 1e-6), ("float16", 1e-3), (None, 0.5)])
def test_documents_of_many_vectors(store, error):
    rows, ends = unit(clustered(90, 8)), np.arange(0, 91, 6)
    url = f"memory://vectors-documents-{store}/i"
    ids = [f"d{i}" for i in range(15)]
    index = vsearch.build_documents(
        rows[:60], ends[:11], url, ids=ids[:10], codebook=16, residual_bits=4, dimensions=64, store=store, shards=2
    )
    index.append(rows[60:], ids=ids[10:], offsets=ends[10:] - 60)
    index.delete(["d2"])
    stored = index.document_vectors(["d14", "d0", "d2", "d14"], missing="skip")
    assert (stored.ids.tolist(), stored.codes, len(stored)) == (["d14", "d0", "d14"], store or "codes", 3)
    for id_, vectors in zip(stored.ids, stored.vectors, strict=True):
        first = 6 * int(id_[1:])
        assert np.linalg.norm(vectors - rows[first : first + 6], axis=1).max() < error
    with pytest.raises(vsearch.InputError, match="use document_vectors"):
        index.vectors(["d0"])
    with pytest.raises(vsearch.InputError, match="no row has the id d2"):
        index.document_vectors(["d2"])


def test_an_index_without_documents_has_none(index):
    with pytest.raises(vsearch.InputError, match="use vectors"):
        index.document_vectors([0])


def test_a_new_index_keeps_vectors_as_they_are():
    index = vsearch.create("memory://vectors-new/i", dimensions=4, metric="ip")
    rows = clustered(5, 4)
    index.append(rows)
    np.testing.assert_allclose(index.vectors([4, 0]).vectors, rows[[4, 0]], rtol=1e-5)
