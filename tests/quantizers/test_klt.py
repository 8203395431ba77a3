from __future__ import annotations

import numpy as np
import pytest

from tests.quantizers.samples import ODD, residuals
from vsearch.quantizers.klt import BLOCK, block_bounds, complete_basis, fit_klt, rotate_blocks


def covariance(rows):
    return rows.astype(np.float64).T @ rows.astype(np.float64) / len(rows)


@pytest.mark.parametrize(("n", "d"), [(2000, 50), (500, 3), (500, 1), (4000, 70)])
def test_covariance_is_diagonal_before_the_block_rotation(n, d):
    rows = residuals(n, d)
    klt = fit_klt(rows)
    found = covariance(rows @ klt.matrix.T)
    assert np.abs(found - np.diag(np.diagonal(found))).max() <= 1e-5 * found[0, 0]
    np.testing.assert_allclose(np.diagonal(found), klt.eigenvalues, atol=1e-5 * found[0, 0])


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(("n", "d"), [(300, 20), (5, 20), (1, 4), (40, 1)])
def test_orthogonal_and_descending_whatever_the_data(kind, n, d):
    klt = fit_klt(ODD[kind](n, d, 1))
    assert klt.matrix.dtype == np.float32
    np.testing.assert_allclose(klt.matrix @ klt.matrix.T, np.eye(d), atol=1e-5)
    assert (np.diff(klt.eigenvalues) <= 0).all()
    assert (klt.eigenvalues >= 0).all()


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e14])
@pytest.mark.parametrize(("n", "rank", "d"), [(1, 1, 2), (7, 7, 40), (30, 4, 50), (79, 79, 80)])
def test_fewer_rows_than_dimensions_are_diagonalised_in_their_span(n, rank, d, scale, monkeypatch):
    rng = np.random.default_rng(n)
    rows = (rng.normal(size=(n, rank)) @ (rng.normal(size=(rank, d)) * 0.7 ** np.arange(rank)[:, None])).astype("f4")
    rows *= np.float32(scale)
    solve, sizes = np.linalg.eigh, []
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: sizes.append(len(matrix)) or solve(matrix))
    klt = fit_klt(rows)
    assert sizes == [n]  # that of the covariance would be the cube of the dimensions
    np.testing.assert_allclose(klt.matrix.astype(np.float64) @ klt.matrix.T.astype(np.float64), np.eye(d), atol=1e-6)
    found, total = covariance(rows @ klt.matrix.T), float(np.sum(covariance(rows).diagonal()))
    assert np.abs(found - np.diag(klt.eigenvalues)).max() <= 2e-6 * total
    assert np.diagonal(found)[rank:].sum() <= 1e-8 * total
    assert (np.diff(klt.eigenvalues) <= 0).all()


@pytest.mark.parametrize("r", [0, 1, 3, 6])
@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_a_basis_is_completed_from_any_rows(r, turn):
    unit = np.eye(6, dtype=np.float32)
    drawn = np.linalg.qr(np.random.default_rng(r).standard_normal((6, 6)))[0].astype(np.float32)
    for rows in (turn * unit[:r], turn * unit[6 - r :], turn * drawn[:r]):
        matrix = complete_basis(rows)
        np.testing.assert_array_equal(matrix[:r], rows)
        np.testing.assert_allclose(matrix @ matrix.T, unit, atol=1e-6)


def test_leading_dimensions_hold_the_variance():
    rows = residuals(3000, 40, decay=0.8)
    klt = fit_klt(rows)
    kept = np.cumsum(np.diagonal(covariance(rows @ klt.matrix.T)))
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((40, 40)))[0]
    other = np.cumsum(np.sort(np.diagonal(covariance(rows @ rotation.T)))[::-1])
    assert (kept >= other - 1e-6).all()


@pytest.mark.parametrize("d", [1, 2, 15, 16, 17, 50])
def test_rotations_stay_inside_blocks(d):
    matrix = fit_klt(residuals(300, d)).matrix
    rotated = rotate_blocks(matrix, np.random.default_rng(0))
    np.testing.assert_allclose(rotated @ rotated.T, np.eye(d), atol=1e-5)
    mixing = rotated @ matrix.T
    outside = np.ones((d, d), bool)
    for start, stop in block_bounds(d):
        outside[start:stop, start:stop] = False
    assert np.abs(mixing[outside]).max(initial=0) < 1e-5


def test_rotation_evens_a_block_out():
    matrix = np.eye(BLOCK, dtype=np.float32)
    rows = residuals(2000, BLOCK, decay=0.5)
    evened = np.diagonal(covariance(rows @ (rotate_blocks(fit_klt(rows).matrix, np.random.default_rng(1))).T))
    unmixed = np.diagonal(covariance(rows @ fit_klt(rows).matrix.T))
    assert evened.max() / evened.min() < 0.05 * unmixed.max() / unmixed.min()
    assert evened.sum() == pytest.approx(unmixed.sum(), rel=1e-4)
    assert not np.array_equal(
        rotate_blocks(matrix, np.random.default_rng(1)), rotate_blocks(matrix, np.random.default_rng(2))
    )
    np.testing.assert_array_equal(
        rotate_blocks(matrix, np.random.default_rng(1)), rotate_blocks(matrix, np.random.default_rng(1))
    )


@pytest.mark.parametrize(("d", "wanted"), [(1, [(0, 1)]), (16, [(0, 16)]), (17, [(0, 16), (16, 17)])])
def test_block_bounds(d, wanted):
    assert block_bounds(d) == wanted
