"""Semantic search with the interface of sentence-transformers: embeddings in, lists of ``corpus_id`` and ``score`` out.

>>> corpus = model.encode(sentences)  # doctest: +SKIP
>>> semantic_search(model.encode(questions), corpus, top_k=5)  # doctest: +SKIP

It takes the place of `sentence_transformers.util.semantic_search`, which scores everything in memory, and of ``semantic_search_faiss``. It imports neither
sentence-transformers nor torch: any embeddings work.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vsearch.api.build_and_open import build
from vsearch.api.build_and_open import open as open_index
from vsearch.checks import LARGEST_K, check_whole
from vsearch.errors import InputError
from vsearch.integrations.tensors import as_array

if TYPE_CHECKING:
    from vsearch.predicates import Where


def semantic_search(
    query_embeddings: Any,
    corpus: Any,
    top_k: int = 10,
    where: Where = None,
    *,
    columns: Sequence[str] = (),
    exact: bool = False,
    build_options: dict[str, Any] | None = None,
) -> list[list[dict[str, Any]]]:
    """Return the most similar rows of a corpus for each query.

    Parameters
    ----------
    query_embeddings : array or tensor (queries, d) or (d,), or list of these
        Or texts, if the corpus is an index that holds an encoder.
    corpus : vsearch.Index, str or path, or array or tensor (n, d)
        An open index, or its URL. Of embeddings, an index is built for this call, in a temporary folder, with their row numbers as ids; pass an index to search
        it again.
    top_k : int
        1 to 10,000. Fewer rows are returned if fewer match.
    where : str, dict or expression, optional
        A filter on the attributes of an index.
    columns : sequence of str
        Attributes that are returned with each row.
    exact : bool
        Score all rows. Without it, an index of embeddings reaches a recall of about 0.97.
    build_options : dict, optional
        For embeddings: options of `vsearch.build`, such as ``{"metric": "ip"}``, or ``{"metric": "hamming", "packed": True}`` for the precision ``"ubinary"``.

    Returns
    -------
    list of lists of dicts
        One list per query, best first, of dicts with ``corpus_id``, ``score`` and the columns.

    Raises
    ------
    InputError
        The embeddings or an option are invalid.
    PredicateError
        `where` is not a valid predicate on the attributes.
    """
    check_whole("top_k", top_k, LARGEST_K)
    queries = as_array(query_embeddings)
    if isinstance(corpus, str | os.PathLike) or hasattr(corpus, "search"):
        if build_options:
            raise InputError("build_options are for embeddings; this corpus is an index")
        index = open_index(corpus) if isinstance(corpus, str | os.PathLike) else corpus
        return _search(index, queries, top_k, where, columns=columns, exact=exact)
    options = {"metric": "cosine", **(build_options or {})}
    with TemporaryDirectory() as folder:
        index = build(as_array(corpus), f"{folder}/index", **options)
        return _search(index, queries, top_k, where, columns=columns, exact=exact)


def _search(index: Any, queries: Any, top_k: int, where: Where, **options: Any) -> list[list[dict[str, Any]]]:
    hits = index.search(queries, int(top_k), where, **options)
    return [[{"corpus_id": hit.id, "score": hit.score, **hit.values} for hit in query_hits] for query_hits in hits]
