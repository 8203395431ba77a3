"""Planning over made statistics: the planner itself, on centroids, radii and row counts that no index was built for."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

import vsearch
from bench.data import Floats
from bench.synthetic import clustered
from vsearch.building.partitioning import deal_to_shards
from vsearch.building.regions import divide_into_regions
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.roles.allocator import ShardTask, plan_batch
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.messages import AllocateRequest, Options, int32s
from vsearch.kernels.query.fields import HEAD
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.steps import plan_query
from vsearch.search.near_regions import GROWTH, LEAST_REGIONS
from vsearch.search.state.model import prepare_queries
from vsearch.search.state.shard_runs import ShardRuns
from vsearch.search.state.snapshot import Snapshot, open_snapshot
from vsearch.search.state.workspace import pack_model
from vsearch.storage import open_store, read_manifest

DIMENSIONS = 96
K = 10
LOSS = 0.005
"""Share of the nearest rows that routing by regions may lose; the few queries tell no less apart."""
SAMPLE = 40_000
"""Rows of the real index that codec, radii and tuned settings are taken from."""


@dataclass(frozen=True, eq=False)
class MadeIndex:
    """The planner's view of an index.

    Attributes
    ----------
    snapshot : Snapshot
        With centroids, radii and row counts of all partitions, and no rows.
    rows, shards, partitions : int
    queries : float32 (m, d)
    near_regions : int or None
        Number of regions whose partitions are scored; None if all partitions are.
    """

    snapshot: Snapshot
    rows: int
    shards: int
    partitions: int
    queries: Floats
    near_regions: int | None = None


def sample_index() -> str:
    """URL of a small real index of the same distribution, tuned as built."""
    base, _ = clustered(SAMPLE, 1, DIMENSIONS, centers=SAMPLE // 64)
    url = "memory://simulation/index"
    vsearch.build(base, url, metric="cosine")
    return url


def real_index(url: str, queries: Floats) -> MadeIndex:
    """A real index, to measure its planning like that of a made one."""
    store = open_store(url)
    snapshot = open_snapshot(store, read_manifest(store, None))
    return MadeIndex(snapshot, snapshot.rows, len(snapshot.groups), len(snapshot.model.centroids), queries)


def made_index(sample: str, rows: int, partitions: int, shards: int, queries: int = 64) -> MadeIndex:
    """Make the statistics of an index: clustered centroids, and radii and row counts drawn from those of a real index."""
    random = np.random.default_rng(partitions)
    store = open_store(sample)
    real = open_snapshot(store, read_manifest(store, None))
    nonempty = np.flatnonzero(real.partition_rows)
    drawn = nonempty[random.integers(len(nonempty), size=partitions)]
    counts = real.partition_rows[drawn].astype(np.float64)
    partition_rows = np.maximum(1, np.rint(counts * (rows / counts.sum()))).astype(np.int64)
    centroids, query_vectors = clustered(partitions, queries, DIMENSIONS, centers=max(64, partitions // 64))
    norms = np.linalg.norm(real.model.centroids, axis=1)
    centroids = (centroids @ real.model.quantizer.rotation.T) * float(norms.mean())
    dealt = deal_to_shards(centroids, partition_rows, shards)
    order = np.concatenate(dealt)
    centroids = np.ascontiguousarray(centroids[order])
    numbers = np.arange(partitions, dtype=np.int32)
    model = real.model.with_centroids(centroids, numbers, divide_into_regions(centroids))
    snapshot = replace(real, model=model, runs=(), settings=replace(real.settings, near_regions=None))
    firsts = np.cumsum([0, *(len(group) for group in dealt)]).tolist()
    radii = real.radii[drawn][order]
    # the layout, which a real snapshot computes from its runs
    vars(snapshot).update(
        shards=(),
        groups=tuple(ShardRuns(i, firsts[i], len(group), real.groups[0].runs) for i, group in enumerate(dealt)),
        radii=radii,
        partition_rows=partition_rows[order],
        native=pack_model(model, radii, rows),
    )
    made = MadeIndex(snapshot, rows, shards, partitions, query_vectors)
    return replace(made, near_regions=choose_regions(made))


def use_regions(made: MadeIndex, near_regions: int | None) -> None:
    """Route the queries of an index by so many regions; None scores all partitions."""
    made.snapshot.settings = replace(made.snapshot.settings, near_regions=near_regions)


def choose_regions(made: MadeIndex) -> int | None:
    """About the smallest number of regions with which plans lose hardly any rows, as `tune` chooses it, which needs rows."""
    table = made.snapshot.model.region_table
    if table is None:
        return None
    partitions = [nearest_partitions(made, query, number) for number, query in enumerate(made.queries)]
    least, regions = planned_recall(made, partitions) - LOSS, float(LEAST_REGIONS)
    while regions <= min(HEAD, len(table.sizes) // 2):
        use_regions(made, int(regions))
        if planned_recall(made, partitions) >= least:
            return int(regions)
        regions *= GROWTH
    use_regions(made, None)
    return None


def nearest_partitions(made: MadeIndex, query: Floats, seed: int) -> NDArray[np.int64]:
    """Partitions of the k nearest rows, drawn as if residuals were Gaussian: the highest of each partition's rows."""
    snapshot = made.snapshot
    rotated = prepare_queries(snapshot.model, query[None])
    deviations = float(snapshot.model.deviations(rotated)[0]) * snapshot.radii
    scores = snapshot.model.centroids @ rotated[0]
    near = np.argsort(-(scores + 5 * deviations))[:4096]
    exceeding = np.random.default_rng(seed).standard_exponential((len(near), K)).cumsum(axis=1)
    heights = ndtri(np.maximum(1 - exceeding / snapshot.partition_rows[near, None], 1e-9))
    drawn = scores[near, None] + deviations[near, None] * heights
    return near[np.argsort(-drawn, axis=None)[:K] // K]


def planned_recall(made: MadeIndex, partitions: list[NDArray[np.int64]]) -> float:
    """Share of the nearest rows that are in partitions that plans visit."""
    request, planned = SearchRequest(K, made.snapshot.settings), 0.0
    for query, nearest in zip(made.queries, partitions, strict=True):
        _, plans = plan_query(made.snapshot, query, request, None)
        pairs = zip(plans, made.snapshot.groups, strict=True)
        planned += float(
            np.isin(nearest, np.concatenate([p.order + group.first_partition for p, group in pairs])).mean()
        )
    return planned / len(partitions)


@dataclass(frozen=True)
class Planning:
    """Cost of planning and the requested visits; means per query.

    Attributes
    ----------
    seconds, flat_seconds : float
        Processor seconds, median of batches; by regions and with all partitions scored.
    near_regions, regions : int
        Regions whose partitions are scored, and all.
    resident : int
        Bytes of the tables and the workspace of one thread.
    calls, visits : float
        Shards called, and partitions sent to them.
    request_bytes : float
        Bytes of all messages to processors.
    """

    rows: int
    partitions: int
    shards: int
    seconds: float
    flat_seconds: float
    near_regions: int
    regions: int
    resident: int
    calls: float
    visits: float
    request_bytes: float


def measure_planning(made: MadeIndex, *, batch: int = 16, rounds: int = 3) -> Planning:
    """Plan batches of queries as an allocator does, on one thread."""
    flat, _ = _measure_batches(made, None, batch, rounds)
    seconds, tasks = _measure_batches(made, made.near_regions, batch, rounds)
    visits = [int(int32s(task.request.visits).sum()) for task in tasks]
    table = made.snapshot.model.region_table
    return Planning(
        made.rows,
        made.partitions,
        made.shards,
        seconds,
        flat,
        made.near_regions or 0,
        0 if table is None else len(table.sizes),
        _resident(made.snapshot),
        sum(len(task.positions) for task in tasks) / batch,
        sum(visits) / batch,
        sum(len(wire.encode(task.request)) for task in tasks) / batch,
    )


def _measure_batches(
    made: MadeIndex, near_regions: int | None, batch: int, rounds: int
) -> tuple[float, list[ShardTask]]:
    """Processor seconds of planning a query, and the tasks of the last batch."""
    use_regions(made, near_regions)
    times, tasks = [], list[ShardTask]()
    for number in range(rounds + 1):  # the first one fills workspaces
        start = (number * batch) % (len(made.queries) - batch + 1)
        queries = made.queries[start : start + batch]
        request = AllocateRequest(
            snapshot=made.snapshot.manifest.snapshot,
            count=batch,
            dimensions=DIMENSIONS,
            queries=queries.tobytes(),
            options=Options(k=K),
            allocators=1,
            branching=1,
            level=1,
        )
        begun = time.process_time()
        tasks = plan_batch(made.snapshot, request, None, Deadline())
        times.append((time.process_time() - begun) / batch)
    return float(np.median(times[1:])), tasks


def _resident(snapshot: Snapshot) -> int:
    """Bytes of the arrays that a warm allocator holds."""
    model, workspace = snapshot.model, snapshot.workspace()
    arrays = [model.centroids, model.centroid_squares, snapshot.radii, snapshot.partition_rows]
    arrays += [model.coarse_centroids.groups, model.coarse_centroids.steps, model.coarse_centroids.lows]
    arrays += [workspace.order, workspace.rest, workspace.centroid_scores, workspace.upper_bounds]
    if model.half_centroids is not None:
        arrays.append(model.half_centroids)
    scratch = 3 * 4 * len(model.centroids)  # keys, spare keys, spare order
    if model.region_table is not None:
        scratch += (4 * 4 + 8) * len(model.centroids) + 4 * 4 * len(model.region_table.members)
    return sum(array.nbytes for array in arrays) + scratch
