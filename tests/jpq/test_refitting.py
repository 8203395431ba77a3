"""Codes that are fitted to the queries: an adapter learned from the vectors, a transform, and new centroids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.jpq.conftest import Task
from tests.jpq.test_trainer import QUICK, quality
from vsearch.errors import CorruptIndexError, InputError
from vsearch.jpq import float_adapter
from vsearch.jpq.float_adapter import draw_sample, nearest_rows
from vsearch.jpq.pairs import Pairs
from vsearch.jpq.reassign import Source
from vsearch.jpq.refitting import balanced_rotation, fit_transform


@pytest.fixture(scope="module")
def trained(task: Task, tmp_path_factory: pytest.TempPathFactory) -> vsearch.Index:
    folder = tmp_path_factory.mktemp("refitted") / "index"
    index = vsearch.build(task.documents, folder, quantizer=vsearch.PQ(8, 16), partitions=3, shards=2)
    return learn(index, task)


def learn(index: vsearch.Index, task: Task, **options: object) -> vsearch.Index:
    options = {**QUICK, "documents": task.documents, **options}
    return vsearch.jpq.train(index, task.queries[:700], task.positives[:700], **options)  # type: ignore[arg-type]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_it_ranks_better_than_training_on_codes(trained: vsearch.Index, index: vsearch.Index, task: Task) -> None:
    facts = trained.info()["training"]
    assert facts["refitted"]
    assert facts["history"][0]["ndcg@10"] < facts["history"][1]["ndcg@10"]
    without = learn(index, task, refit=False)
    assert not without.info()["training"]["refitted"]
    assert quality(trained, task) > quality(without, task)


def test_the_index_is_whole(trained: vsearch.Index, task: Task) -> None:
    url = trained.snapshot.store.url.removeprefix("file://")
    assert vsearch.verify(url).ok
    again = vsearch.open(url)
    expected = trained.search(task.queries[700:], 10, exact=True)
    np.testing.assert_array_equal(again.search(task.queries[700:], 10, exact=True).ids, expected.ids)
    planned = again.search(task.queries[700:], 10)
    assert np.mean([len({*a} & {*b}) for a, b in zip(planned.ids, expected.ids, strict=True)]) > 9


def test_scores_are_those_of_the_exported_adapter(trained: vsearch.Index, task: Task) -> None:
    rotation = trained.snapshot.model.quantizer.rotation
    assert np.abs(rotation @ rotation.T - np.eye(len(rotation))).max() > 0.1
    adapter = vsearch.jpq.export_adapter(trained)
    hits = trained.search(task.queries[700:], 50, exact=True)
    exact = np.einsum("qd,qkd->qk", unit(task.queries[700:]) @ adapter.T, unit(task.documents)[hits.ids])
    assert np.corrcoef(exact.ravel(), hits.scores.ravel())[0, 1] > 0.8
    assert np.polyfit(exact.ravel(), hits.scores.ravel(), 1)[0] == pytest.approx(1, abs=0.25)


def test_vectors_are_read_back(trained: vsearch.Index, task: Task) -> None:
    rows = np.arange(0, len(task.documents), 7)
    vectors = trained.search(unit(task.documents)[rows], 3, exact=True, vectors=True)
    near = np.einsum("qkd,qkd->qk", vectors.vectors, unit(task.documents)[vectors.ids])
    assert near.mean() > 0.8  # without the inverse of the transform about 0.5


def test_new_rows_are_encoded_like_the_others(trained: vsearch.Index, task: Task, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(trained.snapshot.store.url.removeprefix("file://"), tmp_path / "index")
    copy = vsearch.open(tmp_path / "index")
    copy.append(task.documents[task.positives[700:]])
    changed = vsearch.open(tmp_path / "index")
    hits = changed.search(task.queries[700:], 20, exact=True)
    new = len(task.documents) + np.arange(len(task.positives) - 700)
    found = (hits.ids == new[:, None]).any(axis=1)
    old = (hits.ids == task.positives[700:, None]).any(axis=1)
    assert found.mean() > 0.9 * old.mean() > 0.3


def test_the_same_seed_gives_the_same_bytes_also_after_an_interruption(
    trained: vsearch.Index, task: Task, tmp_path: Path
) -> None:
    index = vsearch.build(task.documents, tmp_path / "i", quantizer=vsearch.PQ(8, 16), partitions=3, shards=2)

    class StoppedError(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if stage.startswith("epoch 2") and done == total // 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        learn(index, task, checkpoint=tmp_path / "training.npz", progress=stop)
    assert {path.stem.split("-")[0] for path in (tmp_path / "i" / "segments").iterdir()} == {
        index.snapshot.manifest.writer
    }
    again = learn(index, task, checkpoint=tmp_path / "training.npz")
    for name in ("rotation", "centroids"):
        expected = getattr(trained.snapshot.model.quantizer, name)
        np.testing.assert_array_equal(getattr(again.snapshot.model.quantizer, name), expected)


def test_codes_stay_if_there_is_nothing_to_learn(index: vsearch.Index, task: Task) -> None:
    """Queries are their rows, which the codes find already; the validation would notice any loss."""
    files = {path.name for path in Path(index.snapshot.store.url.removeprefix("file://"), "segments").iterdir()}
    rows = np.arange(0, 1200, 2)
    calm = vsearch.jpq.train(
        index, task.documents[rows], rows, documents=task.documents, **{**QUICK, "learning_rate": 1e-6}
    )
    if not calm.info()["training"]["refitted"]:
        left = {path.name for path in Path(calm.snapshot.store.url.removeprefix("file://"), "segments").iterdir()}
        assert left == files
        assert calm.snapshot.manifest.shards == index.snapshot.manifest.shards


@pytest.mark.parametrize(("metric", "refitted"), [("ip", True), ("l2", False)])
def test_metrics(task: Task, tmp_path: Path, metric: str, refitted: bool) -> None:
    index = vsearch.build(
        unit(task.documents), tmp_path / "i", metric=metric, quantizer=vsearch.PQ(8, 16), partitions=3
    )
    before = quality(index, task)
    made = learn(index, task, documents=unit(task.documents), centroids=not refitted)
    assert made.info()["training"]["refitted"] == refitted
    assert quality(made, task) > before + 0.03


def test_refit_must_be_a_flag(index: vsearch.Index, task: Task) -> None:
    with pytest.raises(InputError, match="refit must be True or False, got 'yes'"):
        learn(index, task, refit="yes")


@pytest.mark.parametrize("rows", [400, 5])
def test_transforms_undo_each_other(rows: int) -> None:
    queries = np.random.default_rng(0).standard_normal((rows, 16)).astype(np.float32) * np.arange(16)
    transform, inverse = fit_transform(queries)
    np.testing.assert_allclose(transform @ inverse, np.eye(16), atol=1e-4)
    lengths = np.linalg.norm(transform, axis=1)
    if rows == 400:
        assert (np.diff(lengths[1:]) > 0).mean() > 0.8  # longer where queries are


def test_rotations_deal_variances_evenly() -> None:
    scales = 2.0 ** (-np.arange(16) / 4)
    residuals = (np.random.default_rng(0).standard_normal((4000, 16)) * scales).astype(np.float32)
    rotation = balanced_rotation(residuals, 4)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(16), atol=1e-5)
    logs = np.log((residuals @ rotation.T).var(axis=0)).reshape(4, 4)
    assert np.ptp(logs[:, 0]) < 1.5  # every part starts with one of the largest
    assert np.ptp(logs.sum(axis=1)) < 0.3 * np.ptp(np.log(residuals.var(axis=0)).reshape(4, 4).sum(axis=1))
    np.testing.assert_allclose(balanced_rotation(np.zeros((5, 8), np.float32), 2) ** 2 @ np.ones(8), 1)


def test_queries_of_zeros_transform_nothing() -> None:
    transform, inverse = fit_transform(np.zeros((5, 4), np.float32))
    np.testing.assert_array_equal(transform, np.eye(4))
    np.testing.assert_array_equal(inverse, np.eye(4))


def test_large_indexes_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_adapter, "MOST_ROWS", 64)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1000, 8)).astype(np.float32)
    source = Source(lambda rows: vectors[rows], rng.permutation(1000))
    numbers = np.arange(200)
    pairs = Pairs(vectors[:200], np.arange(201), numbers + 300, numbers)
    sample = draw_sample(source, pairs, pairs, 0)
    assert len(sample.vectors) == 64
    for part, most in ((sample.training, 32), (sample.validation, 8)):
        assert len(part) == most
        np.testing.assert_array_equal(sample.vectors[part.rows], vectors[source.order[part.numbers + 300]])


def test_nearest_rows_are_exact() -> None:
    rng = np.random.default_rng(0)
    queries, vectors = (rng.standard_normal((count, 8)).astype(np.float32) for count in (300, 50))
    expected = np.argsort(-(queries @ vectors.T), axis=1)
    np.testing.assert_array_equal(nearest_rows(queries, vectors, 7), expected[:, :7])
    np.testing.assert_array_equal(nearest_rows(queries, vectors, 50), expected)


def test_a_rotation_that_cannot_be_undone_is_refused(trained: vsearch.Index) -> None:
    model = trained.snapshot.model
    damaged = replace(model, quantizer=replace(model.quantizer, rotation=np.zeros_like(model.quantizer.rotation)))
    with pytest.raises(CorruptIndexError, match="invertible"):
        _ = damaged.inverse_rotation
