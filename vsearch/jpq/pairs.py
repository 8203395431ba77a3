"""Training pairs: queries and their relevant rows of the index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.search.state.given_ids import id_array, show_id
from vsearch.search.state.id_lookup import find_ids
from vsearch.search.state.model import check_queries, plain_queries
from vsearch.search.state.snapshot import Snapshot

LEAST_PAIRS = 32  # fewer are useless for training and validation
QUERY_NAMES, ID_NAMES = ("query", "query_id", "qid"), ("id", "doc_id", "positive", "positive_id")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Queries with relevant rows.

    Attributes
    ----------
    queries : float32 (m, d)
        Prepared for the index, before its rotation: normalized for cosine, centered for l2.
    starts : int64 (m + 1,)
        Relevant rows of query q: ``rows[starts[q] : starts[q + 1]]``, at least one.
    rows : int64 (n,)
    numbers : int64 (m,)
        Position of each query in the input.
    """

    queries: NDArray[np.float32]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.queries)

    def take(self, chosen: NDArray[np.int64]) -> Pairs:
        """Return the pairs of the chosen queries, in their order."""
        lengths = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        return Pairs(self.queries[chosen], starts, self.rows[places], self.numbers[chosen])

    def padded(self) -> NDArray[np.int64]:
        """Return the relevant rows, int64 (m, most), padded with -2."""
        lengths = np.diff(self.starts)
        table = np.full((len(self), int(lengths.max(initial=1))), -2, np.int64)
        table[np.arange(table.shape[1]) < lengths[:, None]] = self.rows
        return table


def read_pairs(snapshot: Snapshot, queries: Any, positives: Any, purpose: str = "training") -> Pairs:
    """Check queries and their relevant rows.

    Parameters
    ----------
    queries : array (m, d)
    positives : array (m,) of ids, sequence of m sequences of ids, table with columns query and id, or its Parquet path
        `query` is the row of `queries`. Queries without a relevant row are dropped.
    purpose : str
        The name of the pairs in errors.

    Raises
    ------
    InputError
        Unknown ids, query numbers out of range, mismatched lengths or dimensions, or too few pairs.
    """
    vectors = check_queries(queries, snapshot.manifest.dimensions, snapshot.manifest.metric)
    numbers, ids = _flatten(positives, len(vectors), purpose)
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(vectors)):
        worst = int(numbers.min() if numbers.min() < 0 else numbers.max())
        raise InputError(
            f"the {purpose} positives name query {worst}, but there are {len(vectors)} queries, numbered from 0"
        )
    rows = _rows_of(snapshot, ids, purpose)
    pairs = np.unique(np.stack([numbers, rows], axis=1), axis=0)
    if len(pairs) < LEAST_PAIRS:
        raise InputError(f"at least {LEAST_PAIRS} distinct {purpose} pairs are needed, got {len(pairs)}")
    used, counts = np.unique(pairs[:, 0], return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Pairs(plain_queries(snapshot.model, vectors[used]), starts, np.ascontiguousarray(pairs[:, 1]), used)


def _rows_of(snapshot: Snapshot, ids: NDArray[Any], purpose: str) -> NDArray[np.int64]:
    text = snapshot.manifest.id_type == "string"
    valid = all(isinstance(identifier, str) for identifier in ids.tolist()) if text else ids.dtype.kind in "iu"
    if len(ids) and not valid:
        kind = "strings" if text else "integers"
        raise InputError(
            f"the ids of this index are {kind}; the {purpose} positives are {ids.dtype}, or some are missing"
        )
    distinct_ids, inverse = np.unique(ids.astype(object if text else np.int64), return_inverse=True)
    rows = find_ids(snapshot, distinct_ids)
    if (rows < 0).any():
        missing = [show_id(identifier) for identifier in distinct_ids[rows < 0][:5]]
        raise InputError(
            f"{int((rows < 0).sum())} ids of the {purpose} positives are not in the index, such as {', '.join(missing)}"
        )
    return rows[inverse.reshape(-1)]


def _flatten(positives: Any, queries: int, purpose: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return query numbers and ids, one entry per pair."""
    if isinstance(positives, (str, bytes)) or hasattr(positives, "__fspath__"):
        positives = _read_table(positives)
    if hasattr(positives, "column_names"):  # a pyarrow.Table
        return _from_columns({name: id_array(positives.column(name)) for name in positives.column_names}, purpose)
    if hasattr(positives, "columns"):  # a frame of pandas or polars
        return _from_columns({str(name): id_array(positives[name]) for name in positives.columns}, purpose)
    nested = isinstance(positives, Sequence) and len(positives) > 0 and not np.isscalar(positives[0])
    if nested:
        lists = [np.atleast_1d(id_array(ids)) for ids in positives]
        _same_length(len(lists), queries, purpose)
        nonempty = [ids for ids in lists if len(ids)] or [np.empty(0, np.int64)]
        return np.repeat(np.arange(queries), [len(ids) for ids in lists]), np.concatenate(nonempty)
    array = id_array(positives)
    if array.ndim == 2 and array.dtype.kind in "iuUO":
        _same_length(len(array), queries, purpose)
        return np.repeat(np.arange(queries), array.shape[1]), array.reshape(-1)
    if array.ndim != 1 or array.dtype.kind not in "iuUO":
        raise InputError(f"{purpose} positives must be one or several ids per query, got {array.dtype} {array.shape}")
    _same_length(len(array), queries, purpose)
    return np.arange(queries), array


def _same_length(entries: int, queries: int, purpose: str) -> None:
    if entries != queries:
        raise InputError(f"{purpose} positives must have one entry per query, got {entries} for {queries} queries")


def _from_columns(columns: dict[str, NDArray[Any]], purpose: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    query = next((name for name in QUERY_NAMES if name in columns), None)
    identifier = next((name for name in ID_NAMES if name in columns and name != query), None)
    if query is None or identifier is None or columns[query].dtype.kind not in "iu":
        listed = ", ".join(columns) or "no columns"
        raise InputError(f"a table of {purpose} positives must have the columns query (integers) and id, got {listed}")
    return columns[query].astype(np.int64), columns[identifier]


def _read_table(path: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot read a Parquet file of pairs ({error})") from error
