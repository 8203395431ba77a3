"""Pages of one search never share a row, and together contain every matching row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import vsearch
from tests.indexes import clustered
from vsearch.search import pages
from vsearch.search.pages import collect_page, iterate_pages

ROWS = 700
KINDS = {
    "cosine, three shards": {"shards": 3},
    "l2, estimates": {"metric": "l2", "rerank": None},
    "ip, few bits": {"metric": "ip", "bits": 0.5, "rerank": "float16"},
    "pq": {"quantizer": vsearch.PQ(6, rotation=False), "shards": 2},
    "cells": {"metric": "l2", "quantizer": "osq-lloyd", "bits": 2.0},
}
FILTERS = {
    None: lambda table: np.ones(ROWS, bool),
    "cluster <> 3": lambda table: table["cluster"] != 3,
    "cluster = 5": lambda table: table["cluster"] == 5,
    "number < 33": lambda table: table["number"] < 33,
    "number < 0": lambda table: np.zeros(ROWS, bool),
}


@pytest.fixture(scope="module")
def data():
    vectors = clustered(ROWS)
    vectors[100:140] = vectors[99]  # ties
    nearest = np.argmin(((vectors[:, None] - vectors[None, :12]) ** 2).sum(axis=2), axis=1)
    return vectors, {"cluster": nearest, "number": np.arange(ROWS)}


@pytest.fixture(scope="module")
def index_of(data, build_once):
    def get(kind):
        vectors, table = data
        return build_once(f"pages {kind}", vectors, attributes=pa.table(table), partitions=30, **KINDS[kind])

    return get


def all_pages(search, k, rows):
    """Pages one after another until one is not full; each (queries, k)."""
    found = [search(k, 0)]
    while (found[-1] >= 0).any() and len(found) * k < rows + k:
        found.append(search(k, len(found) * k))
    return found


def list_of(search, k, rows):
    """The list that pages are slices of, in plain Python, as the module says it."""
    listed, depth = [], k
    while len(listed) < rows:
        found = [row for row in search(depth) if row not in set(listed)]
        many = depth - len(listed)
        listed += found[:many]
        if len(found) < many:
            break
        depth = min(2 * depth, pages.LARGEST_DEPTH)
        if len(listed) >= pages.LARGEST_DEPTH:
            break
    return listed


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=7)
@given(
    k=st.integers(7, 90),
    where=st.sampled_from(list(FILTERS)),
    seed=st.integers(0, 1000),
    options=st.sampled_from([{}, {"nprobe": 1}, {"nprobe": 9}, {"exact": True}]),
)
@example(k=10, where=None, seed=1, options={"nprobe": 1})
def test_all_pages_together_are_the_rows_that_match(index_of, data, kind, k, where, seed, options):
    index, (vectors, table) = index_of(kind), data
    queries = vectors[np.random.default_rng(seed).integers(0, ROWS, 3)] * 1.01
    queries[2] = -queries[1]  # from where no row is

    def search(k, offset):
        return index.search(queries, k, where, offset=offset, **options).ids

    found = all_pages(search, k, ROWS)
    expected = np.flatnonzero(FILTERS[where](table))
    for each in np.concatenate(found, axis=1):
        assert sorted(each[each >= 0]) == expected.tolist()
    for page in found[:-1]:
        assert (page[:, 0] >= 0).all()  # all of a page's rows come before its padding, and end together
        assert (np.diff((page >= 0).astype(int), axis=1) <= 0).all()
    np.testing.assert_array_equal(found[0], index.search(queries, k, where, **options).ids)
    for offset in (1, k - 1, k + k // 2, 3 * k + 1):  # slices of the same list
        part = np.concatenate([*found, np.full((3, 5 * k), -1)], axis=1)[:, offset : offset + k]
        np.testing.assert_array_equal(search(k, offset), part)


@pytest.mark.slow
def test_these_data_show_what_growing_k_does(index_of, data):
    """A search for 20 does not begin with what the search for 10 found: pages made of these would share rows."""
    twice = 0
    for kind in ("l2, estimates", "ip, few bits", "pq", "cells"):
        index = index_of(kind)
        queries = data[0][:100] * 1.01
        ten, twenty = (index.search(queries, k, "cluster <> 3", nprobe=1).ids for k in (10, 20))
        twice += sum(len(np.intersect1d(a, b[10:])) > 0 for a, b in zip(ten, twenty, strict=True))
    assert twice > 0


@pytest.mark.parametrize("kind", KINDS)
def test_pages_of_an_exact_search_are_in_order(index_of, data, kind):
    index, queries = index_of(kind), data[0][:4]
    whole = index.search(queries, 60, exact=True)
    parts = [index.search(queries, 12, exact=True, offset=offset) for offset in range(0, 60, 12)]
    np.testing.assert_array_equal(np.concatenate([part.ids for part in parts], axis=1), whole.ids)
    np.testing.assert_array_equal(np.concatenate([part.scores for part in parts], axis=1), whole.scores)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_does_not_depend_on_who_else_asks(index_of, data, kind, monkeypatch):
    index, queries = index_of(kind), data[0][::20]
    asked = {"k": 10, "where": "cluster <> 3", "offset": 40, "columns": ["number"]}
    together = index.search(queries, **asked)
    assert together.stats.queries == len(queries)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda query: index.search(query, **asked), queries))
    np.testing.assert_array_equal(np.concatenate([each.ids for each in alone]), together.ids)
    np.testing.assert_array_equal(np.concatenate([each.scores for each in alone]), together.scores)
    assert together.columns["number"].to_pylist() == together.ids.reshape(-1).tolist()
    monkeypatch.setattr(pages, "TOGETHER", 200)
    np.testing.assert_array_equal(index.search(queries, **asked).ids, together.ids)


@pytest.mark.parametrize("kind", ["cosine, three shards", "l2, estimates"])
def test_pages_end_with_min_score(index_of, data, kind):
    index, query = index_of(kind), data[0][7]
    metric = KINDS[kind].get("metric", "cosine")
    hits = index.search(query, ROWS, exact=True)
    middle = float(hits.scores[0, 200])
    for exact in (False, True):
        found = all_pages(lambda k, o: index.search(query, k, min_score=middle, offset=o, exact=exact).ids, 15, ROWS)  # noqa: B023
        rows = np.concatenate(found, axis=1)[0]
        rows = rows[rows >= 0]
        assert len(set(rows.tolist())) == len(rows)
        assert index.search(query, 15, min_score=middle, offset=len(found) * 15).ids.max() == -1
        good = hits.ids[0][hits.scores[0] <= middle if metric == "l2" else hits.scores[0] >= middle]
        if exact:
            assert rows.tolist() == good.tolist()
        assert np.isin(rows, good).mean() > 0.9


def test_ranks_go_on(index_of, data):
    hits = index_of("pq").search(data[0][:2], 5, offset=20)
    assert hits.offset == 20
    assert hits.to_arrow()["rank"].to_pylist() == [21, 22, 23, 24, 25] * 2


@pytest.mark.parametrize("offset", [-1, 999_991, True, 1.5, "10", None, 2**70])
def test_an_offset_out_of_range(index_of, data, offset):
    with pytest.raises(vsearch.InputError, match=r"from 0 to 999990 \(offset \+ k at most 1000000, k is 10\)"):
        index_of("pq").search(data[0][0], offset=offset)


def test_the_last_offset(index_of, data):
    index = index_of("pq")
    assert (index.search(data[0][0], offset=np.int64(999_990)).ids == -1).all()
    assert (index.search(data[0][0], k=10_000, offset=0).ids >= 0).sum() == ROWS
    with pytest.raises(vsearch.InputError, match="from 0 to 990000"):
        index.search(data[0][0], k=10_000, offset=990_001)
    with pytest.raises(vsearch.InputError, match=r"from 1 to 10000, got 10001; offset and search_pages"):
        index.search(data[0][0], k=10_001)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    k=st.integers(1, 30),
    offset=st.integers(0, 90),
    matches=st.integers(0, 120),
    lossy=st.booleans(),
)
def test_a_page_is_a_slice_of_the_list_whatever_the_search(seed, k, offset, matches, lossy):
    """Whatever a search for each depth finds: other rows, in another order, or (`lossy`) too few."""

    def rows_of(query, depth):
        rng = np.random.default_rng([seed, query, depth])
        many = min(depth, matches) - (rng.integers(0, 4) if lossy else 0)
        return rng.permutation(matches)[: max(many, 0)]

    def search(run, depth):
        rows = np.full((run.stop - run.start, depth), -1)
        for place, query in enumerate(range(run.start, run.stop)):
            found = rows_of(query, depth)
            rows[place, : len(found)] = found
        return np.where(rows >= 0, rows, np.nan).astype(np.float32), rows

    scores, rows = collect_page(search, 3, k, offset, ordered=False)
    for query in range(3):
        part = list_of(lambda depth, query=query: rows_of(query, depth).tolist(), k, 1_000_000)[offset : offset + k]
        assert rows[query].tolist() == part + [-1] * (k - len(part))
        np.testing.assert_array_equal(scores[query], [*part, *[np.nan] * (k - len(part))])


@settings(max_examples=5, deadline=None)
@given(k=st.sampled_from([1, 3, 10, 9_999, 10_000]), past=st.integers(0, 3))
def test_pages_reach_a_million_rows_and_no_further(k, past):
    rng = np.random.default_rng(k)

    def search(run, depth):
        assert depth <= 1_000_000
        rows = rng.permuted(np.arange(1_000_050), axis=0)[None, :depth]
        return rows.astype(np.float32), rows

    offset = max(0, 1_000_000 - k - past)
    assert len(set(collect_page(search, 1, k, offset, ordered=False)[1][0].tolist())) == k


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    k=st.integers(1, 30),
    end=st.integers(1, 200),
    matches=st.integers(0, 120),
    together=st.sampled_from([1, 1000]),
)
def test_pages_one_after_another_are_those_searched_by_themselves(seed, k, end, matches, together):
    def search(run, depth):
        rows = np.full((run.stop - run.start, depth), -1)
        for place, query in enumerate(range(run.start, run.stop)):
            rng = np.random.default_rng([seed, query, depth])
            found = rng.permutation(matches // (query + 1))[:depth]
            rows[place, : len(found)] = found
        return np.where(rows >= 0, rows, np.nan).astype(np.float32), rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "TOGETHER", together)
        found = list(iterate_pages(search, 3, k, end, ordered=False))
    for number, (scores, rows) in enumerate(found):
        width = min(k, end - number * k)
        alone = collect_page(search, 3, k, number * k, ordered=False)
        np.testing.assert_array_equal(rows, alone[1][:, :width])
        np.testing.assert_array_equal(scores, alone[0][:, :width])
    assert len(found) == -(-min(end, matches) // k)
