"""Answer a request for a page by the searches that `vsearch.search.pages` requires."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.fanout.calls.bill import Usages
from vsearch.fanout.roles.legs import leg_of
from vsearch.fanout.roles.merging import add_batches, append
from vsearch.fanout.wire.messages import AllocateRequest, Answer, floats, int32s, int64s
from vsearch.search.pages import PageList
from vsearch.storage.files.plain_columns import gather


def answer_page(request: AllocateRequest, search: Callable[[AllocateRequest], list[Answer]]) -> Answer:
    """Answer a request with an offset.

    Parameters
    ----------
    search : callable
        Answers a request without an offset, batch by batch.
    """
    options, leg = request.options, leg_of(request)
    ordered = options.exact if leg is None else leg.ordered
    listed = PageList(request.count, options.k, options.offset, ordered=ordered)
    answers, page_answers, queries, ranks = [], [], [], []
    for depth, fetch in listed.searches():
        answer = append(search(_deepen(request, depth, fetch=fetch)))
        answers.append(answer)
        part = listed.add(_padded_rows(answer, depth))
        if fetch and answer.ids is not None:
            counts = int32s(answer.found)
            page_answers.append(_take(answer, (np.cumsum(counts) - counts)[part.queries] + part.places))
            queries.append(part.queries)
            ranks.append(part.ranks)
    page = Answer(
        count=request.count,
        k=options.k,
        found=bytes(4 * request.count),
        scores=b"",
        rows=b"",
        outcomes=tuple(dict.fromkeys(outcome for answer in answers for outcome in answer.outcomes)),
        shards=tuple(sorted({shard for answer in answers for shard in answer.shards})),
        usages=Usages.sum(answer.usages for answer in answers),
        counters=add_batches([answer.counters for answer in answers]),
        snapshot=request.snapshot,
        estimated=answers[0].estimated,
    )
    if not page_answers:
        return page
    owner = np.concatenate(queries)
    hits = _take(append(page_answers), np.lexsort((np.concatenate(ranks), owner)))
    return msgspec.structs.replace(
        page,
        found=np.bincount(owner, minlength=request.count).astype("<i4").tobytes(),
        scores=hits.scores,
        rows=hits.rows,
        ids=hits.ids,
        columns=hits.columns,
    )


def _deepen(request: AllocateRequest, depth: int, *, fetch: bool) -> AllocateRequest:
    """Return the request without an offset for `depth` rows; columns and matches are only needed with `fetch`."""
    leg = leg_of(request)
    options = request.options
    options = msgspec.structs.replace(options, k=depth, offset=0, columns=options.columns if fetch else ())
    fields = {} if leg is None or fetch else leg.without_columns()
    return msgspec.structs.replace(request, options=options, **fields)


def _padded_rows(answer: Answer, depth: int) -> NDArray[np.int64]:
    """Return the rows of each query, int64 (count, depth), padded with -1."""
    rows = np.full((answer.count, depth), -1, np.int64)
    rows[np.arange(depth) < int32s(answer.found)[:, None]] = int64s(answer.rows)
    return rows


def _take(answer: Answer, at: NDArray[np.int64]) -> Answer:
    """Return selected rows of an answer as those of a single query."""
    return Answer(
        count=1,
        k=answer.k,
        found=np.array([len(at)], "<i4").tobytes(),
        scores=floats(answer.scores)[at].tobytes(),
        rows=int64s(answer.rows)[at].tobytes(),
        ids=None if answer.ids is None else gather(answer.ids, at),
        columns=tuple(gather(column, at) for column in answer.columns),
    )
