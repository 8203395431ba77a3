"""What a search reads of an index that no search has read before."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vsearch
from tests.buckets import Bucket, opened
from tests.indexes import clustered, same
from vsearch.errors import CorruptIndexError
from vsearch.search.engine import rounds
from vsearch.search.engine.scanning import FIRST_WAVE

KINDS = 3  # files of a shard that a scan reads: codes, rows and rerank codes
SHARDS = 2


class Gated(Bucket):
    """A bucket whose first reads wait until all of them were asked for."""

    def __init__(self, store):
        super().__init__(store)
        self.expected = 0
        self.gate = None
        self.read = []

    def expect(self, together):
        self.expected, self.gate = together, threading.Barrier(together, timeout=60)
        self.read.clear()

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


def test_the_first_round_reads_all_kinds_at_once(folder):
    bucket, index = opened(folder, Gated)
    query = clustered(1, 32, seed=1)[0]
    bucket.expect(KINDS)
    hits = index.search(query)  # would break the barrier if one read waited for another
    assert len(set(bucket.read[:KINDS])) == KINDS
    same(hits, vsearch.open(folder).search(query))


def test_partitions_of_all_shards_are_read_at_once(folder):
    bucket, index = opened(folder, Gated)
    bucket.expect(KINDS * SHARDS)
    index.snapshot.table.ensure(np.arange(200, dtype=np.int32))
    assert len(set(bucket.read)) == len(bucket.read) == KINDS * SHARDS
    assert index.snapshot.ready


def test_a_second_search_for_the_same_reads_nothing(folder):
    _, index = opened(folder, Gated)
    queries = clustered(5, 32, seed=2)
    index.search(queries)
    again = index.search(queries)
    assert again.stats.bytes_fetched == 0
    same(again, vsearch.open(folder).search(queries))


def test_partitions_are_read_once_they_may_matter(folder):
    _, index = opened(folder, Gated)
    hits = index.search(clustered(1, 32, seed=3)[0])
    read = sum(int(run.read.ready.sum()) for run in index.snapshot.shards)
    assert hits.stats.partitions_visited <= read < 200
    assert read <= max(FIRST_WAVE, hits.stats.partitions_visited) + FIRST_WAVE
    assert not index.snapshot.all_read
    index.search(clustered(1, 32, seed=3)[0], exact=True)
    assert index.snapshot.all_read


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("spill", [False, True])
@pytest.mark.parametrize("by_row", [False, True])
def test_what_is_read_is_searched_natively(tmp_path, monkeypatch, metric, spill, by_row):
    """A search that needs unread partitions reads them, with the same digits as later, when all it needs is read."""
    vectors = clustered(6000, 32) + 3  # a query that is centered twice would be far away
    vsearch.build(vectors, tmp_path / "index", metric=metric, shards=SHARDS, partitions=200, spill=spill)
    queries = clustered(12, 32, seed=2) + 3
    monkeypatch.setattr("vsearch.search.state.shard.BY_ROW", 0 if by_row else 1 << 40)
    _, index = opened(tmp_path / "index", Gated)
    complete = vsearch.open(tmp_path / "index")
    complete.search(queries, exact=True)
    assert complete.snapshot.all_read
    expected = [complete.search(query, k=5) for query in queries]
    waves, fetched = [], 0
    read = rounds.Missing.read

    def count(*arguments):
        waves.append(arguments)
        read(*arguments)

    monkeypatch.setattr(rounds.Missing, "read", count)
    for query, hits in zip(queries, expected, strict=True):
        cold = index.search(query, k=5)
        same(cold, hits)
        assert waves or not cold.stats.bytes_fetched
        fetched += cold.stats.bytes_fetched
        waves.clear()
        warm = index.search(query, k=5)
        same(warm, hits)
        assert warm.stats.bytes_fetched == 0
        assert not waves
    assert fetched
    same(index.search(queries, k=5), complete.search(queries, k=5))
    assert not waves
    assert not index.snapshot.all_read
    huge = clustered(1, 32, seed=9)[0] * np.float32(1e13)  # beyond what the native call takes unchecked
    same(index.search(huge, k=5), complete.search(huge, k=5))


def test_an_interrupted_search_leaves_nothing_to_the_next(folder, monkeypatch):
    """If other threads have read everything meanwhile, that one must not stop at partitions that the interrupted one missed."""
    _, index = opened(folder, Gated)
    query = clustered(1, 32, seed=2)[0]
    run = rounds.search_runs

    def interrupted(*addresses):
        run(*addresses)
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "search_runs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.search(query, k=5)
    monkeypatch.undo()
    with ThreadPoolExecutor(1) as pool:
        expected = pool.submit(index.search, query, 5, exact=True).result()
    assert index.snapshot.all_read
    same(index.search(query, k=5), vsearch.open(folder).search(query, k=5))
    np.testing.assert_array_equal(index.search(query, k=5).ids, expected.ids)


def test_damage_is_found_and_named(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "index")
    _, index = opened(copied, Gated)
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
