"""Scores of given rows by their rerank codes, as a search computes them: for rows that were found by other means."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import PENDING
from vsearch.kernels.query.plan import plan_rerank
from vsearch.kernels.query.prefetching import fetch_rerank
from vsearch.kernels.query.rerank import rerank_waiting
from vsearch.kernels.query.views import call_at, model_at, run_at, runs_at, shard_at
from vsearch.kernels.toolchain.compiling import kernel, part
from vsearch.kernels.toolchain.memory import float32s, int64s


@part
def _partition_of(shard, row):
    """Return the partition of a run that has a row, or -1."""
    starts = shard.row_starts
    low, high = 0, starts.shape[0]
    while low < high:  # the first partition that begins after the row
        middle = (low + high) >> 1
        if starts[middle] <= row:
            low = middle + 1
        else:
            high = middle
    if low > 0 and row < starts[low - 1] + shard.row_counts[low - 1]:
        return low - 1
    return -1


@part
def _enqueue(model, runs, call, place, row):
    """Put a row in the queue of rows to rerank; return whether one of the runs has it."""
    for i in range(runs.count):
        address = runs.runs[i]
        run = run_at(address)
        if run.owner != 0:  # copies have the codes of rows that other runs have
            continue
        shard = shard_at(run.shard)
        local_row = row - run.first_row
        if local_row < 0 or local_row >= shard.rows:
            continue
        partition = _partition_of(shard, local_row)
        if partition >= 0:  # a tail is divided into the runs of several shards
            call.pending[0, place], call.pending[1, place] = local_row, shard.first_partition + partition
            call.pending[2, place] = address
            # as in `partitions`: products count twice in squared distances that are not computed from differences
            gain = np.float32(2.0) if model.squared != 0 and model.differences == 0 else np.float32(1.0)
            call.pending_scales[place] = shard.rerank_partition_scales[partition] * gain
            fetch_rerank(model.rerank_kind, shard.rerank_bytes, shard.rerank_halves, shard.rerank_floats, local_row)
            return True
    return False


@kernel
def score_rows(model_address, runs_address, call_address, rows_address, count, scores_address):
    """Score rows by their rerank codes; NaN for rows that no run has.

    The heap, the queue and the counters of the call are overwritten.

    Parameters
    ----------
    model_address, runs_address, call_address : int
        As for `query.search_runs`; the rerank codes of the rows must be present.
    rows_address : int
        Address of int64 (count,): rows as in results, ascending.
    count : int
    scores_address : int
        Address of float32 (count,): output.
    """
    model, runs, call = model_at(model_address), runs_at(runs_address), call_at(call_address)
    rows, scores = int64s(rows_address, count), float32s(scores_address, count)
    plan_rerank(model, call)
    most = min(call.k, PENDING)
    first = 0
    while first < count:
        stop = min(first + most, count)
        waiting = 0
        for i in range(first, stop):
            scores[i] = np.float32(np.nan)
            if _enqueue(model, runs, call, waiting, rows[i]):
                waiting += 1
        size = rerank_waiting(model, call, waiting, 0)
        for j in range(size):  # the heap has all of them, in another order
            row = call.rows[j]
            low, high = first, stop
            while low < high:
                middle = (low + high) >> 1
                if rows[middle] < row:
                    low = middle + 1
                else:
                    high = middle
            scores[low] = call.scores[j]
        first = stop
    call.size = call.waiting = 0
