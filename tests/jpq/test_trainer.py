from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch
from tests.jpq.conftest import Task
from vsearch.jpq.quality import measure
from vsearch.storage import read_manifest

QUICK: dict[str, Any] = {"epochs": 3, "batch": 64, "depth": 40, "seed": 5}


class StoppedError(Exception):
    """A training that was interrupted."""


def quality(index: vsearch.Index, task: Task, part: slice = slice(700, None)) -> float:
    """nDCG@10 on held-out queries."""
    hits = index.search(task.queries[part], 20, exact=True)
    return measure(hits.ids, task.positives[part, None]).means()["ndcg@10"]


def learn(index: vsearch.Index, task: Task, **options: Any) -> vsearch.Index:
    return vsearch.jpq.train(index, task.queries[:700], task.positives[:700], **{**QUICK, **options})


def parameters(index: vsearch.Index) -> tuple[np.ndarray, np.ndarray]:
    return index.snapshot.model.quantizer.centroids, vsearch.jpq.export_adapter(index)


@pytest.mark.parametrize("centroids", [16, 256])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_training_ranks_better_than_before(task: Task, tmp_path: Path, metric: str, centroids: int) -> None:
    index = vsearch.build(
        task.documents, tmp_path / "i", metric=metric, quantizer=vsearch.PQ(8, centroids), partitions=3, shards=2
    )
    before = quality(index, task)
    trained = learn(index, task)
    assert quality(trained, task) > before + 0.03


@pytest.mark.parametrize(
    "switches",
    [
        {"loss": "pairwise"},
        {"loss": "softmax"},
        {"negatives": "static"},
        {"negatives": "batch"},
        {"adapter": "none"},
        {"centroids": False},
    ],
    ids=str,
)
def test_every_switch_learns_what_it_may(index: vsearch.Index, task: Task, switches: dict[str, Any]) -> None:
    centroids, adapter = parameters(index)
    trained = learn(index, task, **switches)
    now = parameters(trained)
    assert np.array_equal(now[0], centroids) == (switches.get("centroids") is False)
    assert np.array_equal(now[1], adapter) == (switches.get("adapter") == "none")
    history = trained.info()["training"]["history"]
    assert max(one["ndcg@10"] for one in history[1:]) > history[0]["ndcg@10"]


