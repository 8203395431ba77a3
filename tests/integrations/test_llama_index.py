"""LlamaIndex: nodes come back, and filters select what LlamaIndex's own function selects."""

from __future__ import annotations

import asyncio
from itertools import count

import numpy as np
import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.schema import ImageNode, IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

import vsearch
from tests.indexes import clustered
from vsearch.integrations.llama_index import VsearchVectorStore

NUMBER = count()
D = 8


def new_url():
    return f"memory://llama-{next(NUMBER)}/i"


def make_nodes(rows=24):
    vectors, nodes = clustered(rows, D), []
    for row in range(rows):
        metadata = {
            "year": 1990 + row,
            "kind": "odd" if row % 2 else "even",
            "tags": ["a", "b", "c"][: row % 4],
            "score": row / 4,
        }
        if row % 5 == 0:
            metadata = {"kind": ""} if row % 2 else {"nested": {"x": [row]}, "year": None}
        kind = (TextNode, ImageNode)[row % 7 == 6]
        node = kind(id_=f"node {row}", text=f"text {row}", metadata=metadata, embedding=vectors[row].tolist())
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"document {row // 6}")
        nodes.append(node)
    nodes.append(IndexNode(id_="node i", text="index", index_id="x", embedding=vectors[0].tolist(), metadata={}))
    return nodes


@pytest.fixture(scope="module")
def nodes():
    return make_nodes()


@pytest.fixture(scope="module")
def store(nodes):
    made = VsearchVectorStore(new_url(), create_options={"rerank": "float32"})
    assert made.client is None
    assert made.get_nodes() == []
    assert made.query(VectorStoreQuery(query_embedding=[1.0] * D)).ids == []
    made.delete("document 1")
    assert made.add(nodes[:10]) == [node.node_id for node in nodes[:10]]
    asyncio.run(made.async_add(nodes[10:]))
    return made


def fields(node):
    return {**node.to_dict(), "embedding": None}


def test_nodes_come_back_whole(store, nodes):
    ids = [node.node_id for node in nodes]
    again = store.get_nodes(ids[::-1])
    assert [type(node) for node in again] == [type(node) for node in nodes[::-1]]
    assert [fields(node) for node in again] == [fields(node) for node in nodes[::-1]]
    assert {node.node_id for node in store.get_nodes()} == set(ids)
    assert asyncio.run(store.aget_nodes(["node 3", "no"]))[0].ref_doc_id == "document 0"


def near(nodes, query, ids):
    vectors = np.array([node.embedding for node in nodes if node.node_id in ids])
    names = [node.node_id for node in nodes if node.node_id in ids]
    scores = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    return [names[place] for place in np.argsort(-scores)], np.sort(scores)[::-1]


def test_queries(store, nodes):
    query = clustered(1, D, seed=5)[0]
    result = store.query(VectorStoreQuery(query_embedding=query.tolist(), similarity_top_k=5))
    ids, scores = near(nodes[:-1], query, {node.node_id for node in nodes[:-1]})
    assert [id_ for id_ in result.ids if id_ != "node i"][:4] == ids[:4]
    assert [node.node_id for node in result.nodes] == result.ids
    few = VectorStoreQuery(query_embedding=query.tolist(), similarity_top_k=50, doc_ids=["document 1", "document 3"])
    result = asyncio.run(store.aquery(few))
    ids, scores = near(nodes, query, {f"node {row}" for row in [*range(6, 12), *range(18, 24)]})
    assert result.ids == ids
    assert result.similarities == pytest.approx(scores.tolist(), abs=1e-5)
    some = VectorStoreQuery(query_embedding=query.tolist(), similarity_top_k=50, node_ids=["node 3", "node 8", "no"])
    assert set(store.query(some).ids) == {"node 3", "node 8"}


