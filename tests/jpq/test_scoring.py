from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.jpq.conftest import Task
from vsearch.jpq.loss import LOSSES
from vsearch.jpq.mining import list_batch, list_candidates, search_live
from vsearch.jpq.pairs import read_pairs
from vsearch.jpq.scoring import Parameters, batch_loss, load_documents, rotate
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.state.fetching import reconstruct
from vsearch.search.vectors import search_vectors


def test_an_index_that_was_changed_is_refused_by_name(task: Task, tmp_path: Path) -> None:
    index = vsearch.build(task.documents, tmp_path / "i", quantizer=vsearch.PQ(8, 16), partitions=3)
    index.tag("as built")
    assert len(load_documents(index.snapshot).codes) == len(task.documents)
    index.append(task.documents[:3])
    with pytest.raises(vsearch.InputError, match="rebuild it and train that"):
        load_documents(index.snapshot)


def changed(start: Parameters, seed: int = 0) -> Parameters:
    rng = np.random.default_rng(seed)
    return Parameters(
        (start.centroids + 0.05 * rng.standard_normal(start.centroids.shape)).astype(np.float32),
        (start.adapter + 0.05 * rng.standard_normal(start.adapter.shape)).astype(np.float32),
    )


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("centroids", [16, 256])
def test_scores_are_those_of_a_search_of_the_live_index(
    task: Task, tmp_path: Path, metric: str, centroids: int
) -> None:
    index = vsearch.build(
        task.documents, tmp_path / "i", metric=metric, quantizer=vsearch.PQ(8, centroids), partitions=3, shards=2
    )
    documents = load_documents(index.snapshot)
    parameters = changed(documents.start())
    pairs = read_pairs(index.snapshot, task.queries[:50], task.positives[:50])
    live = documents.live(parameters)
    hits = type(index)(live).search(task.queries[:50], 10, exact=True)
    rotated = rotate(documents, parameters, pairs.queries)
    rows = search_vectors(
        live, rotated, SearchRequest(10, live.settings, exact=True), None, SearchStats(), prepared=True
    ).rows
    found = search_live(documents, parameters, pairs.queries, 10)
    assert np.mean([np.isin(*pair).mean() for pair in zip(rows, found, strict=True)]) > 0.98
    scores = documents.scores(parameters, rotated, rows)
    if metric == "l2":
        squares = np.sum((pairs.queries @ parameters.adapter.T) ** 2, axis=1, keepdims=True)
        np.testing.assert_allclose(squares - scores, hits.scores, rtol=1e-3, atol=1e-3)
    else:
        np.testing.assert_allclose(scores, hits.scores, rtol=1e-4, atol=1e-4)
    if metric != "l2":
        stored = reconstruct(live, rows.reshape(-1)).reshape(*rows.shape, -1)
        dots = np.einsum("qkd,qd->qk", stored, rotated)
        np.testing.assert_allclose(scores, dots, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_gradients_are_those_of_finite_differences(task: Task, tmp_path: Path, metric: str, loss: str) -> None:
    index = vsearch.build(task.documents, tmp_path / "i", metric=metric, quantizer=vsearch.PQ(8, 16), partitions=3)
    documents = load_documents(index.snapshot)
    parameters = changed(documents.start(), 1)
    pairs = read_pairs(index.snapshot, task.queries[:40], task.positives[:40])
    lists = list_candidates(search_live(documents, parameters, pairs.queries, 12), pairs)
    sharpness = 2.0 if metric == "cosine" else 0.05  # scores of l2 are far larger

    def value(at: Parameters, queries: np.ndarray = pairs.queries) -> float:
        return batch_loss(documents, at, queries, lists, loss=loss, sharpness=sharpness)[0]

    _, gradients = batch_loss(documents, parameters, pairs.queries, lists, loss=loss, sharpness=sharpness)
    rng = np.random.default_rng(5)
    for name, gradient in (("centroids", gradients.centroids), ("adapter", gradients.adapter)):
        base = getattr(parameters, name)
        direction = rng.standard_normal(base.shape).astype(np.float32)
        step = 2e-3
        up = value(replace(parameters, **{name: base + step * direction}))
        down = value(replace(parameters, **{name: base - step * direction}))
        assert (up - down) / (2 * step) == pytest.approx(float(np.sum(gradient * direction)), rel=2e-2, abs=2e-3), name
    direction = rng.standard_normal(pairs.queries.shape).astype(np.float32)
    step = 2e-3
    slope = (
        value(parameters, pairs.queries + step * direction) - value(parameters, pairs.queries - step * direction)
    ) / (2 * step)
    assert slope == pytest.approx(float(np.sum(gradients.queries * direction)), rel=2e-2, abs=2e-3)


@pytest.mark.slow
def test_gradients_are_those_of_autograd(index: vsearch.Index, task: Task) -> None:
    torch = pytest.importorskip("torch")
    documents = load_documents(index.snapshot)
    parameters = changed(documents.start(), 2)
    pairs = read_pairs(index.snapshot, task.queries[:40], task.positives[:40])
    lists = list_candidates(search_live(documents, parameters, pairs.queries, 12), pairs)
    _, gradients = batch_loss(documents, parameters, pairs.queries, lists, loss="softmax", sharpness=3.0)
    centroids = torch.tensor(parameters.centroids, requires_grad=True)
    adapter = torch.tensor(parameters.adapter, requires_grad=True)
    queries = torch.tensor(pairs.queries, requires_grad=True)
    rows = np.maximum(lists.rows, 0)
    rotated = (queries @ adapter.T) @ torch.tensor(documents.codec.rotation.T.copy())
    codes = torch.tensor(documents.codes[rows].astype(np.int64))
    parts = centroids[torch.arange(codes.shape[-1]), codes].reshape(*rows.shape, -1)
    stored = torch.tensor(documents.snapshot.model.centroids[documents.partitions[rows]])
    stored = stored + torch.tensor(documents.factors[rows])[..., None] * parts
    scores = 3.0 * torch.einsum("qkd,qd->qk", stored, rotated)
    total = 0.0
    for q in range(len(rows)):
        others = np.flatnonzero(lists.valid[q] & ~lists.relevant[q])
        for i in np.flatnonzero(lists.relevant[q]):
            both = torch.cat([scores[q, [i]], scores[q, others]])
            total = total - torch.log_softmax(both, 0)[0] / int(lists.relevant[q].sum())
    (total / len(rows)).backward()
    for mine, theirs in (
        (gradients.centroids, centroids.grad),
        (gradients.adapter, adapter.grad),
        (gradients.queries, queries.grad),
    ):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-4 * float(theirs.abs().max()) + 1e-6)


def test_candidates_hold_every_relevant_row_once(index: vsearch.Index, task: Task) -> None:
    documents = load_documents(index.snapshot)
    several = [[p, (p + 1) % len(task.documents)] for p in task.positives[:40].tolist()]
    pairs = read_pairs(index.snapshot, task.queries[:40], several)
    for lists in (
        list_candidates(search_live(documents, documents.start(), pairs.queries, 5), pairs),
        list_batch(documents, documents.start(), pairs),
    ):
        for q in range(len(pairs)):
            mine = set(pairs.rows[pairs.starts[q] : pairs.starts[q + 1]].tolist())
            found = lists.rows[q][lists.rows[q] >= 0].tolist()
            assert len(found) == len(set(found))
            assert set(lists.rows[q][lists.relevant[q]].tolist()) == mine
