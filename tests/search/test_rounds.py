"""Searches that read rerank codes row by row give, in few rounds, the answers of an index that is completely read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.buckets import opened
from tests.indexes import METRICS, RERANKS, clustered, same
from vsearch.errors import CorruptIndexError
from vsearch.kernels.query import fields
from vsearch.search.engine import rounds

ROWS, D = 6000, 32
QUERIES = clustered(16, D, seed=2)


@pytest.fixture(autouse=True)
def by_row(monkeypatch):
    monkeypatch.setattr("vsearch.search.state.shard.BY_ROW", 0)
    monkeypatch.setattr("vsearch.search.state.shard.BY_ROW_UNTIL", 2.0)
    monkeypatch.setattr("vsearch.storage.files.bundle.SMALL", 0)


@pytest.fixture
def counted(monkeypatch):
    """The rounds of reads so far, as numbers of partitions and of rows."""
    made, read = [], rounds.Missing.read

    def count(missing, table):
        partitions = sum(len(np.unique(part)) for part in missing._partitions)
        made.append((partitions, sum(len(rows) for parts in missing._unread_rows.values() for rows in parts)))
        read(missing, table)

    monkeypatch.setattr(rounds.Missing, "read", count)
    return made


def compare(folder, queries=QUERIES, **options):
    """Search a new bucket, query by query and all together, and the folder; return the index in the last bucket."""
    complete = vsearch.open(folder)
    complete.snapshot.table.ensure(np.arange(complete.snapshot.manifest.partitions, dtype=np.int32))
    assert complete.snapshot.all_read
    _, index = opened(folder)
    for query in queries:
        expected = complete.search(query, **options)
        same(index.search(query, **options), expected)
        same(opened(folder)[1].search(query, **options), expected)
    _, index = opened(folder)
    same(index.search(queries, **options), complete.search(queries, **options))
    return index


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rerank", RERANKS)
@pytest.mark.parametrize("bits", [1, 4])
def test_every_kind_of_codes(tmp_path, counted, metric, rerank, bits):
    vsearch.build(clustered(ROWS, D), tmp_path, metric=metric, rerank=rerank, bits=bits, partitions=200, shards=2)
    index = compare(tmp_path)
    assert any(partitions for partitions, _ in counted)
    assert any(rows for _, rows in counted) == (rerank is not None)
    assert all(run.read.by_row for run in index.snapshot.shards) == (rerank is not None)
    assert not index.snapshot.all_read


@pytest.mark.parametrize("metric", METRICS)
def test_copies(tmp_path, counted, metric):
    vsearch.build(clustered(ROWS, D), tmp_path, metric=metric, partitions=200, spill=True)
    index = compare(tmp_path)
    run = index.snapshot.shards[0]
    assert run.copies.read.scannable.any()
    assert not run.read.ready[run.table.rows > 0].any()  # no rerank codes of whole partitions
    assert any(rows for _, rows in counted)


def test_tables_that_are_given(tmp_path):
    vsearch.build(clustered(ROWS, D), tmp_path, quantizer="pq", rerank="int8", partitions=200)
    compare(tmp_path)


@pytest.mark.parametrize("k", [1, 100, 3000, ROWS + 5])
@pytest.mark.parametrize("spill", [False, True])
def test_many_results(tmp_path, k, spill):
    """Also more than the lists of a search have room for, and more than there are rows."""
    vsearch.build(clustered(ROWS, D), tmp_path, partitions=200, spill=spill)
    compare(tmp_path, QUERIES[:3], k=k)


def test_full_lists(tmp_path, monkeypatch):
    monkeypatch.setattr("vsearch.search.state.workspace.LISTED_ROWS", 7)
    vsearch.build(clustered(ROWS, D), tmp_path, partitions=200, spill=True)
    compare(tmp_path, QUERIES[:4], k=20)


@pytest.mark.parametrize(
    "options", [{"nprobe": 3}, {"nprobe": 200}, {"exact": True}, {"min_score": 0.9}, {"offset": 7}]
)
def test_options(tmp_path, options):
    vsearch.build(clustered(ROWS, D), tmp_path, partitions=200, spill=True)
    compare(tmp_path, QUERIES[:4], **options)


@pytest.mark.parametrize("where", ["n < 3000", "n = 17", "n < 0", "even = true"])
def test_filters(tmp_path, where):
    table = pa.table({"n": np.arange(ROWS), "even": np.arange(ROWS) % 2 == 0})
    vsearch.build(clustered(ROWS, D), tmp_path, attributes=table, partitions=200, spill=True)
    compare(tmp_path, where=where)


@pytest.mark.parametrize("spill", [False, True])
def test_runs_and_removed_rows(tmp_path, spill):
    index = vsearch.build(clustered(ROWS, D), tmp_path, partitions=200, spill=spill, shards=2)
    index.append(clustered(900, D, seed=5))
    index.optimize()
    index.append(clustered(300, D, seed=6))
    index.delete(np.arange(0, ROWS + 1200, 3))
    assert len(index.snapshot.shards) > 2
    compare(tmp_path, k=20)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("clusters", [1, 12, 600])
@pytest.mark.parametrize("spill", [False, True])
def test_there_are_few_rounds(tmp_path, counted, seed, clusters, spill):
    """Nearest partitions, candidates and the rest, what these add: after these, at most stragglers."""
    vectors = clustered(ROWS, D, seed=seed, clusters=clusters)
    vsearch.build(vectors, tmp_path, partitions=200, spill=spill)
    most = 0
    for query in clustered(20, D, seed=seed + 50, clusters=clusters):
        _, index = opened(tmp_path)
        counted.clear()
        index.search(query)
        most = max(most, len(counted))
        assert counted[0][0] <= fields.NEAREST
    assert most <= 4


def test_queries_share_rounds(tmp_path, counted):
    vsearch.build(clustered(ROWS, D), tmp_path, partitions=200)
    _, index = opened(tmp_path)
    index.search(QUERIES)
    assert len(counted) <= 4


def test_a_first_search_reads_a_part_of_the_rows_that_it_scans(tmp_path):
    vsearch.build(clustered(20_000, 128), tmp_path, partitions=100)
    bucket, index = opened(tmp_path)
    before = bucket.bytes
    hits = index.search(clustered(1, 128, seed=3)[0])
    run = index.snapshot.shards[0]
    partitions = int(run.read.scannable.sum())
    assert partitions >= hits.stats.partitions_visited
    assert run.files["rerank"].bytes_read < 0.5 * 128 * 200 * partitions
    assert bucket.bytes - before == hits.stats.bytes_fetched
    assert index.search(clustered(1, 128, seed=3)[0]).stats.bytes_fetched == 0


def test_vectors_and_scores_of_rows_are_read_by_row(tmp_path):
    texts = pa.table({"text": [f"word{row % 50} other{row % 7}" for row in range(ROWS)]})
    vsearch.build(clustered(ROWS, D), tmp_path, attributes=texts, text="text", partitions=200)
    complete = vsearch.open(tmp_path)
    bucket, index = opened(tmp_path)
    before = bucket.bytes
    np.testing.assert_array_equal(index.vectors([5, 77]).vectors, complete.vectors([5, 77]).vectors)
    assert bucket.bytes - before < 200_000
    assert not index.snapshot.shards[0].read.scannable.any()
    for query in QUERIES[:4]:
        one = index.search(query, text="word3 other2")
        same(one, complete.search(query, text="word3 other2"))


def test_threads_search_one_cold_index(tmp_path):
    vsearch.build(clustered(ROWS, D), tmp_path, partitions=200, spill=True)
    expected = vsearch.open(tmp_path).search(QUERIES)
    for _ in range(5):
        _, index = opened(tmp_path)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(index.search, QUERIES))
        np.testing.assert_array_equal(np.concatenate([hits.ids for hits in answers]), expected.ids)
        np.testing.assert_array_equal(np.concatenate([hits.scores for hits in answers]), expected.scores)


@pytest.mark.parametrize("spill", [False, True])
def test_damage_is_found_where_it_is_read(tmp_path, spill):
    vsearch.build(clustered(ROWS, D), tmp_path, partitions=200, spill=spill)
    _, index = opened(tmp_path)
    file = index.snapshot.shards[0].files["rerank"]
    path, entry = tmp_path / file.path, file.arrays["rerank"]
    damaged = bytearray(path.read_bytes())
    damaged[entry.offset : entry.offset + entry.bytes] = bytes(entry.bytes)
    path.write_bytes(bytes(damaged))
    for _ in range(2):  # what is damaged is not remembered as read
        with pytest.raises(CorruptIndexError, match=str(file.path)):
            index.search(QUERIES[0])


def test_batches_of_what_is_read_are_one_native_call(tmp_path, monkeypatch):
    vsearch.build(clustered(ROWS, D), tmp_path, partitions=200, spill=True)
    _, index = opened(tmp_path)
    first = index.search(QUERIES)
    assert not index.snapshot.all_read
    monkeypatch.setattr("vsearch.search.engine.steps.search_all_unread", None)
    same(index.search(QUERIES), first)
