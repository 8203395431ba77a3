"""The second phase of a search: the partitions that remain after the nearest, in storage order."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.partitions import search_partitions
from vsearch.kernels.query.plan import complete_order, rest_reaches
from vsearch.kernels.query.rerank import LEAST, rerank_waiting
from vsearch.kernels.toolchain.compiling import part


@part
def rerank_rest(model, call):
    """Rerank the rows that are still pending."""
    call.size = rerank_waiting(model, call, call.waiting, call.size)
    call.waiting = 0


@part
def find_rest(model, runs, call):
    """List the remaining partitions that must be visited or whose bounds reach the k-th best score, ascending."""
    rerank_rest(model, call)
    order, upper_bounds, marks, rest = call.order, call.upper_bounds, call.spare_keys, call.rest
    low, partition_count = runs.first_partition, runs.partitions
    threshold = call.scores[0] if call.size == call.k else LEAST
    if call.complete == 0 and rest_reaches(model, call, threshold):
        complete_order(model, call)
    marked = 0
    marks[low : low + partition_count] = 0
    min_probes = call.min_probes
    for visit in range(call.first_visit, call.visits):
        partition = np.int64(order[visit])
        if visit < min_probes:
            upper_bounds[partition] = np.float32(np.inf)
        if upper_bounds[partition] >= threshold and low <= partition < low + partition_count:
            marks[partition] = 1
            marked += 1
    count = 0
    if marked > 0:
        for partition in range(low, low + partition_count):  # branch-free: the branches would be mispredicted
            rest[count] = partition
            count += np.int64(marks[partition])
    call.rest_count = count


@part
def visit_rest(model, runs, call, first, last, fetch):
    """Visit entries `first` to `last` of the partitions listed by `find_rest`."""
    rest = call.rest[: call.rest_count]
    search_partitions(model, runs, call, rest, first, last, 0, descending=False, fetch=fetch)
