"""Maintenance within a time: steps that do not fit are postponed by name, and what was begun leaves nothing behind."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from tests.live.small import D, Twin, numbers
from vsearch.live import maintenance, time_limits
from vsearch.live.time_limits import OutOfTimeError, TimeLimit


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time_limits, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


@pytest.fixture
def twin(tmp_path):
    twin = Twin(str(tmp_path / "index"), 200, shards=3)
    twin.append(60)
    twin.delete(range(5, 25))
    return twin


def test_a_merge_that_does_not_fit_is_postponed_and_named(twin, tmp_path, monkeypatch):
    before = files(tmp_path)
    monkeypatch.setattr(time_limits, "MERGED_BYTES", 10.0)
    done = twin.index.optimize(60.0, retune=False, force=True)
    assert not done.changed
    assert len(done.postponed) == 1
    assert done.postponed[0].startswith("the merge of 0.")
    assert "budget_seconds" in done.postponed[0]
    assert files(tmp_path) == before
    done = twin.index.optimize(retune=False, force=True)  # without a limit it is done
    assert (done.merged, done.postponed) == (3, ())
    twin.check()


def test_deltas_are_folded_even_if_the_merge_does_not_fit(twin, monkeypatch):
    for seed in range(16):
        twin.append(1, seed=seed)
    monkeypatch.setattr(time_limits, "MERGED_BYTES", 10.0)
    done = twin.index.optimize(60.0, retune=False, force=True)
    assert done.folded >= 16
    assert done.merged == 0
    assert done.postponed
    twin.check()


def test_an_idle_tail_does_not_bring_back_a_refused_merge(tmp_path, monkeypatch):
    twin = Twin(str(tmp_path / "index"), 200)
    twin.append(30)
    twin.delete(range(200, 230))  # the tail has no live rows
    twin.delete(range(100))
    monkeypatch.setattr(time_limits, "MERGED_BYTES", 10.0)
    done = twin.index.optimize(60.0, retune=False)
    assert done.merged == 0
    assert done.postponed
    twin.check()


@pytest.mark.parametrize("shards_in_time", [0, 1, 2])
def test_a_merge_that_takes_too_long_is_abandoned_without_a_trace(twin, tmp_path, clock, shards_in_time):
    before = files(tmp_path)
    seen = []

    def progress(stage, done, total):
        seen.append((stage, done))
        if done == shards_in_time:
            clock.now += 100

    done = twin.index.optimize(50.0, retune=False, force=True, progress=progress)
    assert seen[-1] == ("merge", shards_in_time)  # no further shard was started
    assert not done.changed
    assert "abandoned" in done.postponed[0]
    assert files(tmp_path) == before
    twin.check(vsearch.open(twin.url))
    assert twin.index.optimize(50.0, retune=False, force=True).merged == 3
    twin.check(vsearch.open(twin.url))


def test_tuning_that_does_not_fit_is_postponed(twin, monkeypatch):
    monkeypatch.setattr(time_limits, "TUNED_NUMBERS", 1.0)
    done = twin.index.optimize(60.0, retune=True)
    assert not done.tuned
    assert any(text.startswith("tuning") for text in done.postponed)


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    monkeypatch.setattr("vsearch.live.operations.train_if_due", lambda snapshot: snapshot, raising=False)
    monkeypatch.setattr("vsearch.live.maintenance.train_if_due", lambda snapshot: snapshot)
    index = vsearch.create(str(tmp_path / "index"), dimensions=D, metric="l2", attributes=numbers([0]).schema)
    count = 3000
    index.append(clustered(count, D, seed=1), numbers(np.arange(count)))
    monkeypatch.undo()
    return index.snapshot


def test_training_that_does_not_fit_is_postponed(untrained, monkeypatch):
    monkeypatch.setattr(time_limits, "TRAINED_NUMBERS", 1.0)
    limit = TimeLimit.of(60.0)
    assert maintenance.train_if_due(untrained, limit=limit) is untrained
    assert limit.postponed[0].startswith("training")


def test_training_is_abandoned_between_its_stages(untrained, tmp_path, clock, monkeypatch):
    before = files(tmp_path)
    limit = TimeLimit.of(60.0)
    stages = []

    def silent(stage, done, total):
        stages.append(stage)
        clock.now += 40

    monkeypatch.setattr(maintenance, "silent", silent)
    assert maintenance.train_if_due(untrained, limit=limit) is untrained
    assert len(stages) >= 2
    assert "abandoned" in limit.postponed[0]
    assert files(tmp_path) == before


def test_limits(clock):
    assert TimeLimit.of(None).allows("a", 1e9)
    limit = TimeLimit.of(10.0)
    assert limit.allows("a", 10.0)
    assert not limit.allows("b", 10.5)
    assert limit.postponed == [
        "b may take 10.5 s, and 10 s are left: run optimize() with a larger budget_seconds, or without one"
    ]
    clock.now += 10
    assert limit.passed
    limit.watch(lambda *_: None)("merge", 3, 3)  # it is complete
    with pytest.raises(OutOfTimeError):
        limit.watch(lambda *_: None)("merge", 2, 3)
