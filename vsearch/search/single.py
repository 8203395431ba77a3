"""The common search for one vector, with or without a filter: as little Python around the kernel as possible."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import REFINED, RERANKED, SCANNED, VISITED, CallField
from vsearch.search.engine.masks import live_mask
from vsearch.search.engine.merge import as_seen
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.engine.steps import begin_all, search_query
from vsearch.search.state.fetching import take_found_ids, take_ids
from vsearch.search.where import mask_of

if TYPE_CHECKING:
    from vsearch.predicates import Where
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.search.state.workspace import Workspace

FLOAT = np.dtype(np.float32)
# read once, since looking up a member of an enumeration costs as much as the assignment
QUERY, UNCHECKED, SIZE = int(CallField.QUERY), int(CallField.UNCHECKED), int(CallField.SIZE)


def search_single(
    snapshot: Snapshot, query: object, k: int, where: Where, started: float, nprobe: int | None = None
) -> tuple[NDArray[Any], NDArray[np.float32], SearchStats] | None:
    """Search for one vector as passed by a user; return its ids (1, k), scores (1, k) and statistics.

    Returns None for other types and shapes, numbers that are not finite or very large, and indexes that one
    native call cannot search. The caller then uses `vectors.search_vectors`, which accepts the query or raises an error.

    Parameters
    ----------
    k : int
        Already checked.
    where
        A predicate in any form, or None.
    started : float
        `time.perf_counter` at the start of the call, for the statistics.
    nprobe : int or None
        Already checked; see `routing.plan_visits`.
    """
    run = run_single(snapshot, query, k, where, nprobe)
    if run is None:
        return None
    workspace, searched = run.workspace, time.perf_counter()
    scores = as_seen(workspace.score_row.copy(), snapshot.model)
    plain = snapshot.plain_ids()
    if plain is not None and plain[1] and workspace.number_view[SIZE] == k:
        ids: NDArray[Any] = take_found_ids(plain, workspace.id_row)
    else:
        ids = take_ids(snapshot, workspace.id_row)
    milliseconds = {
        "prepare": (run.prepared - started) * 1e3,
        "mask": 0.0,
        "scan": (searched - run.prepared) * 1e3,
        "merge": 0.0,
        "fetch": (time.perf_counter() - searched) * 1e3,
    }
    return ids, scores, stats_of(snapshot, run, milliseconds)


@dataclass(slots=True, eq=False)
class SingleRun:
    """A search for one vector, whose hits and counters are in a workspace.

    Attributes
    ----------
    mask : IndexMask or None
        Rows that pass the predicate; None without one.
    masked : SearchStats or None
        What the predicate took; None without one.
    prepared : float
        `time.perf_counter` at the start of the scan.
    fetched : int
        Bytes read from the store.
    """

    workspace: Workspace
    mask: IndexMask | None
    masked: SearchStats | None
    prepared: float
    fetched: int


def run_single(snapshot: Snapshot, query: object, k: int, where: Where, nprobe: int | None = None) -> SingleRun | None:
    """Search for one vector as passed by a user; None for what `search_single` does not take."""
    if type(query) is not np.ndarray or query.dtype is not FLOAT or not snapshot.fused or snapshot.model.bitwise:
        return None
    workspace, settings = snapshot.workspace(), snapshot.settings
    if query.shape not in workspace.query_shapes:
        return None
    masked = predicate_mask = None
    if where is None:
        mask = live_mask(snapshot)
    else:
        masked = SearchStats()
        predicate_mask = mask_of(snapshot, where, masked)
        mask = live_mask(snapshot) if predicate_mask is None else predicate_mask
    state = k, nprobe, settings, mask
    if workspace.state != state:
        begin_all(snapshot, workspace, SearchRequest(k, settings, nprobe), mask)
        workspace.state = state
    values = workspace.number_view
    workspace.query[:] = query
    values[QUERY], values[UNCHECKED] = workspace.query_address, 1
    all_read = snapshot.all_read
    fetched = 0 if all_read else snapshot.bytes_fetched()
    prepared = time.perf_counter()
    search_query(snapshot, workspace, exact=False)
    if values[UNCHECKED]:
        values[UNCHECKED] = 0
        return None
    return SingleRun(workspace, predicate_mask, masked, prepared, 0 if all_read else snapshot.bytes_fetched() - fetched)


def stats_of(snapshot: Snapshot, run: SingleRun, milliseconds: dict[str, float]) -> SearchStats:
    """Return the statistics of a search for one vector; the time of the mask is taken from that of the preparation."""
    model, counters, masked = snapshot.model, run.workspace.counters.tolist(), run.masked
    scanned, refined, reranked = counters[SCANNED], counters[REFINED], counters[RERANKED]
    scan_bytes, refine_bytes, rerank_bytes = model.row_bytes
    stats = SearchStats(
        1,
        snapshot.manifest.partitions,
        counters[VISITED],
        snapshot.live_count,
        0,
        scanned,
        refined,
        reranked,
        scanned * scan_bytes + refined * refine_bytes + reranked * rerank_bytes,
        run.fetched,
        milliseconds,
        model.rerank is None,
    )
    if masked is not None:
        spent = masked.milliseconds["mask"]
        stats.rows_masked, stats.rows_rechecked = masked.rows_masked, masked.rows_rechecked
        stats.bytes_read += masked.bytes_read
        milliseconds["mask"], milliseconds["prepare"] = spent, milliseconds["prepare"] - spent
    return stats
