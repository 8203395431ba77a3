"""Haystack's own suites for document stores, and the retriever in a pipeline."""

from __future__ import annotations

import asyncio
from itertools import count

import numpy as np
import pytest

pytest.importorskip("haystack")

from haystack import Document, Pipeline
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.testing import document_store as suites
from haystack.testing import document_store_async as async_suites
from haystack.utils.filters import document_matches_filter

import vsearch
from tests.indexes import clustered
from vsearch.integrations.haystack import VsearchDocumentStore, VsearchEmbeddingRetriever

pytestmark = pytest.mark.slow
NUMBER = count()


def new_store(**options):
    return VsearchDocumentStore(f"memory://haystack-{next(NUMBER)}/i", **options)


def without_embeddings(documents):
    return sorted(repr({**one.to_dict(flatten=False), "embedding": None}) for one in documents)


class Store:
    @pytest.fixture
    def document_store(self):
        return new_store()

    @staticmethod
    def assert_documents_are_equal(received, expected):
        """They come by ascending id, and embeddings are rounded to float32."""
        assert without_embeddings(received) == without_embeddings(expected)
        known = {one.id: one.embedding for one in expected}
        for one in received:
            assert (one.embedding is None) == (known[one.id] is None)
            if one.embedding is not None:
                np.testing.assert_allclose(one.embedding, known[one.id], rtol=1e-4, atol=1e-5)


