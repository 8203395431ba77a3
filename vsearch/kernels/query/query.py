"""The fused query: from the query vector to the best rows in one native call.

A query is planned (see `plan`). Then the nearest partitions are visited best first, until k rows are found and a number
of partitions is visited (`nearest`); those whose bounds can still reach the k-th best score follow in storage order
(`rest`). All runs of all shards that a process searches share one heap, so a row found in one raises the threshold for all
others. `search_runs` does all of this, `search_together` and `batches.search_batch` for several queries.

The functions that Python calls are in this module and take addresses of blocks (see `fields`), so that the same code
serves Numba and plain C callers; the functions that they call take views of the blocks.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.copies import forget_seen
from vsearch.kernels.query.nearest import fetch_nearest, visit_nearest
from vsearch.kernels.query.plan import complete_above, complete_order, plan_scan, plan_tables, plan_visits
from vsearch.kernels.query.rest import find_rest, rerank_rest, visit_rest
from vsearch.kernels.query.views import call_at, model_at, runs_at
from vsearch.kernels.scan.dot_products import dot_float
from vsearch.kernels.scan.topk import sort_best_first
from vsearch.kernels.toolchain.compiling import inlined, kernel, part
from vsearch.kernels.toolchain.memory import int64s

LARGEST_SQUARE = np.float32(1e30)  # of the norm of a query: then no number is larger than any metric allows


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
def plan_nearest(model_address, call_address):
    """`plan_query`, of which only the nearest partitions are ordered yet; `plan_rest` orders the others."""
    model, call = model_at(model_address), call_at(call_address)
    plan_visits(model, call)
    plan_tables(model, call)


@kernel
def plan_rest(model_address, call_address, threshold):
    """Order the other partitions, without those whose bounds are below a threshold."""
    complete_above(model_at(model_address), call_at(call_address), threshold)


@kernel
def prepare_scan(model_address, call_address, visits):
    """Prepare a rotated query whose visits were planned elsewhere: see `plan_scan`."""
    plan_scan(model_at(model_address), call_at(call_address), visits)


@kernel
def scan_nearest(model_address, runs_address, call_address):
    """Visit the nearest of the planned partitions: see `visit_nearest`."""
    visit_nearest(model_at(model_address), runs_at(runs_address), call_at(call_address))


@kernel
def list_rest(model_address, runs_address, call_address):
    """List the remaining partitions: see `find_rest`."""
    find_rest(model_at(model_address), runs_at(runs_address), call_at(call_address))


@kernel
def scan_rest(model_address, runs_address, call_address):
    """Visit the partitions listed by `list_rest`."""
    model, runs, call = model_at(model_address), runs_at(runs_address), call_at(call_address)
    visit_rest(model, runs, call, 0, call.rest_count, fetch=True)
    rerank_rest(model, call)


@inlined
def _begin(call):
    call.counters[:] = 0
    forget_seen(call)
    call.size = call.waiting = call.missing_count = call.unread_row_count = 0
    call.first_visit, call.last_visit, call.settled = 0, call.visits, 0


@inlined
def _finish(call):
    sort_best_first(call.scores, call.rows, call.size)


@kernel
def finish(call_address):
    """Sort the heap, best first, and pad it with NaN and -1."""
    _finish(call_at(call_address))


@part
def search_planned(model, runs, call):
    """Search the visits of `plan_visits`, and sort the results."""
    fetch_nearest(runs, call)
    plan_tables(model, call)
    _begin(call)
    visit_nearest(model, runs, call)
    if call.missing_count > 0:  # the k-th best score of these tells which others are needed
        return
    find_rest(model, runs, call)
    visit_rest(model, runs, call, 0, call.rest_count, fetch=True)
    rerank_rest(model, call)
    _finish(call)


@kernel
def search_runs(model_address, runs_address, call_address):
    """Plan a query, search all its visits in all runs with one heap, and sort the results.

    If `CallField.UNCHECKED` is set, nothing is done for a query with a number that is too large or not finite. With `UNREAD`
    the results are not complete if it is 2 afterwards: see `unread`.
    """
    call = call_at(call_address)
    if call.unchecked != 0:
        query = call.query
        if not dot_float(query, query) <= LARGEST_SQUARE:
            return
        call.unchecked = 0
    model = model_at(model_address)
    plan_visits(model, call)
    search_planned(model, runs_at(runs_address), call)


@kernel
def search_together(model_address, runs_address, calls_address, count):
    """`search_runs` for several queries that visit most partitions, in one pass over the partitions.

    Results are those of `search_runs`: each query visits the same partitions in the same order. A partition's codes
    stay in the cache while all queries that need it scan them, which outweighs the cache space of a workspace per query.
    """
    model, runs, calls = model_at(model_address), runs_at(runs_address), int64s(calls_address, count)
    low, partition_count = runs.first_partition, runs.partitions
    for i in range(count):
        call = call_at(calls[i])
        plan_visits(model, call)
        plan_tables(model, call)
        _begin(call)
        visit_nearest(model, runs, call)
        find_rest(model, runs, call)
        call.first_visit = 0  # from here on the position in the rest
    for partition in range(low, low + partition_count):
        fetch = True  # only for the first query: then the codes are in the cache
        for i in range(count):
            call = call_at(calls[i])
            place = call.first_visit
            if place < call.rest_count and call.rest[place] == partition:
                visit_rest(model, runs, call, place, place + 1, fetch)
                fetch = False
                call.first_visit = place + 1
    for i in range(count):
        call = call_at(calls[i])
        rerank_rest(model, call)
        _finish(call)
