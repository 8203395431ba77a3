"""The processor holds one shard, evaluates predicates on it, and searches the partitions that an allocator planned."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.checks import stored_names
from vsearch.cores import available_cores
from vsearch.errors import InputError
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.roles.leg import ShardSearch
from vsearch.fanout.roles.legs import leg_of
from vsearch.fanout.wire.messages import Answer, Counters, Options, ProcessRequest, floats, int32s
from vsearch.fanout.wire.where import bind_where
from vsearch.kernels.filters.bitmaps import count_ranges
from vsearch.kernels.query.fields import REFINED, RERANKED, SCANNED, VISITED
from vsearch.predicates.binding import columns_of
from vsearch.predicates.bound import Bound
from vsearch.predicates.schema import ROW_ID
from vsearch.search.engine.masking import ShardMask, mask_rows, mask_shard
from vsearch.search.engine.merge import ShardHits, drop_dissimilar
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.routing import ProbePlan
from vsearch.search.engine.steps import scan_shard
from vsearch.search.state.column_reading import read_exact
from vsearch.search.state.run_state import RunState
from vsearch.search.state.shard import Shard
from vsearch.search.state.shard_runs import ShardRuns
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import Manifest
from vsearch.storage.files.plain_columns import Column, concatenate, gather, read_column
from vsearch.storage.snapshots.kinds import IDS
from vsearch.storage.stores.retrying import carried

MaskOf = Callable[[Snapshot, Shard, Bound], ShardMask]


def check_columns(manifest: Manifest, options: Options) -> Options:
    """Return the options with the stored names of columns; columns that are not attributes are an error.

    Raises
    ------
    InputError
        A column is not an attribute of the index.
    """
    names = stored_names(options.columns, [attribute.name for attribute in manifest.attributes])
    return options if names == options.columns else msgspec.structs.replace(options, columns=names)


def process(
    snapshot: Snapshot,
    shard: ShardRuns,
    request: ProcessRequest,
    deadline: Deadline,
    mask_of: MaskOf = mask_shard,
) -> Answer:
    """Search one shard for all queries of a request.

    Parameters
    ----------
    snapshot : Snapshot
        With the shard open.
    mask_of : callable
        Returns the mask of a predicate in a run, possibly from a cache.

    Returns
    -------
    Answer
        Scores are those of scans (negated squared distances for l2), and rows are numbered over all shards.

    Raises
    ------
    InputError
        The request does not match the shard.
    CallError
        The deadline passed.
    """
    dimensions, options = snapshot.manifest.dimensions, request.options
    if request.queries and request.dimensions != dimensions:
        raise InputError(f"queries must have {dimensions} dimensions, got {request.dimensions}")
    options = check_columns(snapshot.manifest, options)
    plans = _read_visits(request, shard.partitions)
    queries = floats(request.queries, request.count, request.dimensions)
    bound = bind_where(snapshot.manifest, options)
    # the part of a tail in a shard keeps the row numbers of the tail
    full_runs = [snapshot.shards[run.number] for run in shard.runs]
    masks = [None if bound is None else _mask(snapshot, run, bound, mask_of) for run in full_runs]
    words = [run.live if mask is None else mask.words for run, mask in zip(full_runs, masks, strict=True)]
    leg = leg_of(request)
    ranking = None if leg is None else leg.scan(snapshot, options)
    search = ShardSearch(shard, queries, masks, words, deadline)

    def search_query(position: int) -> list[ShardHits]:
        deadline.check(f"searching shard {request.shard}")
        if ranking is None:
            return [scan(position, options.k)]
        hits = None if ranking.nearest is None else scan(position, ranking.nearest)
        return ranking.rank(search, position, hits)

    def scan(position: int, k: int) -> ShardHits:
        nearest = SearchRequest(k, snapshot.settings, exact=options.exact)
        hits = scan_shard(snapshot, shard, queries[position], plans[position], nearest, words)
        kept = drop_dissimilar(hits.scores, hits.rows, snapshot.model, options.min_score)
        return ShardHits(*kept, hits.counters)

    if request.count == 1:
        hits = search_query(0)
    else:
        with ThreadPoolExecutor(available_cores()) as pool:
            hits = [
                ranking_hits
                for hits_of in pool.map(carried(search_query), range(request.count))
                for ranking_hits in hits_of
            ]
    counts = [int(np.count_nonzero(best.rows >= 0)) for best in hits]
    rows = shard.first_row + np.concatenate([best.rows[:count] for best, count in zip(hits, counts, strict=True)])
    scores = np.concatenate([best.scores[:count] for best, count in zip(hits, counts, strict=True)])
    counted = np.sum([best.counters for best in hits], axis=0)
    columns = [_read_attribute(snapshot, shard, name, rows) for name in options.columns]
    if leg is not None and ranking is not None and leg.shard_column_types:
        columns += ranking.columns([best.rows + shard.first_row for best in hits])
    return Answer(
        count=len(hits),
        k=options.k,
        found=np.array(counts, "<i4").tobytes(),
        scores=scores.astype("<f4").tobytes(),
        rows=rows.astype("<i8").tobytes(),
        ids=_read(shard, rows, lambda run, run_rows: read_column(run.files[IDS], "id", run_rows)),
        columns=tuple(columns),
        counters=Counters(
            partitions_visited=int(counted[VISITED]),
            rows_scanned=int(counted[SCANNED]),
            rows_refined=int(counted[REFINED]),
            rows_reranked=int(counted[RERANKED]),
            rows_masked=sum(_count(run, bits) for run, bits in zip(shard.runs, words, strict=True)),
            rows_rechecked=sum(mask.rechecked for mask in masks if mask is not None),
        ),
        snapshot=snapshot.manifest.snapshot,
        estimated=snapshot.model.rerank is None if leg is None else leg.estimated(snapshot.model),
    )


def _mask(snapshot: Snapshot, run: Shard, bound: Bound, mask_of: MaskOf) -> ShardMask:
    """Return the mask of a predicate in a run, which is evaluated once even if rows expire."""
    if snapshot.unexpired is None:
        return mask_of(snapshot, run, bound)
    return mask_rows(run, mask_of(snapshot.unexpired, snapshot.unexpired.shards[run.number], bound))


def _read(shard: ShardRuns, rows: NDArray[np.int64], read: Callable[[Shard, NDArray[np.int64]], Column]) -> Column:
    """Read a column of rows of a shard, numbered over the snapshot, from its runs."""
    if len(shard.runs) == 1:
        return read(shard.runs[0], rows - shard.first_row)
    parts, places = [], []
    for run in shard.runs:
        selected = np.flatnonzero((rows >= run.first_row) & (rows < run.first_row + run.rows))
        parts.append(read(run, rows[selected] - run.first_row))
        places.append(selected)
    back = np.empty(len(rows), np.int64)
    back[np.concatenate(places)] = np.arange(len(rows))
    return gather(concatenate(parts), back)


def _read_attribute(snapshot: Snapshot, shard: ShardRuns, name: str, rows: NDArray[np.int64]) -> Column:
    field, attribute = snapshot.find_entry(name).field_name, snapshot.schema.find(name)
    return _read(shard, rows, lambda run, run_rows: read_exact(run, field, attribute, run_rows))


def _count(run: Shard, words: NDArray[np.uint64] | None) -> int:
    """Return the number of rows of a run that pass."""
    table = run.table
    if words is None or not len(table.rows):
        return int(table.rows.sum())
    first, last = table.row_starts[:1], table.row_starts[-1:] + table.rows[-1:]
    return int(count_ranges(words, first, last)[0])


class MaskCache:
    """A cache of the masks of recent predicates, per run. Masks stay valid until rows of the run are removed.

    Parameters
    ----------
    capacity : int
        Maximum number of masks per run.
    """

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._kept: WeakKeyDictionary[RunState, dict[Hashable, tuple[NDArray[np.int64], ShardMask]]] = (
            WeakKeyDictionary()
        )

    def __call__(self, snapshot: Snapshot, run: Shard, bound: Bound) -> ShardMask:
        """Return the mask, evaluated if it is not cached."""
        names = [name for name in columns_of(bound) if name != ROW_ID]
        key = (
            bound,
            tuple(snapshot.find_entry(name).field_name for name in names),
        )  # another column may have the name by now
        kept = self._kept.setdefault(run.read, {})
        cached = kept.get(key)
        if cached is not None and np.array_equal(cached[0], run.gone):
            return cached[1]
        mask = mask_shard(snapshot, run, bound)
        while len(kept) >= self._capacity:
            kept.pop(next(iter(kept)), None)
        kept[key] = run.gone, mask
        return mask


def _read_visits(request: ProcessRequest, partitions: int) -> list[ProbePlan]:
    counts, minimums = int32s(request.visits), int32s(request.minimums)
    order, bases, bounds = int32s(request.partitions), floats(request.bases), floats(request.bounds)
    if len(order) and not (order.min() >= 0 and order.max() < partitions):
        raise InputError(f"partitions to visit must be from 0 to {partitions - 1}")
    if (counts > partitions).any():
        raise InputError(f"a query must visit at most the shard's {partitions} partitions")
    edges = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    plans = []
    for i in range(request.count):
        visits = slice(int(edges[i]), int(edges[i + 1]))
        if len(np.unique(order[visits])) != counts[i]:
            raise InputError("a query must visit each partition at most once")
        plans.append(ProbePlan(order[visits], bases[visits], bounds[visits], int(minimums[i])))
    return plans
