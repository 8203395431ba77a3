"""Mining of training candidates: the results of a search of the live index, and the relevant rows that it missed."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vsearch.jpq.loss import Lists
from vsearch.jpq.pairs import Pairs
from vsearch.jpq.scoring import Documents, Parameters, rotate
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.vectors import search_vectors

Negatives = Literal["live", "static", "batch"]


def search_live(
    documents: Documents, parameters: Parameters, queries: NDArray[np.float32], k: int
) -> NDArray[np.int64]:
    """Return the best k rows, int64 (m, k), of the index with these parameters, for prepared queries (m, d)."""
    live = documents.live(parameters)
    request = SearchRequest(min(k, live.manifest.rows), live.settings)
    rotated = rotate(documents, parameters, queries)
    return search_vectors(live, rotated, request, None, SearchStats(), prepared=True).rows


def list_candidates(results: NDArray[np.int64], pairs: Pairs) -> Lists:
    """Return lists of the search results (m, k), followed by the relevant rows that they miss."""
    relevant = pairs.padded()
    hit = results[:, :, None] == relevant[:, None, :]
    missed = np.where(hit.any(axis=1) | (relevant < 0), -1, relevant)
    rows = np.concatenate([results, missed], axis=1)
    positions = np.broadcast_to(np.arange(1, rows.shape[1] + 1), rows.shape)
    return Lists(rows, np.concatenate([hit.any(axis=2), missed >= 0], axis=1), positions)


def list_batch(documents: Documents, parameters: Parameters, pairs: Pairs) -> Lists:
    """Return lists of the relevant rows of all queries of a batch (in-batch negatives), without a search."""
    rows = np.broadcast_to(np.unique(pairs.rows), (len(pairs), len(np.unique(pairs.rows))))
    scores = documents.scores(parameters, rotate(documents, parameters, pairs.queries), np.ascontiguousarray(rows))
    order = np.argsort(-scores, axis=1, kind="stable")
    return list_candidates(np.take_along_axis(rows, order, axis=1), pairs)
