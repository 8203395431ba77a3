"""LangChain: a vector store, and a translator of structured queries.

>>> store = VsearchVectorStore(embedding, "s3://bucket/index")  # doctest: +SKIP
>>> store.add_texts(["first text"], [{"year": 2024}])  # doctest: +SKIP
>>> store.similarity_search("query", k=3, filter="year > 2020")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import exp, sqrt
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery, Visitor
from langchain_core.vectorstores import VectorStore

from vsearch.errors import InputError
from vsearch.integrations.documents import DocumentIndex, StoredDocument
from vsearch.predicates import col

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

    from vsearch.predicates import Expression, Where


class VsearchVectorStore(VectorStore):
    """Documents in a vsearch index.

    Metadata are returned unchanged, and must be JSON-serializable. Filters (``filter=``) are SQL, dicts or expressions, as everywhere in
    vsearch, and apply to strings, numbers, booleans and lists of these, as attributes of the same name.

    Parameters
    ----------
    embedding : Embeddings
    url : str
        URL of the index; if it does not exist, the first documents create it. The URL of functions works for an existing index.
    text : str
        The attribute with the texts, for an index that was not built by this adapter.
    create_options : dict, optional
        Options of `vsearch.create` for a new index, such as ``{"metric": "l2"}``.
    **options
        As for `vsearch.open`: ``refresh`` and options of the store.
    """

    def __init__(
        self,
        embedding: Embeddings,
        url: str,
        *,
        text: str = "_text",
        create_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._embedding = embedding
        self._documents = DocumentIndex(url, text, create_options=create_options, **options)

    @property
    def embeddings(self) -> Embeddings:
        """The embedding model."""
        return self._embedding

    @property
    def index(self) -> Any:
        """The open index; None before the first document."""
        return self._documents.index

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **_more: Any,
    ) -> list[str]:
        """Add texts, replacing those with the same ids; return the ids."""
        listed = list(texts)
        return self._put(listed, metadatas, ids, self._embedding.embed_documents(listed) if listed else [])

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **_more: Any,
    ) -> list[str]:
        """`add_texts`, with the model's asynchronous method."""
        from asyncio import to_thread

        listed = list(texts)
        vectors = await self._embedding.aembed_documents(listed) if listed else []
        return await to_thread(self._put, listed, metadatas, ids, vectors)

    def _put(
        self, texts: list[str], metadatas: list[dict[str, Any]] | None, ids: Sequence[str | None] | None, vectors: Any
    ) -> list[str]:
        row_ids = [None] * len(texts) if ids is None else list(ids)
        of_texts = [metadata or {} for metadata in metadatas or [{}] * len(texts)]
        if not len(row_ids) == len(of_texts) == len(texts) == len(vectors):
            counts = f"{len(texts)} texts, {len(of_texts)} metadatas, {len(row_ids)} ids and {len(vectors)} vectors"
            raise InputError(f"there must be one metadata dict, id and vector per text, got {counts}")
        known = [str(uuid4()) if id_ is None else str(id_) for id_ in row_ids]
        self._documents.put(known, texts, of_texts, vectors)
        return known

    def delete(self, ids: list[str] | None = None, *, filter: Where = None, **_more: Any) -> bool:
        """Delete documents by id or filter; unknown ids are ignored."""
        self._documents.delete(ids, filter)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return documents by id; unknown ids are skipped."""
        return [_document(stored) for stored in self._documents.get(ids)]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Return the nearest documents to a text; `filter` and other options as for `vsearch.Index.search`."""
        return self.similarity_search_by_vector(self._embedding.embed_query(query), k, **options)

    async def asimilarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """`similarity_search`, with the model's asynchronous method."""
        return await self.asimilarity_search_by_vector(await self._embedding.aembed_query(query), k, **options)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **options: Any) -> list[Document]:
        """Return the nearest documents to a vector."""
        return [_document(result) for result in self._search(embedding, k, **options)]

    def similarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> list[tuple[Document, float]]:
        """Return the nearest documents with their scores: similarities, under l2 squared distances."""
        return self.similarity_search_with_score_by_vector(self._embedding.embed_query(query), k, **options)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """`similarity_search_with_score`, with the model's asynchronous method."""
        from asyncio import to_thread

        vector = await self._embedding.aembed_query(query)
        return await to_thread(self.similarity_search_with_score_by_vector, vector, k, **options)

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return the nearest documents to a vector with their scores."""
        return [(_document(result), result.score) for result in self._search(embedding, k, **options)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return documents that are near a text and unlike each other; `lambda_mult` is 1 - diversity."""
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **options)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """`max_marginal_relevance_search`, with the model's asynchronous method."""
        vector = await self._embedding.aembed_query(query)
        return await self.amax_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **options)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return documents that are near a vector and unlike each other."""
        diverse: dict[str, Any] = {"diversity": 1 - lambda_mult, "candidates": max(k, fetch_k)}
        return [_document(result) for result in self._search(embedding, k, **diverse, **options)]

    def _search(self, vector: list[float], k: int, *, filter: Where = None, **options: Any) -> list[StoredDocument]:
        if callable(filter):
            raise InputError(
                "filter must be SQL, a dict or an expression, got a function, which the index cannot evaluate"
            )
        return self._documents.search(vector, k, filter, **options)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Scores from 0 to 1: for cosine (1 + s) / 2, for ip 1 / (1 + exp(-s)), otherwise 1 / (1 + distance)."""
        return {"cosine": _of_cosine, "ip": _of_product}.get(self._documents.metric, _of_distance)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        url: str | None = None,
        **options: Any,
    ) -> VsearchVectorStore:
        """Create a store at a `url`, and add texts."""
        if url is None:
            raise InputError("url must be that of the index, such as 'folder' or 's3://bucket/prefix', got None")
        store = cls(embedding, url, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store


def _document(stored: StoredDocument) -> Document:
    return Document(id=stored.id, page_content=stored.text, metadata=stored.metadata)


def _of_cosine(score: float) -> float:
    return min(max((1 + score) / 2, 0.0), 1.0)


def _of_product(score: float) -> float:
    return 1 / (1 + exp(-score)) if score > 0 else exp(score) / (1 + exp(score))


def _of_distance(score: float) -> float:
    return 1 / (1 + sqrt(max(score, 0.0)))


class VsearchTranslator(Visitor):
    """Translates LangChain's structured queries, as of a self-query retriever, to filters."""

    allowed_comparators: ClassVar[Sequence[Comparator]] = tuple(Comparator)
    allowed_operators: ClassVar[Sequence[Operator]] = tuple(Operator)

    def visit_operation(self, operation: Operation) -> Expression:
        """Translate AND, OR and NOT."""
        terms: list[Any] = [argument.accept(self) for argument in operation.arguments]
        if not terms:
            raise InputError(f"{operation.operator} has no arguments")
        result = terms[0]
        for term in terms[1:]:
            result = result | term if operation.operator == Operator.OR else result & term
        return ~result if operation.operator == Operator.NOT else result

    def visit_comparison(self, comparison: Comparison) -> Expression:
        """Translate a comparison with a value; times are compared as text."""
        column, value = col(comparison.attribute), comparison.value
        if isinstance(value, dict):  # a date or time, with its type
            value = value.get("date") or value.get("datetime")
        make: dict[Comparator, Callable[[], Any]] = {
            Comparator.EQ: lambda: column == value,
            Comparator.NE: lambda: column != value,
            Comparator.GT: lambda: column > value,
            Comparator.GTE: lambda: column >= value,
            Comparator.LT: lambda: column < value,
            Comparator.LTE: lambda: column <= value,
            Comparator.CONTAIN: lambda: column.contains(value),
            Comparator.LIKE: lambda: column.like(value),
            Comparator.IN: lambda: column.is_in(value),
            Comparator.NIN: lambda: column.not_in(value),
        }
        expression: Expression = make[comparison.comparator]()
        return expression

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return the text of the query, and the options of a search."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}
