"""exact=True is a brute-force search of what is stored."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.indexes import METRICS, RERANKS, brute_force, check_exact, clustered, unit
from vsearch.search.state.fetching import reconstruct

ROWS = 700
CASES = [
    (metric, rerank, bits, shards)
    for i, metric in enumerate(METRICS)
    for j, rerank in enumerate(RERANKS)
    for bits, shards in [((0.25, 0.5, 1.0, 2.0, 3.0, 8.0)[(4 * i + j) % 6], (i + j) % 3 + 1)]
]
STORED = {"int8": 0.02, "float16": 1e-3, "float32": 1e-6}  # relative to the residual's length


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case)))
def case(request, build_once):
    metric, rerank, bits, shards = request.param
    vectors = clustered(ROWS)
    index = build_once(
        ("exact", *request.param), vectors, metric=metric, rerank=rerank, bits=bits, shards=shards, partitions=12
    )
    return metric, rerank, vectors, index


def stored_errors(metric, vectors, index):
    """Distance of every row as it is stored from what it was, and of the row from its centroid."""
    snapshot = index._snapshot
    everything = np.arange(len(vectors))
    prepared = vectors.astype(np.float64)
    if metric == "cosine":
        prepared = prepared / np.linalg.norm(prepared, axis=1, keepdims=True)
    rotated = (prepared - snapshot.model.mean) @ snapshot.model.quantizer.rotation.T.astype(np.float64)
    ids = np.empty(len(vectors), np.int64)
    for shard in snapshot.shards:
        shard.files["ids"].ensure_all()
        ids[shard.first_row : shard.first_row + shard.rows] = shard.files["ids"].array("id")
    assert sorted(ids) == everything.tolist()
    centroids = snapshot.model.centroids[np.repeat(np.arange(len(snapshot.partition_rows)), snapshot.partition_rows)]
    errors, lengths = np.empty(len(vectors)), np.empty(len(vectors))
    errors[ids] = np.linalg.norm(reconstruct(snapshot, everything) - rotated[ids], axis=1)
    lengths[ids] = np.linalg.norm(centroids - rotated[ids], axis=1)
    return errors, lengths


@pytest.mark.slow
def test_rows_are_stored_as_closely_as_their_codes_allow(case):
    metric, rerank, vectors, index = case
    errors, lengths = stored_errors(metric, vectors, index)
    if rerank is not None:
        assert (errors <= STORED[rerank] * lengths + 2e-6 * np.linalg.norm(vectors, axis=1)).all()
    else:
        # 0.5 bits of 24 dimensions are too few for a block of 16: nothing but the centroid is kept
        assert np.mean(errors) <= np.mean(lengths) * (0.95 if index.info()["bits"] > 0.5 else 1)


@pytest.mark.parametrize("k", [1, 10, ROWS + 30])
def test_exact_search_is_brute_force(case, k):
    metric, _, vectors, index = case
    errors, lengths = stored_errors(metric, vectors, index)
    queries = np.concatenate([clustered(5, seed=1), vectors[:3]])
    true = brute_force(metric, queries, vectors)
    # <q, e> for an error e of the row; under l2 it counts twice, with q relative to the mean of all vectors
    centered = queries.astype(np.float64) - (vectors.mean(axis=0) if metric == "l2" else 0)
    own = 1.0 if metric == "cosine" else np.linalg.norm(centered, axis=1)[:, None]
    reach = 2 * own if metric == "l2" else own
    if metric == "l2" and index.info()["rerank"] is None:  # relative to the row's centroid
        reach = 2 * (np.sqrt(true) + lengths)
    allowed = reach * errors * 1.001 + 3e-6 * unit(metric, queries, vectors)
    hits = index.search(queries, k=k, exact=True)
    check_exact(hits, metric, true, allowed, k)
    assert hits.stats.estimated == (index.info()["rerank"] is None)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_float32_is_exact_to_rounding(tmp_path, metric):
    vectors, queries = clustered(ROWS), clustered(6, seed=1)
    index = vsearch.build(vectors, tmp_path / "index", metric=metric, rerank="float32")
    true = brute_force(metric, queries, vectors)
    check_exact(index.search(queries, exact=True), metric, true, 3e-6 * unit(metric, queries, vectors), 10)


@pytest.mark.slow
@pytest.mark.parametrize("rerank", ["int8", None])
def test_shards_do_not_change_exact_answers(build_once, rerank):
    """Partitions are the same, so codes are, so scores are: but for a step of an int8 code, where a number lies between two.

    How many rows are multiplied at once decides the order of a sum on some processors.
    """
    vectors, queries = clustered(ROWS), clustered(20, seed=2)
    hits = []
    for shards in (1, 3):
        index = build_once(("shards", rerank, shards), vectors, rerank=rerank, bits=2.0, shards=shards, partitions=12)
        assert index.info()["shards"] == shards
        hits.append(index.search(queries, k=15, exact=True))
    np.testing.assert_array_equal(hits[0].ids, hits[1].ids)
    different = ~np.isclose(hits[0].scores, hits[1].scores, rtol=1e-6, atol=0)
    assert different.sum() <= (2 if rerank == "int8" else 0)
    np.testing.assert_allclose(hits[0].scores, hits[1].scores, rtol=5e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("full_tuning")
@pytest.mark.parametrize(("bits", "rerank", "least"), [(0.25, "int8", 0.9), (1.0, "int8", 0.95), (4.0, None, 0.95)])
@pytest.mark.parametrize("metric", METRICS)
def test_search_finds_what_exact_search_finds(build_once, metric, bits, rerank, least):
    """With the settings that the build chose, on queries that it never saw."""
    vectors, queries = clustered(2000, d=32), clustered(100, d=32, seed=3)
    index = build_once(("recall", metric, bits, rerank), vectors, metric=metric, bits=bits, rerank=rerank, shards=2)
    assert index.recall(queries).recall >= least
    assert index.recall(queries, k=1).recall >= least - 0.02  # settings are tuned for k = 10
    hits = index.search(queries)
    exact = index.search(queries, exact=True)
    assert hits.stats.rows_scanned < exact.stats.rows_reranked + exact.stats.rows_refined
    # what both found has one score
    same = hits.ids == exact.ids
    assert same.mean() > 0.7
    np.testing.assert_allclose(hits.scores[same], exact.scores[same], rtol=1e-4, atol=1e-5)


def test_duplicates_have_one_score_and_all_come_back(tmp_path):
    vectors = np.repeat(clustered(40), 10, axis=0)
    index = vsearch.build(vectors, tmp_path / "index", metric="l2", rerank="float32", partitions=5)
    queries = vectors[::10]
    for exact in (True, False):
        hits = index.search(queries, exact=exact)
        assert (hits.ids // 10 == np.arange(40)[:, None]).all()
        assert (hits.scores <= 1e-5 * unit("l2", queries, queries).max()).all()