def test_the_result_is_a_new_snapshot_with_its_provenance(index: vsearch.Index, task: Task) -> None:
    store = index.snapshot.store
    before = read_manifest(store, 1)
    trained = learn(index, task)
    assert [one.snapshot for one in index.snapshots()] == [1, 2]
    assert read_manifest(store, 1) == before
    told = vsearch.open(store.url.removeprefix("file://")).info()["training"]
    assert told["from_snapshot"] == 1
    assert told["queries"] + told["validation_queries"] == 700
    assert told["options"]["loss"] == "lambda"
    assert len(told["history"]) >= 2
    assert index.info()["training"] is None
    assert vsearch.verify(store.url.removeprefix("file://")).ok
    again = vsearch.open(store.url.removeprefix("file://"))
    for mine, theirs in zip(parameters(again), parameters(trained), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(again.search(task.queries, 5).ids, trained.search(task.queries, 5).ids)


def test_codes_and_their_files_stay(index: vsearch.Index, task: Task) -> None:
    trained = learn(index, task)
    assert trained.snapshot.manifest.shards == index.snapshot.manifest.shards


def test_the_adapter_is_applied_inside_search(index: vsearch.Index, task: Task) -> None:
    trained = learn(index, task, centroids=False)
    adapter = vsearch.jpq.export_adapter(trained)
    assert adapter.shape == (32, 32)
    unit = task.queries / np.linalg.norm(task.queries, axis=1, keepdims=True)
    adapted = unit @ adapter.T
    by_hand = index.search(adapted, 5, exact=True)  # codes and centroids are those of the index
    found = trained.search(task.queries, 5, exact=True)
    np.testing.assert_array_equal(by_hand.ids, found.ids)
    norms = np.linalg.norm(adapted, axis=1, keepdims=True)
    # estimates of cosines end at 1; with an adapter scores are no cosines, and keep their lengths
    np.testing.assert_allclose(by_hand.scores, np.minimum(found.scores / norms, 1), rtol=1e-4, atol=1e-5)
    assert found.scores.max() > 1


@pytest.mark.usefixtures("two_threads")
def test_the_same_seed_gives_the_same_bytes(task: Task, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        index = vsearch.build(task.documents, tmp_path / name, quantizer=vsearch.PQ(8, 16), partitions=3)
        found.append(parameters(learn(index, task)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_an_interrupted_training_goes_on_and_ends_the_same(task: Task, tmp_path: Path) -> None:
    whole = vsearch.build(task.documents, tmp_path / "whole", quantizer=vsearch.PQ(8, 16), partitions=3)
    parted = vsearch.build(task.documents, tmp_path / "parted", quantizer=vsearch.PQ(8, 16), partitions=3)
    expected = parameters(learn(whole, task))
    checkpoint = tmp_path / "state.npz"

    def stop(stage: str, done: int, total: int) -> None:
        if stage.startswith("epoch 3") and done == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        learn(parted, task, checkpoint=checkpoint, progress=stop)
    assert checkpoint.exists()
    assert [one.snapshot for one in parted.snapshots()] == [1]
    stages: list[str] = []
    resumed = learn(parted, task, checkpoint=checkpoint, progress=lambda stage, *_: stages.append(stage))
    assert {stage.split(",")[0] for stage in stages} == {"epoch 3 of 3"}
    np.testing.assert_array_equal(parameters(resumed)[0], expected[0])
    np.testing.assert_array_equal(parameters(resumed)[1], expected[1])


def test_a_checkpoint_of_another_training_or_none_at_all_is_refused(
    index: vsearch.Index, task: Task, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "state.npz"
    learn(index, task, checkpoint=checkpoint, epochs=1)
    with pytest.raises(vsearch.InputError, match="another training run"):
        learn(index, task, checkpoint=checkpoint, epochs=1, seed=6)
    checkpoint.write_bytes(b"not an archive")
    with pytest.raises(vsearch.InputError, match="cannot read the checkpoint"):
        learn(index, task, checkpoint=checkpoint)
    with pytest.raises(vsearch.InputError, match="cannot write the checkpoint"):
        learn(index, task, checkpoint=tmp_path / "nowhere" / "state.npz", epochs=1)


def test_training_that_does_not_help_keeps_what_there_was(index: vsearch.Index, task: Task) -> None:
    stages: list[str] = []
    trained = learn(
        index, task, learning_rate=300.0, epochs=8, patience=2, progress=lambda stage, *_: stages.append(stage)
    )
    assert trained.info()["training"]["best_epoch"] == 0
    assert stages[-1].startswith("epoch 2 of 8")
    for mine, theirs in zip(parameters(trained), parameters(index), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_another_commit_in_between_is_a_conflict(index: vsearch.Index, task: Task) -> None:
    other = vsearch.open(index.snapshot.store.url.removeprefix("file://"))

    def interfere(stage: str, done: int, total: int) -> None:
        if stage.startswith("epoch 1") and done == 1:
            other.tune(0.9)

    before = {info.path for info in index.snapshot.store.list("")}
    with pytest.raises(vsearch.ConflictError):
        learn(index, task, epochs=1, progress=interfere)
    left = {info.path for info in index.snapshot.store.list("")} - before
    assert [path.split("/")[0] for path in left] == ["manifest"]  # of the tuning; nothing of the training
    assert [one.snapshot for one in index.snapshots()] == [1, 2]


def test_predicates_apply_after_training(task: Task, tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.table({"n": np.arange(len(task.documents))})
    index = vsearch.build(task.documents, tmp_path / "i", attributes=table, quantizer=vsearch.PQ(8, 256), partitions=3)
    trained = learn(index, task)
    assert (trained.search(task.queries[:20], 5, where="n < 100").ids < 100).all()


def test_training_goes_on_from_a_trained_index(index: vsearch.Index, task: Task) -> None:
    once = learn(index, task, epochs=1)
    twice = learn(once, task, epochs=1)
    assert twice.info()["training"]["from_snapshot"] == 2
    first, second = once.info()["training"]["history"], twice.info()["training"]["history"]
    assert second[0]["ndcg@10"] == pytest.approx(first[-1]["ndcg@10"], abs=0.01)  # what the first ended with


@pytest.mark.parametrize("named", [False, True])
def test_codes_are_made_anew_where_that_ranks_better(task: Task, tmp_path: Path, named: bool) -> None:
    names = [f"d{i}" for i in range(len(task.documents))] if named else None
    table = {"n": np.arange(len(task.documents)) % 7}
    import pyarrow as pa

    index = vsearch.build(
        task.documents,
        tmp_path / "i",
        ids=names,
        attributes=pa.table(table),
        quantizer=vsearch.PQ(8, 16),
        partitions=3,
        shards=2,
    )
    positives = task.positives[:700] if names is None else [names[p] for p in task.positives[:700]]
    given: dict[str, Any] = {"documents": task.documents, "document_ids": names}
    if named:
        with pytest.raises(vsearch.InputError, match="document_ids"):
            vsearch.jpq.train(index, task.queries[:700], positives, documents=task.documents, **QUICK)
        wrong = [f"x{i}" for i in range(len(names or []))]
        with pytest.raises(vsearch.InputError, match="must be the ids"):
            vsearch.jpq.train(
                index, task.queries[:700], positives, documents=task.documents, document_ids=wrong, **QUICK
            )
    trained = vsearch.jpq.train(index, task.queries[:700], positives, **given, **QUICK)
    told = trained.info()["training"]
    changed = trained.snapshot.manifest.shards != index.snapshot.manifest.shards
    assert (told["refitted"] or told["reassigned"]) == changed
    assert vsearch.verify(index.snapshot.store.url.removeprefix("file://")).ok
    assert trained.search(task.queries[:5], 3, where="n = 3", columns=["n"]).columns.column("n").to_pylist() == [3] * 15
