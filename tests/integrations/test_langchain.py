"""LangChain's own suite for vector stores, and what it does not ask: filters, MMR, scores, structured queries."""

from __future__ import annotations

import asyncio
from itertools import count

import numpy as np
import pytest

pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from langchain_tests.integration_tests import VectorStoreIntegrationTests

import vsearch
from tests.indexes import clustered
from vsearch.integrations.langchain import VsearchTranslator, VsearchVectorStore

NUMBER = count()


def new_url():
    return f"memory://langchain-{next(NUMBER)}/i"


class TestSuite(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self):
        return VsearchVectorStore(self.get_embeddings(), new_url())


class Embedding(DeterministicFakeEmbedding):
    size: int = 16


METADATA = [
    {
        "year": 1990 + number,
        "kind": "odd" if number % 2 else "even",
        "tags": ["a", "b"][: number % 3],
        "nested": {"x": [number]},
    }
    for number in range(12)
]
TEXTS = [f"text {number}" for number in range(12)]
IDS = [f"id {number}" for number in range(12)]


@pytest.fixture(scope="module")
def store():
    return VsearchVectorStore.from_texts(TEXTS, Embedding(), METADATA, ids=IDS, url=new_url())


def ids_of(documents):
    return [document.id for document in documents]


def test_filters_of_every_form(store):
    expected = {id_ for id_, one in zip(IDS, METADATA, strict=True) if one["year"] > 1995 and one["kind"] == "odd"}
    for where in (
        "year > 1995 AND kind = 'odd'",
        {"year": {"$gt": 1995}, "kind": "odd"},
        (vsearch.col("year") > 1995) & (vsearch.col("kind") == "odd"),
    ):
        assert set(ids_of(store.similarity_search("text 7", k=12, filter=where))) == expected
    assert set(ids_of(store.similarity_search("x", 12, filter="list_contains(tags, 'b')"))) == {
        IDS[i] for i in (2, 5, 8, 11)
    }
    found = store.similarity_search("text 7", k=1)[0]
    assert found == Document(id="id 7", page_content="text 7", metadata=METADATA[7])
    with pytest.raises(vsearch.PredicateError):
        store.similarity_search("x", filter="no_such = 1")
    with pytest.raises(vsearch.InputError, match="got a function"):
        store.similarity_search("x", filter=lambda document: True)


def test_scores_and_relevance(store):
    scored = store.similarity_search_with_score("text 3", k=12)
    assert scored[0][0].id == "id 3"
    assert scored[0][1] == pytest.approx(1, abs=0.01)
    relevant = store.similarity_search_with_relevance_scores("text 3", k=12)
    assert [score for _, score in relevant] == pytest.approx([(1 + score) / 2 for _, score in scored])
    few = store.similarity_search_with_relevance_scores("text 3", k=12, score_threshold=0.9)
    assert ids_of(document for document, _ in few) == ["id 3"]


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_relevance_of_other_metrics(metric):
    store = VsearchVectorStore(Embedding(), new_url(), create_options={"metric": metric})
    assert store.similarity_search_with_relevance_scores("text 3") == []
    store.add_texts(TEXTS)
    scores = [score for _, score in store.similarity_search_with_relevance_scores("text 3", k=12)]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= min(scores) < max(scores) <= 1


def test_mmr_is_that_of_langchain(store):
    query = np.array(store.embeddings.embed_query("text 3"))
    near = ids_of(store.similarity_search_by_vector(query.tolist(), k=9))
    vectors = store.index.vectors(near).vectors
    for lambda_mult in (1.0, 0.6, 0.2):
        expected = [near[place] for place in maximal_marginal_relevance(query, list(vectors), lambda_mult, k=4)]
        assert ids_of(store.max_marginal_relevance_search("text 3", 4, 9, lambda_mult)) == expected
        found = asyncio.run(store.amax_marginal_relevance_search("text 3", 4, 9, lambda_mult))
        assert ids_of(found) == expected
    some = store.max_marginal_relevance_search("text 3", 4, filter="kind = 'even'")
    assert all(document.metadata["kind"] == "even" for document in some)


def test_as_a_retriever(store):
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 3, "filter": "year < 1999"})
    assert len(retriever.invoke("text 1")) == 3
    assert len(asyncio.run(store.as_retriever().ainvoke("text 1"))) == 4


