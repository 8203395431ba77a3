from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import CorruptIndexError
from vsearch.kernels.scan.blocks import transpose
from vsearch.kernels.scan.cells import lower_bounds
from vsearch.quantizers.osq_lloyd import MAX_BITS, greedy_bits, lloyd_centers, train_lloyd
from vsearch.quantizers.registry import load_quantizer

SEEDS = st.integers(0, 1000)


def correlated(rng, n, d, decay=0.8):
    """Gaussian vectors with a mean, of geometrically falling variances in random directions."""
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return ((rng.standard_normal((n, d)) * decay ** np.arange(d)) @ basis.T + rng.standard_normal(d)).astype(np.float32)


def bounds_of(codec, query, vectors):
    """Lower bounds of the squared distances of a rotated query to rotated vectors."""
    packed = np.ascontiguousarray(codec.encode(vectors).codes[:, codec.stage_bytes[0] :])
    blocks = np.zeros(((len(vectors) + 31) // 32, packed.shape[1] * 32), np.uint8)
    transpose(packed, blocks)
    bounds = np.empty(len(vectors), np.float32)
    lower_bounds(blocks, np.arange(len(vectors)), codec.dimension_bits, codec.starts, codec.tables(query), bounds)
    return bounds


def greedy_twin(energies, budget):
    left, bits = np.array(energies, np.float64), np.zeros(len(energies), int)
    for _ in range(budget):
        open_ = np.where(bits < MAX_BITS, left, 0.0)
        if not open_.max() > 0:
            break
        best = int(np.argmax(open_))
        bits[best] += 1
        left[best] /= 4
    return bits


@given(
    energies=st.lists(st.sampled_from([0.0, 1e-6, 0.5, 1.0, 2.0, 4.0, 4096.0]), min_size=1), budget=st.integers(0, 90)
)
def test_greedy_bits_are_those_of_the_greedy_rule(energies, budget):
    np.testing.assert_array_equal(greedy_bits(np.array(energies), budget), greedy_twin(energies, budget))


def test_no_bit_is_wasted_on_dimensions_that_have_enough_or_no_energy():
    assert greedy_bits(np.array([1e12, 1.0, 0.0]), 10).tolist() == [8, 2, 0]
    assert greedy_bits(np.array([1.0, 1.0, 0.0]), 24).tolist() == [8, 8, 0]


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=60),
    bits=st.integers(0, 8),
    offset=st.sampled_from([0, 1000]),
)
def test_lloyd_centers_ascend_and_stay_among_the_values(values, bits, offset):
    ordered = np.sort(np.array(values, np.float32)) + np.float32(offset)
    centers = lloyd_centers(ordered, 1 << bits)
    assert centers.shape == (1 << bits,)
    assert (np.diff(centers) >= 0).all()
    assert ordered[0] <= centers[0]
    assert centers[-1] <= ordered[-1]


def test_lloyd_lowers_the_error_of_equally_filled_cells():
    values = np.sort(np.random.default_rng(0).laplace(size=5000))
    centers = lloyd_centers(values, 16)
    nearest = np.abs(values[:, None] - centers).min(axis=1)
    equal = np.concatenate([(part - part.mean()) ** 2 for part in np.array_split(values, 16)])
    assert np.mean(nearest**2) < 0.6 * np.mean(equal)


def test_the_transform_decorrelates_and_variances_descend():
    vectors = correlated(np.random.default_rng(1), 5000, 24)
    codec = train_lloyd(vectors, 2.0)
    np.testing.assert_allclose(codec.rotation @ codec.rotation.T, np.eye(24), atol=1e-5)
    covariance = np.cov((vectors @ codec.rotation.T).astype(np.float64), rowvar=False)
    deviations = np.sqrt(np.diag(covariance))
    assert np.abs(covariance / np.outer(deviations, deviations) - np.eye(24)).max() < 1e-3
    assert (np.diff(np.diag(covariance)) <= 0).all()
    assert (np.diff(codec.dimension_bits) <= 0).all()
    assert codec.dimension_bits.sum() == 48
    assert codec.stage_bytes == (4, 6)


@pytest.mark.slow
@given(d=st.integers(1, 20), n=st.integers(1, 80), bits=st.sampled_from([0.25, 1.0, 2.5, 8.0]), seed=SEEDS)
def test_a_bound_is_never_above_the_distance(d, n, bits, seed):
    rng = np.random.default_rng(seed)
    vectors = correlated(rng, n, d)
    if seed % 2:
        vectors = np.round(vectors * 2) / 2  # many alike, many zero
    codec = train_lloyd(vectors, bits)
    spread = rng.choice([0.1, 1.0, 10.0])  # rows and queries outside of what was seen, too
    rows = (np.concatenate([vectors, vectors.mean(axis=0) + spread * rng.standard_normal((20, d))])).astype(np.float32)
    rotated = rows @ codec.rotation.T
    for query in (rotated[0], rotated[-1], 2 * rotated[-2], 0 * rotated[0]):
        bounds = bounds_of(codec, query, rotated)
        distances = np.sum((rotated.astype(np.float64) - query) ** 2, axis=1)
        assert (bounds <= distances * (1 + 1e-5) + 1e-9).all()
        same = (codec.encode(rotated).codes == codec.encode(query[None]).codes)[:, codec.stage_bytes[0] :].all(axis=1)
        assert (bounds[same] == 0).all()


