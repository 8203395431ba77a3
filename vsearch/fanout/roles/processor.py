"""The processor: it owns one shard, masks it exactly and searches the partitions that an allocator planned."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np

from vsearch.checks import stored_names
from vsearch.cores import available_cores
from vsearch.errors import InputError
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.wire.columns import read_column
from vsearch.fanout.wire.messages import Answer, Counters, Options, ProcessRequest, floats, int32s
from vsearch.fanout.wire.where import bind_where
from vsearch.kernels.query.fields import REFINED, RERANKED, SCANNED, VISITED
from vsearch.predicates.bound import Bound
from vsearch.search.engine.masking import ShardMask, mask_shard
from vsearch.search.engine.merge import ShardHits, drop_dissimilar
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.routing import ProbePlan
from vsearch.search.engine.steps import scan_shard
from vsearch.search.state.shard import Shard
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import Manifest
from vsearch.storage.snapshots.kinds import ATTRIBUTES, IDS
from vsearch.storage.stores.retrying import carried

MaskOf = Callable[[Snapshot, Shard, Bound], ShardMask]


def check_columns(manifest: Manifest, options: Options) -> Options:
    """The options with the columns under their stored names; refuse those that are no attributes of the index.

    Raises
    ------
    InputError
    """
    names = stored_names(options.columns, [attribute.name for attribute in manifest.attributes])
    return options if names == options.columns else msgspec.structs.replace(options, columns=names)


def process(
    snapshot: Snapshot,
    shard: Shard,
    request: ProcessRequest,
    deadline: Deadline,
    mask_of: MaskOf = mask_shard,
) -> Answer:
    """Search one shard for all queries of a request.

    Parameters
    ----------
    snapshot : Snapshot
        In which the shard is open.
    mask_of : callable
        Makes, or remembers, the mask of a predicate.

    Returns
    -------
    Answer
        Scores as scans have them (negated squared distances under l2), rows numbered through all shards.

    Raises
    ------
    InputError
        The request does not fit the shard.
    CallError
        The deadline passed.
    """
    dimensions, options = snapshot.manifest.dimensions, request.options
    if request.dimensions != dimensions:
        raise InputError(f"the queries have {request.dimensions} dimensions, the index has {dimensions}")
    options = check_columns(snapshot.manifest, options)
    plans = _read_visits(request, shard.partitions)
    queries = floats(request.queries, request.count, dimensions)
    bound = bind_where(snapshot.manifest, options)
    mask = None if bound is None else mask_of(snapshot, shard, bound)
    ranking = None
    if request.documents is not None:
        from vsearch.fanout.roles.multivector import ShardRanking  # MaxSim is loaded where it is asked for

        ranking = ShardRanking.of(snapshot, request)

    def one(position: int) -> ShardHits:
        deadline.check(f"searching shard {request.shard}")
        if ranking is None:
            return scan(position, options.k)
        hits = scan(position, ranking.first or options.k) if ranking.encoded else None
        return ranking.rank(snapshot.shards.index(shard), position, hits, mask)

    def scan(position: int, k: int) -> ShardHits:
        asked = SearchRequest(k, snapshot.settings, exact=options.exact)
        words = None if mask is None else mask.words
        hits = scan_shard(snapshot, shard, queries[position], plans[position], asked, words)
        kept = drop_dissimilar(hits.scores, hits.rows, snapshot.model, options.min_score)
        return ShardHits(*kept, hits.counters)

    if request.count == 1:
        hits = [one(0)]
    else:
        with ThreadPoolExecutor(available_cores()) as pool:
            hits = list(pool.map(carried(one), range(request.count)))
    found = [int(np.count_nonzero(each.rows >= 0)) for each in hits]
    inside = np.concatenate([each.rows[:many] for each, many in zip(hits, found, strict=True)])
    scores = np.concatenate([each.scores[:many] for each, many in zip(hits, found, strict=True)])
    counted = np.sum([each.counters for each in hits], axis=0)
    columns = [read_column(shard.files[ATTRIBUTES], name, inside) for name in options.columns]
    if ranking is not None and request.documents is not None and request.documents.matches:
        columns += ranking.matches([each.rows + shard.first_row for each in hits])
    return Answer(
        count=request.count,
        k=options.k,
        found=np.array(found, "<i4").tobytes(),
        scores=scores.astype("<f4").tobytes(),
        rows=(inside + shard.first_row).astype("<i8").tobytes(),
        ids=read_column(shard.files[IDS], "id", inside),
        columns=tuple(columns),
        counters=Counters(
            partitions_visited=int(counted[VISITED]),
            rows_scanned=int(counted[SCANNED]),
            rows_refined=int(counted[REFINED]),
            rows_reranked=int(counted[RERANKED]),
            rows_masked=shard.rows if mask is None else mask.rows,
            rows_rechecked=0 if mask is None else mask.rechecked,
        ),
        snapshot=snapshot.manifest.snapshot,
        estimated=snapshot.model.rerank is None if ranking is None else not ranking.wanted.exact,
    )


@dataclass
class MaskCache:
    """Masks of the last predicates, by predicate and shard."""

    most: int = 16

    def __post_init__(self) -> None:
        self._kept: dict[tuple[int, int, Bound], ShardMask] = {}

    def __call__(self, snapshot: Snapshot, shard: Shard, bound: Bound) -> ShardMask:
        """The mask, made if it is not remembered."""
        key = (snapshot.manifest.snapshot, shard.first_row, bound)
        found = self._kept.get(key)
        if found is None:
            found = mask_shard(snapshot, shard, bound)
            while len(self._kept) >= self.most:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[key] = found
        return found


def _read_visits(request: ProcessRequest, partitions: int) -> list[ProbePlan]:
    counts, minimums = int32s(request.visits), int32s(request.minimums)
    order, bases, bounds = int32s(request.partitions), floats(request.bases), floats(request.bounds)
    if len(order) and not (order.min() >= 0 and order.max() < partitions):
        raise InputError(f"a partition to visit is not one of the shard's {partitions}")
    if (counts > partitions).any():
        raise InputError(f"a query visits more partitions than the shard's {partitions}")
    edges = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    plans = []
    for i in range(request.count):
        own = slice(int(edges[i]), int(edges[i + 1]))
        if len(np.unique(order[own])) != counts[i]:
            raise InputError("a query visits a partition twice")
        plans.append(ProbePlan(order[own], bases[own], bounds[own], int(minimums[i])))
    return plans
