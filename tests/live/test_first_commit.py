"""What a user must hear at the commit: rows that the model does not fit, and a store that loses commits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from tests.live.small import D, Twin, numbers
from vsearch.errors import StoreError, VsearchWarning
from vsearch.live.commits import commit_change
from vsearch.live.inputs import read_rows
from vsearch.live.operations import Append
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import open_store, read_manifest
from vsearch.storage.stores import probing


@pytest.fixture
def twin(tmp_path):
    return Twin(str(tmp_path / "index"), 200, partitions=8)


def test_rows_far_from_all_partitions_are_reported_once(twin):
    with pytest.warns(VsearchWarning, match=r"far from all partitions: .* [0-9.,]+ times .*retrain\(\)") as caught:
        twin.append(40, far=30.0)
    assert caught[0].filename == __file__.replace("test_first_commit", "small")  # where the user calls append
    twin.append(40, seed=1, far=30.0)  # known by now
    assert "retrain()" in twin.index.info()["drift"]["recommendation"]


def test_far_rows_in_small_commits_are_reported_too(twin):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(30):
            twin.append(1, seed=seed, far=30.0)
    assert ["far from all partitions" in str(one.message) for one in caught] == [True]


def test_rows_like_the_trained_ones_are_not_reported(twin):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin.append(100)
        twin.upsert(range(30))
        for seed in range(30):
            twin.append(1, seed=seed)
        twin.delete(range(10))


@pytest.mark.parametrize(("rows", "partitions"), [(300, 12), (2000, 8), (2000, 128)])
@pytest.mark.parametrize("tight", [True, False])
def test_other_rows_of_the_same_distribution_are_not_reported(tmp_path, rows, partitions, tight):
    """Centroids of small partitions fit the rows that they were trained on more closely than others."""
    draw = np.random.default_rng(3)
    vectors = clustered(2 * rows, D) if tight else draw.normal(size=(2 * rows, D)).astype(np.float32)
    vectors = vectors[draw.permutation(len(vectors))]
    index = vsearch.build(vectors[:rows], tmp_path / "index", partitions=partitions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index.append(vectors[rows:])


class Remote:
    """A store with the name of a bucket, which may ignore conditions; it counts the puts."""

    def __init__(self, store, bucket, heedless):
        self._store, self.url, self._heedless, self.puts = store, f"s3://{bucket}/index", heedless, []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put(self, path, data, *, create=True):
        self.puts.append(path)
        self._store.put(path, data, create=create and not self._heedless)


@pytest.fixture
def remote(twin, monkeypatch):
    monkeypatch.setattr(probing, "_probed", set())

    def make(bucket="bucket", heedless=False):
        store = Remote(open_store(twin.url), bucket, heedless)
        return store, open_snapshot(store, read_manifest(store, None))

    return make


def append(snapshot, ids):
    from vsearch.building.inputs.rows import InputArguments

    rows = read_rows(snapshot, clustered(len(ids), D, seed=3), InputArguments(numbers(ids), np.array(ids)))
    return commit_change(snapshot, Append(rows))[1]


def test_a_store_that_ignores_conditions_is_refused_by_the_first_append(remote, twin, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    store, snapshot = remote(heedless=True)
    with pytest.raises(StoreError, match=r"ignores conditional writes \(If-None-Match"):
        append(snapshot, [1000])
    assert sorted(tmp_path.rglob("*")) == before
    assert not any(path.startswith("manifest") for path in store.puts)
    twin.check(vsearch.open(twin.url))
    with pytest.raises(StoreError, match="ignores conditional writes"):  # every time
        append(snapshot, [1000])


def test_a_good_store_is_asked_once_for_each_bucket(remote):
    store, snapshot = remote()
    after = append(snapshot, [1000])
    assert len(store.puts) == 3
    assert store.puts[0] == store.puts[1]
    append(after, [1001])
    assert len(store.puts) == 5
    again, snapshot = remote()  # another handle
    append(snapshot, [1002])
    assert len(again.puts) == 2
    other, snapshot = remote("another")
    append(snapshot, [1003])
    assert len(other.puts) == 3


def test_folders_and_memory_are_not_asked(twin, monkeypatch):
    monkeypatch.setattr(probing, "_probed", set())
    twin.append(1)
    other = Twin("memory://first-commit/index", 120)
    probing._probed.clear()  # the build asked
    other.append(1)
    assert probing._probed == set()
