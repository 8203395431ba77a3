"""Hits that functions found: made of their answers, with what they cost."""

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


@dataclass(frozen=True, eq=False)
class RemoteHits(Hits):
    """Hits that functions found.

    Attributes
    ----------
    bill : Bill
        What they cost.
    plan : str
        How they were found, and why so.
    failed : tuple of Outcome
        Shards that gave no answer; empty unless ``allow_partial``.
    snapshot : int
    shards : tuple of int
        Which were searched.
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
    """Hits of a kind, from the answers to one batch of queries after another.

    Parameters
    ----------
    prices_of : callable
        Gives the prices of the architecture that the functions run on.
    **more
        What this kind has besides.
    """
    answer = append(answers)
    there = np.arange(options.k) < int32s(answer.found)[:, None]
    scores = np.full(there.shape, np.nan, np.float32)
    scores[there] = floats(answer.scores)
    return kind(
        _ids(answer.ids, there),
        scores,
        _stats(answer),
        _table(options.columns, answer.columns[: len(options.columns)], there),
        offset=options.offset,
        bill=make_bill(answer.usages, prices_of(answers[0].arch)),
        plan=answers[0].plan,
        failed=answer.outcomes,
        snapshot=answer.snapshot,
        shards=answer.shards,
        **more,
    )


def probe_request(dimensions: int, options: Options) -> SearchRequest:
    """What is asked where there is no query: the functions know the index's dimensions and types, and bind the condition."""
    cheap = msgspec.structs.replace(options, k=1, nprobe=1, exact=False, min_score=None, offset=0)
    query = np.eye(1, dimensions, dtype="<f4")
    return SearchRequest(count=1, dimensions=dimensions, queries=query.tobytes(), options=cheap)


def without_queries(answer: Answer) -> Answer:
    """An answer's types, snapshot and usage, to no query at all."""
    none = np.empty(0, np.int64)
    return msgspec.structs.replace(
        answer,
        count=0,
        found=b"",
        scores=b"",
        rows=b"",
        ids=None if answer.ids is None else gather(answer.ids, none),
        columns=tuple(gather(column, none) for column in answer.columns),
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


def _ids(column: Column | None, there: Any) -> Any:
    if column is None or column.type == "string":
        text = column is not None
        ids: Any = np.full(there.shape, None if text else -1, object if text else np.int64)
        if column is not None:
            ids[there] = np.array(to_arrow(column).to_pylist(), object)
        return ids
    numbers = np.full(there.shape, -1, np.int64)
    numbers[there] = np.frombuffer(column.values, "<i8")
    return numbers


def _table(names: tuple[str, ...], columns: Sequence[Column], there: Any) -> pa.Table | None:
    if not names:
        return None
    import pyarrow as pa

    if not columns:  # nothing was found, so the types are not known here
        return pa.table([pa.nulls(there.size)] * len(names), names=list(names))
    position = np.cumsum(there.reshape(-1)) - 1
    rows = pa.array(position, mask=~there.reshape(-1))
    return pa.table([as_written(to_arrow(column).take(rows)) for column in columns], names=list(names))
