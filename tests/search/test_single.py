"""One vector without options takes a path of its own, which answers and refuses as the general one does."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import METRICS, clustered
from vsearch.errors import InputError
from vsearch.search import single
from vsearch.search.state.fetching import take_ids

ROWS = 600
PATIENT = 1000.0  # seconds: a search with a timeout takes the general path
COUNTED = (
    "queries",
    "partitions",
    "partitions_visited",
    "rows_masked",
    "rows_rechecked",
    "rows_scanned",
    "rows_reranked",
    "bytes_fetched",
)


@pytest.fixture(scope="module", params=METRICS)
def index(request, tmp_path_factory):
    table = pa.table({"number": np.arange(ROWS)})
    folder = tmp_path_factory.mktemp("single")
    return vsearch.build(clustered(ROWS), folder / "index", table, metric=request.param, shards=2, partitions=20)


@pytest.fixture
def taken(monkeypatch):
    """How often the short path answered, and how often it was asked."""
    counts = {"asked": 0, "answered": 0}

    def counting(*arguments):
        found = single.search_single(*arguments)
        counts["asked"] += 1
        counts["answered"] += found is not None
        return found

    monkeypatch.setattr("vsearch.api.index.search_single", counting)
    return counts


def check(index, query, **options):
    """Compare both paths, and the counts they report."""
    short, general = index.search(query, **options), index.search(query, timeout=PATIENT, **options)
    np.testing.assert_array_equal(short.ids, general.ids)
    np.testing.assert_array_equal(short.scores, general.scores)
    assert (short.ids.dtype, short.scores.dtype) == (general.ids.dtype, general.scores.dtype)
    for name in COUNTED:
        assert getattr(short.stats, name) == getattr(general.stats, name), name
    if "where" not in options:  # the first search with a filter also reads cells
        assert short.stats.bytes_read == general.stats.bytes_read
    assert short.stats.milliseconds.keys() == general.stats.milliseconds.keys()
    return short


def test_both_paths_answer_alike(index, taken):
    index.search(clustered(1, seed=1), exact=True)  # reads everything: before, partitions are fetched in waves
    for query in clustered(20, seed=1):
        check(index, query)
        check(index, query[None], k=3)
        check(index, query, k=ROWS + 5)
        check(index, query, where="number < 100")
        check(index, query, where={"number": {"$gt": 590}})
        check(index, query, where="number < 0 OR number >= 0")
        check(index, query, nprobe=1)
        check(index, query, nprobe=7, where="number < 100")
    assert taken == {"asked": 160, "answered": 160}


def test_options_of_earlier_searches_leave_no_trace(index, taken):
    queries = clustered(6, seed=2)
    index.search(queries[0], exact=True)
    expected = [index.search(query, timeout=PATIENT).ids for query in queries]
    for query, ids in zip(queries, expected, strict=True):
        np.testing.assert_array_equal(index.search(query).ids, ids)
        for options in ({"exact": True}, {"where": "number < 50"}, {"nprobe": 2}, {"k": 4}, {"min_score": 0.5}):
            index.search(queries, **options)
            np.testing.assert_array_equal(index.search(query).ids, ids)
    settings = index._snapshot.settings
    index._snapshot.settings = type(settings)(radius_factor=100.0, error_sigmas=50.0)
    assert check(index, queries[0]).stats.rows_scanned == ROWS
    index._snapshot.settings = settings
    assert check(index, queries[0]).stats.rows_scanned < ROWS
    assert taken["answered"] > len(queries)


def test_changes_are_seen(tmp_path, taken):
    index = vsearch.build(clustered(ROWS), tmp_path / "index", ids=np.arange(ROWS), partitions=20)
    query = clustered(1, seed=1)[0]
    index.search(query, exact=True)
    best = check(index, query).ids[0].tolist()
    index.delete(ids=best[:3])
    index.search(query, exact=True)
    assert check(index, query).ids[0, :7].tolist() == best[3:]
    index.append(query[None], ids=[ROWS + 1])
    index.search(query, exact=True)
    assert check(index, query).ids[0, 0] == ROWS + 1
    assert taken["answered"] >= 3


def test_partitions_without_rows_need_not_be_read(tmp_path, taken):
    index = vsearch.build(clustered(ROWS), tmp_path / "index", ids=np.arange(ROWS), shards=2, partitions=20)
    held = index.snapshot.partitions_of(np.arange(ROWS)) == 7
    index.delete(ids=take_ids(index.snapshot, np.flatnonzero(held)))
    index.optimize(force=True)
    assert index.snapshot.partition_rows.tolist().count(0) == 1
    index = vsearch.open(tmp_path / "index")
    index.search(clustered(1), exact=True)
    check(index, clustered(1, seed=3)[0], k=ROWS)
    assert taken["answered"] == 1


@pytest.mark.parametrize("ids", [[f"row {i}" for i in range(ROWS)], np.arange(ROWS, dtype=np.int32) + 7])
def test_ids_of_other_types(tmp_path, ids, taken):
    index = vsearch.build(clustered(ROWS), tmp_path / "index", ids=ids, partitions=20)
    index.search(clustered(1), exact=True)
    check(index, clustered(1, seed=3)[0])
    check(index, clustered(1, seed=3)[0], k=ROWS + 1)
    assert taken["answered"] == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_cannot_be_searched_are_refused(index, bad, taken):
    index.search(clustered(1), exact=True)
    query = clustered(1, seed=4)[0]
    before = index.search(query).ids
    spoiled = query.copy()
    spoiled[3] = bad
    if np.isfinite(bad) and index.info()["metric"] == "cosine":
        assert check(index, spoiled).ids.min() >= 0
    else:
        with pytest.raises(InputError, match="queries"):
            index.search(spoiled)
        np.testing.assert_array_equal(index.search(query).ids, before)
    assert taken["answered"] == taken["asked"] - 1 or taken["answered"] == 2


@pytest.mark.parametrize(
    "odd", [np.zeros(23, np.float32), np.zeros((24, 1), np.float32), np.zeros((1, 1, 24), np.float32), "words", [1.0]]
)
def test_other_input_is_refused_as_ever(index, odd):
    index.search(clustered(1), exact=True)
    with pytest.raises(InputError):
        index.search(odd)


def test_other_input_is_accepted_as_ever(index):
    index.search(clustered(1), exact=True)
    query = clustered(1, seed=5)[0]
    expected = index.search(query).ids
    wide = np.zeros(48, np.float32)
    wide[::2] = query
    for given in (query.tolist(), query.astype(np.float64), wide[::2], query.astype(">f4"), [query]):
        np.testing.assert_array_equal(index.search(given).ids, expected)
    np.testing.assert_array_equal(index.search(query, k=np.int64(10), offset=np.int64(0)).ids, expected)


def test_options_are_still_checked(index):
    query = clustered(1)[0]
    for options in ({"k": 0}, {"k": True}, {"k": 10_001}, {"offset": False}, {"offset": -1}, {"columns": "number"}):
        with pytest.raises(InputError):
            index.search(query, **options)
