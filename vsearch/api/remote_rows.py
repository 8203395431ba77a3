"""Rows by id, and recall, of an index behind functions: made of ordinary searches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.api.measuring import recall_notes, recall_of_ids
from vsearch.checks import stored_names
from vsearch.errors import InputError
from vsearch.search.recall import RecallReport, recall_by_score
from vsearch.search.state.given_ids import as_ids, shown
from vsearch.search.state.model import SearchSettings, check_queries

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.api.protocol import SearchableIndex
    from vsearch.predicates import Where

TOGETHER = 1000
"""Ids of one search."""


def get_remote_rows(index: SearchableIndex, ids: Any, columns: Sequence[str] | None) -> pa.Table:
    """What `Index.get` returns: searches that only these ids pass, whatever the query.

    Raises
    ------
    InputError
        An id is not in the index, or has the wrong type; or a column is none of its attributes.
    RemoteError
    """
    import pyarrow as pa

    from vsearch.predicates import col

    info = index.info()
    names = list(info["attributes"])
    chosen = names if columns is None else list(columns) if not isinstance(columns, str) else columns
    stored = list(stored_names(chosen, names))
    text = info["id_type"] == "string"
    wanted = as_ids(ids, text=text).tolist()
    row_id = col("_id" if "id" in names else "id")
    nowhere = np.zeros(info["dimensions"], np.float32)
    place: dict[Any, int] = {}
    tables = []
    unique = list(dict.fromkeys(wanted))
    for start in range(0, len(unique), TOGETHER):
        some = unique[start : start + TOGETHER]
        hits = index.search(nowhere, len(some), row_id.is_in(some), columns=stored, exact=True)
        found = [one for one in hits.ids[0].tolist() if one not in (None, -1) or one in some]
        place |= {one: len(place) + position for position, one in enumerate(found)}
        if hits.columns is not None:
            tables.append(hits.columns.slice(0, len(found)))
    missing = [one for one in unique if one not in place]
    if missing:
        raise InputError(f"no row has the id {', '.join(shown(one) for one in missing[:5])}")
    table = pa.table({"id": pa.array(wanted, pa.string() if text else pa.int64())})
    if tables:
        rows = pa.array([place[one] for one in wanted], pa.int64())
        taken = pa.concat_tables(tables, promote_options="permissive").take(rows)
        for name, column in zip(chosen, taken.columns, strict=True):
            table = table.append_column("attribute.id" if name == "id" else name, column)
    return table


def measure_remote_recall(
    index: SearchableIndex,
    queries: Any,
    k: int,
    where: Where,
    truth: Any,
    *,
    nprobe: int | None,
    min_score: float | None,
    timeout: float | None,
) -> RecallReport:
    """What `Index.recall` returns: one search as it is, one that scores every row.

    Raises
    ------
    InputError
        No queries, or unusable ones: functions draw none.
    RemoteError, SearchTimeoutError
    """
    if queries is None:
        raise InputError("functions draw no rows to measure with: give queries, or open the index by its own URL")
    info = index.info()
    vectors = check_queries(queries, info["dimensions"], info["metric"])
    if len(vectors) == 0:
        raise InputError("there is no query to measure with; give at least one")
    begun = time.perf_counter()
    left = None if timeout is None else begun + timeout
    hits = index.search(vectors, k, where, nprobe=nprobe, min_score=min_score, timeout=timeout)
    seconds = time.perf_counter() - begun
    measurable = True
    if truth is None:
        rest = None if left is None else max(left - time.perf_counter(), 1e-3)
        exact = index.search(vectors, k, where, exact=True, min_score=min_score, timeout=rest)
        recall = recall_by_score(hits.scores, exact.scores, smaller_is_better=info["metric"] == "l2")
        measurable = bool(np.isfinite(exact.scores).any())
    else:
        recall = recall_of_ids(hits.ids, truth, k)
    settings = SearchSettings.from_dict(info["settings"])
    return RecallReport(
        recall=recall,
        queries=len(vectors),
        k=k,
        milliseconds_per_query=1e3 * seconds / len(vectors),
        rows_scanned_per_query=hits.stats.rows_scanned / len(vectors),
        tuned=settings.recall,
        notes=recall_notes(settings, recall, k=k, filtered=where is not None, nprobe=nprobe, measurable=measurable),
    )
