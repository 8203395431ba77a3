from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.quantizers.samples import ODD, residuals
from vsearch.errors import InputError
from vsearch.quantizers.osq import STAGED_FROM, train_osq

BUDGETS = [0.25, 0.5, 1.0, 1.7, 2.0, 4.0, 8.0]
SIZES = [(300, 1), (300, 2), (300, 3), (400, 50), (5, 20), (1, 8)]


@cache
def trained(bits, d=64, n=4000, seed=0):
    codec = train_osq(residuals(n, d, seed), bits, seed)
    fresh = residuals(1000, d, seed + 1000) @ codec.rotation.T
    return codec, fresh


def coarser(codec, planes):
    """The codec of the first planes alone, around the same grid: cells twice as wide for every plane less."""
    kept = np.minimum(codec.dimension_bits, planes).astype(np.int32)
    return replace(
        codec, deltas=codec.deltas * np.exp2(codec.dimension_bits - kept).astype(np.float32), dimension_bits=kept
    )


def table_sums(tables, codes):
    """What a scan adds up: one entry per nibble."""
    pairs = np.arange(codes.shape[1])
    return tables[2 * pairs, codes & 15].sum(axis=1) + tables[2 * pairs + 1, codes >> 4].sum(axis=1)


def stage_estimates(codec, encoded, queries, stage):
    """Estimates float (queries, rows) of ``<query, residual>`` by one stage, and their unit of error."""
    last = stage == len(codec.stage_bytes) - 1
    factors = encoded.factors if last else encoded.first_factors
    width = sum(codec.stage_bytes) if last else codec.stage_bytes[0]
    sums = np.stack([table_sums(codec.tables(query)[: 2 * width], encoded.codes[:, :width]) for query in queries])
    units = factors * np.linalg.norm(queries, axis=1)[:, None]
    return codec.calibration.scale[stage] * factors * sums, units


@pytest.mark.parametrize("bits", BUDGETS)
@pytest.mark.parametrize("d", [1, 3, 16, 50, 100])
def test_code_keeps_to_its_budget(bits, d):
    codec = train_osq(residuals(500, d), bits)
    assert codec.dimension_bits.sum() <= bits * d
    assert codec.dimension_bits.sum() > bits * d - 16
    assert (np.diff(codec.dimension_bits) <= 0).all()
    assert (codec.deltas > 0).all()
    assert sum(codec.stage_bytes) == codec.code_bytes
    # a plane has an even number of bytes, so each wastes less than two
    assert codec.code_bytes <= max(2, codec.dimension_bits.sum() / 8 + 2 * len(codec.plane_bytes))
    assert len(codec.stage_bytes) == (2 if bits >= STAGED_FROM and len(codec.plane_bytes) > 1 else 1)


@pytest.mark.parametrize("bits", [1.7, 3.0, 8.0])
def test_every_prefix_of_planes_is_a_code(bits):
    codec, fresh = trained(bits)
    encoded = codec.encode(fresh)
    for planes in range(1, len(codec.plane_bytes) + 1):
        short = coarser(codec, planes)
        again = short.encode(fresh)
        width = int(codec.plane_bytes[:planes].sum())
        np.testing.assert_array_equal(encoded.codes[:, :width], again.codes)
        # the values of the prefix are the middles of its wider cells
        finest = codec.decode(encoded.codes)[:, : len(codec.deltas)]
        middle = short.decode(again.codes)[:, : len(codec.deltas)]
        assert (np.abs(finest - middle) <= short.deltas / 2).all()


@pytest.mark.parametrize("bits", [2.0, 4.0, 8.0])
def test_plane_zero_has_the_factors_of_a_code_of_its_own(bits):
    codec, fresh = trained(bits)
    encoded = codec.encode(fresh)
    again = coarser(codec, 1).encode(fresh)
    np.testing.assert_allclose(encoded.first_factors, again.factors, rtol=1e-5)
    np.testing.assert_array_equal(encoded.codes[:, : codec.stage_bytes[0]], again.codes)


@pytest.mark.parametrize("bits", BUDGETS)
def test_table_sums_are_inner_products_with_the_decoded_code(bits):
    codec, fresh = trained(bits)
    rows, queries = fresh[:200], fresh[200:205]
    codes = codec.encode(rows).codes
    values = codec.decode(codes)
    for query in queries:
        tables = codec.tables(query)
        assert tables.shape == (2 * codec.code_bytes, 16)
        np.testing.assert_allclose(table_sums(tables, codes), values @ query, atol=1e-5 * np.linalg.norm(query))
        width = codec.stage_bytes[0]
        if len(codec.stage_bytes) == 2:
            first = coarser(codec, 1)
            wanted = first.decode(np.ascontiguousarray(codes[:, :width])) @ query
            np.testing.assert_allclose(
                table_sums(tables[: 2 * width], codes[:, :width]), wanted, atol=1e-5 * np.linalg.norm(query)
            )


