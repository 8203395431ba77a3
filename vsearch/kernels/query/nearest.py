"""The first phase of a search: the nearest partitions, best first."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import NEAREST
from vsearch.kernels.query.partitions import search_partitions
from vsearch.kernels.query.plan import complete_order
from vsearch.kernels.query.prefetching import AHEAD, fetch_blocks
from vsearch.kernels.query.unread import lists_enough
from vsearch.kernels.query.views import run_at, shard_at
from vsearch.kernels.toolchain.compiling import inlined, part


@inlined
def fetch_nearest(runs, call):
    """Prefetch the codes of the partition that is visited first."""
    if call.ordered > 0:
        partition, first, addresses = np.int64(call.order[0]), runs.first_partition, runs.runs
        if first <= partition < first + runs.partitions:
            shard = shard_at(run_at(addresses[runs.owners[partition - first]]).shard)
            local = partition - shard.first_partition
            start, blocks = shard.block_starts[local], (shard.row_counts[local] + 31) // 32
            fetch_blocks(shard.first_codes, start, start + min(blocks, AHEAD // shard.first_width + 1))


@part
def visit_nearest(model, runs, call):
    """Visit planned partitions best first, from `CallField.FIRST_VISIT` up to `LAST_VISIT`.

    Stops and sets `SETTLED` once NEAREST partitions are visited and k rows are found, or the bounds of all others are
    too low. `FIRST_VISIT` is then where to resume.
    """
    visit = call.first_visit
    while True:
        if call.size == call.k and visit >= NEAREST:
            call.settled = 1
            break
        if lists_enough(call):
            break
        if visit == call.last_visit and call.complete == 0:
            complete_order(model, call)
            call.last_visit = call.visits
        if visit == call.last_visit:
            break
        stop = min(max(NEAREST, visit + 1), call.last_visit)
        visit = search_partitions(
            model, runs, call, call.order[: call.ordered], visit, stop, call.min_probes, descending=True, fetch=True
        )
        if visit < stop:
            call.settled = 1
            break
    call.first_visit = visit