class TestStore(
    Store,
    suites.DocumentStoreBaseExtendedTests,
    suites.CountDocumentsByFilterTest,
    suites.CountUniqueMetadataByFilterTest,
    suites.GetMetadataFieldsInfoTest,
    suites.GetMetadataFieldMinMaxTest,
    suites.GetMetadataFieldUniqueValuesTest,
):
    def test_write_documents(self, document_store):
        """Without a policy, documents that exist are refused."""
        one = Document(content="test doc")
        assert document_store.write_documents([one]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([one])


class TestAsyncStore(
    Store,
    async_suites.CountDocumentsAsyncTest,
    async_suites.DeleteAllAsyncTest,
    async_suites.CountDocumentsByFilterAsyncTest,
    async_suites.CountUniqueMetadataByFilterAsyncTest,
    async_suites.DeleteByFilterAsyncTest,
    async_suites.UpdateByFilterAsyncTest,
    async_suites.WriteDocumentsAsyncTest,
    async_suites.DeleteDocumentsAsyncTest,
    async_suites.GetMetadataFieldsInfoAsyncTest,
    async_suites.GetMetadataFieldMinMaxAsyncTest,
    async_suites.GetMetadataFieldUniqueValuesAsyncTest,
    async_suites.FilterDocumentsAsyncTest,
):
    @pytest.fixture
    def filterable_docs(self):
        return suites.create_filterable_docs()

    async def test_write_documents_async(self, document_store):
        one = Document(content="test doc")
        assert await document_store.write_documents_async([one]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([one])


def make_documents(rows=20, d=8):
    vectors = clustered(rows, d)
    odd = [1, "1", 1.0, True, None, [1, 2], {"deep": {"er": 3}}, "2024-01-01", "2024-01-01T00:00:00+01:00", 2.5]
    return [
        Document(
            id=f"id {row}",
            content=f"text {row}" if row % 6 else None,
            meta={"odd": odd[row % 10], "year": 2000 + row, "name": f"n{row % 3}"},
            embedding=None if row % 4 == 3 else vectors[row].tolist(),
            blob=ByteStream(b"\0x", mime_type="a/b") if row % 6 == 0 else None,
            sparse_embedding=SparseEmbedding([1, 5], [0.5, 0.25]) if row % 7 == 0 else None,
        )
        for row in range(rows)
    ]


@pytest.fixture(scope="module")
def store():
    made = new_store(embedding_dim=8)
    assert made.write_documents(make_documents()) == 20
    return made


def test_documents_come_back_whole(store):
    Store.assert_documents_are_equal(store.filter_documents(), make_documents())


@pytest.mark.parametrize("operator", ["==", "!=", ">", ">=", "<", "<=", "in", "not in"])
@pytest.mark.parametrize(
    "field", ["meta.odd", "odd", "meta.odd.deep.er", "meta.year", "meta.name", "content", "id", "meta.no"]
)
def test_filters_are_those_of_haystack(store, operator, field):
    values = [1, "1", 2.5, True, None, 2010, 2010.5, "n1", "text 5", "id 5", "2024-01-01T00:00:00", 3]
    if "in" in operator:
        values = [[1, "n1"], [], [None, 2010], ["2024-01-01", "id 3"], [3]]
    for value in values:
        condition = {"field": field, "operator": operator, "value": value}
        filters = {"operator": "NOT", "conditions": [condition, {"field": "meta.year", "operator": ">", "value": 2003}]}
        for asked in (condition, filters):
            try:
                expected = {one.id for one in make_documents() if document_matches_filter(asked, one)}
            except FilterError:
                with pytest.raises(FilterError):
                    store.filter_documents(asked)
                continue
            except TypeError:  # Haystack does not define it
                continue
            assert {one.id for one in store.filter_documents(asked)} == expected, asked


def test_retrieval(store):
    query = clustered(1, 8, seed=4)[0]
    documents = [one for one in make_documents() if one.embedding is not None]
    vectors = np.array([one.embedding for one in documents])
    scores = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    order = np.argsort(-scores)
    retriever = VsearchEmbeddingRetriever(store, top_k=50)
    found = retriever.run(query.tolist())["documents"]
    assert [one.id for one in found] == [documents[place].id for place in order]
    assert [one.score for one in found] == pytest.approx(scores[order].tolist(), abs=1e-5)
    some = {"field": "meta.year", "operator": "<", "value": 2005}
    found = asyncio.run(retriever.run_async(query.tolist(), some, 2))["documents"]
    assert [one.id for one in found] == [
        documents[place].id for place in order if documents[place].meta["year"] < 2005
    ][:2]
    assert retriever.run(query.tolist(), top_k=0) == {"documents": []}
    diverse = VsearchEmbeddingRetriever(store, diversity=0.7, top_k=3).run(query.tolist())["documents"]
    assert len({one.id for one in diverse}) == 3


def test_pipelines_are_saved_and_loaded(store):
    pipeline = Pipeline()
    pipeline.add_component("retriever", VsearchEmbeddingRetriever(store, top_k=2, filter_policy="merge"))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["vsearch.integrations.haystack"])
    query = {"retriever": {"query_embedding": clustered(1, 8, seed=4)[0].tolist()}}
    assert again.run(query) == pipeline.run(query)
    assert len(again.run(query)["retriever"]["documents"]) == 2


def test_duplicates_in_one_call_and_unusable_documents():
    store = new_store(embedding_dim=4)
    twice = [Document(id="a", content="1"), Document(id="b"), Document(id="a", content="2")]
    with pytest.raises(DuplicateDocumentError, match="a"):
        store.write_documents(twice)
    assert store.index is None
    assert store.write_documents(twice, DuplicatePolicy.SKIP) == 2
    assert {one.id: one.content for one in store.filter_documents()} == {"a": "1", "b": None}
    assert store.write_documents(twice, DuplicatePolicy.OVERWRITE) == 2
    assert {one.id: one.content for one in store.filter_documents()} == {"a": "2", "b": None}
    for wrong in (
        Document(id="c", embedding=[1.0]),
        Document(id="c", meta={"_haystack": 1}),
        Document(id="c", meta={"x": {1}}),
    ):
        with pytest.raises(vsearch.InputError):
            store.write_documents([wrong])
    mixed = [Document(id="c", embedding=[1.0] * 4), Document(id="d", embedding=[1.0] * 3)]
    with pytest.raises(vsearch.InputError, match=r"must have the 4 dimensions .*, got 3 to 4"):
        store.write_documents(mixed)
    with pytest.raises(vsearch.InputError):
        store.delete_by_filter({})
    with pytest.raises(FilterError, match="unknown comparison operator '~'; it must be one of ==, "):
        store.filter_documents({"field": "meta.x", "operator": "~", "value": 1})
    assert store.count_documents() == 2


def test_a_field_has_another_type_after_all_documents_are_deleted():
    store = new_store()
    store.write_documents([Document(id="a", meta={"year": 1990, "old": "x"})])
    store.delete_all_documents(recreate_index=True)
    assert store.count_documents() == 0
    assert set(store.index.info()["attributes"]).isdisjoint({"year", "old"})
    store.write_documents([Document(id="a", meta={"year": "MCMXC"})])
    (found,) = store.filter_documents({"field": "meta.year", "operator": "==", "value": "MCMXC"})
    assert found.meta == {"year": "MCMXC"}
