"""Which snapshots one native call searches: partitions that no search visits must not keep the others on the slow path."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from tests.live.small import D, Twin

PARTITIONS = 12


@pytest.fixture(params=["folder", "memory"])
def twin(request, tmp_path):
    url = str(tmp_path / "index") if request.param == "folder" else f"memory://short-path-{tmp_path.name}/index"
    return Twin(url, 600, partitions=PARTITIONS)


def in_partition(index, numbers):
    """Ids of all rows in some partitions."""
    snapshot = index.snapshot
    found = snapshot.partitions_of(np.arange(snapshot.rows))
    return np.flatnonzero(np.isin(found, numbers))


def ids_at(index, positions):
    return index.snapshot.shards[0].files["ids"].array("id")[positions]


def search_all(index, rows):
    """Search near every row, so that all partitions with rows are visited."""
    for vector, _ in rows.values():
        index.search(vector, k=3)


def test_fully_deleted_partitions_leave_a_new_reader_on_the_short_path(twin):
    removed = ids_at(twin.index, in_partition(twin.index, [0, 3, 4, 7, 11]))
    assert len(removed) > 600 / 10  # many more than are read at once when few are left
    twin.delete(removed)
    fresh = vsearch.open(twin.url)
    assert not fresh.snapshot.all_read
    search_all(fresh, twin.rows)
    assert fresh.snapshot.all_read
    twin.check(vsearch.open(twin.url))
    # an older snapshot shares what was read, and still has these rows
    before = fresh.snapshot.manifest.snapshot
    vsearch.open(twin.url).restore(snapshot=before - 1)
    fresh.refresh()
    assert fresh.snapshot.all_read == fresh.snapshot.shards[0].read.all_ready
    found = fresh.search(clustered(1, D, seed=1), k=600, exact=True)
    assert set(removed) <= set(found.ids[0].tolist())


def test_the_last_few_partitions_of_a_folder_are_read_at_once(tmp_path):
    rng = np.random.default_rng(3)
    far = np.zeros((2, D), np.float32)
    far[:, 0] = 1000.0  # no query is near them
    vectors = np.concatenate([rng.normal(size=(4000, D)).astype(np.float32), far])
    url = str(tmp_path / "index")
    vsearch.build(vectors, url, metric="l2", partitions=64)
    index = vsearch.open(url)
    run = index.snapshot.shards[0]
    lonely = np.flatnonzero(run.table.rows <= 2)
    assert len(lonely)
    for vector in vectors[:4000:5]:
        index.search(vector, k=3)
    assert run.read.ready[lonely].all()
    assert index.snapshot.all_read
    assert set(index.search(vectors[4000:], k=2).ids[0].tolist()) == {4000, 4001}
