"""Fetching rows by id, and measuring recall, of an index behind functions, by ordinary searches."""

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
from vsearch.metrics import smaller_is_better
from vsearch.search.recall import RecallReport, recall_by_score
from vsearch.search.state.given_ids import as_ids, is_unicode, show_id
from vsearch.search.state.model import SearchSettings, check_queries

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.api.hits import Hits
    from vsearch.api.protocol import SearchableIndex
    from vsearch.predicates import Where

TOGETHER = 1000
"""Maximum number of ids per search."""

TOGETHER_BYTES = 1 << 20
"""Maximum bytes of these ids, unless a single one is longer."""


def count_remote_rows(index: SearchableIndex, info: dict[str, Any], where: Where) -> int:
    """Implement `Index.count` by an exact search for one row: every shard with matching rows is visited and counts them.

    Parameters
    ----------
    index, info
        Fixed to one snapshot.

    Raises
    ------
    PredicateError
        `where` is not a valid predicate on the attributes.
    RemoteError
        The functions could not be called, or failed.
    """
    if where is None:
        rows: int = info["rows"]
        return rows
    any_query = np.zeros(info["dimensions"], np.float32)
    return index.search(any_query, 1, where, exact=True).stats.rows_masked


def get_remote_rows(
    index: SearchableIndex, info: dict[str, Any], ids: Any, columns: Sequence[str] | None, *, skip: bool = False
) -> pa.Table:
    """Implement `Index.get` by searches restricted to these ids, with an arbitrary query.

    Parameters
    ----------
    index : SearchableIndex
        Fixed to one snapshot.
    info : dict
        The result of `index.info`.
    skip : bool
        Whether to leave out ids that are not in the index.

    Raises
    ------
    InputError
        An id is not in the index, unless they are skipped, or has the wrong type, or a column does not exist.
    RemoteError
        The functions could not be called, or failed.
    """
    import pyarrow as pa

    names = list(info["attributes"])
    requested = names if columns is None else columns
    stored = list(stored_names(requested, names))
    text = info["id_type"] == "string"
    id_list = as_ids(ids, text=text, beyond=skip).tolist()
    unique = list(dict.fromkeys(id_list))
    unstorable = [id_ for id_ in unique if text and not is_unicode(id_)]
    if unstorable and not skip:
        _refuse(unstorable)
    unique = [id_ for id_ in unique if id_ not in unstorable] if unstorable else unique
    row_id = _row_id(names)
    any_query = np.zeros(info["dimensions"], np.float32)

    def find(batch: list[Any]) -> Hits:
        from vsearch.predicates import col

        return index.search(any_query, len(batch), col(row_id).is_in(batch), columns=stored, exact=True)

    position_of: dict[Any, int] = {}
    tables = []
    for batch, hits in _batches(unique, find):
        count = int((~np.isnan(hits.scores[0])).sum())  # fewer than the batch if ids are missing
        found_ids = hits.ids[0][:count].tolist()
        position_of |= {id_: len(position_of) + position for position, id_ in enumerate(found_ids)}
        if not skip:
            _refuse([id_ for id_ in batch if id_ not in position_of])
        if hits.columns is not None:
            tables.append(hits.columns.slice(0, count))
    if stored and not tables:
        empty = index.search(any_query, 1, columns=stored).columns  # for the types
        tables = [] if empty is None else [empty.slice(0, 0)]
    id_list = [id_ for id_ in id_list if id_ in position_of]
    table = pa.table({"id": pa.array(id_list, pa.string() if text else pa.int64())})
    if tables:
        rows = pa.array([position_of[id_] for id_ in id_list], pa.int64())
        selected = pa.concat_tables(tables).take(rows)
        for name, column in zip(requested, selected.columns, strict=True):
            table = table.append_column("attribute.id" if name == "id" else name, column)
    return table


def _refuse(missing: Sequence[Any]) -> None:
    if missing:
        raise InputError(f"no row has the id {', '.join(show_id(id_) for id_ in missing[:5])}")


def _row_id(names: Sequence[str]) -> str:
    """The name of the row id in predicates, given the names of the attributes."""
    attribute_names = {name.lower() for name in names}
    for name in ("id", "_id"):
        if name not in attribute_names:
            return name
    raise InputError(
        "attributes are named id and _id, so functions cannot find rows by id: open the index by its own URL"
    )


def _batches(ids: list[Any], find: Callable[[list[Any]], Hits]) -> Iterator[tuple[list[Any], Hits]]:
    """Search ids in batches; batches shrink if a message would be too large."""
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
    """Implement `Index.recall` by one ordinary search and one that scores every row.

    Parameters
    ----------
    index, info
        Fixed to one snapshot.
    until : float or None
        Deadline on the clock of `time.monotonic`.

    Raises
    ------
    InputError
        There are no queries or they are invalid: functions do not draw any.
    RemoteError
        The functions could not be called, or failed.
    SearchTimeoutError
        The measurement did not finish in time.
    """
    check_sample(sample)
    if queries is None:
        raise InputError("functions do not draw rows to measure with: pass queries, or open the index by its own URL")
    vectors = check_queries(queries, info["dimensions"], info["metric"])
    if len(vectors) == 0:
        raise InputError("there are no queries to measure with; pass at least one")
    started = time.perf_counter()
    hits = index.search(vectors, k, where, nprobe=nprobe, min_score=min_score, timeout=_left(until))
    seconds = time.perf_counter() - started
    measurable = True
    if truth is None:
        exact = index.search(vectors, k, where, exact=True, min_score=min_score, timeout=_left(until))
        recall = recall_by_score(hits.scores, exact.scores, smaller_is_better=smaller_is_better(info["metric"]))
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
