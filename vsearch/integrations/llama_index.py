"""LlamaIndex: a vector store.

>>> store = VsearchVectorStore("s3://bucket/index")  # doctest: +SKIP
>>> index = VectorStoreIndex.from_vector_store(store)  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    FilterCondition,
    FilterOperator,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from vsearch.errors import InputError
from vsearch.integrations.documents import DocumentIndex, StoredDocument, row_id_of
from vsearch.metrics import smaller_is_better
from vsearch.predicates import col
from vsearch.predicates.expressions import And, Constant, Is, Or

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vsearch.predicates import Expression

DOCUMENT = "doc_id"
"""The attribute with the id of a node's document."""

OF_MISSING = {FilterOperator.NE, FilterOperator.NIN, FilterOperator.IS_EMPTY}
"""Operators that nodes without a value pass."""

CANDIDATES = 4
"""Nodes that MMR chooses from, per result, as in LlamaIndex."""


class VsearchVectorStore(BasePydanticVectorStore):
    """Nodes in a vsearch index.

    Nodes are returned with all their fields except the embedding. Filters apply to metadata that are strings, numbers, booleans and
    lists of these. Query modes are DEFAULT and MMR.

    Parameters
    ----------
    url : str
        URL of the index; if it does not exist, the first nodes create it. The URL of functions works for an existing index.
    create_options : dict, optional
        Options of `vsearch.create` for a new index, such as ``{"metric": "l2"}``.
    **options
        As for `vsearch.open`: ``refresh`` and options of the store.
    """

    stores_text: bool = True
    flat_metadata: bool = False

    _documents: DocumentIndex = PrivateAttr()

    def __init__(self, url: str, *, create_options: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__()
        self._documents = DocumentIndex(url, create_options=create_options, **options)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class."""
        return "VsearchVectorStore"

    @property
    def client(self) -> Any:
        """The open index; None before the first node."""
        return self._documents.index

    def add(self, nodes: Sequence[BaseNode], **_more: Any) -> list[str]:
        """Add nodes with their embeddings, replacing those with the same ids; return the ids."""
        ids = [node.node_id for node in nodes]
        texts = [node.get_content(metadata_mode=MetadataMode.NONE) or "" for node in nodes]
        metadatas = [node_to_metadata_dict(node, remove_text=True) for node in nodes]
        self._documents.put(ids, texts, metadatas, [node.get_embedding() for node in nodes])
        return ids

    async def async_add(self, nodes: Sequence[BaseNode], **more: Any) -> list[str]:
        """`add` in a thread."""
        return await asyncio.to_thread(self.add, nodes, **more)

    def delete(self, ref_doc_id: str, **_more: Any) -> None:
        """Delete the nodes of a document."""
        if DOCUMENT in self._documents.types:
            self._documents.delete(where=col(DOCUMENT) == ref_doc_id)

    async def adelete(self, ref_doc_id: str, **more: Any) -> None:
        """`delete` in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **more)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_more: Any
    ) -> None:
        """Delete nodes by id, by filters, or those that satisfy both."""
        if node_ids is not None or filters is not None:
            where = self._where(node_ids, filters)
            if where is None:
                raise InputError(
                    "filters must not be empty, which would delete all nodes; to delete them, call clear()"
                )
            self._documents.delete(where=where)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **more: Any
    ) -> None:
        """`delete_nodes` in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **more)

    def clear(self) -> None:
        """Delete all nodes."""
        self._documents.delete(where=Constant(value=True))

    async def aclear(self) -> None:
        """`clear` in a thread."""
        await asyncio.to_thread(self.clear)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes by id, in order, by filters, or those that satisfy both; all nodes without either."""
        if node_ids is not None and filters is None:
            return [_node(stored) for stored in self._documents.get(node_ids)]
        return [_node(stored) for stored in self._documents.list_documents(self._where(node_ids, filters))]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """`get_nodes` in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """Return the nearest nodes to an embedding.

        Similarities are the scores of the index, under l2 1 / (1 + squared distance). Options other than ``mmr_threshold`` (1 -
        diversity) are those of `vsearch.Index.search`.

        Raises
        ------
        InputError
            The query has no embedding, or its mode is neither DEFAULT nor MMR.
        """
        if query.query_embedding is None:
            raise InputError("the query must have an embedding, got None")
        threshold = options.pop("mmr_threshold", query.mmr_threshold)
        if query.mode == VectorStoreQueryMode.MMR:
            candidates = int(query.similarity_top_k * CANDIDATES)
            options = {"candidates": candidates, "diversity": 0.5 if threshold is None else 1 - threshold, **options}
        elif query.mode != VectorStoreQueryMode.DEFAULT:
            raise InputError(f"the query mode must be DEFAULT or MMR, got {query.mode}")
        where = self._where(query.node_ids, query.filters, query.doc_ids)
        results = self._documents.search(query.query_embedding, query.similarity_top_k, where, **options)
        distances = bool(results) and smaller_is_better(self._documents.metric)
        return VectorStoreQueryResult(
            nodes=[_node(result) for result in results],
            similarities=[1 / (1 + result.score) if distances else result.score for result in results],
            ids=[result.id for result in results],
        )

    async def aquery(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """`query` in a thread."""
        return await asyncio.to_thread(self.query, query, **options)

    def _where(
        self, ids: list[str] | None, filters: MetadataFilters | None, documents: list[str] | None = None
    ) -> Expression | None:
        types = self._documents.types
        terms: list[Any] = []
        if ids is not None:
            terms.append(col(row_id_of(types)).is_in(self._documents.as_ids(ids)))
        if documents is not None:
            terms.append(col(DOCUMENT).is_in(documents) if DOCUMENT in types else Constant(value=False))
        if filters is not None and filters.filters:
            terms.append(to_expression(filters, types))
        return And(tuple(terms)) if terms else None


def to_expression(filters: MetadataFilters, types: Mapping[str, str]) -> Expression:
    """Translate filters, which may be nested; `types` are those of the attributes.

    A node without a value passes only ``!=``, ``nin`` and ``is_empty``; NOT passes nodes that pass none of its filters.
    """
    terms: tuple[Any, ...] = tuple(
        to_expression(condition, types) if isinstance(condition, MetadataFilters) else _to_condition(condition, types)
        for condition in filters.filters
    )
    if filters.condition == FilterCondition.OR:
        return Or(terms)
    if filters.condition == FilterCondition.NOT:
        return ~Is(Or(terms), value=True)
    return And(terms)


def _to_condition(condition: Any, types: Mapping[str, str]) -> Any:
    operator, value = condition.operator, condition.value
    if condition.key not in types or (value is None and operator != FilterOperator.IS_EMPTY):
        return Constant(value=operator in OF_MISSING)
    column, kind = col(condition.key), types[condition.key]
    if operator == FilterOperator.IS_EMPTY:
        empty: Any = column.is_null()
        if kind.startswith("list<"):
            return empty | column.is_empty()
        return empty | (column == "") if kind == "string" else empty
    conditions: dict[Any, Callable[[], Any]] = {
        FilterOperator.EQ: lambda: column == value,
        FilterOperator.NE: lambda: (column != value) | column.is_null(),
        FilterOperator.GT: lambda: column > value,
        FilterOperator.GTE: lambda: column >= value,
        FilterOperator.LT: lambda: column < value,
        FilterOperator.LTE: lambda: column <= value,
        FilterOperator.IN: lambda: column.is_in(value),
        FilterOperator.NIN: lambda: column.not_in(value) | column.is_null(),
        FilterOperator.CONTAINS: lambda: column.contains(value),
        FilterOperator.ANY: lambda: column.contains_any(value),
        FilterOperator.ALL: lambda: column.contains_all(value),
        FilterOperator.TEXT_MATCH: lambda: column.contains(value),
        FilterOperator.TEXT_MATCH_INSENSITIVE: lambda: column.lower().contains(str(value).lower()),
    }
    if operator not in conditions:
        raise InputError(f"the operator {operator!r} is not supported")
    return conditions[operator]()


def _node(stored: StoredDocument) -> BaseNode:
    if "_node_content" not in stored.metadata:  # the index was not built by this adapter
        return TextNode(id_=stored.id, text=stored.text, metadata=stored.metadata)
    return metadata_dict_to_node(stored.metadata, text=stored.text)
