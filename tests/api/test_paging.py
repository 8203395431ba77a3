"""More rows than one answer may have: the same pages in this process and through functions, equal to brute force."""

from __future__ import annotations

import asyncio
from itertools import islice

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.fanout.conftest import Stack
from vsearch.api.remote_index import RemoteIndex
from vsearch.fanout.wire.envelope import Envelope

ROWS, D = 26_000, 8


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    vectors = rng.integers(-3, 4, (ROWS, D)).astype(np.float32)  # exact in any arithmetic, with very many ties
    return vectors, pa.table({"number": np.arange(ROWS), "tag": pa.array([f"t{n % 7}" for n in range(ROWS)])})


@pytest.fixture(scope="module")
def index(data):
    return vsearch.build(
        data[0], "memory://paging/index", metric="l2", rerank="float32", attributes=data[1], shards=2, partitions=40
    )


@pytest.fixture(scope="module")
def both(index, data):
    stack = Stack("memory://paging/index", index, data[0][:2])
    return {"local": index, "remote": RemoteIndex("test://t", stack.names, stack.local, Envelope())}


@pytest.mark.parametrize("kind", ["local", "remote"])
@pytest.mark.parametrize("where", [None, "tag <> 't3'", "number < 12000"])
def test_pages_are_brute_force(both, data, kind, where):
    vectors, query = data[0], data[0][17] + 0.25
    passing = {
        None: np.ones(ROWS, bool),
        "tag <> 't3'": np.arange(ROWS) % 7 != 3,
        "number < 12000": np.arange(ROWS) < 12_000,
    }
    rows = np.flatnonzero(passing[where])
    squares = ((vectors[rows] - query) ** 2).sum(axis=1)
    pages = list(both[kind].search_pages(query, 25_000, where, exact=True, columns=["number"]))
    assert [page.offset for page in pages] == list(range(0, min(25_000, len(rows)), 10_000))
    ids = np.concatenate([page.ids[0][page.ids[0] >= 0] for page in pages])
    scores = np.concatenate([page.scores[0][~np.isnan(page.scores[0])] for page in pages])
    kept = min(25_000, len(rows))
    assert len(ids) == len(set(ids.tolist())) == kept
    np.testing.assert_allclose(scores, np.sort(squares)[:kept], rtol=1e-5)
    np.testing.assert_allclose(((vectors[ids] - query) ** 2).sum(axis=1), scores, rtol=1e-5)
    assert np.isin(ids, rows).all()
    assert [hit.values["number"] for hit in pages[0][0][:50]] == ids[:50].tolist()


def test_approximate_pages_are_the_same_everywhere(data):
    vectors, table = data[0][:9000], data[1].slice(0, 9000)
    index = vsearch.build(vectors, "memory://paging-one/index", metric="l2", attributes=table, partitions=30)
    stack = Stack("memory://paging-one/index", index, vectors[:2])
    queries = vectors[[5, 900]] * np.float32(1.1)
    options = {"where": "tag <> 't1'", "page": 2_000, "nprobe": 2, "columns": ["tag"]}
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    local, remote = (list(one.search_pages(queries, 7_000, **options)) for one in (index, remote))
    assert [page.ids.shape for page in local] == [(2, 2_000)] * 3 + [(2, 1_000)]
    for number, (page, other) in enumerate(zip(local, remote, strict=True)):
        np.testing.assert_array_equal(page.ids, other.ids)
        np.testing.assert_array_equal(page.scores, other.scores)
        assert page.columns.equals(other.columns)
        assert page.offset == other.offset == 2_000 * number
        alone = index.search(queries, 2_000, "tag <> 't1'", 2, offset=2_000 * number)
        np.testing.assert_array_equal(page.ids, alone.ids[:, : page.ids.shape[1]])
    for ids in np.concatenate([page.ids for page in local], axis=1):
        assert len(set(ids.tolist())) == 7_000


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_pages_end_with_min_score(both, data, kind):
    query = data[0][3] + 0.5
    squares = ((data[0] - query) ** 2).sum(axis=1)
    limit = float(np.sort(squares)[15_000]) + 0.5  # between two scores
    pages = list(both[kind].search_pages(query, 25_000, page=10_000, min_score=limit, exact=True))
    ids = np.concatenate([page.ids[0] for page in pages])
    assert sorted(ids[ids >= 0].tolist()) == np.flatnonzero(squares <= limit).tolist()
    assert list(both[kind].search_pages(query, 100, min_score=-1.0)) == []


