from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.jpq.loss import LOSSES, Lists, gains, lambda_loss


def lists_of(seed: int, queries: int = 4, width: int = 7) -> tuple[np.ndarray, Lists]:
    rng = np.random.default_rng(seed)
    rows = rng.permuted(np.tile(np.arange(40), (queries, 1)), axis=1)[:, :width].astype(np.int64)
    relevant = rng.random((queries, width)) < 0.3
    relevant[:, 0] = True
    missing = rng.random((queries, width)) < 0.2
    missing[:, 0] = False
    rows[missing] = -1
    positions = np.broadcast_to(np.arange(1, width + 1), rows.shape)
    return rng.standard_normal((queries, width)).astype(np.float32), Lists(rows, relevant & ~missing, positions)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LOSSES))
@given(seed=st.integers(0, 10_000))
def test_gradients_are_those_of_finite_differences(name: str, seed: int) -> None:
    scores, lists = lists_of(seed)
    loss = LOSSES[name]
    _, gradient = loss(scores, lists)
    step = 1e-2
    for place in np.ndindex(scores.shape):
        if not lists.valid[place]:
            continue
        up, down = scores.copy(), scores.copy()
        up[place] += step
        down[place] -= step
        expected = (loss(up, lists)[0] - loss(down, lists)[0]) / (2 * step)
        assert gradient[place] == pytest.approx(expected, abs=2e-3)


def test_lambda_loss_is_the_written_formula() -> None:
    scores, lists = lists_of(3)
    weight = np.where(lists.positions <= 4, 1 / lists.positions, 0)
    total = 0.0
    for q, i, j in np.ndindex(*scores.shape, scores.shape[1]):
        if lists.relevant[q, i] and lists.valid[q, j] and not lists.relevant[q, j]:
            gap = scores[q, j] - scores[q, i]
            total += np.log1p(np.exp(gap)) * abs(weight[q, j] - weight[q, i])
    assert lambda_loss(scores, lists, cut=4)[0] == pytest.approx(total / len(scores), rel=1e-5)


def test_gains_stop_at_the_cut() -> None:
    assert gains(np.array([1, 2, 4, 5]), 4).tolist() == [1.0, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_huge_gaps_stay_finite(name: str) -> None:
    _, lists = lists_of(1)
    scores = np.where(lists.relevant, -1e4, 1e4).astype(np.float32)
    value, gradient = LOSSES[name](scores, lists)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_list_without_others_or_without_relevant_rows_teaches_nothing(name: str) -> None:
    scores = np.ones((2, 3), np.float32)
    rows = np.arange(6).reshape(2, 3)
    relevant = np.array([[True, True, True], [False, False, False]])
    value, gradient = LOSSES[name](scores, Lists(rows, relevant, np.tile([1, 2, 3], (2, 1))))
    assert value == pytest.approx(0)
    assert not gradient.any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_are_those_of_autograd(name: str) -> None:
    torch = pytest.importorskip("torch")
    scores, lists = lists_of(11, queries=6, width=9)
    tensor = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor(gains(lists.positions, 200), dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for q in range(len(scores)):
        relevant = np.flatnonzero(lists.relevant[q])
        others = np.flatnonzero(lists.valid[q] & ~lists.relevant[q])
        if name == "softmax":
            for i in relevant:
                both = torch.cat([tensor[q, [i]], tensor[q, others]])
                total = total - torch.log_softmax(both, 0)[0] / len(relevant)
            continue
        gaps = tensor[q, others][None, :] - tensor[q, relevant][:, None]
        swap = (weights[q, others][None, :] - weights[q, relevant][:, None]).abs()
        pairs = torch.nn.functional.softplus(gaps)
        total = total + ((pairs * swap).sum() if name == "lambda" else pairs.mean() if len(others) else 0)
    total = total / len(scores)
    total.backward()
    value, gradient = LOSSES[name](scores, lists)
    assert value == pytest.approx(float(total.detach()), rel=1e-5)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-6)
