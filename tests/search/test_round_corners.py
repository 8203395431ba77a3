"""Reads by rounds in the corners: partitions without live rows, hostile sizes, rounds that fail."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import vsearch
from tests.buckets import Bucket, opened
from tests.indexes import clustered, same
from vsearch.errors import CorruptIndexError, VsearchError
from vsearch.search.engine import rounds
from vsearch.search.state.fetching import take_ids
from vsearch.search.state.run_state import RunState, with_remainder
from vsearch.search.state.shard import BY_ROW_UNTIL
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import open_store, read_manifest
from vsearch.storage.files.prefetched import fetch_files

D = 16
QUERIES = clustered(20, D, seed=9)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    """A search that reads the same again and again fails instead of running forever."""
    monkeypatch.setattr("vsearch.storage.files.bundle.SMALL", 0)
    read, made = rounds.Missing.read, []

    def count(missing, table):
        made.append(1)
        assert len(made) < 500, "endless rounds"
        read(missing, table)

    monkeypatch.setattr(rounds.Missing, "read", count)


def with_young_run(folder, monkeypatch, **options):
    """Build an index whose shard has two runs in files; the largest partition of the first one has no live rows. Return its number."""
    monkeypatch.setattr("vsearch.live.plan.TAIL_ROWS", 100)
    monkeypatch.setattr("vsearch.live.plan.REWRITES", 0)
    index = vsearch.build(clustered(3000, D), folder, partitions=30, **options)
    index.append(clustered(600, D, seed=5))
    index.optimize()
    snapshot = index.snapshot
    base, young = snapshot.shards
    partition = int(np.argmax(base.table.rows))
    first = int(base.table.row_starts[partition])
    index.delete(take_ids(snapshot, np.arange(first, first + int(base.table.rows[partition]))))
    assert young.table.rows[partition] > 0
    return partition


@pytest.mark.parametrize("rerank", ["int8", None])
def test_partitions_without_live_rows_in_one_run_end_the_rounds(tmp_path, monkeypatch, rerank):
    """The run counts as read without this partition, which a search visits since another run has rows of it."""
    partition = with_young_run(tmp_path, monkeypatch, rerank=rerank)
    _, index = opened(tmp_path)
    base, young = index.snapshot.shards
    base.ensure(np.delete(np.arange(30, dtype=np.int32), partition))
    assert base.ready
    assert not base.read.ready[partition]
    assert not young.ready
    complete = vsearch.open(tmp_path)
    for query in QUERIES:
        same(index.search(query, nprobe=30), complete.search(query, nprobe=30))


@pytest.mark.parametrize("kind", ["partitions", "copy-partitions", "checksums"])
@pytest.mark.parametrize("size", [1 << 50, 1 << 61])
def test_files_that_cannot_be_so_large_are_damaged(tmp_path, kind, size):
    vsearch.build(clustered(300, D), tmp_path, partitions=5, spill=True)
    bucket = Bucket(open_store(str(tmp_path)))
    manifest = read_manifest(bucket)
    shard = manifest.shards[0]
    files = {**shard.files, kind: msgspec.structs.replace(shard.files[kind], bytes=size)}
    manifest = msgspec.structs.replace(manifest, shards=(msgspec.structs.replace(shard, files=files),))
    with pytest.raises(CorruptIndexError, match=f"{size} bytes, more than this machine can hold"):
        open_snapshot(bucket, manifest)


def test_parts_that_are_not_in_their_file(tmp_path):
    vsearch.build(clustered(300, D), tmp_path, partitions=5)
    bucket = Bucket(open_store(str(tmp_path)))
    entry = read_manifest(bucket).shards[0].files["codes"]
    with pytest.raises(CorruptIndexError, match=f"{entry.bytes} bytes"):
        fetch_files(bucket, [], {}, [(entry, 64, entry.bytes + 1)])
    with pytest.raises(CorruptIndexError, match="can hold"):
        fetch_files(bucket, [], {}, [(msgspec.structs.replace(entry, bytes=1 << 61), 64, 128)])


@pytest.mark.parametrize("spill", [False, True])
def test_after_many_queries_rerank_codes_are_read_by_partition(tmp_path, monkeypatch, spill):
    """Otherwise nearly every query would have rounds of its own until all rows were read one by one."""
    monkeypatch.setattr("vsearch.search.state.shard.BY_ROW", 0)
    vsearch.build(clustered(6000, 32), tmp_path, partitions=200, spill=spill)
    complete = vsearch.open(tmp_path)
    _, index = opened(tmp_path)
    run, by_row = index.snapshot.shards[0], []
    for query in clustered(300, 32, seed=1):
        same(index.search(query), complete.search(query))
        by_row.append(run.reads_by_row)
        assert by_row[-1] == (run.files["rerank"].share_read < BY_ROW_UNTIL)
        assert not by_row[-1] or not run.read.ready[run.table.rows > 0].any()
    assert not by_row[-1]
    assert run.read.ready[run.table.rows > 0].sum() > 50


@pytest.mark.parametrize("spill", [False, True])
def test_many_results_take_few_rounds(tmp_path, monkeypatch, spill):
    """Lists have room for all results: otherwise each full list would take a round, and a search of everything before it."""
    monkeypatch.setattr("vsearch.search.state.shard.BY_ROW", 0)
    monkeypatch.setattr("vsearch.search.state.workspace.LISTED_ROWS", 16)
    vsearch.build(clustered(6000, 32), tmp_path, partitions=200, spill=spill)
    complete = vsearch.open(tmp_path)
    _, index = opened(tmp_path)
    first, second = clustered(2, 32, seed=1)
    same(index.search(first), complete.search(first))  # with less room
    expected, made, read = complete.search(second, k=2000), [], rounds.Missing.read
    monkeypatch.setattr(rounds.Missing, "read", lambda missing, table: (made.append(1), read(missing, table)))
    same(index.search(second, k=2000), expected)
    assert 0 < len(made) <= 5


def test_the_remainder_keeps_partitions_without_their_rerank_codes():
    """Codes may be in memory while rerank codes are not."""
    table = SimpleNamespace(rows=np.array([100, 100, 1, 0]))
    state = RunState(table.rows, by_row=True)
    state.note(np.array([0, 1]), scanned=True)
    missing = state.unread(np.array([1], np.int32))
    assert with_remainder(state, missing, table, SimpleNamespace(mapped=True)).tolist() == [1, 2]
    assert with_remainder(state, missing, table, SimpleNamespace(mapped=False)).tolist() == [1]


@pytest.mark.parametrize("count", [1, 3])
def test_a_search_that_lists_what_was_read_fails_instead_of_running_forever(tmp_path, monkeypatch, count):
    """As if kernels and readers disagreed on what is read."""
    vsearch.build(clustered(3000, D), tmp_path, partitions=30)
    _, index = opened(tmp_path)
    monkeypatch.setattr("vsearch.search.state.run_table.RunTable.read", lambda *_: None)
    with pytest.raises(VsearchError, match="what it has just read"):
        index.search(QUERIES[:count])
    monkeypatch.undo()
    same(index.search(QUERIES[:count]), vsearch.open(tmp_path).search(QUERIES[:count]))
