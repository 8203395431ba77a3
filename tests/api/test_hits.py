"""Hits as values, frames and what a notebook shows, and methods to await."""

from __future__ import annotations

import asyncio

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.api import hits as module


@pytest.fixture(scope="module")
def index():
    table = pa.table(
        {"name": ["<b>", "y" * 200, None, "z"], "number": [1.5, 2.0, 3.0, None], "tags": [["a"], [], None, ["b"]]}
    )
    return vsearch.build(clustered(4, 8), "memory://hits/i", table, ids=["a", "b", "c", "<d>"])


@pytest.fixture(scope="module")
def hits(index):
    return index.search(clustered(2, 8, seed=5), k=6, where="number > 1", columns=["name", "number"], vectors=True)


def test_queries_and_hits_iterate(hits):
    assert len(list(hits)) == len(hits) == 2
    for number, query in enumerate(hits):
        assert [hit.id for hit in query] == [id_ for id_ in hits.ids[number].tolist() if id_ is not None]
        assert [hit.rank for hit in query] == [1, 2, 3]
        assert [hit.score for hit in query] == hits.scores[number, :3].tolist()
        assert [hit.values for hit in query] == hits.columns.slice(number * 6, 3).to_pylist()
        np.testing.assert_array_equal(np.stack([hit.vector for hit in query]), hits.vectors[number, :3])
    assert [hit.id for hit in hits[-1]] == [hit.id for hit in hits[1]]
    with pytest.raises(IndexError):
        hits[2]


def test_pages_and_hits_without_columns(index):
    hits = index.search(clustered(1, 8), k=2, offset=2)
    assert [(hit.rank, hit.values, hit.vector) for hit in hits[0]] == [(3, {}, None), (4, {}, None)]
    assert list(index.search(np.empty((0, 8)), k=2)) == []
    assert index.search(clustered(1, 8), k=2, where="number < 0", columns=["name"])[0] == []


def test_frames(hits):
    table = hits.to_arrow()
    assert hits.to_pandas().to_dict("list") == table.to_pandas().to_dict("list")
    assert hits.to_polars().to_dicts() == table.to_pylist()


def test_frames_name_the_package_they_need(hits, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for frame in (hits.to_pandas, hits.to_polars):
        with pytest.raises(vsearch.MissingDependencyError, match="pip install p"):
            frame()


def test_short_texts(index, hits):
    assert repr(hits) == "<vsearch.Hits of 2 queries, k=6: 6 hits, columns name, number>"
    one = index.search(clustered(1, 8), k=1)
    assert repr(one) == f"<vsearch.Hits of 1 query, k=1: 1 hits, best score {one.scores[0, 0]:.4g}>"
    assert repr(index.search(np.empty((0, 8)), k=1)) == "<vsearch.Hits of 0 queries, k=1: 0 hits>"


def test_notebooks_show_escaped_tables(index, hits, monkeypatch):
    shown = hits._repr_html_()
    assert shown.startswith("<table><tr><th>query</th><th>rank</th><th>id</th>")
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert "y" * 81 not in shown
    assert "<th>query</th>" not in index.search(clustered(1, 8), k=1)._repr_html_()
    monkeypatch.setattr(module, "SHOWN", 2)
    assert "and 4 more" in hits._repr_html_()
    assert "memory://hits/i" in index._repr_html_()
    assert "name string, number double" in index._repr_html_() or "name string" in index._repr_html_()


def test_methods_to_await():
    index = vsearch.build(clustered(50, 8), "memory://hits-await/i", pa.table({"x": range(50)}), partitions=2)
    query = clustered(1, 8)

    async def main():
        found = await asyncio.gather(*(index.asearch(query, k=k, where="x < 40") for k in (1, 2, 3)))
        assert [one.ids.shape for one in found] == [(1, 1), (1, 2), (1, 3)]
        assert (await index.aappend(query, {"x": [99]})).added == 1
        assert await index.acount("x = 99") == 1
        assert (await index.aupdate({"x": 98}, where="x = 99")).snapshot == index.snapshot.manifest.snapshot
        assert (await index.aupsert(query, {"x": [97]}, [3])).replaced == 1
        assert (await index.aget([3]))["x"].to_pylist() == [97]
        assert (await index.arows("x > 96", ["x"]))["x"].to_pylist() == [97, 98]
        assert (await index.adelete(where="x > 96")).deleted == 2
        with pytest.raises(vsearch.InputError):
            await index.asearch(query, k=0)
        with pytest.raises(vsearch.InputError):
            await index.asearch_documents(query)

    asyncio.run(main())


def test_every_method_to_await_has_its_twin():
    from vsearch.api.asynchronous import AsyncIndex

    for name in (name for name in vars(AsyncIndex) if not name.startswith("_")):
        for kind in (vsearch.Index, vsearch.RemoteIndex):
            assert hasattr(kind, name)
            assert hasattr(kind, name[1:])


@pytest.mark.parametrize("k", [0, -1, 1.5, "2"])
def test_a_number_of_reranked_hits_that_makes_no_sense(hits, k):
    with pytest.raises(vsearch.InputError, match="k must be"):
        hits.rerank(lambda _, table: np.arange(len(table)), k)


def test_what_is_no_score_or_answer_is_refused(hits):
    with pytest.raises(vsearch.InputError, match="finite numbers"):
        hits.rerank(lambda _, table: ["high"] * len(table))
    with pytest.raises(vsearch.InputError, match="at least one search"):
        vsearch.fuse(3)
    with pytest.raises(vsearch.InputError, match="weights"):
        vsearch.fuse([hits], weights=3)

    def fail(*_):
        raise ValueError("own fault")

    with pytest.raises(ValueError, match="own fault"):
        hits.rerank(fail)