def test_pages_are_of_one_snapshot(data):
    index = vsearch.build(data[0][:3000], "memory://paging-changing/index", metric="l2")
    stack = Stack("memory://paging-changing/index", index, data[0][:2])
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    for one in (index, remote):
        pages = one.search_pages(data[0][0], 3000, page=1000)
        seen = [next(pages).ids[0]]
        index.delete(where="id >= 0" if one is remote else "id < 10")
        seen += [page.ids[0] for page in pages]
        rows = np.concatenate(seen)
        assert len(set(rows[rows >= 0].tolist())) == (3000 if one is index else 2990)


def test_vectors_and_waiting(both, data):
    (page,) = both["local"].search_pages(data[0][9], 5, vectors=True)
    np.testing.assert_allclose(((page.vectors[0] - data[0][9]) ** 2).sum(axis=1), page.scores[0], atol=1e-4)
    with pytest.raises(vsearch.InputError, match="by its own URL"):
        both["remote"].search_pages(data[0][9], 5, vectors=True)

    async def collect():
        return [page.ids[0].tolist() async for page in both["local"].asearch_pages(data[0][9], 900, page=400)]

    waited = asyncio.run(collect())
    assert waited == [page.ids[0].tolist() for page in both["local"].search_pages(data[0][9], 900, page=400)]


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_the_first_page_is_that_of_the_search(both, data, kind):
    (first,) = islice(both[kind].search_pages(data[0][:3], 26_000, page=50), 1)
    np.testing.assert_array_equal(first.ids, both[kind].search(data[0][:3], 50).ids)


@pytest.mark.parametrize("kind", ["local", "remote"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be an integer from 1 to 1000000, got 0"),
        ({"k": 1_000_001}, "k must be an integer from 1 to 1000000"),
        ({"k": 10, "page": 10_001}, "page must be an integer from 1 to 10000"),
        ({"k": 10, "page": True}, "page must be"),
        ({"k": 10, "columns": ["nothing"]}, "nothing"),
        ({"k": 10, "columns": "tag"}, r"use \['tag'\]"),
        ({"k": 10, "timeout": 0}, "timeout"),
        ({"k": 10, "min_score": "much"}, "min_score"),
    ],
)
def test_refusals_come_at_the_call(both, data, kind, options, message):
    with pytest.raises(vsearch.InputError, match=message):
        both[kind].search_pages(data[0][0], **options)


def test_a_leg_reaches_as_far_but_fusion_does_not(tmp_path):
    words = pa.table({"text": [f"common w{n}" for n in range(11_000)]})
    index = vsearch.build(np.ones((11_000, 4), np.float32), tmp_path / "i", attributes=words, text=["text"])
    hits = index.search_text("common", k=900, offset=10_500)
    assert (hits.ids[0] >= 0).sum() == 500
    with pytest.raises(vsearch.InputError, match=r"offset \+ k must be at most 10000 if rankings are fused, got 11400"):
        index.search(np.ones(4), k=900, offset=10_500, text="common")


def test_a_store_of_documents_returns_more(tmp_path):
    from vsearch.integrations.documents import DocumentIndex

    store, rng = DocumentIndex(str(tmp_path / "i")), np.random.default_rng(0)
    ids = [f"d{n}" for n in range(12_000)]
    store.put(ids, ids, [{"n": n} for n in range(12_000)], rng.standard_normal((12_000, 4)))
    results = store.search(np.ones(4), 11_500, "n >= 100", vectors=True)
    assert len({result.id for result in results}) == 11_500
    assert all(result.text == result.id and result.metadata["n"] >= 100 for result in results)
    assert (np.diff([result.score for result in results[:100]]) <= 0).all()
    with pytest.raises(vsearch.InputError, match="search_pages"):
        store.search(np.ones(4), 11_500, offset=10)