@pytest.mark.parametrize("bits", BUDGETS)
def test_estimates_are_right_on_average(bits):
    """On rows and queries that training never saw: the mean error, and the slope, over random and over near pairs."""
    codec, fresh = trained(bits)
    rows = fresh[:600]
    near = rows[:64] + 0.3 * fresh[600:664]
    encoded = codec.encode(rows)
    for stage in range(len(codec.stage_bytes)):
        for queries in (fresh[700:764], near):
            true = queries @ rows.T
            estimates, _ = stage_estimates(codec, encoded, queries, stage)
            lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
            assert abs(np.mean((estimates - true) / lengths)) < 0.003
            assert np.sum(estimates * true) / np.sum(true * true) == pytest.approx(1, abs=0.025)
        # a query beside its own row is where a biased estimate would show most
        own = np.arange(len(near))
        estimates, _ = stage_estimates(codec, encoded, near, stage)
        true = np.sum(near * rows[:64], axis=1)
        assert np.mean(estimates[own, own]) == pytest.approx(np.mean(true), rel=0.04)


@pytest.mark.parametrize("bits", BUDGETS)
def test_calibrated_deviation_is_that_of_fresh_data(bits):
    codec, fresh = trained(bits)
    rows, queries = fresh[:600], fresh[600:700]
    encoded = codec.encode(rows)
    for stage in range(len(codec.stage_bytes)):
        estimates, units = stage_estimates(codec, encoded, queries, stage)
        errors = (estimates - queries @ rows.T) / units / codec.calibration.deviation[stage]
        assert np.sqrt(np.mean(errors**2)) == pytest.approx(1, rel=0.06)
        # quantiles of the bound that a margin of so many deviations gives
        assert np.mean(np.abs(errors) <= 2) >= 0.93
        assert np.mean(np.abs(errors) <= 3) >= 0.985
        assert np.mean(np.abs(errors) <= 5) >= 0.995


def test_a_budget_too_small_for_any_block_leaves_a_bound():
    """12 bits for blocks of 16: no code, but the length of a residual still bounds its inner product."""
    codec, fresh = trained(0.25, d=50)
    assert len(codec.deltas) == 0
    rows, queries = fresh[:600], fresh[600:700]
    encoded = codec.encode(rows)
    estimates, units = stage_estimates(codec, encoded, queries, 0)
    assert (estimates == 0).all()
    np.testing.assert_allclose(encoded.factors, np.linalg.norm(rows, axis=1), rtol=1e-5)
    errors = (queries @ rows.T) / units / codec.calibration.deviation[0]
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(1, rel=0.06)


def test_more_bits_are_closer():
    errors = []
    for bits in BUDGETS:
        codec, fresh = trained(bits, n=2000)
        encoded = codec.encode(fresh[:300])
        rebuilt = codec.decode(encoded.codes) * encoded.factors[:, None]
        errors.append(np.mean((rebuilt - fresh[:300]) ** 2))
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-3 * np.mean(fresh**2)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("bits", [0.25, 1.0, 8.0])
def test_odd_data(kind, bits):
    for n, d in SIZES:
        rows = ODD[kind](n, d, 2)
        codec = train_osq(rows, bits)
        rotated = rows @ codec.rotation.T
        encoded = codec.encode(rotated)
        assert encoded.codes.shape == (n, codec.code_bytes)
        for found in (encoded.factors, codec.calibration.scale, codec.calibration.deviation, codec.deltas):
            assert np.isfinite(found).all()
            assert (found >= 0).all()
        assert (codec.calibration.scale > 0).all()
        assert (encoded.factors[~rotated.any(axis=1)] == 0).all()
        assert np.isfinite(codec.tables(rotated[0])).all()
        assert np.isfinite(codec.decode(encoded.codes)).all()
        if bits == 8:
            rebuilt = codec.decode(encoded.codes) * encoded.factors[:, None]
            lengths = np.linalg.norm(rotated, axis=1)
            usual = (lengths > 0) & (lengths > 1e-2 * lengths.max())  # the grid fits the common directions
            wrong = (np.linalg.norm(rebuilt - rotated, axis=1)[usual] / lengths[usual]).tolist()
            assert max(wrong, default=0) < 0.25
            assert np.median(wrong or [0]) < 0.03


def test_dead_dimensions_get_no_bits():
    rows = residuals(1000, 64)
    rows[:, 10:42] = 0
    codec = train_osq(rows, 4.0)
    assert len(codec.deltas) == 32
    assert codec.dimension_bits.sum() == 4 * 64


@pytest.mark.usefixtures("two_threads")
def test_same_seed_same_codec():
    rows = residuals(500, 20)
    one, two, other = (train_osq(rows, 2.0, seed) for seed in (3, 3, 4))
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, two.arrays()[name])
    assert not np.array_equal(one.rotation, other.rotation)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_few_rows(n):
    codec, fresh = trained(2.0, n=300)
    encoded = codec.encode(fresh[:n])
    assert encoded.codes.shape == (n, codec.code_bytes)
    assert codec.decode(encoded.codes).shape == (n, 64)


def test_read_only_and_strided_rows_are_taken():
    codec, fresh = trained(2.0, n=300)
    wanted = codec.encode(fresh)
    frozen = fresh.copy()
    frozen.setflags(write=False)
    for rows in (frozen, np.asfortranarray(fresh), fresh.repeat(2, axis=0)[::2], fresh.astype(np.float64)):
        np.testing.assert_array_equal(codec.encode(rows).codes, wanted.codes)


@pytest.mark.parametrize("bits", [0.0, 0.249, 8.01, -1, float("nan"), float("inf")])
def test_budget_out_of_range(bits):
    with pytest.raises(InputError, match=r"0\.25 to 8"):
        train_osq(residuals(10, 4), bits)
