"""PyLate: an index of ColBERT-style documents, for its retrievers.

>>> index = VsearchIndex("s3://bucket/index")  # doctest: +SKIP
>>> index.add_documents(ids, model.encode(documents, is_query=False))  # doctest: +SKIP
>>> pylate.retrieve.ColBERT(index=index).retrieve(model.encode(queries, is_query=True), k=10)  # doctest: +SKIP

It has the methods of `pylate.indexes.Base`, and imports neither PyLate nor torch: any multi-vector encoder works.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.api.build_and_open import build_documents
from vsearch.api.build_and_open import open as open_index
from vsearch.errors import IndexNotFoundError, InputError
from vsearch.integrations.documents import row_id_of
from vsearch.integrations.tensors import as_array
from vsearch.predicates import col

if TYPE_CHECKING:
    from numpy.typing import NDArray


class VsearchIndex:
    """Multi-vector documents in a vsearch index, which the first call of `add_documents` builds.

    Parameters
    ----------
    url : str
        URL of the index, or of functions that search an existing one.
    override : bool
        Replace an existing index with the first documents that are added.
    build_options : dict, optional
        Options of `vsearch.build_documents`, such as ``{"codebook": 1024}``.
    candidates : int or "all", optional
        Documents that each shard scores, as for `vsearch.Index.search_documents`.
    **options
        As for `vsearch.open`: ``refresh`` and options of the store.
    """

    is_end_to_end_index = True

    def __init__(
        self,
        url: str,
        override: bool = False,
        build_options: dict[str, Any] | None = None,
        candidates: int | str | None = None,
        **options: Any,
    ) -> None:
        self._url, self._override, self._build, self._options = url, override, dict(build_options or {}), options
        self._candidates = candidates
        self._index: Any = None
        if not override:
            with suppress(IndexNotFoundError):
                self._index = open_index(url, **options)

    @property
    def index(self) -> Any:
        """The open index; None before the first document."""
        return self._index

    def add_documents(
        self, documents_ids: str | list[str], documents_embeddings: Any, batch_size: int = 0, **_more: Any
    ) -> VsearchIndex:
        """Add documents, replacing those with the same ids.

        Parameters
        ----------
        documents_ids : list of str
        documents_embeddings : list of (n, d) arrays or tensors, or one array (documents, n, d)
        batch_size
            Ignored: all documents are added in one commit.

        Raises
        ------
        InputError
            The numbers of ids and documents differ, or the vectors are invalid.
        """
        del batch_size
        ids = [documents_ids] if isinstance(documents_ids, str) else [str(id_) for id_ in documents_ids]
        matrices = _matrices(documents_embeddings)
        if len(ids) != len(matrices):
            raise InputError(f"each document needs an id, got {len(ids)} ids and {len(matrices)} documents")
        last = sorted({id_: place for place, id_ in enumerate(ids)}.values())
        ids, matrices = [ids[place] for place in last], [matrices[place] for place in last]
        if not ids:
            return self
        if self._index is None:
            options = {name: value for name, value in self._options.items() if name != "refresh"}
            build_documents(matrices, None, self._url, ids=ids, overwrite=self._override, **self._build, **options)
            self._index = open_index(self._url, **self._options)
        else:
            self._index.upsert(matrices, ids=ids)
        return self

    def update_documents(self, documents_ids: list[str], documents_embeddings: Any) -> VsearchIndex:
        """Replace documents: the same as `add_documents`."""
        return self.add_documents(documents_ids, documents_embeddings)

    def remove_documents(self, documents_ids: list[str]) -> VsearchIndex:
        """Remove documents; unknown ids are ignored."""
        if self._index is not None:
            self._index.delete([str(id_) for id_ in documents_ids])
        return self

    def __call__(
        self, queries_embeddings: Any, k: int = 10, subset: Sequence[str] | Sequence[Sequence[str]] | None = None
    ) -> list[list[dict[str, Any]]]:
        """Return for each query the best documents, each a dict with ``id`` and ``score`` (MaxSim).

        Parameters
        ----------
        queries_embeddings : list of (n, d) arrays or tensors, or one array (queries, n, d) or (n, d)
        k : int
        subset : list of str, or a list of these per query, optional
            Ids of the documents to search.

        Raises
        ------
        InputError
            The index is empty, or a query is invalid.
        """
        if self._index is None:
            raise InputError("the index is empty: add documents before searching")
        queries = _matrices(queries_embeddings)
        if subset is not None and len(subset) and not isinstance(subset[0], str):
            if len(subset) != len(queries):
                raise InputError(f"subset must have a list for each of the {len(queries)} queries, got {len(subset)}")
            parts = zip(queries, subset, strict=True)
            return [ranking for query, ids in parts for ranking in self._search([query], k, ids)]
        return self._search(queries, k, subset)

    def _search(self, queries: list[NDArray[Any]], k: int, ids: Any) -> list[list[dict[str, Any]]]:
        if not queries:
            return []
        where = None
        if ids is not None:
            if not len(ids):
                return [[] for _ in queries]
            where = col(row_id_of(self._index.info()["attributes"])).is_in([str(id_) for id_ in ids])
        hits = self._index.search_documents(queries, k, where, candidates=self._candidates)
        return [[{"id": hit.id, "score": hit.score} for hit in query_hits] for query_hits in hits]

    def get_documents_embeddings(self, documents_ids: list[list[str]]) -> list[list[NDArray[np.float32]]]:
        """Return the vectors of documents, for lists of ids: as decoded from the index, see `vsearch.Index.document_vectors`.

        Raises
        ------
        InputError
            A document does not exist.
        """
        if self._index is None:
            raise InputError("the index is empty: add documents first")
        return [list(self._index.document_vectors([str(id_) for id_ in ids]).vectors) for ids in documents_ids]


def _matrices(embeddings: Any) -> list[NDArray[Any]]:
    """Return embeddings as one matrix per document or query."""
    if hasattr(embeddings, "detach"):
        embeddings = as_array(embeddings)
    if isinstance(embeddings, np.ndarray):
        if embeddings.ndim not in (2, 3):
            raise InputError(f"embeddings must have the shape (n, d) or (documents, n, d), got {embeddings.shape}")
        return list(embeddings) if embeddings.ndim == 3 else [embeddings]
    arrays = [np.asarray(as_array(embedding)) for embedding in embeddings]
    if arrays and all(embedding.ndim == 1 for embedding in arrays):
        return [np.stack(arrays)]
    return arrays
