"""The allocator starts its children, then masks, plans and fans out its share of the queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.fanout.calls.bill import Usages
from vsearch.fanout.calls.retries import CallError, Deadline
from vsearch.fanout.calls.telemetry import span
from vsearch.fanout.calls.tree import Subtree, children, split
from vsearch.fanout.roles.legs import leg_of
from vsearch.fanout.roles.merging import append, merge_shards, nothing_found
from vsearch.fanout.roles.pages import answer_page
from vsearch.fanout.wire.messages import (
    AllocateRequest,
    Answer,
    Options,
    Outcome,
    ProcessRequest,
    floats,
    int32s,
    int64s,
)
from vsearch.fanout.wire.where import bind_where
from vsearch.search.engine.masks import IndexMask
from vsearch.search.engine.merge import as_seen
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.routing import NO_VISITS, ProbePlan
from vsearch.search.engine.steps import mask_cells, plan_query
from vsearch.search.pages import page_runs
from vsearch.search.state.model import check_magnitudes
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import Manifest
from vsearch.storage.snapshots.manifest import stored_rows
from vsearch.storage.stores.retrying import carried

LARGEST_BATCH = 256
"""Maximum number of queries per call of a processor."""

CALLS = 64
"""Maximum number of concurrent calls of an allocator."""

CallProcessor = Callable[[int, ProcessRequest], Answer]
CallAllocator = Callable[[AllocateRequest], Answer]


@dataclass(frozen=True)
class Calls:
    """The functions by which an allocator calls others; they raise `CallError` after all retries.

    Attributes
    ----------
    processor : callable
        Takes the shard and the request.
    allocator : callable
    message_bytes : int or None
        Maximum size of a message.
    """

    processor: CallProcessor
    allocator: CallAllocator
    message_bytes: int | None = None


@dataclass(frozen=True, eq=False)
class ShardTask:
    """The request to a shard, and the positions of its queries in the batch: int64 (count,)."""

    request: ProcessRequest
    positions: NDArray[np.int64]


def allocate(snapshot: Snapshot, request: AllocateRequest, calls: Calls, deadline: Deadline) -> Answer:
    """Answer the queries of a subtree: pass most of them to the children, then answer the rest.

    Parameters
    ----------
    snapshot : Snapshot
        With the tables of all shards.

    Returns
    -------
    Answer
        With scores in their public form. Its outcomes include failed shards and subtrees.

    Raises
    ------
    InputError
        The request does not match the index.
    CallError
        The deadline passed.
    """
    options, dimensions = request.options, snapshot.manifest.dimensions
    if request.queries:
        if request.dimensions != dimensions:
            raise InputError(f"queries must have {dimensions} dimensions, got {request.dimensions}")
        check_magnitudes(floats(request.queries, request.count, dimensions), snapshot.model.metric)
    _check_columns(snapshot, options)
    bound = bind_where(snapshot.manifest, options)
    with ThreadPoolExecutor(CALLS) as pool:
        shares = _shares(request)
        started = [(child, pool.submit(calls.allocator, child)) for child in _children(request, shares, deadline)]
        deadline.check("starting")
        with span("mask", predicate=bound is not None):
            mask = mask_cells(snapshot, bound)

        def answer(part: AllocateRequest) -> list[Answer]:
            return _answer_batches(snapshot, part, mask, calls, deadline, pool)

        share = part_of(request, slice(0, shares[0]))
        if options.offset:
            runs = page_runs(share.count, options.k, options.offset)
            answers = [answer_page(part_of(share, run), answer) for run in runs]
        else:
            answers = answer(share)
        child_answers = [_child_answer(child, future) for child, future in started]
    return append([*answers, *child_answers])


def part_of(request: AllocateRequest, positions: slice) -> AllocateRequest:
    """Return the request for a range of its queries."""
    count = len(range(request.count)[positions])
    leg = leg_of(request)
    fields = {} if leg is None else leg.take(positions)
    if request.queries:
        fields["queries"] = floats(request.queries, request.count, request.dimensions)[positions].tobytes()
    return msgspec.structs.replace(request, count=count, **fields)


def plan_batch(
    snapshot: Snapshot,
    request: AllocateRequest,
    mask: IndexMask | None,
    deadline: Deadline,
) -> list[ShardTask]:
    """Return the requests to shards, each with the queries that the shard may have rows for."""
    leg, options = leg_of(request), request.options
    planned_options = options if leg is None else leg.options(snapshot.manifest, options)
    vectors = (
        floats(request.queries, request.count, request.dimensions) if leg is None else leg.vectors(snapshot, request)
    )
    search_request = SearchRequest(planned_options.k, snapshot.settings, planned_options.nprobe, planned_options.exact)
    if vectors is None:
        planned = [(np.empty(0, np.float32), [NO_VISITS] * len(snapshot.groups))] * request.count
    else:
        planned = [plan_query(snapshot, query, search_request, mask) for query in vectors]
    parts = None if leg is None else leg.plan(snapshot, deadline)
    prepared = np.stack([query for query, _ in planned]).astype("<f4")
    shard_options = options if leg is None else leg.shard_options(options)
    searching = np.array([[plan.order.size > 0 for plan in plans] for _, plans in planned])
    if parts is not None:
        searching |= np.array([parts.searches(shard) for shard in snapshot.groups]).T
    tasks = []
    for number in np.flatnonzero(searching.any(axis=0)).tolist():
        positions = np.flatnonzero(searching[:, number])
        visiting = [planned[position][1][number] for position in positions]
        of_shards = msgspec.structs.replace(request, options=shard_options)
        task = _request(snapshot, number, prepared[positions], visiting, of_shards, deadline.remaining())
        if parts is not None:
            task = msgspec.structs.replace(task, **parts.take(positions))
        tasks.append(ShardTask(task, positions))
    return tasks


def _request(
    snapshot: Snapshot,
    shard: int,
    prepared: NDArray[np.float32],
    plans: Sequence[ProbePlan],
    request: AllocateRequest,
    remaining: float | None,
) -> ProcessRequest:
    return ProcessRequest(
        snapshot=snapshot.manifest.snapshot,
        shard=shard,
        count=len(prepared),
        dimensions=prepared.shape[1],
        queries=prepared.tobytes(),
        options=request.options,
        visits=np.array([len(plan.order) for plan in plans], "<i4").tobytes(),
        minimums=np.array([plan.minimum for plan in plans], "<i4").tobytes(),
        partitions=np.concatenate([plan.order for plan in plans]).astype("<i4").tobytes(),
        bases=np.concatenate([plan.centroid_scores for plan in plans]).astype("<f4").tobytes(),
        bounds=np.concatenate([plan.upper_bounds for plan in plans]).astype("<f4").tobytes(),
        moment=request.moment,
        remaining=remaining,
    )


def _shares(request: AllocateRequest) -> list[int]:
    return split(request.count, request.allocators)


def _children(request: AllocateRequest, shares: list[int], deadline: Deadline) -> list[AllocateRequest]:
    edges = np.concatenate(([0], np.cumsum(shares)))
    requests = []
    for child in children(Subtree(0, request.allocators), request.branching):
        first, last = int(edges[child.first]), int(edges[child.first + child.count])
        if last > first:
            requests.append(
                msgspec.structs.replace(
                    part_of(request, slice(first, last)),
                    allocators=min(child.count, last - first),
                    level=request.level + 1,
                    remaining=deadline.remaining(),
                )
            )
    return requests


def _child_answer(request: AllocateRequest, future: Future[Answer]) -> Answer:
    """Return the answer of a child, or an empty one with the outcome of its failure."""
    try:
        answer = future.result()
    except CallError as error:
        lost = Outcome(None, 0, request.count, str(error.kind), str(error)[:2000], error.attempts)
        return msgspec.structs.replace(nothing_found(request.count, request.options.k), outcomes=(lost,))
    return answer


def _answer_batches(
    snapshot: Snapshot,
    request: AllocateRequest,
    mask: IndexMask | None,
    calls: Calls,
    deadline: Deadline,
    pool: ThreadPoolExecutor,
) -> list[Answer]:
    """Answer queries batch by batch; the next batch is planned while processors work on the previous one.

    The last call is made by this thread, which would otherwise only wait, so that a query of one shard needs no other thread.
    """
    size = _batch_size(snapshot, request, calls.message_bytes)
    edges = [*range(0, request.count, size), request.count]
    answers: list[Answer] = []
    waiting: tuple[int, list[tuple[ShardTask, Future[Answer]]]] | None = None
    for start, stop in pairwise(edges):
        deadline.check("planning")
        batch = part_of(request, slice(start, stop))
        with span("plan", queries=stop - start):
            planned = plan_batch(snapshot, batch, mask, deadline)
        if waiting is not None:
            answers.append(_gather(snapshot, *waiting, request))
        local = len(planned) - 1 if stop == request.count else None  # the task that this thread executes
        futures = [
            (
                task,
                (_call if place == local else pool.submit)(carried(calls.processor), task.request.shard, task.request),
            )
            for place, task in enumerate(planned)
        ]
        waiting = (stop - start, futures)
    if waiting is not None:
        answers.append(_gather(snapshot, *waiting, request))
    return answers


def _call(function: Callable[..., Answer], *arguments: Any) -> Future[Answer]:
    """Call a function on this thread; like `submit` of an executor."""
    future: Future[Answer] = Future()
    try:
        future.set_result(function(*arguments))
    except CallError as error:
        future.set_exception(error)
    return future


def _gather(
    snapshot: Snapshot, count: int, futures: list[tuple[ShardTask, Future[Answer]]], request: AllocateRequest
) -> Answer:
    """Wait for the processors, and merge their answers."""
    options, leg = request.options, leg_of(request)
    rankings = 1 if leg is None else leg.rankings
    answers, positions, outcomes = [], [], []
    for task, future in futures:
        try:
            answer = future.result()
        except CallError as error:
            shard = task.request.shard
            outcomes.append(Outcome(shard, 0, count, str(error.kind), str(error)[:2000], error.attempts))
        else:
            answers.append(answer)
            positions.append((rankings * task.positions[:, None] + np.arange(rankings)).reshape(-1))
    if answers:
        key = None if leg is None else leg.key(options)
        merged = merge_shards(answers, positions, rankings * count, answers[0].k, key)
        merged = _as_seen(merged, snapshot) if leg is None else leg.finish(snapshot, merged, options)
    else:
        merged = nothing_found(count, options.k)
    return msgspec.structs.replace(
        merged,
        outcomes=tuple(outcomes),
        shards=tuple(task.request.shard for task, _ in futures),
        snapshot=snapshot.manifest.snapshot,
        estimated=snapshot.model.rerank is None if leg is None else leg.estimated(snapshot.model),
        usages=Usages.sum(answer.usages for answer in answers),
    )


def _as_seen(answer: Answer, snapshot: Snapshot) -> Answer:
    return msgspec.structs.replace(answer, scores=as_seen(floats(answer.scores), snapshot.model).tobytes())


def check_answer(answer: Answer, request: ProcessRequest, snapshot: Snapshot) -> None:
    """Check the answer of a processor against the request.

    Raises
    ------
    InputError
        They do not match.
    """
    leg = leg_of(request)
    rankings, columns = (1, ()) if leg is None else (leg.rankings, leg.shard_column_types)
    matches = answer.count == rankings * request.count and answer.k == request.options.k
    matches = matches and answer.snapshot == request.snapshot
    in_shard = snapshot.groups[request.shard].holds(int64s(answer.rows))
    requested = len(request.options.columns)
    matches = matches and len(answer.columns) == requested + len(columns)
    matches = matches and all(
        column.type == kind for column, kind in zip(answer.columns[requested:], columns, strict=True)
    )
    if not (matches and in_shard and answer.ids is not None):
        raise InputError(f"the answer of shard {request.shard} does not match the request")
    visited = int32s(request.visits) == 0
    if request.queries and (int32s(answer.found)[::rankings][visited] > 0).any():
        raise InputError(f"shard {request.shard} returned rows for queries that do not visit it")


def check_subtree(answer: Answer, request: AllocateRequest, manifest: Manifest) -> None:
    """Check the answer of an allocator against the request.

    Raises
    ------
    InputError
        They do not match.
    """
    rows = int64s(answer.rows)
    matches = answer.count == request.count and answer.k == request.options.k and answer.snapshot == request.snapshot
    leg = leg_of(request)
    expected = len(request.options.columns) + (0 if leg is None else len(leg.column_types))
    columns = expected if len(rows) else len(answer.columns)
    if not (matches and (len(rows) == 0 or rows.max() < stored_rows(manifest)) and len(answer.columns) == columns):
        raise InputError("the answer does not match the request")


def _batch_size(snapshot: Snapshot, request: AllocateRequest, limit: int | None) -> int:
    """Return the number of queries per call, so that the request and usually the reply fit into a message."""
    if limit is None:
        return LARGEST_BATCH
    options, leg = request.options, leg_of(request)
    most = max(shard.partitions for shard in snapshot.groups)
    request_bytes = 4 * snapshot.manifest.dimensions + 12 * most + 8
    reply_bytes = 4 + options.k * (4 + 8 + 16 + 32 * len(options.columns))
    if leg is not None:
        leg_request_bytes, leg_reply_bytes = leg.sizes(options)
        request_bytes, reply_bytes = request_bytes + leg_request_bytes, reply_bytes + leg_reply_bytes
    room = int(0.9 * limit) - 4096
    return max(1, min(LARGEST_BATCH, (room - len(options.where or b"")) // request_bytes, room // reply_bytes))


def _check_columns(snapshot: Snapshot, options: Options) -> None:
    for name in options.columns:
        if name not in snapshot.schema.names:
            known = ", ".join(snapshot.schema.names) or "none"
            raise InputError(f"the index has no attribute column {name!r}; it has {known}")
