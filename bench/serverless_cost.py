"""The cost of a million filtered queries: processor time measured on stand-ins, priced and scaled to the published sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import Floats
from bench.serverless_data import StandIn, true_neighbors, where
from bench.serverless_stack import Stack
from vsearch.fanout.platforms.aws_lambda import PRICES

K = 10
BATCH = 1000
ROWS_PER_SHARD = 1_000_000
HOP = 0.005
"""Assumed seconds per invocation that a caller waits on top of the function's own time."""

LONGEST_CALL = 256
"""Queries per call of a processor."""


@dataclass(frozen=True)
class Measured:
    """Processor seconds per query, in batches of 1,000 and singly; and the bills by the clock.

    Attributes
    ----------
    recall : float
        Of the filtered results, against exact neighbors of the raw vectors.
    batch, single : dict of str to float
        Seconds per query by role.
    batch_bill, single_bill : float
        Dollars per million queries from the bills of the results, by the clock of this machine.
    """

    recall: float
    selectivity: float
    batch: dict[str, float]
    single: dict[str, float]
    batch_bill: float
    single_bill: float
    woken: float


def measure(stack: Stack, folder: Path, queries: Floats, seeds: tuple[int, ...], singles: int) -> Measured:
    """Run batches and single queries, each with its own predicate."""
    index = stack.index
    options: dict[str, Any] = {"mode": "flat"}
    sampled = min(200, len(queries))
    for seed in (99, 98):  # start environments and load data
        index.search(queries[:BATCH], K, where(seed), **options)
    recalls, passing = [], []
    before = stack.processor_seconds()
    dollars = 0.0
    ids_by_seed = []
    for seed in seeds:
        hits = index.search(queries[:BATCH], K, where(seed), **options)
        assert hits.bill is not None
        dollars += hits.bill.total
        passing.append(hits.stats.rows_masked)
        ids_by_seed.append(hits.ids)
    after = stack.processor_seconds()
    total = len(seeds) * len(queries[:BATCH])
    batch = {role: (after[role] - before[role]) / total for role in after}
    batch_bill = 1e6 * dollars / total
    for seed, ids in zip(seeds, ids_by_seed, strict=True):
        truth = true_neighbors(folder, seed, queries[:sampled], K)
        recalls += [len(set(a) & set(b)) / K for a, b in zip(ids[:sampled].tolist(), truth.tolist(), strict=True)]
    index.search(queries[0], K, where(7), **options)
    before, dollars, woken = stack.processor_seconds(), 0.0, 0
    for i in range(singles):
        hits = index.search(queries[i], K, where(1000 + i), **options)
        assert hits.bill is not None
        dollars += hits.bill.total
        woken += hits.bill.usages.processor.invocations
    after = stack.processor_seconds()
    single = {role: (after[role] - before[role]) / singles for role in after}
    return Measured(
        float(np.mean(recalls)),
        float(np.mean(passing)),
        batch,
        single,
        batch_bill,
        1e6 * dollars / singles,
        woken / singles,
    )


@dataclass(frozen=True)
class Cost:
    """Dollars per million queries, in batches of 1,000 and singly, at the published size."""

    batches: float
    singly: float
    shards: int


def price(stand_in: StandIn, measured: Measured, memory: int, arch: str = "x86_64") -> Cost:
    """Scale the processor time to the published size, linearly in the rows, and price it.

    Assumes that every query wakes every shard, and that the processors share the work evenly. A coordinator is billed while it
    waits for them; durations are rounded up to the next millisecond.
    """
    prices, gigabytes = PRICES[arch], memory / 1024
    factor = stand_in.rows / stand_in.measured
    shards = max(stand_in.shards, math.ceil(stand_in.rows / ROWS_PER_SHARD))
    work, plan = measured.batch["processor"] * factor, measured.batch["coordinator"] * factor
    calls = math.ceil(BATCH / LONGEST_CALL)
    processors = shards * calls * _billed(BATCH / calls * work / shards)
    coordinator = _billed(BATCH * (plan + work / shards) + calls * HOP)
    batch = (processors + coordinator) * gigabytes * prices.gigabyte_second + (1 + shards * calls) * prices.invocation
    work, plan = measured.single["processor"] * factor, measured.single["coordinator"] * factor
    seconds = shards * _billed(work / shards) + _billed(plan + work / shards + HOP)
    single = seconds * gigabytes * prices.gigabyte_second + (1 + shards) * prices.invocation
    return Cost(1e6 / BATCH * batch, 1e6 * single, shards)


def _billed(seconds: float) -> float:
    return math.ceil(seconds * 1e3) / 1e3
