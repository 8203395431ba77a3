"""Check the multi-vector queries and the options of a document search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.multivector.search import CANDIDATES, DocumentRequest, check_query, prune_query
from vsearch.storage import DocumentsEntry

LARGEST_CANDIDATES = 1_000_000


def check_request(
    entry: DocumentsEntry | None,
    k: int,
    candidates: int | str | None,
    *,
    exact: bool,
    deadline: float | None,
) -> DocumentRequest:
    """Check the options of a search and return them as a request.

    Parameters
    ----------
    entry : DocumentsEntry or None
        The manifest entry of the documents, if known.

    Raises
    ------
    InputError
        An option is invalid, or the index does not support it.
    """
    if exact and entry is not None and entry.store is None:
        msg = "this index stores no vectors for exact=True; build it with store='float16'"
        raise InputError(msg)
    if candidates is None:
        return DocumentRequest(k, max(k, CANDIDATES), exact=exact, deadline=deadline)
    if isinstance(candidates, str) and candidates == "all":
        return DocumentRequest(k, None, exact=exact, deadline=deadline)
    number = isinstance(candidates, (int, np.integer)) and not isinstance(candidates, bool)
    if not number or not 1 <= int(candidates) <= LARGEST_CANDIDATES:
        msg = f"candidates must be an integer from 1 to {LARGEST_CANDIDATES}, or 'all', got {candidates!r}"
        raise InputError(msg)
    return DocumentRequest(k, max(k, int(candidates)), exact=exact, deadline=deadline)


def prepare_queries(
    vectors: Any, saliency: Any, keep: float, dimensions: int | None
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.int64]]]:
    """Return queries as checked matrices, float32 (n, d), of their most salient vectors, and the positions of these.

    Parameters
    ----------
    dimensions : int or None
        None for the dimensions of the first query.

    Raises
    ------
    InputError
        The queries, their saliency or `keep` are invalid.
    """
    number = isinstance(keep, (int, float, np.number)) and not isinstance(keep, bool)
    if not number or not 0 < keep <= 1:
        msg = f"query_keep must be above 0 and at most 1, got {keep!r}"
        raise InputError(msg)
    if keep < 1 and saliency is None:
        msg = f"query_keep={keep} needs the saliency of each query vector; pass query_saliency="
        raise InputError(msg)
    unchecked = split_queries(vectors)
    if not unchecked:
        msg = "query vectors must contain at least one query"
        raise InputError(msg)
    if dimensions is None:
        dimensions = unchecked[0].shape[-1] if unchecked[0].ndim else 0
    queries = [check_query(query, dimensions, number) for number, query in enumerate(unchecked)]
    if saliency is None:
        return queries, [np.arange(len(query)) for query in queries]
    weights = _saliencies(saliency, queries)
    pruned = [prune_query(query, weight, keep) for query, weight in zip(queries, weights, strict=True)]
    return [query for query, _ in pruned], [places for _, places in pruned]


def split_queries(vectors: Any) -> list[NDArray[Any]]:
    """Split a matrix, a padded block, a list of either, or an encoder's output into one matrix (n, d) per query."""
    if isinstance(vectors, Mapping):
        names = [name for name in ("token_embeddings", "embeddings", "last_hidden_state") if name in vectors]
        if not names:
            msg = (
                "a mapping of query vectors must have token_embeddings, embeddings or last_hidden_state, "
                f"got {', '.join(map(str, vectors))}"
            )
            raise InputError(msg)
        block, mask = as_array(vectors[names[0]]), vectors.get("attention_mask")
        if mask is None or block.ndim != 3:
            return split_queries(block)
        flags = as_array(mask)
        if flags.shape != block.shape[:2]:
            msg = f"the attention mask must have the shape {block.shape[:2]} of the query vectors, got {flags.shape}"
            raise InputError(msg)
        return [query[kept != 0] for query, kept in zip(block, flags, strict=True)]
    if hasattr(vectors, "embeddings") and not isinstance(vectors, np.ndarray):
        return split_queries(vectors.embeddings)
    if isinstance(vectors, (list, tuple)) and not (vectors and isinstance(vectors[0], (list, tuple, int, float))):
        pieces = [as_array(item) for item in vectors]
        if pieces and all(piece.ndim == 1 for piece in pieces):  # vectors of one query
            return [as_array(np.stack(pieces))] if len({len(piece) for piece in pieces}) == 1 else pieces
        return [query for piece in pieces for query in (split_queries(piece) if piece.ndim == 3 else [piece])]
    array = as_array(vectors)
    if array.ndim == 3:
        # ColPali-style models pad with zero vectors
        return [query[(query != 0).any(axis=1)] for query in array]
    return [array]


def as_array(item: Any) -> NDArray[Any]:
    """Convert an array, a tensor (on any device, also of bfloat16) or nested lists to an array."""
    if hasattr(item, "detach") and hasattr(item, "cpu"):
        item = item.detach().cpu()
        item = item.float().numpy() if "bfloat16" in str(item.dtype) else item.numpy()
    try:
        return np.asarray(item)
    except (ValueError, TypeError) as error:
        msg = f"query vectors must be an array of numbers: {error}"
        raise InputError(msg) from error


def _saliencies(saliency: Any, queries: list[NDArray[np.float32]]) -> list[NDArray[Any]]:
    several = isinstance(saliency, (list, tuple)) and len(saliency) and np.ndim(as_array(saliency[0])) > 0
    parts = [as_array(part) for part in saliency] if several else [as_array(saliency)]
    if len(parts) != len(queries):
        msg = f"query_saliency must have one entry per query, got {len(parts)} for {len(queries)} queries"
        raise InputError(msg)
    for number, (part, query) in enumerate(zip(parts, queries, strict=True)):
        if part.shape != (len(query),) or part.dtype.kind not in "fiu" or not np.isfinite(part).all():
            msg = f"query_saliency of query {number} must be {len(query)} finite numbers, got {part.dtype} {part.shape}"
            raise InputError(msg)
    return parts
