"""Vectors of high dimension: rotated by signs, planned by coordinates, searched like all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import vsearch
from tests.indexes import best, brute_force, check_exact, clustered, unit
from vsearch.errors import CorruptIndexError
from vsearch.kernels.query.api import plan_query
from vsearch.kernels.query.fields import CallField, FloatField
from vsearch.quantizers import osq_records
from vsearch.quantizers.hadamard import SignRotation
from vsearch.quantizers.osq import train_osq
from vsearch.quantizers.osq_projected import ProjectedOSQ
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.steps import begin
from vsearch.search.state import model_reading
from vsearch.search.state.model import prepare_queries

ROWS = 1200
DIMENSIONS = {"cosine": 801, "ip": 50, "l2": 13}  # none is a multiple of 4, 8 or 64


def rows_of(metric, count=ROWS, seed=0):
    """Clusters that span few dimensions, far from the origin."""
    d = DIMENSIONS[metric]
    basis = np.random.default_rng(9).standard_normal((12, d)) / np.arange(1, 13)[:, None]
    noise = np.random.default_rng(seed + 50).standard_normal((count, d))
    return (clustered(count, 12, seed) @ basis + 0.02 * noise + 0.1).astype(np.float32)


@pytest.fixture(scope="module", params=list(DIMENSIONS))
def metric(request):
    return request.param


def build(url, vectors, metric, **options):
    quantizer = "osq" if vectors.shape[1] > osq_records.PROJECTED_ABOVE else "osq-projected"
    return vsearch.build(vectors, url, metric=metric, quantizer=quantizer, partitions=20, **options)


@pytest.fixture(scope="module")
def index(metric, tmp_path_factory):
    built = build(tmp_path_factory.mktemp("projected") / metric, rows_of(metric), metric, shards=2)
    assert isinstance(built.snapshot.model.quantizer, ProjectedOSQ)
    return built


@pytest.fixture
def queries(metric):
    return rows_of(metric, 30, 1)


def test_only_high_dimensions_are_projected():
    rows = np.random.default_rng(0).standard_normal((80, 770)).astype(np.float32)
    names = [vsearch.build(rows[:, :d], f"memory://projected-{d}/index").info()["quantizer"] for d in (768, 769)]
    assert names == ["osq", "osq-projected"]


@pytest.mark.slow
@pytest.mark.parametrize("rerank", ["int8", "float16", "float32", None])
def test_exact_searches_are_near_brute_force(metric, queries, rerank, tmp_path):
    vectors = rows_of(metric)
    index = build(tmp_path / "index", vectors, metric, rerank=rerank)
    true = brute_force(metric, queries, vectors)
    hits = index.search(queries, k=10, exact=True)
    if rerank is not None:
        allowed = {"int8": 1e-2, "float16": 2e-3, "float32": 1e-5}[rerank] * unit(metric, queries, vectors)
        check_exact(hits, metric, true, allowed, 10)
    nearest = best(metric, true, 10)
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(hits.ids.tolist(), nearest.tolist(), strict=True)]
    assert np.mean(shared) > (0.9 if rerank else 0.3)


def test_searches_keep_their_recall(index, metric, queries):
    nearest = best(metric, brute_force(metric, queries, rows_of(metric)), 10)
    hits = index.search(queries, k=10)
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(hits.ids.tolist(), nearest.tolist(), strict=True)]
    assert np.mean(shared) > 0.85
    for i in range(5):  # a batch does the same as single searches
        assert index.search(queries[i], k=10).ids.tolist() == hits.ids[i : i + 1].tolist()


def test_plans_are_those_of_numpy(index, queries):
    snapshot = index.snapshot
    model, codec = snapshot.model, snapshot.model.quantizer
    prepared = prepare_queries(model, queries)
    np.testing.assert_allclose(
        prepared, np.float64(plain(model, queries)) @ codec.rotation.T.astype(np.float64), atol=1e-5
    )
    workspace = snapshot.workspace()
    begin(workspace, SearchRequest(10, snapshot.settings), None)
    coordinates = workspace.fields._kept[CallField.COORDINATES]
    for query, rotated in zip(queries, prepared, strict=True):
        workspace.use_query(query, prepared=False)
        plan_query(snapshot.native.address, workspace.fields.address)
        np.testing.assert_allclose(workspace.rotated, rotated, atol=1e-5 * np.abs(rotated).max())
        norm = float(np.linalg.norm(rotated))
        # 7 bits of a direction's entries, and 8 of the query's: a few deviations of the sum of rounding errors
        allowed = 0.05 * norm
        routing, coded = np.split(coordinates, [len(codec.routing)])
        np.testing.assert_allclose(routing, rotated @ codec.routing.astype(np.float32).T, atol=allowed)
        expected = codec.coordinates(rotated[None])[0]
        np.testing.assert_allclose(coded[:-1], expected[:-1], atol=allowed)
        inside = np.sum(np.square(coded[:-1], dtype=np.float64))
        assert coordinates[-1] == pytest.approx(np.sqrt(max(norm**2 - inside, 0)), abs=2e-3 * norm)
        deviation = model.deviations(rotated[None])[0]
        assert workspace.numbers[FloatField.DEVIATION] == pytest.approx(deviation, rel=0.2)


def plain(model, queries):
    """Normalized or centered."""
    if model.metric == "cosine":
        return queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return queries - model.mean if model.metric == "l2" else queries


def test_vectors_are_decoded_to_where_they_were(index, metric):
    vectors = rows_of(metric)
    decoded = index.vectors([3, 700])
    expected = vectors[[3, 700]]
    if metric == "cosine":
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(decoded.vectors, expected, atol=0.02 * np.abs(expected).max() + 1e-3)


def test_rows_far_from_the_origin_are_told_apart(tmp_path):
    """Where float32 would lose the differences, vectors and queries are rotated in float64."""
    rng = np.random.default_rng(4)
    vectors = (rng.standard_normal((600, 30)) + 3e4 * rng.choice([-1, 1], (600, 1))).astype(np.float32)
    index = vsearch.build(vectors, tmp_path / "far", metric="l2", quantizer="osq-projected", rerank="float32")
    assert index.snapshot.model.far_apart
    hits = index.search(vectors[:40], k=1, exact=True)
    assert hits.ids[:, 0].tolist() == list(range(40))
    assert hits.scores.max() < 1e-3


def test_rows_added_to_an_index_with_a_matrix_keep_it(tmp_path, monkeypatch):
    """As versions before signs wrote them."""
    vectors = rows_of("cosine")
    with monkeypatch.context() as patches:
        patches.setattr(
            osq_records.OSQSpecification, "train", lambda self, rows, seed: train_osq(rows.residuals, self.bits, seed)
        )
        vsearch.build(vectors[:900], tmp_path / "index", partitions=10)
    index = vsearch.open(tmp_path / "index")
    index.append(vectors[900:])
    again = vsearch.open(tmp_path / "index")
    assert again.info()["quantizer"] == "osq"
    assert again.search(vectors[::100], k=1).ids[:, 0].tolist() == list(range(0, ROWS, 100))
    again.optimize()
    assert again.search(vectors[::100], k=1).ids[:, 0].tolist() == list(range(0, ROWS, 100))
    assert vsearch.open(tmp_path / "index").info()["quantizer"] == "osq"
    again.retrain()
    assert vsearch.open(tmp_path / "index").info()["quantizer"] == "osq-projected"
    assert again.search(vectors[::100], k=1).ids[:, 0].tolist() == list(range(0, ROWS, 100))


def test_rows_are_added_and_merged(index, metric, tmp_path):
    vectors, more = rows_of(metric), rows_of(metric, 300, 5)
    built = build(tmp_path / "live", vectors, metric)
    built.append(more)
    built.delete(list(range(0, ROWS, 3)))
    built.optimize()
    hits = vsearch.open(tmp_path / "live").search(more[:50], k=1, exact=True)
    true = brute_force(metric, more[:50], np.concatenate([vectors, more]))
    removed = np.zeros(ROWS + 300, bool)
    removed[:ROWS:3] = True
    expected = best(metric, true, 1, ~removed)[:, 0]
    assert np.mean(hits.ids[:, 0] == expected) > 0.9


def test_a_quantizer_of_other_dimensions_is_refused(index, metric, monkeypatch):
    codec = index.snapshot.model.quantizer
    signs = SignRotation.draw(codec.dimensions + 1, np.random.default_rng(0))
    monkeypatch.setattr(model_reading, "load_quantizer", lambda *_: replace(codec, signs=signs))
    with pytest.raises(CorruptIndexError, match=f"must have {codec.dimensions} dimensions, got {codec.dimensions + 1}"):
        vsearch.open(index.info()["url"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sparse", "blocks", "constant"])
def test_codes_of_structured_vectors_are_as_good(kind):
    """Vectors with few nonzero numbers, of which the rotation must make vectors like all others."""
    rng = np.random.default_rng(2)
    d, count = 800, 1500
    vectors = np.zeros((count, d), np.float32)
    if kind == "sparse":
        vectors[np.arange(count)[:, None], rng.integers(0, d, (count, 12))] = rng.standard_normal((count, 12))
    elif kind == "blocks":
        starts = rng.integers(0, d // 16, count) * 16
        vectors[np.arange(count)[:, None], starts[:, None] + np.arange(16)] = rng.standard_normal((count, 16))
    else:
        vectors[:, :100] = rng.standard_normal((count, 100))
        vectors[:, 100:] = 1.0
    queries = vectors[:60] + 0.05 * rng.standard_normal((60, d)).astype(np.float32)
    index = vsearch.build(vectors, f"memory://structured-{kind}/index", metric="l2", partitions=8)
    true = brute_force("l2", queries, vectors)
    hits = index.search(queries, k=5, exact=True)
    exact = np.take_along_axis(true, hits.ids, axis=1)
    spread = true.std()
    assert np.abs(hits.scores - exact).max() < 0.02 * spread
    assert (hits.ids[:, 0] == np.arange(60)).mean() > 0.95
