"""Hits found by functions: built from their answers, with the bill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from vsearch.api.hits import Hits
from vsearch.fanout.calls.bill import Bill, Prices, make_bill
from vsearch.fanout.roles.merging import append
from vsearch.fanout.wire.messages import Answer, Counters, Options, Outcome, SearchRequest, floats, int32s
from vsearch.search.engine.stats import SearchStats
from vsearch.storage.files.columns import as_written
from vsearch.storage.files.plain_columns import Column, gather, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

H = TypeVar("H", bound="RemoteHits")


@dataclass(frozen=True, eq=False, repr=False)
class RemoteHits(Hits):
    """Hits found by functions.

    Attributes
    ----------
    bill : Bill
        Cost of the search.
    plan : str
        How the search was executed, and why.
    failed : tuple of Outcome
        Shards that did not answer; empty unless ``allow_partial``.
    snapshot : int
    shards : tuple of int
        Shards that were searched.
    """

    bill: Bill | None = None
    plan: str = ""
    failed: tuple[Outcome, ...] = ()
    snapshot: int = 0
    shards: tuple[int, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every shard answered."""
        return not self.failed


def make_hits(
    kind: type[H], answers: Sequence[Answer], options: Options, prices_of: Callable[[str], Prices], **more: Any
) -> H:
    """Combine the answers to consecutive batches of queries into hits of a type.

    Parameters
    ----------
    prices_of : callable
        Returns the prices for the architecture that the functions run on.
    **more
        Additional fields of this type.
    """
    answer = append(answers)
    present = np.arange(options.k) < int32s(answer.found)[:, None]
    scores = np.full(present.shape, np.nan, np.float32)
    scores[present] = floats(answer.scores)
    return kind(
        _ids(answer.ids, present),
        scores,
        _stats(answer),
        _table(options.columns, answer.columns[: len(options.columns)], present),
        offset=options.offset,
        bill=make_bill(answer.usages, prices_of(answers[0].arch)),
        plan=answers[0].plan,
        failed=answer.outcomes,
        snapshot=answer.snapshot,
        shards=answer.shards,
        **more,
    )


def probe_request(dimensions: int, options: Options) -> SearchRequest:
    """The request for an empty batch: the functions then check dimensions and types, and bind the predicate."""
    cheap = msgspec.structs.replace(options, k=1, nprobe=1, exact=False, min_score=None, offset=0)
    query = np.eye(1, dimensions, dtype="<f4")
    return SearchRequest(count=1, dimensions=dimensions, queries=query.tobytes(), options=cheap)


def without_queries(answer: Answer) -> Answer:
    """Reduce an answer to its types, snapshot and usage, without results."""
    no_rows = np.empty(0, np.int64)
    return msgspec.structs.replace(
        answer,
        count=0,
        found=b"",
        scores=b"",
        rows=b"",
        ids=None if answer.ids is None else gather(answer.ids, no_rows),
        columns=tuple(gather(column, no_rows) for column in answer.columns),
        counters=Counters(),
    )


def _stats(answer: Answer) -> SearchStats:
    counters, stats = answer.counters, SearchStats()
    stats.queries, stats.estimated = answer.count, answer.estimated
    stats.partitions_visited, stats.rows_masked = counters.partitions_visited, counters.rows_masked
    stats.rows_rechecked, stats.rows_scanned = counters.rows_rechecked, counters.rows_scanned
    stats.rows_refined, stats.rows_reranked = counters.rows_refined, counters.rows_reranked
    stats.bytes_fetched = answer.usages.total.bytes
    return stats


def _ids(column: Column | None, present: Any) -> Any:
    if column is None or column.type == "string":
        text = column is not None
        ids: Any = np.full(present.shape, None if text else -1, object if text else np.int64)
        if column is not None:
            ids[present] = np.array(to_arrow(column).to_pylist(), object)
        return ids
    numbers = np.full(present.shape, -1, np.int64)
    numbers[present] = np.frombuffer(column.values, "<i8")
    return numbers


def _table(names: tuple[str, ...], columns: Sequence[Column], present: Any) -> pa.Table | None:
    if not names:
        return None
    import pyarrow as pa

    if not columns:  # there are no hits, so the types are unknown here
        return pa.table([pa.nulls(present.size)] * len(names), names=list(names))
    position = np.cumsum(present.reshape(-1)) - 1
    rows = pa.array(position, mask=~present.reshape(-1))
    return pa.table([as_written(to_arrow(column).take(rows)) for column in columns], names=list(names))
