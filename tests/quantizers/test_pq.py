from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vsearch
from vsearch.quantizers.pq import PQ, ProductQuantizer, load_pq, spec_from_bits, train_pq
from vsearch.quantizers.protocol import Calibration
from vsearch.quantizers.registry import load_quantizer


def residuals_of(rows: int = 2000, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dimensions, dimensions)) * np.geomspace(1, 0.05, dimensions)
    return (rng.standard_normal((rows, dimensions)) @ mixing.T).astype(np.float32)


def made(subquantizers: int, centroids: int, width: int, seed: int) -> ProductQuantizer:
    rng = np.random.default_rng(seed)
    d = subquantizers * width
    tables = rng.standard_normal((subquantizers, centroids, width)).astype(np.float32)
    return ProductQuantizer(
        np.eye(d, dtype=np.float32), tables, Calibration(np.ones(1, np.float32), np.zeros(1, np.float32))
    )


@settings(max_examples=30)
@given(many=st.integers(1, 13), centroids=st.sampled_from([16, 256]), width=st.integers(1, 5), seed=st.integers(0, 999))
def test_codes_are_the_nearest_centroids_and_tables_their_products(
    many: int, centroids: int, width: int, seed: int
) -> None:
    codec = made(many, centroids, width, seed)
    rng = np.random.default_rng(seed + 1)
    vectors = rng.standard_normal((9, many * width)).astype(np.float32)
    encoded = codec.encode(vectors)
    assert encoded.codes.shape == (9, codec.stage_bytes[0])
    numbers = codec.unpack(encoded.codes)
    np.testing.assert_array_equal(codec.pack(numbers), encoded.codes)
    parts = vectors.reshape(9, many, width)
    squares = ((parts[:, :, None, :] - codec.centroids[None]) ** 2).sum(axis=3)
    chosen = np.take_along_axis(squares, numbers[:, :, None].astype(np.int64), axis=2)[:, :, 0]
    np.testing.assert_allclose(chosen, squares.min(axis=2), atol=1e-4)
    values = codec.decode(encoded.codes)
    np.testing.assert_array_equal(values.reshape(9, many, width)[3, 0], codec.centroids[0, numbers[3, 0]])
    tables = codec.tables(vectors[0])
    if codec.scan == "bytes":
        sums = tables[np.arange(many), encoded.codes].sum(axis=1)
    else:
        assert codec.stage_bytes[0] % 2 == 0
        pairs = np.arange(codec.stage_bytes[0])
        sums = (tables[2 * pairs, encoded.codes & 15] + tables[2 * pairs + 1, encoded.codes >> 4]).sum(axis=1)
    np.testing.assert_allclose(sums, values @ vectors[0], rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 99))
def test_the_factor_gives_a_vector_its_own_length_back(seed: int) -> None:
    codec = made(4, 256, 2, seed)
    vectors = np.random.default_rng(seed).standard_normal((20, 8)).astype(np.float32)
    encoded = codec.encode(vectors)
    along = np.einsum("ij,ij->i", vectors, codec.decode(encoded.codes)) * encoded.factors
    free = encoded.factors < 4
    np.testing.assert_allclose(along[free], np.sum(vectors**2, axis=1)[free], rtol=1e-3)


def test_a_zero_residual_has_factor_zero() -> None:
    assert made(4, 16, 2, 0).encode(np.zeros((3, 8), np.float32)).factors.tolist() == [0, 0, 0]


def test_rotation_is_orthogonal_and_helps() -> None:
    residuals = residuals_of()
    errors = []
    for rotation in (False, True):
        codec = train_pq(residuals, PQ(6, 16, rotation))
        np.testing.assert_allclose(codec.rotation @ codec.rotation.T, np.eye(24), atol=1e-4)
        rotated = residuals @ codec.rotation.T
        errors.append(float(np.sum((rotated - codec.decode(codec.encode(rotated).codes)) ** 2)))
        assert codec.spec == PQ(6, 16, rotation)
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.usefixtures("two_threads")
def test_the_same_seed_trains_the_same() -> None:
    first, second = (train_pq(residuals_of(), PQ(6, 256), seed=3) for _ in range(2))
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name])


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_few_rows_are_enough(rows: int) -> None:
    codec = train_pq(residuals_of(rows), PQ(6, 256))
    assert np.isfinite(codec.centroids).all()
    assert codec.encode(residuals_of(rows)).codes.shape == (rows, 6)