def test_edges_at_zero_are_like_any_other():
    codec = replace(
        train_lloyd(np.array([[-1.0], [1.0]], np.float32), 1.0),
        centers=np.array([-1, 1], np.float32),
        rotation=np.eye(1, dtype=np.float32),
    )
    assert codec.lowers.tolist() == [-np.inf, 0.0]
    rows = np.array([[-3.0], [0.0], [5.0]], np.float32)
    np.testing.assert_array_equal(bounds_of(codec, np.array([2.0], np.float32), rows), [4, 0, 0])
    np.testing.assert_array_equal(bounds_of(codec, np.array([-2.0], np.float32), rows), [0, 4, 4])


def test_decoded_vectors_are_close_and_have_the_same_code():
    vectors = correlated(np.random.default_rng(2), 2000, 16)
    codec = train_lloyd(vectors, 8.0)
    rotated = vectors @ codec.rotation.T
    codes = codec.encode(rotated).codes
    decoded = codec.decode(codes)
    assert np.mean((decoded - rotated) ** 2) < 2e-3 * np.mean((rotated - rotated.mean(axis=0)) ** 2)
    np.testing.assert_array_equal(
        codec.encode(decoded).codes[:, codec.stage_bytes[0] :], codes[:, codec.stage_bytes[0] :]
    )


def test_dead_dimensions_have_neither_bits_nor_signs():
    rng = np.random.default_rng(3)
    vectors = correlated(rng, 500, 12)
    wide = np.concatenate([vectors, np.full((500, 5), 3.0, np.float32)], axis=1)
    codec = train_lloyd(wide, 8.0)
    assert codec.signs == 12
    assert len(codec.dimension_bits) == 12
    np.testing.assert_allclose(
        codec.decode(codec.encode(wide @ codec.rotation.T).codes) @ codec.rotation, wide, atol=0.3
    )


@pytest.mark.parametrize("vectors", [np.full((40, 6), 0.7), np.zeros((40, 6)), np.arange(6.0)[None]], ids=str)
def test_data_without_variance(vectors):
    vectors = vectors.astype(np.float32)
    codec = train_lloyd(vectors, 4.0)
    assert (codec.signs, len(codec.dimension_bits), codec.stage_bytes) == (0, 0, (1, 1))
    rotated = vectors @ codec.rotation.T
    assert (bounds_of(codec, rotated[0] + 1, rotated) == 0).all()
    np.testing.assert_allclose(codec.decode(codec.encode(rotated).codes), rotated, atol=1e-5)
    kept = {name: np.array(array) for name, array in codec.arrays().items()}
    assert load_quantizer("osq-lloyd", codec.configuration(), kept).stage_bytes == (1, 1)


def test_zero_vectors_are_marked():
    vectors = correlated(np.random.default_rng(4), 100, 8)
    codec = train_lloyd(vectors, 1.0)
    marks = codec.encode(np.concatenate([vectors[:3], np.zeros((1, 8), np.float32)])).codes[:, 1]
    np.testing.assert_array_equal(marks, [0, 0, 0, 0x80])


def test_a_stored_codec_is_the_same():
    vectors = correlated(np.random.default_rng(5), 300, 10)
    codec = train_lloyd(vectors, 1.5)
    stored = load_quantizer(codec.name, codec.configuration(), dict(codec.arrays()))
    rotated = vectors @ codec.rotation.T
    np.testing.assert_array_equal(stored.encode(rotated).codes, codec.encode(rotated).codes)
    np.testing.assert_array_equal(stored.tables(rotated[0]), codec.tables(rotated[0]))


@pytest.mark.parametrize(
    "change",
    [
        {"dimension_bits": np.array([9, 1], np.int32)},
        {"dimension_bits": np.array([-1, 1], np.int32)},
        {"dimension_bits": np.ones(40, np.int32)},
        {"centres": np.zeros(3, np.float32)},
        {"means": np.zeros(3, np.float32)},
        {"signs": 11},
        {"signs": -1},
        {"signs": None},
        {"reverse": True},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(change):
    codec = train_lloyd(correlated(np.random.default_rng(6), 300, 10), 1.5)
    arrays, configuration = dict(codec.arrays()), codec.configuration()
    for name, value in change.items():
        if name == "reverse":
            arrays["centres"] = arrays["centres"][::-1].copy()
        elif name in arrays:
            arrays[name] = value
        else:
            configuration[name] = value
    with pytest.raises(CorruptIndexError):
        load_quantizer("osq-lloyd", configuration, arrays)
