"""Rows added later are encoded like those of a build."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.coded import DIMENSIONS, KINDS, ROWS, all_codes, assert_same, build, built, vectors
from vsearch.building.encoding import encode_rotated, encode_rows, rotate
from vsearch.building.training import prepare_vectors
from vsearch.metrics import normalize
from vsearch.search.state.fetching import reconstruct, take_ids
from vsearch.search.state.row_codes import take
from vsearch.search.state.run_layout import lay_out_run


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def snapshot(request, tmp_path_factory):
    return built(tmp_path_factory.getbasetemp() / "coded", *request.param)


def by_input(codes, order):
    """Codes in the order of the vectors."""
    return take(codes, np.argsort(order, kind="stable"))


def test_the_rows_of_a_build_get_the_codes_that_it_wrote(snapshot):
    model = snapshot.model
    written = by_input(all_codes(snapshot), take_ids(snapshot, np.arange(ROWS)))
    codes, order = encode_rows(model, vectors())
    assert (np.diff(codes.partitions) >= 0).all()
    assert (np.diff(order)[np.diff(codes.partitions) == 0] > 0).all()
    mine = by_input(codes, order)
    same = mine.partitions == written.partitions
    assert same.mean() >= 0.99  # others lie between two centroids: halves of them moved a little after the assignment
    mine, written = take(mine, np.flatnonzero(same)), take(written, np.flatnonzero(same))
    assert (
        mine.codes == written.codes
    ).mean() >= 0.995  # a value at the edge of a cell may be rounded to the other side
    for name, own in mine.to_arrays().items():
        there = written.to_arrays()[name]
        if name in ("factors", "first_factors", "rerank_scales"):
            np.testing.assert_allclose(own, there, rtol=2.0**-9, atol=1e-6)
            assert (own == there).mean() >= 0.99, name
        elif name == "offsets":
            np.testing.assert_allclose(own, there, rtol=1e-4, atol=1e-4 * np.abs(there).max())
        elif name == "rerank":
            wide = own.astype(np.float64), there.astype(np.float64)
            step = 1 if own.dtype == np.int8 else np.abs(wide[1]).max() * (1e-3 if own.dtype == np.float16 else 1e-5)
            assert np.abs(wide[0] - wide[1]).max() <= step
            if own.dtype != np.float32:  # which holds the last bit of every sum
                assert (own == there).mean() >= 0.995
    radii = lay_out_run(model, codes, 0, len(model.centroids))["partitions"]["radius"]
    np.testing.assert_allclose(radii, snapshot.radii, rtol=0.05)


def test_one_row_is_encoded_as_among_others(snapshot):
    codes, order = encode_rows(snapshot.model, vectors())
    mine = by_input(codes, order)
    for row in (0, 36, 100, 419):
        alone, _ = encode_rows(snapshot.model, vectors()[row : row + 1])
        among = take(mine, np.array([row]))
        assert alone.partitions.tolist() == among.partitions.tolist()
        assert (alone.codes == among.codes).mean() >= 0.9
        np.testing.assert_allclose(alone.squares, among.squares, rtol=1e-4, atol=1e-6)
        for name in ("factors", "rerank_scales"):
            if getattr(alone, name) is not None:
                np.testing.assert_allclose(getattr(alone, name), getattr(among, name), rtol=2.0**-9, atol=1e-6)


def test_no_row(snapshot):
    codes, order = encode_rows(snapshot.model, np.empty((0, DIMENSIONS), np.float32))
    assert (len(codes), order.shape) == (0, (0,))


def test_equal_rows_have_equal_codes_in_any_batch(snapshot, monkeypatch):
    model = snapshot.model
    prepared = prepare_vectors(vectors(), model.metric, model.mean)
    rotated = rotate(model, prepared)
    partitions = np.arange(ROWS) % len(model.centroids)
    whole = encode_rotated(model, rotated, partitions)
    monkeypatch.setattr("vsearch.building.encoding.BATCH_ROWS", 37)
    assert_same(encode_rotated(model, rotated, partitions), whole)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e14])
@pytest.mark.parametrize("rerank", ["int8", "float16", "float32"])
def test_encoded_rows_decode_to_their_vectors(tmp_path, metric, scale, rerank):
    made = (vectors().astype(np.float64) * scale).astype(np.float32)
    snapshot = build(tmp_path / "index", made[:300], metric=metric, rerank=rerank, partitions=5)
    model = snapshot.model
    codes, order = encode_rows(model, made)
    weights = model.rerank_weights if rerank == "int8" else np.ones(DIMENSIONS, np.float32)
    residuals = codes.rerank.astype(np.float64) * weights * codes.rerank_scales[:, None]
    decoded = (model.centroids[codes.partitions] + residuals) @ model.quantizer.rotation + model.mean
    expected = normalize(made) if metric == "cosine" else made
    largest = np.abs(expected).max()
    allowed = {"int8": 0.03, "float16": 1e-3, "float32": 1e-5}[rerank] * largest
    assert np.abs(decoded - expected[order]).max() <= allowed
    built = reconstruct(snapshot, np.arange(300)) @ model.quantizer.rotation + model.mean
    assert np.abs(built - expected[take_ids(snapshot, np.arange(300))]).max() <= allowed


def test_rows_of_clusters_far_from_each_other_keep_their_digits(tmp_path):
    rng = np.random.default_rng(4)
    made = (rng.choice([-1e6, 1e6], (600, 1)) + rng.normal(size=(600, DIMENSIONS))).astype(np.float32)
    snapshot = build(tmp_path / "index", made, metric="l2", rerank="float32", partitions=6)
    model = snapshot.model
    assert model.far_apart
    codes, order = encode_rows(model, made)
    rotated = codes.rerank.astype(np.float64) + model.centroids[codes.partitions]
    true = prepare_vectors(made[order], "l2", model.mean).astype(np.float64) @ model.quantizer.rotation.T.astype(
        np.float64
    )
    assert np.abs(rotated - true).max() < 1e-5  # where float32 has steps of 0.06


def test_an_adapter_is_for_queries(tmp_path_factory):
    snapshot = built(tmp_path_factory.getbasetemp() / "coded", "pq", "cosine", None)
    adapted = replace(snapshot.model, adapter=2 * np.eye(DIMENSIONS, dtype=np.float32)[::-1])
    one, order = encode_rows(snapshot.model, vectors())
    two, same = encode_rows(adapted, vectors())
    assert_same(one, two)
    np.testing.assert_array_equal(order, same)
