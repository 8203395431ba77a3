"""Searches of `quantizer="osq-lloyd"`, through the facade."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsearch
from vsearch.errors import InputError
from vsearch.search.engine.cells import smallest
from vsearch.search.state.fetching import take_ids
from vsearch.search.state.model import prepare_queries

ROWS, QUERIES = 2000, 60


@pytest.fixture(scope="module")
def data():
    return vsearch.datasets.load("wordnet-10k")


@pytest.fixture(scope="module")
def cosines(data):
    """Cosines of some queries with the first rows of the sample, float64 (queries, rows)."""
    vectors = data.vectors[:ROWS].astype(np.float64)
    return data.queries[:QUERIES] @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T


@pytest.fixture(scope="module")
def build(data, tmp_path_factory):
    """Indexes of the first rows of the sample, each built once."""
    built = {}

    def index(**options):
        key = tuple(sorted(options.items()))
        if key not in built:
            table = pa.table({"number": np.arange(ROWS)})
            folder = tmp_path_factory.mktemp("lloyd")
            with pytest.MonkeyPatch.context() as patch:  # a search takes a millisecond of Python for each query
                patch.setattr("vsearch.search.defaults.TUNING_QUERIES", 32)
                built[key] = vsearch.build(data.vectors[:ROWS], folder, table, quantizer="osq-lloyd", **options)
        return built[key]

    return index


def recall_at_10(hits, cosines):
    truth = np.argsort(-cosines, axis=1)[:, :10]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(hits.ids.tolist(), truth.tolist(), strict=True)])


@given(keys=st.lists(st.integers(0, 9), max_size=40), count=st.integers(1, 45), floats=st.booleans())
def test_smallest_keeps_the_first_of_equal_keys(keys, count, floats):
    array = np.array(keys, np.float32 if floats else np.int32)
    np.testing.assert_array_equal(smallest(array, count), np.sort(np.argsort(array, kind="stable")[:count]))


@pytest.mark.parametrize(("bits", "rerank", "least"), [(2.0, "int8", 0.73), (2.0, None, 0.66), (4.0, None, 0.72)])
def test_recall_on_real_vectors(build, data, cosines, bits, rerank, least):
    index = build(bits=bits, rerank=rerank)
    hits = index.search(data.queries[:QUERIES])
    assert recall_at_10(hits, cosines) >= least
    assert hits.stats.estimated == (rerank is None)
    exact = index.search(data.queries[:QUERIES], exact=True)
    assert recall_at_10(exact, cosines) >= (0.98 if rerank else least + 0.1)  # what the cut by sign bits costs
    assert (np.diff(hits.scores, axis=1) <= 0).all()


def test_scores_of_rerank_codes_are_near_the_cosines_and_bounds_above_them(build, data, cosines):
    for rerank in ("int8", None):
        hits = build(bits=2.0, rerank=rerank).search(data.queries[:QUERIES])
        true = np.take_along_axis(cosines, hits.ids, axis=1)
        if rerank:
            np.testing.assert_allclose(hits.scores, true, atol=0.01)
        else:
            assert (hits.scores >= true - 1e-5).all()


def test_the_published_search_in_numpy(build, data):
    index = build(bits=2.0, rerank=None)
    snapshot = index._snapshot
    codec = snapshot.model.quantizer
    vectors = data.vectors[:ROWS].astype(np.float32)
    rotated = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ codec.rotation.T
    queries = prepare_queries(snapshot.model, data.queries[:QUERIES])
    signs, coded = rotated[:, : codec.signs] > codec.means[: codec.signs], len(codec.dimension_bits)
    edges = np.split(codec.lowers, codec.starts[1:])
    hits = index.search(data.queries[:QUERIES], k=10, nprobe=10**6)
    for query, ids, scores in zip(queries, hits.ids, hits.scores, strict=True):
        hamming = np.sum(signs != (query[: codec.signs] > codec.means[: codec.signs]), axis=1)
        stored = np.argsort(take_ids(snapshot, np.arange(ROWS)))  # row of each id: ties go to the lower row
        kept = np.lexsort((stored, hamming))[: max(ROWS * 10 // 100, 10 * 2 * 10)]
        bounds = np.zeros(len(kept))
        for j in range(coded):
            cells = np.searchsorted(edges[j][1:], rotated[kept, j], side="right")
            low, high = edges[j][cells], np.append(edges[j][1:], np.inf)[cells]
            bounds += np.maximum(0, np.maximum(low - query[j], query[j] - high)) ** 2
        best = np.argsort(bounds, kind="stable")[:10]
        np.testing.assert_allclose(scores, 1 - bounds[best] / 2, atol=1e-5)
        assert len(set(ids) & set(kept[best])) >= 9  # the sums are rounded differently


@pytest.mark.parametrize("rerank", ["float16", "float32"])
def test_other_rerank_codes(build, data, cosines, rerank):
    hits = build(bits=4.0, rerank=rerank).search(data.queries[:QUERIES], exact=True)
    true = np.take_along_axis(cosines, hits.ids, axis=1)
    np.testing.assert_allclose(hits.scores, true, atol=1e-3)
    assert recall_at_10(hits, cosines) > 0.99


@pytest.mark.parametrize("rerank", ["int8", None])
@pytest.mark.parametrize(("modulus", "nprobe"), [(2, None), (100, None), (700, 3), (ROWS - 1, 1)])
def test_only_rows_that_match_and_as_many_as_there_are(build, data, rerank, modulus, nprobe):
    hits = build(bits=2.0, rerank=rerank).search(data.queries[:8], k=20, where=_every(modulus), nprobe=nprobe)
    matches = set(range(0, ROWS, modulus))
    for ids in hits.ids.tolist():
        found = [i for i in ids if i >= 0]
        assert len(found) == len(set(found)) == min(20, len(matches))
        assert set(found) <= matches
    assert np.isnan(hits.scores[hits.ids < 0]).all()


def _every(modulus):
    rows = ", ".join(str(row) for row in range(0, ROWS, modulus))
    return f"number IN ({rows})"


def test_no_row_matches(build, data):
    hits = build(bits=2.0, rerank="int8").search(data.queries[:2], where="number < 0")
    assert (hits.ids == -1).all()


def test_two_shards_answer_exactly_like_one(build, data):
    one, two = build(bits=2.0, rerank="int8"), build(bits=2.0, rerank="int8", shards=2)
    assert two.info()["shards"] == 2
    a, b = (index.search(data.queries[:20], exact=True) for index in (one, two))
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)  # scales are halves, and may round either way
    hits = two.search(data.queries[:8], k=30, where=_every(40))
    assert all(set(ids) <= set(range(0, ROWS, 40)) for ids in hits.ids.tolist())


def test_as_many_rows_as_asked_for_whatever_nprobe(build, data):
    index = build(bits=2.0, rerank="int8")
    hits = index.search(data.queries[:3], k=ROWS + 5, nprobe=1)
    assert (np.sort(hits.ids[:, :ROWS], axis=1) == np.arange(ROWS)).all()
    assert (hits.ids[:, ROWS:] == -1).all()


def test_min_score(build, data):
    index = build(bits=2.0, rerank="int8")
    hits = index.search(data.queries[:20], min_score=0.5)
    assert (hits.scores[hits.ids >= 0] >= 0.5).all()


def test_counts_of_every_level(build, data):
    stats = build(bits=2.0, rerank="int8").search(data.queries[:1], exact=False, nprobe=10**6).stats
    assert (stats.rows_scanned, stats.rows_refined, stats.rows_reranked) == (ROWS, ROWS // 10, 20)


def test_it_can_be_tuned_and_measured(build):
    index = build(bits=4.0, rerank="float16")
    report = index.tune(recall=0.8, sample=40)
    assert report.recall >= 0.8
    assert report.reached == (
        report.foreign_recall >= 0.8 - 0.015
    )  # cuts of fixed shares lose what is far from all rows
    assert index.recall(sample=40).recall > 0.75


def test_inner_product_is_refused(tmp_path):
    with pytest.raises(InputError, match="osq-lloyd"):
        vsearch.build(np.eye(4, dtype=np.float32), tmp_path, quantizer="osq-lloyd", metric="ip")


@pytest.mark.parametrize("rerank", ["int8", None])
def test_squared_distances(tmp_path, rerank):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((1500, 20)) * 0.8 ** np.arange(20) + 5).astype(np.float32)
    index = vsearch.build(vectors, tmp_path, quantizer="osq-lloyd", metric="l2", bits=6.0, rerank=rerank)
    queries = vectors[:40] + 0.05 * rng.standard_normal((40, 20)).astype(np.float32)
    hits = index.search(queries)
    distances = np.sum((queries[:, None] - vectors) ** 2, axis=2)
    np.testing.assert_array_equal(hits.ids[:, 0], np.arange(40))
    assert recall_at_10(index.search(queries, exact=True), -distances) > 0.95
    assert recall_at_10(hits, -distances) > 0.4  # of so few dimensions the sign bits lose much
    true = np.take_along_axis(distances, hits.ids, axis=1)
    if rerank:
        np.testing.assert_allclose(hits.scores, true, rtol=0.05, atol=0.02)
    else:
        assert (hits.scores <= true + 1e-3).all()


@pytest.mark.parametrize("rerank", ["int8", None])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("rows", [1, 2, 50])
def test_constant_data_goes_to_the_lower_rows(tmp_path, rows, metric, rerank):
    vectors = np.full((rows, 7), 0.25, np.float32)
    index = vsearch.build(vectors, tmp_path, quantizer="osq-lloyd", metric=metric, rerank=rerank)
    hits = index.search(np.ones(7), k=5)
    expected = [*range(min(5, rows)), *[-1] * max(0, 5 - rows)]
    assert hits.ids[0].tolist() == expected
    assert np.isfinite(hits.scores[0, : min(5, rows)]).all()


@pytest.mark.parametrize("rerank", ["int8", None])
def test_zero_vectors_are_no_ones_neighbors(tmp_path, rerank):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((600, 32)).astype(np.float32)
    vectors[::3] = 0
    index = vsearch.build(vectors, tmp_path, quantizer="osq-lloyd", bits=4.0, rerank=rerank)
    hits = index.search(rng.standard_normal((20, 32)))
    assert vectors[hits.ids].any(axis=2).all()
    everything = index.search(vectors[1], k=600, exact=True)
    zero = ~vectors[everything.ids[0]].any(axis=1)
    np.testing.assert_allclose(everything.scores[0, zero], 0, atol=0.01)
    assert np.isfinite(index.search(np.zeros(32), k=600).scores).all()
