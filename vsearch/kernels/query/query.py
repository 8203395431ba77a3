"""The fused query: from the query vector to the best rows in one native call.

A query is planned (see `plan`). Then the nearest partitions of a shard are visited best first, until k rows are found
and a number of partitions is visited (`nearest`); those whose bounds can still reach the k-th best score follow in
storage order (`rest`). `search_shard` does all of this, `search_batch` for several queries at once.

The functions that Python calls are in this module and take addresses of blocks (see `fields`), so that the same code
serves Numba and plain C callers; the functions that they call take views of the blocks.
"""

from __future__ import annotations

from vsearch.kernels.query.fields import CALL_FIELDS, RUN_FIELDS, CallField, RunField
from vsearch.kernels.query.nearest import fetch_nearest, visit_nearest
from vsearch.kernels.query.plan import complete_order, plan_tables, plan_visits
from vsearch.kernels.query.rest import find_rest, rerank_rest, visit_rest
from vsearch.kernels.query.views import call_at, model_at, shard_at
from vsearch.kernels.scan.topk import sort_best_first
from vsearch.kernels.toolchain.compiling import inlined, kernel
from vsearch.kernels.toolchain.memory import int64s


@kernel
def plan_query(model_address, call_address):
    """Rotate the query, score and order the partitions, compute and round the tables.

    With `ModelField.TABLES_GIVEN` the caller provides the rotated query and the tables, which are only rounded here.
    """
    model, call = model_at(model_address), call_at(call_address)
    plan_visits(model, call)
    plan_tables(model, call)
    complete_order(model, call)


@kernel
def scan_nearest(model_address, shard_address, call_address):
    """Visit the nearest of the planned partitions: see `visit_nearest`."""
    visit_nearest(model_at(model_address), shard_at(shard_address), call_at(call_address))


@kernel
def list_rest(model_address, shard_address, call_address):
    """List the shard's remaining partitions: see `find_rest`."""
    find_rest(model_at(model_address), shard_at(shard_address), call_at(call_address))


@kernel
def scan_rest(model_address, shard_address, call_address):
    """Visit the partitions listed by `list_rest`."""
    model, shard, call = model_at(model_address), shard_at(shard_address), call_at(call_address)
    visit_rest(model, shard, call, 0, call.rest_count, fetch=True)
    rerank_rest(model, shard, call)


@inlined
def _begin(call):
    call.counters[:] = 0
    call.size = call.waiting = 0
    call.first_visit, call.last_visit = 0, call.visits
    call.settled, call.near = 0, 0


@inlined
def _finish(call):
    sort_best_first(call.scores, call.rows, call.size)


@kernel
def finish(call_address):
    """Sort the heap, best first, and pad it with NaN and -1."""
    _finish(call_at(call_address))


@kernel
def search_shard(model_address, shard_address, call_address):
    """Plan a query, search all its visits in the only shard of an index, and sort the results."""
    model, shard, call = model_at(model_address), shard_at(shard_address), call_at(call_address)
    plan_visits(model, call)
    fetch_nearest(shard, call)
    plan_tables(model, call)
    _begin(call)
    visit_nearest(model, shard, call)
    find_rest(model, shard, call)
    visit_rest(model, shard, call, 0, call.rest_count, fetch=True)
    rerank_rest(model, shard, call)
    _finish(call)


@inlined
def _enter(call, block, runs, run):
    """Enter a run: set its mask, and number the rows of the heap relative to its first row."""
    at = run * RUN_FIELDS
    block[CallField.MASK], block[CallField.MASK_WORDS] = runs[at + RunField.MASK], runs[at + RunField.MASK_WORDS]
    rows, first = call.rows, runs[at + RunField.FIRST_ROW]
    for i in range(call.size):
        rows[i] -= first


@inlined
def _leave(call, runs, run):
    """Leave a run: number the rows of the heap across all runs again."""
    rows, first = call.rows, runs[run * RUN_FIELDS + RunField.FIRST_ROW]
    for i in range(call.size):
        rows[i] += first


@kernel
def search_runs(model_address, runs_address, count, call_address):
    """Plan a query, search all its visits in several runs with one heap, and sort the results.

    Rows are numbered across all runs.

    The nearest partitions of all runs are visited before the rest of any run, so that the k-th best score is high by
    then.

    Parameters
    ----------
    runs_address
        Address of int64 (count, len(RunField)).
    """
    model, call = model_at(model_address), call_at(call_address)
    block = int64s(call_address, CALL_FIELDS)
    runs = int64s(runs_address, count * RUN_FIELDS)
    plan_visits(model, call)
    fetch_nearest(shard_at(runs[RunField.SHARD]), call)
    plan_tables(model, call)
    _begin(call)
    for run in range(count):
        shard = shard_at(runs[run * RUN_FIELDS + RunField.SHARD])
        _enter(call, block, runs, run)
        call.first_visit, call.last_visit, call.settled, call.near = 0, call.visits, 0, 0
        visit_nearest(model, shard, call)
        rerank_rest(model, shard, call)
        _leave(call, runs, run)
        runs[run * RUN_FIELDS + RunField.FIRST_VISIT] = call.first_visit
    for run in range(count):
        shard = shard_at(runs[run * RUN_FIELDS + RunField.SHARD])
        _enter(call, block, runs, run)
        call.first_visit = runs[run * RUN_FIELDS + RunField.FIRST_VISIT]
        find_rest(model, shard, call)
        visit_rest(model, shard, call, 0, call.rest_count, fetch=True)
        rerank_rest(model, shard, call)
        _leave(call, runs, run)
    _finish(call)


@kernel
def search_batch(model_address, shard_address, calls_address, count):
    """`search_shard` for several queries, which share one pass over the partitions that remain after the nearest.

    Results are those of `search_shard`: each query visits the same partitions in the same order. A partition's codes
    stay in the L1 cache while all queries that need it scan them.
    """
    model, shard, calls = model_at(model_address), shard_at(shard_address), int64s(calls_address, count)
    low, held = shard.first_partition, shard.partitions
    for i in range(count):
        call = call_at(calls[i])
        plan_visits(model, call)
        plan_tables(model, call)
        _begin(call)
        visit_nearest(model, shard, call)
        find_rest(model, shard, call)
        call.first_visit = 0  # from here on the position in the rest
    for partition in range(low, low + held):
        fetch = True  # only for the first query: then the codes are in the cache
        for i in range(count):
            call = call_at(calls[i])
            place = call.first_visit
            if place < call.rest_count and call.rest[place] == partition:
                visit_rest(model, shard, call, place, place + 1, fetch)
                fetch = False
                call.first_visit = place + 1
    for i in range(count):
        call = call_at(calls[i])
        rerank_rest(model, shard, call)
        _finish(call)
