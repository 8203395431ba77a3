"""The imports of a worker: opening a snapshot and searching it, with NumPy and kernels compiled ahead of time.

Nothing below this module loads Numba, Arrow, faiss or a SQL parser, so a process answers its first query in little
more time than importing NumPy takes. Predicates are expressions already parsed by the client.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.engine.steps import evaluate_mask
from vsearch.search.state.fetching import take_ids
from vsearch.search.state.model import check_queries
from vsearch.search.state.snapshot import Snapshot, open_snapshot
from vsearch.search.vectors import search_vectors
from vsearch.storage import open_store, read_manifest

if TYPE_CHECKING:
    from vsearch.predicates import Expression


class WorkerHits(NamedTuple):
    """Best rows of each query: ids (m, k), scores float32 (m, k), padded with -1 (or None) and NaN, and statistics."""

    ids: NDArray[Any]
    scores: NDArray[np.float32]
    stats: SearchStats


def load(url: str, snapshot: int | None = None, **storage: object) -> Snapshot:
    """Open a snapshot of an index for `search`; see `vsearch.open`."""
    store = open_store(url, **storage)
    return open_snapshot(store, read_manifest(store, snapshot))


def search(
    snapshot: Snapshot,
    queries: Any,
    k: int = 10,
    where: Expression | None = None,
    *,
    nprobe: int | None = None,
    exact: bool = False,
    timeout: float | None = None,
) -> WorkerHits:
    """Search an open snapshot.

    Parameters
    ----------
    queries : array (m, d) or (d,)
    k : int
    where : Expression, optional
        A parsed predicate (`vsearch.predicates.decode` creates one from bytes).
    nprobe, exact, timeout
        As in `vsearch.Index.search`.

    Raises
    ------
    InputError, SearchTimeoutError
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    stats = SearchStats()
    mask = None
    if where is not None:
        from vsearch.predicates import bind

        with stats.level("mask"):
            mask = evaluate_mask(snapshot, bind(where, snapshot.schema))
    vectors = check_queries(queries, snapshot.manifest.dimensions, snapshot.model.metric)
    request = SearchRequest(k, snapshot.settings, nprobe, exact, None, deadline)
    answer = search_vectors(snapshot, vectors, request, mask, stats)
    return WorkerHits(take_ids(snapshot, answer.rows), answer.scores, stats)
