"""Haystack: a document store and its retriever.

>>> store = VsearchDocumentStore("s3://bucket/index", embedding_dim=384)  # doctest: +SKIP
>>> pipeline.add_component("retriever", VsearchEmbeddingRetriever(store))  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy, FilterPolicy, apply_filter_policy

from vsearch.errors import InputError
from vsearch.integrations.haystack_documents import (
    EMBEDDED,
    MISFITS,
    WHOLE,
    HaystackIndex,
    is_list,
    to_document,
    to_metadata,
)
from vsearch.integrations.haystack_filters import to_expression
from vsearch.metrics import smaller_is_better
from vsearch.predicates import col
from vsearch.predicates.expressions import Constant


class VsearchDocumentStore:
    """Documents in a vsearch index.

    Filters have exactly the semantics of Haystack. They are evaluated by the index if a field has values of one type, and document by
    document for values of other types than the first, lists and dicts.

    Parameters
    ----------
    url : str
        URL of the index; if it does not exist, the first documents create it.
    embedding_dim : int
        Dimensions of the embeddings, for a new index: documents may come without any.
    create_options : dict, optional
        Options of `vsearch.create` for a new index. By default embeddings are kept as float32 (``{"rerank": "float32"}``), so
        that they are returned unchanged except for rounding.
    **options
        As for `vsearch.open`: ``refresh`` and options of the store.
    """

    def __init__(
        self, url: str, embedding_dim: int = 768, create_options: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self._url, self._dimensions, self._create, self._options = url, embedding_dim, create_options, options
        defaults = {"rerank": "float32", **(create_options or {})}
        self._documents = HaystackIndex(url, create_options=defaults, **options)

    @property
    def index(self) -> Any:
        """The open index; None before the first document."""
        return self._documents.index

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments as a dict, including options that are secret keys."""
        arguments = {"url": self._url, "embedding_dim": self._dimensions, "create_options": self._create}
        serialized: dict[str, Any] = default_to_dict(self, **arguments, **self._options)
        return serialized

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> VsearchDocumentStore:
        """Create a store from such a dict."""
        store: VsearchDocumentStore = default_from_dict(cls, data)
        return store

    def count_documents(self) -> int:
        """Return the number of documents."""
        return 0 if self.index is None else int(self.index.count())

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Return the documents that pass the filter, with their embeddings, by ascending id."""
        if self.index is None:
            return []
        stored = self._documents.list_documents(self._where(filters))
        vectors = self.index.vectors(self._documents.as_ids([document.id for document in stored])).vectors
        return [to_document(document, vector) for document, vector in zip(stored, vectors, strict=True)]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write documents; return how many. NONE means FAIL.

        Raises
        ------
        DuplicateDocumentError
            A document with the same id exists, and the policy is FAIL. Nothing was written.
        InputError
            An element is not a document, or an embedding has the wrong number of dimensions.
        """
        if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
            raise InputError("documents must be a list of haystack Documents")
        unique = {
            document.id: document
            for document in (documents if policy == DuplicatePolicy.OVERWRITE else documents[::-1])
        }
        if policy != DuplicatePolicy.OVERWRITE:
            known = {document.id for document in self._documents.get(list(unique))}
            if policy != DuplicatePolicy.SKIP and (known or len(unique) < len(documents)):
                counts: dict[str, int] = {}
                for document in documents:
                    counts[document.id] = counts.get(document.id, 0) + 1
                twice = sorted(known) or [id_ for id_, count in counts.items() if count > 1]
                raise DuplicateDocumentError(f"documents with these ids exist: {', '.join(twice[:5])}")
            unique = {id_: document for id_, document in reversed(unique.items()) if id_ not in known}
        written = list(unique.values())
        lengths = [
            None if document.embedding is None else float(np.linalg.norm(document.embedding)) for document in written
        ]
        vectors = [[0.0] * self._width if document.embedding is None else document.embedding for document in written]
        widths = sorted({len(vector) for vector in vectors})
        if len(widths) > 1:
            raise InputError(
                f"embeddings must have the {self._width} dimensions of the index or of embedding_dim, got {widths[0]} to {widths[-1]}"
            )
        metadatas = [to_metadata(document, length) for document, length in zip(written, lengths, strict=True)]
        self._documents.put(
            [document.id for document in written], [document.content or "" for document in written], metadatas, vectors
        )
        return len(written)

    @property
    def _width(self) -> int:
        return self._dimensions if self.index is None else int(self.index.info()["dimensions"])

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents by id; unknown ids are ignored."""
        self._documents.delete(document_ids)

    def delete_all_documents(self, recreate_index: bool = False) -> None:
        """Delete all documents; with `recreate_index` also the fields of their meta, which may then have other types."""
        self._documents.delete(where=Constant(value=True))
        if recreate_index:
            self._documents.drop_fields()

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete the documents that pass; return how many."""
        return 0 if self.index is None else self._documents.delete(where=self._condition(filters))

    def update_by_filter(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set fields of the meta of the documents that pass; return how many. Embeddings stay."""
        stored = [] if self.index is None else self._documents.list_documents(self._condition(filters))
        self._documents.replace_metadata(
            [document.id for document in stored], [document.metadata | meta for document in stored]
        )
        return len(stored)

    def count_documents_by_filter(self, filters: dict[str, Any]) -> int:
        """Return the number of documents that pass."""
        return 0 if self.index is None else int(self.index.count(self._where(filters)))

    def count_unique_metadata_by_filter(self, filters: dict[str, Any], metadata_fields: list[str]) -> dict[str, int]:
        """Return for each field the number of distinct values among the documents that pass."""
        return {field.removeprefix("meta."): len(self._values(field, filters)) for field in metadata_fields}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return the fields and the types of their attributes."""
        return {name: {"type": kind} for name, kind in self._documents.types.items() if not name.startswith("_")}

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return the minimum and maximum of a field over the values of its attribute's type; None if there are none."""
        name = metadata_field.removeprefix("meta.")
        types = self._documents.types
        if name not in types or is_list(types[name]):
            return {"min": None, "max": None}
        least, greatest = self.index.min_max(name)
        return {"min": least, "max": greatest}

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int | None = 10,
        filters: dict[str, Any] | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of the distinct values of a field, and their total number; values of different types are distinct.

        Parameters
        ----------
        search_term : str, optional
            Only return values that contain it, ignoring case.
        from_, size : int
        """
        values = self._values(metadata_field, filters)
        if search_term:
            values = [value for value in values if search_term.lower() in str(value).lower()]
        ordered = sorted(values, key=lambda value: (isinstance(value, str), type(value).__name__, value))
        return ordered[from_ : None if size is None else from_ + size], len(values)

    def _values(self, field: str, filters: dict[str, Any] | None) -> list[Any]:
        """Return the distinct values of a field that are not lists or dicts, among the documents that pass."""
        name, types = field.removeprefix("meta."), self._documents.types
        if self.index is None:
            return []
        where = self._where(filters)
        values: list[Any] = []
        if name in types and not is_list(types[name]):
            is_integer = col(WHOLE).contains(name)
            parts = [(is_integer, int), (~is_integer, float)] if types[name] == "float64" else [(None, None)]
            for part, kind in parts:
                conditions = [condition for condition in (where, part) if condition is not None]
                selected = (
                    None if not conditions else conditions[0] if len(conditions) == 1 else conditions[0] & conditions[1]
                )
                stored_values = [
                    value for value in self.index.facet(name, selected)["value"].to_pylist() if value is not None
                ]
                values += stored_values if kind is None else [kind(value) for value in stored_values]
        misfit = col(MISFITS).contains(name)
        others = self._documents.list_documents(misfit if where is None else where & misfit)
        others_values = [
            document.metadata[name] for document in others if not isinstance(document.metadata[name], (list, dict))
        ]
        return values + list({(type(value), value): value for value in others_values}.values())

    def embedding_retrieval(
        self, query_embedding: list[float], filters: dict[str, Any] | None = None, top_k: int = 10, **options: Any
    ) -> list[Document]:
        """Return the nearest documents that have embeddings, with scores: similarities, under l2 negated squared distances.

        Options are those of `vsearch.Index.search`; ``diversity`` and ``candidates`` make it `search_diverse`.
        """
        if self.index is None or not top_k:
            return []
        where = self._where(filters)
        embedded = col(EMBEDDED) == True  # noqa: E712  an expression
        results = self._documents.search(
            query_embedding, top_k, embedded if where is None else where & embedded, vectors=True, **options
        )
        sign = -1 if smaller_is_better(self._documents.metric) else 1
        return [to_document(result, result.vector, sign * result.score) for result in results]

    def _where(self, filters: dict[str, Any] | None) -> Any:
        return to_expression(filters, self._documents) if filters else None

    def _condition(self, filters: dict[str, Any]) -> Any:
        if not filters:
            raise InputError("filters must not be empty; delete_all_documents deletes all documents")
        return self._where(filters)

    async def count_documents_async(self) -> int:
        """`count_documents` in a thread."""
        return await asyncio.to_thread(self.count_documents)

    async def filter_documents_async(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """`filter_documents` in a thread."""
        return await asyncio.to_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """`write_documents` in a thread."""
        return await asyncio.to_thread(self.write_documents, documents, policy)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """`delete_documents` in a thread."""
        await asyncio.to_thread(self.delete_documents, document_ids)

    async def delete_all_documents_async(self, recreate_index: bool = False) -> None:
        """`delete_all_documents` in a thread."""
        await asyncio.to_thread(self.delete_all_documents, recreate_index)

    async def delete_by_filter_async(self, filters: dict[str, Any]) -> int:
        """`delete_by_filter` in a thread."""
        return await asyncio.to_thread(self.delete_by_filter, filters)

    async def update_by_filter_async(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """`update_by_filter` in a thread."""
        return await asyncio.to_thread(self.update_by_filter, filters, meta)

    async def count_documents_by_filter_async(self, filters: dict[str, Any]) -> int:
        """`count_documents_by_filter` in a thread."""
        return await asyncio.to_thread(self.count_documents_by_filter, filters)

    async def count_unique_metadata_by_filter_async(
        self, filters: dict[str, Any], metadata_fields: list[str]
    ) -> dict[str, int]:
        """`count_unique_metadata_by_filter` in a thread."""
        return await asyncio.to_thread(self.count_unique_metadata_by_filter, filters, metadata_fields)

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """`get_metadata_fields_info` in a thread."""
        return await asyncio.to_thread(self.get_metadata_fields_info)

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """`get_metadata_field_min_max` in a thread."""
        return await asyncio.to_thread(self.get_metadata_field_min_max, metadata_field)

    async def get_metadata_field_unique_values_async(self, *arguments: Any, **options: Any) -> tuple[list[Any], int]:
        """`get_metadata_field_unique_values` in a thread."""
        return await asyncio.to_thread(self.get_metadata_field_unique_values, *arguments, **options)

    async def embedding_retrieval_async(self, *arguments: Any, **options: Any) -> list[Document]:
        """`embedding_retrieval` in a thread."""
        return await asyncio.to_thread(self.embedding_retrieval, *arguments, **options)


@component
class VsearchEmbeddingRetriever:
    """Retrieves documents by their embeddings.

    Parameters
    ----------
    document_store : VsearchDocumentStore
    filters : dict, optional
    top_k : int
    filter_policy : FilterPolicy
        Whether filters of a run replace these or are merged with them.
    diversity : float, optional
        Return documents that are unlike each other; see `vsearch.Index.search_diverse`.
    """

    def __init__(
        self,
        document_store: VsearchDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        filter_policy: FilterPolicy | str = FilterPolicy.REPLACE,
        diversity: float | None = None,
    ) -> None:
        if not isinstance(document_store, VsearchDocumentStore):
            raise InputError(f"document_store must be a VsearchDocumentStore, got {document_store!r:.100}")
        self.document_store, self.filters, self.top_k, self.diversity = document_store, filters or {}, top_k, diversity
        policy = filter_policy if isinstance(filter_policy, FilterPolicy) else FilterPolicy.from_str(filter_policy)
        self.filter_policy = policy

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments as a dict."""
        serialized: dict[str, Any] = default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            filter_policy=self.filter_policy.value,
            diversity=self.diversity,
        )
        return serialized

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> VsearchEmbeddingRetriever:
        """Create a retriever from such a dict."""
        parameters = {**data["init_parameters"]}
        parameters["document_store"] = VsearchDocumentStore.from_dict(parameters["document_store"])
        retriever: VsearchEmbeddingRetriever = default_from_dict(cls, {**data, "init_parameters": parameters})
        return retriever

    @component.output_types(documents=list[Document])
    def run(
        self, query_embedding: list[float], filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Retrieve documents; `filters` and `top_k` override or complement those of the retriever."""
        merged = apply_filter_policy(self.filter_policy, self.filters, filters)
        most = self.top_k if top_k is None else top_k
        options = {} if self.diversity is None else {"diversity": self.diversity}
        return {"documents": self.document_store.embedding_retrieval(query_embedding, merged, most, **options)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query_embedding: list[float], filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """`run` in a thread."""
        return await asyncio.to_thread(self.run, query_embedding, filters, top_k)
