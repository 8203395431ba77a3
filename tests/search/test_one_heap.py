"""All runs of all shards of a process are searched with one heap: the work does not grow with the number of shards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import METRICS, brute_force, clustered
from vsearch.errors import CorruptIndexError
from vsearch.search.state.batches import Batch
from vsearch.search.state.shard_runs import list_runs

ROWS, SHARDS = 4000, 8
COUNTS = ("partitions_visited", "rows_scanned", "rows_refined", "rows_reranked", "bytes_read")


def built(folder, shards, **options):
    vectors = clustered(ROWS, clusters=60)
    table = pa.table({"number": np.arange(ROWS) % 100})
    return vsearch.build(vectors, folder, table, ids=np.arange(ROWS), shards=shards, partitions=120, **options)


@pytest.fixture(scope="module", params=METRICS)
def pair(request, tmp_path_factory):
    """The same rows in one shard and in several, with the same settings."""
    folder = tmp_path_factory.mktemp("heap")
    one, many = (built(folder / str(shards), shards, metric=request.param) for shards in (1, SHARDS))
    many._snapshot.settings = one._snapshot.settings
    return request.param, one, many, clustered(40, seed=1, clusters=60)


def test_several_shards_take_about_the_work_of_one(pair):
    _, one, many, queries = pair
    alone, together = one.search(queries).stats, many.search(queries).stats
    assert together.rows_scanned <= 1.1 * alone.rows_scanned
    assert together.rows_reranked <= 1.1 * alone.rows_reranked


def test_several_shards_find_what_one_finds(pair):
    _, one, many, queries = pair
    found, expected = (index.search(queries, exact=True) for index in (many, one))
    np.testing.assert_array_equal(found.ids, expected.ids)
    for options in ({}, {"where": "number < 30"}, {"k": 300}, {"nprobe": 12}):
        found, expected = (index.search(queries, **options) for index in (many, one))
        rows = zip(found.ids.tolist(), expected.ids.tolist(), strict=True)
        agreeing = np.mean([len(set(a) & set(b)) / len(a) for a, b in rows])
        assert agreeing > 0.98, options  # the order of partitions decides about the last ones


@pytest.mark.parametrize("exact", [False, True])
def test_a_batch_finds_what_single_queries_find(pair, exact):
    _, _, many, queries = pair
    for where in (None, "number < 30"):
        together = many.search(queries, where=where, exact=exact)
        for place, query in enumerate(queries):
            alone = many.search(query, where=where, exact=exact)
            np.testing.assert_array_equal(together.ids[place], alone.ids[0])
            np.testing.assert_array_equal(together.scores[place], alone.scores[0])


def test_a_batch_counts_what_single_queries_count(pair):
    _, _, many, queries = pair
    together = many.search(queries).stats
    singles = [many.search(query).stats for query in queries]
    assert together.queries == len(queries)
    for name in COUNTS:
        assert getattr(together, name) == sum(getattr(stats, name) for stats in singles)


def test_changed_shards_share_the_heap_too(pair, tmp_path):
    metric, _, _, queries = pair
    index, vectors = built(tmp_path / "index", 3, metric=metric), clustered(ROWS, clusters=60)
    more = clustered(300, seed=5, clusters=60)
    index.append(more, pa.table({"number": np.full(300, 5)}), ids=np.arange(ROWS, ROWS + 300))
    index.delete(ids=np.arange(0, 1000, 2))
    everything = np.concatenate([vectors, more])
    number = np.concatenate([np.arange(ROWS) % 100, np.full(300, 5)])
    live = np.ones(len(everything), bool)
    live[:1000:2] = False
    snapshot = index.snapshot
    assert len(snapshot.table.runs) == 6  # a base and a part of the tail each
    snapshot.settings = type(snapshot.settings)(radius_factor=100.0, error_sigmas=50.0)
    sign = 1 if metric == "l2" else -1
    for where, allowed in ((None, live), ("number = 5", live & (number == 5))):
        rows = np.flatnonzero(allowed)
        order = rows[np.argsort(sign * brute_force(metric, queries, everything[rows]), axis=1, kind="stable")]
        hits = index.search(queries, where=where)
        agreeing = [len(set(a) & set(b)) for a, b in zip(hits.ids.tolist(), order[:, :10].tolist(), strict=True)]
        assert np.mean(agreeing) > 9.7  # the rest are roundings of the rerank codes
        assert allowed[hits.ids].all()
        for place in range(0, len(queries), 7):
            np.testing.assert_array_equal(index.search(queries[place], where=where).ids[0], hits.ids[place])


def test_runs_that_do_not_fit_their_shards_are_refused(pair):
    _, _, many, _ = pair
    first, second, third, *_ = many.snapshot.groups
    assert list_runs([second, third]).first_rows == (0, third.first_row - second.first_row)
    with pytest.raises(CorruptIndexError, match="must follow"):
        list_runs([first, third])


def test_a_batch_must_fit_the_kernel(pair):
    _, _, index, _ = pair
    model = index.snapshot.model
    queries, batch = np.zeros((3, model.dimensions), np.float32), Batch(model)
    assert batch.pack(queries, 4, prepared=False)[0].shape == (3, 4)
    for wrong in (queries[:, 1:], queries[0], queries.astype(np.float64)):
        with pytest.raises(ValueError, match=r"queries|float32"):
            batch.pack(wrong, 4, prepared=False)
