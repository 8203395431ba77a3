"""A query's answer does not depend on the queries that it is sent with: batches return what single queries do, bit by bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.buckets import opened
from tests.indexes import METRICS, clustered
from vsearch import threads
from vsearch.building import regions
from vsearch.kernels.query.fields import SEVERAL, BatchField
from vsearch.search.vectors import LEAST_QUERIES, MOST_QUERIES, TASKS, _queries_per_task

ROWS, D = 2400, 37
SIZES = (1, 2, 3, 4, 5, 63, 64, 65)
COUNTS = ("partitions_visited", "rows_scanned", "rows_refined", "rows_reranked", "bytes_read")


def vectors(n=ROWS, seed=0):
    """Clusters far from the origin, of which every fourth row is a duplicate of another."""
    made = clustered(n, D, seed, clusters=40) + 1
    made[3::4] = made[: len(made[3::4])]
    return made


def questions(n, seed=1):
    """Queries near rows, equal to rows, of no length, of any length, and unlike every row."""
    asked = clustered(n, D, seed, clusters=40) + 1
    asked[5::16] = vectors()[: len(asked[5::16])]
    asked[7::16] *= 1e6
    asked[9::16] *= -1
    asked[11::16] = 0
    return asked


def table(n=ROWS):
    return pa.table({"number": np.arange(n) % 50})


def alone(index, queries, k=10, **options):
    """The answers of single queries: ids, scores, and the sums of their counters."""
    answers = [index.search(query, k, **options) for query in queries]
    ids, scores = (np.concatenate([getattr(hits, name) for hits in answers]) for name in ("ids", "scores"))
    return ids, scores, [sum(getattr(hits.stats, name) for hits in answers) for name in COUNTS]


def check(index, queries, k=10, sizes=SIZES, **options):
    """Batches of any size return what single queries return, and count what they count."""
    ids, scores, _ = alone(index, queries, k, **options)
    for size in sizes:
        for start in range(0, min(len(queries), 2 * size), size):
            hits = index.search(queries[start : start + size], k, **options)
            np.testing.assert_array_equal(hits.ids, ids[start : start + size])
            np.testing.assert_array_equal(hits.scores, scores[start : start + size])
    hits = index.search(queries, k, **options)
    assert [getattr(hits.stats, name) for name in COUNTS] == alone(index, queries, k, **options)[2]


@pytest.fixture(scope="module", params=METRICS)
def metric(request):
    return request.param


@pytest.mark.parametrize(
    "options",
    [
        {"rerank": "int8"},  # rotated by words
        {"rerank": "float16", "bits": 2.0},  # rotated by floats; staged codes are refined
        {"rerank": "float32", "shards": 3},
        {"rerank": None, "bits": 4.0},  # scores are estimates
        {"rerank": "int8", "spill": True, "shards": 2},
        {"quantizer": "pq"},  # tables that are not computed by kernels
    ],
    ids=str,
)
def test_a_batch_finds_what_its_queries_find(tmp_path, metric, options):
    index = vsearch.build(vectors(), tmp_path, table(), metric=metric, partitions=70, **options)
    queries = questions(67)
    check(index, queries)
    check(index, queries[:9], where="number < 3", sizes=(3, 4, 9))
    check(index, queries[:9], k=1, sizes=(3, 4, 9))
    check(index, queries[:9], k=ROWS + 5, sizes=(3, 4, 9))
    check(index, queries[:9], nprobe=3, sizes=(3, 4, 9))
    check(index, queries[:9], exact=True, sizes=(3, 4, 9))


def test_rows_far_from_the_origin(tmp_path):
    """Their partitions are scored from differences, and queries rotated in float64."""
    rows, queries = vectors(), questions(33)
    rows[::2] += np.float32(1e6)
    queries[::2] += np.float32(1e6)
    index = vsearch.build(rows, tmp_path, metric="l2", rerank="float32", partitions=30)
    assert index.snapshot.model.exact_centroid_scores
    check(index, queries, sizes=(3, 4, 33))


def test_changed_rows(tmp_path, metric):
    """Several runs, of which rows are removed, with copies."""
    ids = np.arange(ROWS)
    index = vsearch.build(vectors(), tmp_path, table(), metric=metric, ids=ids, partitions=40, spill=True)
    index.append(vectors(600, seed=5), table(600), ids=np.arange(ROWS, ROWS + 600))
    index.delete(ids[::3].tolist())
    index = vsearch.open(tmp_path)
    check(index, questions(67))
    check(index, questions(9), where="number > 40", sizes=(3, 4, 9))


@pytest.mark.parametrize("near_regions", [None, 3])
def test_regions(tmp_path, monkeypatch, near_regions):
    """Many partitions are divided into regions, whose centroids are laid out in another way."""
    monkeypatch.setattr(regions, "LEAST_PARTITIONS", 100)
    index = vsearch.build(vectors(), tmp_path, partitions=200)
    assert index.snapshot.model.region_table is not None
    index.snapshot.settings = replace(index.snapshot.settings, near_regions=near_regions, familiar=-100.0)
    check(index, questions(33), sizes=(3, 4, 33))


def test_partitions_that_are_not_read(tmp_path):
    """A batch of an index that is read by ranges waits for the partitions that its queries visit, or for none later on."""
    vsearch.build(vectors(), tmp_path, partitions=70, shards=2)
    queries = questions(20)
    ids, scores, _ = alone(vsearch.open(tmp_path), queries)
    _, index = opened(tmp_path)
    assert not index.snapshot.ready
    for _ in range(2):
        hits = index.search(queries)
        np.testing.assert_array_equal(hits.ids, ids)
        np.testing.assert_array_equal(hits.scores, scores)
    index.search(queries, exact=True)
    assert index.snapshot.ready
    check(index, queries, sizes=(4, 20))


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_many_queries_on_any_number_of_threads(tmp_path, monkeypatch, cores):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    index = vsearch.build(vectors(), tmp_path, partitions=70)
    check(index, questions(1000), sizes=(1000, 999))


def test_no_query_is_kept_after_the_search(tmp_path):
    index = vsearch.build(vectors(), tmp_path, partitions=70)
    index.search(questions(SEVERAL), exact=True)  # reads everything
    index.search(questions(SEVERAL))
    values = index.snapshot.batch().fields.values
    assert values[BatchField.COUNT] == SEVERAL
    assert values[[BatchField.QUERIES, BatchField.SCORES, BatchField.ROWS, BatchField.COUNTERS]].tolist() == [0] * 4


@pytest.mark.parametrize("count", [1, 16, 17, 64, 1000, 5000, 100_000])
def test_tasks_are_as_large_as_pays_off(count):
    size = _queries_per_task(count)
    assert LEAST_QUERIES <= size <= MOST_QUERIES
    assert size % SEVERAL == 0
    assert size in {LEAST_QUERIES, MOST_QUERIES} or -(-count // size) <= TASKS