def test_structured_queries(store):
    asked = Operation(
        operator=Operator.OR,
        arguments=[
            Operation(
                operator=Operator.AND,
                arguments=[
                    Comparison(comparator=Comparator.GTE, attribute="year", value=1993),
                    Comparison(comparator=Comparator.IN, attribute="kind", value=["odd"]),
                    Operation(
                        operator=Operator.NOT,
                        arguments=[Comparison(comparator=Comparator.CONTAIN, attribute="tags", value="b")],
                    ),
                ],
            ),
            Comparison(comparator=Comparator.LIKE, attribute="kind", value="no%"),
            Comparison(comparator=Comparator.EQ, attribute="year", value=1990),
        ],
    )
    query = StructuredQuery(query="text 3", filter=asked, limit=None)
    text, options = VsearchTranslator().visit_structured_query(query)
    expected = {
        id_
        for id_, one in zip(IDS, METADATA, strict=True)
        if (one["year"] >= 1993 and one["kind"] == "odd" and "b" not in one["tags"]) or one["year"] == 1990
    }
    assert set(ids_of(store.similarity_search(text, k=12, **options))) == expected
    for comparator, value, passes in (
        (Comparator.NE, 1993, lambda year: year != 1993),
        (Comparator.GT, 1993, lambda year: year > 1993),
        (Comparator.LT, 1993, lambda year: year < 1993),
        (Comparator.LTE, 1993, lambda year: year <= 1993),
        (Comparator.NIN, [1993, 1994], lambda year: year not in {1993, 1994}),
    ):
        filter_ = Comparison(comparator=comparator, attribute="year", value=value)
        options = VsearchTranslator().visit_structured_query(StructuredQuery(query="", filter=filter_))[1]
        assert len(store.similarity_search("x", k=12, **options)) == sum(passes(one["year"]) for one in METADATA)
    plain = StructuredQuery(query="a", filter=None)
    assert VsearchTranslator().visit_structured_query(plain) == ("a", {})


def test_documents_are_there_when_opened_again(tmp_path):
    url = str(tmp_path / "index")
    VsearchVectorStore.from_texts(TEXTS, Embedding(), METADATA, ids=IDS, url=url)
    again = VsearchVectorStore(Embedding(), url)
    assert again.get_by_ids(["id 3", "no", "id 1"]) == [
        Document(id=f"id {number}", page_content=f"text {number}", metadata=METADATA[number]) for number in (3, 1)
    ]
    again.delete(filter="year < 1995")
    assert again.index.count() == 7
    assert again.delete(["id 11", "id 0"])
    assert again.index.count() == 6


def test_metadata_whose_types_differ():
    store = VsearchVectorStore(Embedding(), new_url())
    given = [{"n": 1, "m": 1}, {"n": 2.5, "big": 2**70}, {"m": None, "x": []}]
    store.add_texts(["a", "b", "c"], given, ids=["a", "b", "c"])
    assert [document.metadata for document in store.get_by_ids(["a", "b", "c"])] == given
    assert ids_of(store.similarity_search("a", filter="n >= 1 AND n < 2")) == ["a"]
    with pytest.warns(vsearch.VsearchWarning, match="filters do not see the metadata 'm' of 1 documents"):
        store.add_texts(["d"], [{"m": "text", "n": 3}], ids=["d"])
    assert store.get_by_ids(["d"])[0].metadata == {"m": "text", "n": 3}
    assert ids_of(store.similarity_search("d", filter="n = 3")) == ["d"]
    store.add_texts(["e"], [{"_text": "x", "_metadata": 3, "id": 7, "": 1}], ids=["e"])
    assert store.get_by_ids(["e"]) == [
        Document(id="e", page_content="e", metadata={"_text": "x", "_metadata": 3, "id": 7, "": 1})
    ]


def test_unusable_input_is_refused():
    store = VsearchVectorStore(Embedding(), new_url())
    for texts, metadatas, ids in (
        (["a"], [{}, {}], None),
        (["a"], None, ["x", "y"]),
        (["a"], [{"x": {1}}], None),
        (["a"], [{1: 2}], None),
        (["a"], ["text"], None),
        (["a"], [{"x": "\ud800"}], None),
        (["a"], [{"\ud800": 1}], None),
    ):
        with pytest.raises(vsearch.InputError):
            store.add_texts(texts, metadatas, ids=ids)
    with pytest.raises(vsearch.InputError, match="url must be"):
        VsearchVectorStore.from_texts(["a"], Embedding())
    assert store.add_texts([]) == []
    assert store.index is None
    store.add_texts(["a", "b"], [{"n": 1}, {"n": 2}], ids=["x", "x"])
    assert store.get_by_ids(["x"]) == [Document(id="x", page_content="b", metadata={"n": 2})]
    with pytest.raises(vsearch.InputError, match="an empty filter"):
        store.delete(filter={})
    store.add_texts(["c"], [None], ids=["y"])
    assert store.get_by_ids(["y"])[0].metadata == {}


def test_two_stores_of_one_index_add_the_same_attribute():
    url = new_url()
    one = VsearchVectorStore(Embedding(), url)
    one.add_texts(["a"], [{"p": 1}], ids=["a"])
    two = VsearchVectorStore(Embedding(), url)
    two.add_texts(["b"], [{"q": "x"}], ids=["b"])
    one.add_texts(["c"], [{"q": "y"}], ids=["c"])  # has not seen the other's attribute
    assert ids_of(one.similarity_search("c", filter="q = 'y'")) == ["c"]
    assert one.index.count() == 3


def test_an_index_that_was_built_otherwise():
    url, vectors = new_url(), clustered(20, 16)
    vsearch.build(vectors, url, {"body": [f"body {i}" for i in range(20)], "year": np.arange(20)})
    store = VsearchVectorStore(Embedding(), url, text="body")
    found = store.similarity_search_by_vector(vectors[3].tolist(), k=1, filter="year < 10")
    assert found == [Document(id="3", page_content="body 3", metadata={"year": 3})]
    assert store.get_by_ids(["5", "x", "99"]) == [Document(id="5", page_content="body 5", metadata={"year": 5})]
    store.delete(["5", "x"])
    assert store.index.count() == 19
