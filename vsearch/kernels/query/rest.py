"""The second half of a search: partitions that are left after the nearest, in the order in which they are stored."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.partitions import search_partitions
from vsearch.kernels.query.plan import complete_order, rest_reaches
from vsearch.kernels.query.rerank import LEAST, rerank_waiting
from vsearch.kernels.toolchain.compiling import part


@part
def rerank_rest(model, shard, call):
    """Rerank the rows that still wait."""
    call.size = rerank_waiting(model, shard, call, call.waiting, call.size)
    call.waiting = 0


@part
def find_rest(model, shard, call):
    """List the shard's partitions that are left to visit, ascending: forced ones, and those whose bounds may still do."""
    rerank_rest(model, shard, call)
    order, bounds, marks, rest = call.order, call.bounds, call.spare_keys, call.rest
    low, own = shard.first_partition, shard.partitions
    threshold = call.scores[0] if call.size == call.k else LEAST
    if call.complete == 0 and rest_reaches(model, call, threshold):
        complete_order(model, call)
    found = 0
    marks[low : low + own] = 0
    forced = call.forced
    for visit in range(call.first_visit, call.visits):
        partition = np.int64(order[visit])
        if visit < forced:
            bounds[partition] = np.float32(np.inf)
        if bounds[partition] >= threshold and low <= partition < low + own:
            marks[partition] = 1
            found += 1
    count = 0
    if found > 0:
        for partition in range(low, low + own):  # without branches: hardly any of them would be foretold
            rest[count] = partition
            count += np.int64(marks[partition])
    call.rest_count = count


@part
def visit_rest(model, shard, call, first, last, fetch):
    """Visit entries `first` to `last` of what `find_rest` found."""
    rest = call.rest[: call.rest_count]
    search_partitions(model, shard, call, rest, first, last, 0, descending=False, fetch=fetch)