@pytest.mark.parametrize("operator", list(FilterOperator))
def test_filters_select_what_llama_index_selects(store, nodes, operator):
    lookup = {node.node_id: node.metadata for node in nodes}
    values = {
        "year": [1993, 1990, 2500],
        "kind": ["odd", "", "no"],
        "score": [2.5, 3],
        "tags": ["a", "c"],
        "nothing": ["x", 3],
    }
    if operator in {FilterOperator.IN, FilterOperator.NIN}:
        values = {"year": [[1993, 1994], []], "kind": [["odd"], ["odd", ""]], "nothing": [["x"]]}
    elif operator in {FilterOperator.ANY, FilterOperator.ALL}:
        values = {"tags": [["a", "c"], ["b"], ["x"]], "nothing": [["x"]]}
    elif operator in {FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE}:
        values = {"kind": ["OD", "d", "even"], "nothing": ["x"]}
    elif operator == FilterOperator.CONTAINS:
        values = {"tags": ["a", "c", "x"], "kind": ["d"], "nothing": ["x"]}
    elif operator == FilterOperator.IS_EMPTY:
        values = {key: [None] for key in values}
    else:
        values.pop("tags")  # equality of lists
    for key, each in values.items():
        for value in each:
            for condition in FilterCondition:
                filters = MetadataFilters(
                    filters=[
                        MetadataFilter(key=key, value=value, operator=operator),
                        MetadataFilter(key="year", value=2003, operator=FilterOperator.NE),
                    ],
                    condition=condition,
                )
                passes = build_metadata_filter_fn(lookup.get, filters)
                expected = {id_ for id_ in lookup if passes(id_)}
                assert {node.node_id for node in store.get_nodes(filters=filters)} == expected, (key, value, condition)


def test_nested_filters(store):
    inner = MetadataFilters(
        filters=[
            MetadataFilter(key="year", value=1992, operator=FilterOperator.LT),
            MetadataFilter(key="year", value=2011, operator=FilterOperator.GT),
        ],
        condition=FilterCondition.OR,
    )
    filters = MetadataFilters(filters=[inner, MetadataFilter(key="kind", value="odd")])
    assert {node.node_id for node in store.get_nodes(filters=filters)} == {"node 1", "node 23"}
    assert {node.node_id for node in store.get_nodes(["node 1", "node 2"], filters)} == {"node 1"}


def test_mmr(store):
    """LlamaIndex's own compares with the last choice only; this is that of the index, which compares with all."""
    query = clustered(1, D, seed=5)[0]
    for threshold in (0.9, 0.4):
        asked = VectorStoreQuery(
            query_embedding=query.tolist(), similarity_top_k=5, mode=VectorStoreQueryMode.MMR, mmr_threshold=threshold
        )
        expected = store.client.search_diverse(query, k=5, diversity=1 - threshold, candidates=20).ids[0].tolist()
        assert store.query(asked).ids == expected
        wider = store.client.search_diverse(query, k=5, diversity=1 - threshold, candidates=25).ids[0].tolist()
        assert store.query(asked, candidates=25).ids == wider


def test_nodes_are_replaced_and_deleted(nodes):
    store = VsearchVectorStore(new_url(), create_options={"metric": "l2"})
    store.add(nodes)
    similarities = store.query(VectorStoreQuery(query_embedding=nodes[3].embedding, similarity_top_k=3)).similarities
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] == pytest.approx(1, abs=0.02)
    store.add([TextNode(id_="node 3", text="other", embedding=nodes[3].embedding)])
    assert store.get_nodes(["node 3"])[0].text == "other"
    assert store.client.count() == 25
    store.delete("document 1")
    asyncio.run(store.adelete("no such document"))
    assert store.client.count() == 19
    store.delete_nodes(["node 0", "node 1", "no"])
    store.delete_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="kind", value="odd")]))
    asyncio.run(store.adelete_nodes(["node 2"]))
    store.delete_nodes()
    with pytest.raises(vsearch.InputError, match="would delete all nodes"):
        store.delete_nodes(filters=MetadataFilters(filters=[]))
    left = {node.node_id for node in store.get_nodes()}
    expected = {
        "node i",
        "node 3",
        "node 4",
        "node 5",
        *(f"node {row}" for row in range(12, 24) if row % 2 == 0 or row % 5 == 0),
    }
    assert left == expected
    asyncio.run(store.aclear())
    assert store.get_nodes() == []


def test_unusable_queries_are_refused(store):
    for query in (
        VectorStoreQuery(query_embedding=None),
        VectorStoreQuery(query_embedding=[1.0] * D, mode=VectorStoreQueryMode.HYBRID),
        VectorStoreQuery(query_embedding=[1.0] * (D + 1)),
    ):
        with pytest.raises(vsearch.InputError):
            store.query(query)


def test_an_index_that_was_built_otherwise():
    url, vectors = new_url(), clustered(20, D)
    vsearch.build(vectors, url, {"_text": [f"body {i}" for i in range(20)], "year": np.arange(20)})
    node = (
        VsearchVectorStore(url)
        .query(VectorStoreQuery(query_embedding=vectors[3].tolist(), similarity_top_k=1))
        .nodes[0]
    )
    assert (node.node_id, node.text, node.metadata) == ("3", "body 3", {"year": 3})
