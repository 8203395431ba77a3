from __future__ import annotations

import numpy as np
import pytest

from vsearch.jpq.optimizer import AdamW
from vsearch.jpq.quality import measure
from vsearch.training.rates import schedule


def test_measures_of_three_rankings() -> None:
    found = np.array([[3, 1, 2], [5, 4, 9], [7, -1, -1]])
    relevant = np.array([[1, -2], [5, 4], [8, -2]])
    quality = measure(found, relevant)
    assert quality.mrr.tolist() == [0.5, 1.0, 0.0]
    np.testing.assert_allclose(quality.ndcg, [1 / np.log2(3), 1.0, 0.0])
    assert quality.recall.tolist() == [1.0, 1.0, 0.0]
    assert quality.means()["mrr@10"] == pytest.approx(0.5)


def test_a_row_beyond_the_tenth_counts_for_recall_alone() -> None:
    quality = measure(np.arange(30)[None, :], np.array([[10]]))
    assert (quality.mrr[0], quality.ndcg[0], quality.recall[0]) == (0, 0, 1)


def test_the_schedule_rises_and_falls() -> None:
    shares = [schedule(step, 100) for step in range(1, 101)]
    assert shares[:10] == pytest.approx([0.1 * step for step in range(1, 11)], abs=0.02)
    assert max(shares) <= 1
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 < shares[-1] < 0.02


def test_adamw_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    value = rng.standard_normal(7).astype(np.float32)
    tensor = torch.tensor(value, requires_grad=True)
    theirs = torch.optim.AdamW([tensor], lr=0.01, weight_decay=0.0)
    mine, now = AdamW.of(value, 0.01), value
    for step in range(1, 20):
        gradient = rng.standard_normal(7).astype(np.float32)
        tensor.grad = torch.tensor(gradient)
        theirs.step()
        now = mine.update(now, gradient, step, 1.0)
    np.testing.assert_allclose(now, tensor.detach().numpy(), atol=1e-5)
