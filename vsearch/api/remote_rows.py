"""Rows by id, and recall, of an index behind functions: made of ordinary searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.api.explanation import sql_of
from vsearch.api.measuring import check_sample, recall_notes, recall_of_ids
from vsearch.api.remote_client import TooLargeError
from vsearch.checks import stored_names
from vsearch.errors import InputError, SearchTimeoutError
from vsearch.search.recall import RecallReport, recall_by_score
from vsearch.search.state.given_ids import as_ids, is_unicode, shown
from vsearch.search.state.model import SearchSettings, check_queries

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.api.hits import Hits
    from vsearch.api.protocol import SearchableIndex
    from vsearch.predicates import Where

TOGETHER = 1000
"""Ids of one search, at most."""

TOGETHER_BYTES = 1 << 20
"""Bytes of these ids, at most, unless one alone is longer."""


def get_remote_rows(index: SearchableIndex, info: dict[str, Any], ids: Any, columns: Sequence[str] | None) -> pa.Table:
    """What `Index.get` returns: searches that only these ids pass, whatever the query.

    Parameters
    ----------
    index : SearchableIndex
        Of one snapshot.
    info : dict
        What `index.info` returns.

    Raises
    ------
    InputError
        An id is not in the index, or has the wrong type; or a column is none of its attributes.
    RemoteError
    """
    import pyarrow as pa

    names = list(info["attributes"])
    chosen = names if columns is None else columns
    stored = list(stored_names(chosen, names))
    text = info["id_type"] == "string"
    wanted = as_ids(ids, text=text).tolist()
    unique = list(dict.fromkeys(wanted))
    _refuse([one for one in unique if text and not is_unicode(one)])  # no such id can be stored
    row_id = _row_id(names)
    nowhere = np.zeros(info["dimensions"], np.float32)

    def find(some: list[Any]) -> Hits:
        from vsearch.predicates import col

        return index.search(nowhere, len(some), col(row_id).is_in(some), columns=stored, exact=True)

    place: dict[Any, int] = {}
    tables = []
    for some, hits in _batches(unique, find):
        count = int((~np.isnan(hits.scores[0])).sum())  # of the rest of the ids there is no row
        found = hits.ids[0][:count].tolist()
        place |= {one: len(place) + position for position, one in enumerate(found)}
        _refuse([one for one in some if one not in place])
        if hits.columns is not None:
            tables.append(hits.columns.slice(0, count))
    if stored and not tables:
        empty = index.search(nowhere, 1, columns=stored).columns  # for the types
        tables = [] if empty is None else [empty.slice(0, 0)]
    table = pa.table({"id": pa.array(wanted, pa.string() if text else pa.int64())})
    if tables:
        rows = pa.array([place[one] for one in wanted], pa.int64())
        taken = pa.concat_tables(tables).take(rows)
        for name, column in zip(chosen, taken.columns, strict=True):
            table = table.append_column("attribute.id" if name == "id" else name, column)
    return table


def _refuse(missing: Sequence[Any]) -> None:
    if missing:
        raise InputError(f"no row has the id {', '.join(shown(one) for one in missing[:5])}")


def _row_id(names: Sequence[str]) -> str:
    """What predicates call the id of the row, beside attributes of some names."""
    taken = {name.lower() for name in names}
    for name in ("id", "_id"):
        if name not in taken:
            return name
    raise InputError(
        "attributes are called id and _id, so functions cannot find rows by id: open the index by its own URL"
    )


def _batches(ids: list[Any], find: Callable[[list[Any]], Hits]) -> Iterator[tuple[list[Any], Hits]]:
    """Runs of ids and their hits; smaller ones where a message would be too large."""
    start, most = 0, TOGETHER
    while start < len(ids):
        stop, size = start, 0
        while stop < min(len(ids), start + most) and (stop == start or size < TOGETHER_BYTES):
            size += len(ids[stop].encode()) if isinstance(ids[stop], str) else 8
            stop += 1
        try:
            hits = find(ids[start:stop])
        except TooLargeError:
            if stop - start == 1:
                raise
            most = (stop - start) // 2
            continue
        yield ids[start:stop], hits
        start = stop


def measure_remote_recall(
    index: SearchableIndex,
    info: dict[str, Any],
    queries: Any,
    k: int,
    where: Where,
    sample: int,
    truth: Any,
    *,
    nprobe: int | None,
    min_score: float | None,
    until: float | None,
) -> RecallReport:
    """What `Index.recall` returns: one search as it is, one that scores every row.

    Parameters
    ----------
    index, info
        Of one snapshot.
    until : float or None
        By `time.monotonic`.

    Raises
    ------
    InputError
        No queries, or unusable ones: functions draw none.
    RemoteError, SearchTimeoutError
    """
    check_sample(sample)
    if queries is None:
        raise InputError("functions draw no rows to measure with: give queries, or open the index by its own URL")
    vectors = check_queries(queries, info["dimensions"], info["metric"])
    if len(vectors) == 0:
        raise InputError("there is no query to measure with; give at least one")
    begun = time.perf_counter()
    hits = index.search(vectors, k, where, nprobe=nprobe, min_score=min_score, timeout=_left(until))
    seconds = time.perf_counter() - begun
    measurable = True
    if truth is None:
        exact = index.search(vectors, k, where, exact=True, min_score=min_score, timeout=_left(until))
        recall = recall_by_score(hits.scores, exact.scores, smaller_is_better=info["metric"] == "l2")
        measurable = bool(np.isfinite(exact.scores).any())
    else:
        recall = recall_of_ids(hits.ids, truth, k)
    settings = SearchSettings.from_dict(info["settings"])
    filtered = sql_of(where) is not None
    return RecallReport(
        recall=recall,
        queries=len(vectors),
        k=k,
        milliseconds_per_query=1e3 * seconds / len(vectors),
        rows_scanned_per_query=hits.stats.rows_scanned / len(vectors),
        tuned=settings.recall,
        notes=recall_notes(settings, recall, k=k, filtered=filtered, nprobe=nprobe, measurable=measurable),
    )


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise SearchTimeoutError("the timeout ran out before everything was measured")
    return left
