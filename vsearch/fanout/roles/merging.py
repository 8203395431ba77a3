"""Merge the answers of several shards to the same queries, and of several allocators to different queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.fanout.calls.bill import Usages
from vsearch.fanout.wire.messages import Answer, Counters, Outcome, floats, int32s, int64s
from vsearch.search.engine.merge import top_of_each
from vsearch.storage.files.plain_columns import Column, concatenate, gather


def merge_shards(
    answers: Sequence[Answer], positions: Sequence[NDArray[np.int64]], count: int, k: int, key: int | None = None
) -> Answer:
    """Return the k best rows of each query over several shards, by descending score, then ascending row.

    The result does not depend on the order of the answers.

    Parameters
    ----------
    positions : sequence of int64 (n,)
        The positions among the `count` queries that each answer is for.
    key : int, optional
        The column of float64 that is compared in place of the score.
    """
    query = np.concatenate(
        [np.repeat(queries, int32s(answer.found)) for answer, queries in zip(answers, positions, strict=True)]
    )
    scores = np.concatenate([floats(answer.scores) for answer in answers])
    rows = np.concatenate([int64s(answer.rows) for answer in answers])
    compared: NDArray[np.floating[Any]] = scores
    if key is not None:
        compared = np.frombuffer(b"".join(answer.columns[key].values for answer in answers), "<f8")
    best, counts = top_of_each(query, compared, rows, count, k)
    ids = [answer.ids for answer in answers if answer.ids is not None]
    return Answer(
        count=count,
        k=k,
        found=counts.astype("<i4").tobytes(),
        scores=scores[best].tobytes(),
        rows=rows[best].tobytes(),
        ids=gather(_join(ids), best) if ids else None,
        columns=tuple(
            gather(_join(same_columns), best) for same_columns in zip(*(a.columns for a in answers), strict=True)
        ),
        usages=Usages.sum(answer.usages for answer in answers),
        counters=sum((answer.counters for answer in answers), Counters()),
        snapshot=answers[0].snapshot,
        estimated=answers[0].estimated,
    )


def append(answers: Sequence[Answer]) -> Answer:
    """Concatenate the answers to consecutive queries."""
    outcomes: list[Outcome] = []
    first = 0
    for answer in answers:
        outcomes += [msgspec.structs.replace(outcome, first=outcome.first + first) for outcome in answer.outcomes]
        first += answer.count
    nonempty = [answer for answer in answers if int32s(answer.found).any()] or [answers[0]]
    ids = [answer.ids for answer in nonempty if answer.ids is not None]
    return Answer(
        count=first,
        k=answers[0].k,
        found=b"".join(answer.found for answer in answers),
        scores=b"".join(answer.scores for answer in answers),
        rows=b"".join(answer.rows for answer in answers),
        ids=_join(ids) if ids else None,
        columns=tuple(
            _join(same_columns) for same_columns in zip(*(answer.columns for answer in nonempty), strict=True)
        ),
        outcomes=tuple(outcomes),
        shards=tuple(sorted({shard for answer in answers for shard in answer.shards})),
        usages=Usages.sum(answer.usages for answer in answers),
        counters=add_batches([answer.counters for answer in answers]),
        snapshot=max(answer.snapshot for answer in answers),
        estimated=any(answer.estimated for answer in answers),
    )


def nothing_found(count: int, k: int) -> Answer:
    """Return an answer without rows."""
    return Answer(count=count, k=k, found=bytes(4 * count), scores=b"", rows=b"")


def add_batches(counters: Sequence[Counters]) -> Counters:
    """Add the counters of different queries, except those of the mask, which they share."""
    return msgspec.structs.replace(
        sum(counters, Counters()),
        rows_masked=max(counted.rows_masked for counted in counters),
        rows_rechecked=max(counted.rows_rechecked for counted in counters),
    )


def _join(columns: Sequence[Column]) -> Column:
    try:
        return concatenate(columns)
    except ValueError as error:
        raise InputError(f"the answers are inconsistent: {error}") from None
