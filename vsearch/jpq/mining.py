"""Candidates to learn from: what a search of the live index brings up, and the rows that should have come first."""

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
    """The best k rows int64 (m, k) of the index as these parameters make it, for prepared queries (m, d)."""
    live = documents.live(parameters)
    request = SearchRequest(min(k, live.manifest.rows), live.settings)
    rotated = rotate(documents, parameters, queries)
    return search_vectors(live, rotated, request, None, SearchStats(), prepared=True).rows


def list_candidates(found: NDArray[np.int64], pairs: Pairs) -> Lists:
    """Lists of what was found (m, k), and behind it the relevant rows that were not."""
    relevant = pairs.padded()
    hit = found[:, :, None] == relevant[:, None, :]
    missed = np.where(hit.any(axis=1) | (relevant < 0), -1, relevant)
    rows = np.concatenate([found, missed], axis=1)
    positions = np.broadcast_to(np.arange(1, rows.shape[1] + 1), rows.shape)
    return Lists(rows, np.concatenate([hit.any(axis=2), missed >= 0], axis=1), positions)


def list_batch(documents: Documents, parameters: Parameters, pairs: Pairs) -> Lists:
    """Lists of the relevant rows of all queries of a batch: no search, each other's positives are the negatives."""
    rows = np.broadcast_to(np.unique(pairs.rows), (len(pairs), len(np.unique(pairs.rows))))
    scores = documents.scores(parameters, rotate(documents, parameters, pairs.queries), np.ascontiguousarray(rows))
    order = np.argsort(-scores, axis=1, kind="stable")
    return list_candidates(np.take_along_axis(rows, order, axis=1), pairs)