def test_stored_and_loaded_it_is_the_same() -> None:
    codec = train_pq(residuals_of(), PQ(6, 16))
    again = load_quantizer("pq", codec.configuration(), codec.arrays())
    rotated = residuals_of() @ codec.rotation.T
    np.testing.assert_array_equal(codec.encode(rotated).codes, again.encode(rotated).codes)


@pytest.mark.parametrize(
    ("change", "configuration"),
    [
        ({"centroids": np.zeros((6, 16, 3), np.float32)}, {}),
        ({"centroids": np.zeros((6, 17, 4), np.float32)}, {"centroids": 17}),
        ({"rotation": np.eye(23, dtype=np.float32)}, {}),
        ({"calibration_scale": np.ones(2, np.float32)}, {}),
        ({"calibration_scale": np.zeros(1, np.float32)}, {}),
        ({"calibration_deviation": -np.ones(1, np.float32)}, {}),
        ({}, {"subquantizers": 7}),
        ({"centroids": np.full((6, 16, 4), np.nan, np.float32)}, {}),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], configuration: dict[str, Any]) -> None:
    codec = train_pq(residuals_of(400), PQ(6, 16))
    with pytest.raises(vsearch.CorruptIndexError):
        load_quantizer("pq", codec.configuration() | configuration, {**codec.arrays(), **change})
    assert load_pq(codec.configuration(), codec.arrays()).spec == codec.spec


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"subquantizers": 0}, "subquantizers must be"),
        ({"subquantizers": True}, "subquantizers must be"),
        ({"subquantizers": 4.0}, "subquantizers must be"),
        ({"centroids": 64}, "centroids must be"),
        ({"rotation": "opq"}, "rotation must be"),
    ],
)
def test_specifications_are_checked(given: dict[str, Any], match: str) -> None:
    with pytest.raises(vsearch.InputError, match=match):
        PQ(**given)


def test_parts_must_divide_the_dimensions(tmp_path: Path) -> None:
    with pytest.raises(vsearch.InputError, match=r"use one of 1, 2, 3, 4, 6"):
        vsearch.build(residuals_of(300), tmp_path / "i", quantizer=PQ(7))
    assert spec_from_bits(1.0, 384) == PQ(48)
    assert spec_from_bits(1.0, 100) == PQ(10)
    assert spec_from_bits(0.25, 8) == PQ(1)


@pytest.mark.parametrize("rerank", ["auto", "int8", None])
def test_no_rerank_unless_asked_for(tmp_path: Path, rerank: str | None) -> None:
    index = vsearch.build(residuals_of(400), tmp_path / "i", quantizer="pq", bits=2, rerank=rerank)
    assert index.info()["rerank"] == ("int8" if rerank == "int8" else None)
    assert vsearch.plan(residuals_of(400), quantizer="pq", bits=2, rerank=rerank).bytes_per_vector["codes"] >= 6


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("spec", [PQ(6, 256), PQ(6, 16), PQ(12, 16, rotation=False)], ids=str)
def test_search_finds_what_exhaustive_search_of_the_codes_finds(tmp_path: Path, metric: str, spec: PQ) -> None:
    import pyarrow as pa

    vectors, table = residuals_of(1500), pa.table({"n": np.arange(1500) % 10})
    index = vsearch.build(vectors, tmp_path / "i", attributes=table, metric=metric, quantizer=spec, shards=2)
    queries = residuals_of(40, seed=7)
    assert index.info()["code_bytes"] == spec.code_bytes
    everything = index.search(queries, 10, nprobe=10_000)
    exact = index.search(queries, 10, exact=True)
    np.testing.assert_allclose(everything.scores, exact.scores, rtol=1e-4, atol=1e-4)
    assert np.mean(everything.ids == exact.ids) > 0.99
    assert index.recall(queries).recall > 0.9
    filtered = index.search(queries, 10, where="n = 3")
    assert (filtered.ids % 10 == 3).all()


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("spec", [PQ(6, 256), PQ(6, 16), PQ(12, 16, rotation=False)], ids=str)
def test_tuning_reaches_what_is_asked_with_exact_rerank(tmp_path: Path, metric: str, spec: PQ) -> None:
    vectors, queries = residuals_of(1500), residuals_of(40, seed=7)
    reranked = vsearch.build(vectors, tmp_path / "r", metric=metric, quantizer=spec, rerank="float32", shards=2)
    assert reranked.tune(0.95, queries=queries).reached
