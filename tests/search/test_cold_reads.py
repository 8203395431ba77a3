"""What a search reads of an index that no search has read before."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered, same
from vsearch.api.index import Index
from vsearch.errors import CorruptIndexError
from vsearch.search.engine.scanning import FIRST_WAVE
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import open_store, read_manifest
from vsearch.storage.stores.metered import MeteredStore

KINDS = 3  # files of a shard that a scan reads: codes, rows and rerank codes
SHARDS = 2


class Bucket(MeteredStore):
    """A folder that is read as a bucket is, by ranges; the first reads wait until all of them were asked for."""

    def __init__(self, store):
        super().__init__(store)
        self.expected = 0
        self.gate = None
        self.read = []

    def expect(self, together):
        self.expected, self.gate = together, threading.Barrier(together, timeout=60)
        self.read.clear()

    def memory_map(self, path):
        return None

    def read_into(self, path, starts, stops, out):
        with self._lock:
            self.read.append(path)
            waits = len(self.read) <= self.expected
        if waits:
            self.gate.wait()
        super().read_into(path, starts, stops, out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cold") / "index"
    vsearch.build(clustered(6000, 32), folder, shards=SHARDS, partitions=200)
    return folder


def opened(folder):
    bucket = Bucket(open_store(str(folder)))
    return bucket, Index(open_snapshot(bucket, read_manifest(bucket)))


def test_the_first_round_reads_all_kinds_at_once(folder):
    bucket, index = opened(folder)
    query = clustered(1, 32, seed=1)[0]
    bucket.expect(KINDS)
    hits = index.search(query)  # would break the barrier if one read waited for another
    assert len(set(bucket.read[:KINDS])) == KINDS
    same(hits, vsearch.open(folder).search(query))


def test_partitions_of_all_shards_are_read_at_once(folder):
    bucket, index = opened(folder)
    bucket.expect(KINDS * SHARDS)
    index.snapshot.table.ensure(np.arange(200, dtype=np.int32))
    assert len(set(bucket.read)) == len(bucket.read) == KINDS * SHARDS
    assert index.snapshot.ready


def test_a_second_search_for_the_same_reads_nothing(folder):
    _, index = opened(folder)
    queries = clustered(5, 32, seed=2)
    index.search(queries)
    again = index.search(queries)
    assert again.stats.bytes_fetched == 0
    same(again, vsearch.open(folder).search(queries))


def test_partitions_are_read_once_they_may_matter(folder):
    _, index = opened(folder)
    hits = index.search(clustered(1, 32, seed=3)[0])
    read = sum(int(run.read.ready.sum()) for run in index.snapshot.shards)
    assert hits.stats.partitions_visited <= read < 200
    assert read <= max(FIRST_WAVE, hits.stats.partitions_visited) + FIRST_WAVE
    assert not index.snapshot.fused
    index.search(clustered(1, 32, seed=3)[0], exact=True)
    assert index.snapshot.fused


def test_damage_is_found_and_named(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "index")
    _, index = opened(copied)
    run = index.snapshot.shards[1]
    path = copied / run.files["codes"].path
    damaged = bytearray(path.read_bytes())
    entry = run.files["codes"].arrays["first"]
    damaged[entry.offset : entry.offset + entry.bytes] = bytes(entry.bytes)
    path.write_bytes(bytes(damaged))
    with pytest.raises(CorruptIndexError, match=str(run.files["codes"].path)):
        index.search(clustered(20, 32, seed=4), nprobe=200)
    assert not any(
        shard.read.ready.any() for shard in index.snapshot.shards
    )  # what was read with it counts as not read
