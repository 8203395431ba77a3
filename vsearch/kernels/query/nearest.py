"""The first phase of a search: the nearest partitions, best first."""

from __future__ import annotations

from vsearch.kernels.query.fields import NEAREST, VISITED
from vsearch.kernels.query.partitions import search_partitions
from vsearch.kernels.query.plan import complete_order
from vsearch.kernels.query.prefetching import AHEAD, fetch_blocks
from vsearch.kernels.toolchain.compiling import inlined, part


@inlined
def fetch_nearest(shard, call):
    """Prefetch the codes of the partition that is visited first."""
    if call.ordered > 0:
        local = call.order[0] - shard.first_partition
        if 0 <= local < shard.partitions:
            start, blocks = shard.block_starts[local], (shard.row_counts[local] + 31) // 32
            fetch_blocks(shard.first_codes, start, start + min(blocks, AHEAD // shard.first_width + 1))


@part
def visit_nearest(model, shard, call):
    """Visit planned partitions best first, from `CallField.FIRST_VISIT` up to `LAST_VISIT`.

    Stops and sets `SETTLED` once NEAREST of the shard's partitions are visited and k rows are found, or the bounds of
    all others are too low. `FIRST_VISIT` is then where to resume.
    """
    counters, visit = call.counters, call.first_visit
    while True:
        if call.size == call.k and call.near >= NEAREST:
            call.settled = 1
            break
        if visit == call.last_visit and call.complete == 0:
            complete_order(model, call)
            call.last_visit = call.visits
        if visit == call.last_visit:
            break
        stop = min(visit + max(NEAREST - call.near, 1), call.last_visit)
        before = counters[VISITED]
        visit = search_partitions(
            model, shard, call, call.order[: call.ordered], visit, stop, call.min_probes, descending=True, fetch=True
        )
        call.near += counters[VISITED] - before
        if visit < stop:
            call.settled = 1
            break
    call.first_visit = visit
