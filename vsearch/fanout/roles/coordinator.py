"""The coordinator validates a request, chooses a plan, starts the tree of allocators and returns the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np

from vsearch.bits import as_bits
from vsearch.errors import InputError
from vsearch.fanout.calls.retries import RETRIES, CallError, Deadline, ErrorKind
from vsearch.fanout.calls.tree import children_of_root, split
from vsearch.fanout.roles.allocator import Calls, allocate, part_of
from vsearch.fanout.roles.legs import leg_of
from vsearch.fanout.roles.loading import Loader, Part, as_of, moment_for
from vsearch.fanout.roles.merging import append, nothing_found
from vsearch.fanout.roles.planning import Plan, PlanSettings, choose_plan
from vsearch.fanout.roles.processor import MaskCache, check_columns, process
from vsearch.fanout.roles.texts import encode_texts
from vsearch.fanout.wire.messages import AllocateRequest, Answer, Outcome, ProcessRequest, SearchRequest, floats
from vsearch.fanout.wire.where import bind_where
from vsearch.metrics import HAMMING
from vsearch.predicates.binding import columns_of
from vsearch.search.state.field_types import column_of
from vsearch.search.state.snapshot import Snapshot, schema_of
from vsearch.storage import Manifest
from vsearch.storage.files.plain_columns import empty_column

CallsFor = Callable[[Manifest, Snapshot | None], Calls]

MOST_WARNINGS = 100
"""Maximum number of warnings of an answer."""


def coordinate(
    request: SearchRequest,
    loader: Loader,
    settings: PlanSettings,
    masks: MaskCache,
    deadline: Deadline,
    calls_for: CallsFor,
    prepare: Callable[[int], object] | None = None,
) -> Answer:
    """Answer a request.

    Parameters
    ----------
    calls_for : callable
        Returns the functions that call other workers, and check their answers against the manifest and, if passed, a
        snapshot's tables.
    prepare : callable, optional
        Loads a newer snapshot in all workers while requests are answered from the previous one.

    Raises
    ------
    InputError
        The request is invalid or does not match the index.
    SearchTimeoutError
        The deadline passed while texts were encoded.
    CallError
        A shard failed after all retries, and partial answers are not allowed; the error has the shard's kind.
    """
    manifest = loader.manifest(_choose_snapshot(request, loader, prepare))
    columns = _attributes(request, manifest)
    moment = moment_for(manifest, request.moment, pinned=request.snapshot is not None)
    request = msgspec.structs.replace(request, options=check_columns(manifest, request.options))
    plan = choose_plan(
        manifest,
        request.count,
        settings,
        mode=request.mode,
        allocators=request.allocators,
        branching=request.branching,
        legs=request.leg is not None,
    )

    def load() -> Part | None:
        return _load(loader, plan, manifest, columns, legs=request.leg is not None)

    if request.texts:
        request = encode_texts(request, loader, manifest, load)
    request = _with_bits(request, manifest)
    _check(request, manifest)
    root = AllocateRequest(
        snapshot=manifest.snapshot,
        count=request.count,
        dimensions=request.dimensions,
        queries=request.queries,
        options=request.options,
        allocators=1,
        branching=plan.branching,
        level=1,
        moment=moment,
        remaining=deadline.remaining(),
        documents=request.documents,
        leg=request.leg,
    )
    part = load()
    if part is None:
        answer = _start_tree(root, plan, calls_for(manifest, None), deadline)
    else:
        snapshot = as_of(part.snapshot, moment)
        calls = _own_calls(snapshot, deadline, masks) if plan.mode == "alone" else calls_for(manifest, snapshot)
        answer = allocate(snapshot, root, calls, deadline)
    lost = answer.outcomes
    if lost and not request.allow_partial:
        raise CallError(ErrorKind(lost[0].error), _describe(lost), final=not _out_of_time(lost))
    if not answer.rows:
        answer = _with_types(answer, request, manifest)
    explained = _explain(plan, answer, manifest)
    leg = leg_of(request)
    warned = () if leg is None else tuple(leg.warnings(manifest)[:MOST_WARNINGS])
    return msgspec.structs.replace(answer, plan=explained, snapshot=manifest.snapshot, moment=moment, warnings=warned)


def _choose_snapshot(request: SearchRequest, loader: Loader, prepare: Callable[[int], object] | None) -> int:
    """Return the number of the snapshot for a request."""
    if request.snapshot is None:
        return loader.newest.number(request.freshness, request.at_least, prepare)
    if request.snapshot < request.at_least:
        raise InputError(f"only one of snapshot and at_least is allowed, got {request.snapshot} and {request.at_least}")
    return request.snapshot


def require(reply: Any, kind: type) -> None:
    """Raise InputError unless a reply has a type."""
    if not isinstance(reply, kind):
        raise InputError(f"the reply must be a {kind.__name__}, got a {type(reply).__name__}")


def _load(loader: Loader, plan: Plan, manifest: Manifest, columns: Sequence[str], *, legs: bool) -> Part | None:
    """Load the part of the index that a plan needs in the coordinator; None if it needs nothing."""
    if plan.mode == "alone":
        return loader.load(manifest.snapshot, columns, legs=legs)
    return loader.tables(manifest.snapshot, columns, legs=legs) if plan.mode == "flat" else None


def _attributes(request: SearchRequest, manifest: Manifest) -> tuple[str, ...]:
    """Return the attributes that the predicate of a request reads."""
    bound = bind_where(manifest, request.options)
    return () if bound is None else columns_of(bound)


def _with_bits(request: SearchRequest, manifest: Manifest) -> SearchRequest:
    """Return a request to an index of bits with queries of zeros and ones; packed ones have fewer dimensions."""
    if manifest.metric != HAMMING or not request.queries:
        return request
    bits = as_bits(floats(request.queries, request.count, request.dimensions), manifest.dimensions)
    return msgspec.structs.replace(request, dimensions=manifest.dimensions, queries=bits.astype("<f4").tobytes())


def _check(request: SearchRequest, manifest: Manifest) -> None:
    """Check the queries of a request against the index."""
    leg = leg_of(request)
    if leg is not None:
        leg.check(manifest)
    if leg is not None and not request.queries:
        return
    if request.dimensions != manifest.dimensions and manifest.documents is not None:
        raise InputError("this index holds multi-vector documents: use search_documents, or query_vectors over HTTP")
    if request.dimensions != manifest.dimensions:
        raise InputError(f"queries must have {manifest.dimensions} dimensions, got {request.dimensions}")


def _own_calls(snapshot: Snapshot, deadline: Deadline, masks: MaskCache) -> Calls:
    """Return functions that search shards in this process."""

    def processor(shard: int, request: ProcessRequest) -> Answer:
        return process(snapshot, snapshot.groups[shard], request, deadline, masks)

    def allocator(request: AllocateRequest) -> Answer:
        raise CallError(ErrorKind.INTERNAL, f"the plan has no allocators for {request.count} queries")

    return Calls(processor, allocator)


def _start_tree(request: AllocateRequest, plan: Plan, calls: Calls, deadline: Deadline) -> Answer:
    """Distribute the queries over the subtrees below the root, and concatenate their answers."""
    edges = np.concatenate(([0], np.cumsum(split(request.count, plan.allocators))))
    parts = []
    for child in children_of_root(plan.allocators, plan.branching):
        queries = part_of(request, slice(edges[child.first], edges[child.first + child.count]))
        parts.append(msgspec.structs.replace(queries, allocators=child.count, remaining=deadline.remaining()))
    with ThreadPoolExecutor(len(parts)) as pool:
        futures = [pool.submit(calls.allocator, part) for part in parts]
        answers = []
        for part, future in zip(parts, futures, strict=True):
            try:
                answers.append(future.result())
            except CallError as error:
                lost = Outcome(None, 0, part.count, str(error.kind), str(error)[:2000], error.attempts)
                answers.append(msgspec.structs.replace(nothing_found(part.count, request.options.k), outcomes=(lost,)))
    return append(answers)


def _explain(plan: Plan, answer: Answer, manifest: Manifest) -> str:
    return f"{plan}; {len(answer.shards)} of {len(manifest.shards)} shards searched"


def _with_types(answer: Answer, request: SearchRequest, manifest: Manifest) -> Answer:
    """Return an answer without rows with the same id and column types as an answer with rows."""
    schema, leg = schema_of(manifest), leg_of(request)
    columns = [column_of(schema.find(name)) for name in request.options.columns]
    columns += () if leg is None else leg.column_types
    return msgspec.structs.replace(
        answer,
        ids=empty_column("string" if manifest.id_type == "string" else "int64"),
        columns=tuple(empty_column(kind) for kind in columns),
    )


def _out_of_time(lost: Sequence[Outcome]) -> bool:
    """Whether errors were not retried because the first attempt used all of the time."""
    return all(outcome.attempts == 1 and outcome.error in RETRIES for outcome in lost)


def _describe(lost: Sequence[Outcome]) -> str:
    shards = sorted({outcome.shard for outcome in lost if outcome.shard is not None})
    where = f"shards {', '.join(map(str, shards))}" if shards else "an allocator"
    return (
        f"no complete answer: {where} failed ({lost[0].error} after {lost[0].attempts} attempts: {lost[0].message}); "
        "pass allow_partial=True for the results of the other shards"
    )
