"""The kernels that fuse few rows give the bits of the array operations that fuse many."""

from __future__ import annotations

import numpy as np
import pytest

from vsearch.kernels.legs.fields import MOST
from vsearch.legs import fusing, hybrid
from vsearch.legs.fusing import Candidates, FusionOptions, fuse
from vsearch.legs.hybrid import Ranking
from vsearch.legs.protocol import LegRanking


def both_ways(call, monkeypatch, module):
    by_kernels = call()
    with monkeypatch.context() as patch:
        patch.setattr(module, "MOST", -1)
        return by_kernels, call()


def assert_same_bits(one, other):
    for left, right in zip(one, other, strict=True):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()


def random_scores(rng, count):
    """Some are equal, and some are zeros of either sign."""
    scores = rng.choice([rng.normal(size=count), rng.integers(-2, 3, count), np.full(count, -0.0)])
    return (scores * rng.choice([1, 1e-30, 1e30])).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 165, MOST - 1, MOST, MOST + 1])
@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
@pytest.mark.parametrize("squared", [False, True])
def test_fuse(count, fusion, squared, monkeypatch):
    rng = np.random.default_rng(count)
    for weights in ((1.0, 1.0), (0.0, 3.7), (1e6, 1e-6)):
        for k in (1, 10, count, 2 * count):
            rows = np.sort(rng.choice(1 << 40, count, replace=False))
            by_leg = np.maximum(random_scores(rng, count), 0).astype(np.float64)
            candidates = Candidates(rows, random_scores(rng, count).astype(np.float64), by_leg)
            options = FusionOptions(fusion, weights, 100)
            one, other = both_ways(lambda: fuse(candidates, options, k, 0, squared=squared), monkeypatch, fusing)  # noqa: B023
            parts = [[fused.best, fused.scores, fused.vector_ranks, fused.leg_ranks] for fused in (one, other)]
            assert len(one.best) == min(k, count)
            assert_same_bits(*parts)


@pytest.mark.parametrize(("near", "ranked"), [(0, 0), (0, 3), (4, 0), (1, 1), (100, 100), (256, 256), (257, 256)])
@pytest.mark.parametrize("rows", [300, 1 << 45])
def test_unite(near, ranked, rows, monkeypatch):
    rng = np.random.default_rng(near)
    choose = lambda count: np.unique(rng.integers(0, rows, 3 * count + 1))[rng.permutation(count)]  # noqa: E731
    for _ in range(5):
        nearest = Ranking(choose(near), random_scores(rng, near))
        scores = np.abs(random_scores(rng, ranked)) + np.float32(1)
        of_leg = LegRanking(choose(ranked), scores, scores.astype(np.float64))
        assert_same_bits(*both_ways(lambda: hybrid._unite(nearest, of_leg), monkeypatch, hybrid))  # noqa: B023


def test_what_is_not_a_number_comes_last():
    candidates = Candidates(np.arange(4), np.array([np.nan, 1.0, np.nan, 2.0]), np.zeros(4))
    fused = fuse(candidates, FusionOptions("rrf", (1.0, 1.0), 10), 4, 0, squared=False)
    assert fused.best.tolist() == [3, 1, 0, 2]
    assert fused.vector_ranks.tolist() == [1, 2, 3, 3]


def test_the_default_options_are_those_of_their_values():
    for k in (1, 10, 50, 51, 60, 100):
        assert FusionOptions.of(None, None, None, k, 0) == FusionOptions.of("rrf", (1, 1), None, k, 0)
        assert FusionOptions.of(None, None, None, k, 100 - k) == FusionOptions.of("rrf", None, None, k, 100 - k)
    assert FusionOptions.of(None, None, None, 200, 0).depth == 400
