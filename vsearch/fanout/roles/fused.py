"""Queries of a leg in the roles of a stack, alone or together with vectors.

The planner plans queries by the whole snapshot, so that scores do not depend on shards; processors scan their rows by these plans.
With vectors, a shard returns two rankings per query, the nearest rows and those of the leg, each row with the scores of both; the
planner merges each ranking over the shards and fuses both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.fanout.wire.messages import Answer, floats, int32s, int64s
from vsearch.kernels.query.fields import COUNTERS, SCANNED
from vsearch.legs.fusing import Candidates, FusionOptions, fuse
from vsearch.legs.hybrid import Ranking, score_both
from vsearch.legs.protocol import PackedQueries
from vsearch.predicates.evaluation import full_words
from vsearch.search.engine.merge import ShardHits, as_seen
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.storage.files.plain_columns import Column, gather

if TYPE_CHECKING:
    from vsearch.fanout.calls.retries import Deadline
    from vsearch.fanout.roles.leg import ShardSearch
    from vsearch.fanout.wire.legs import LegQueries
    from vsearch.fanout.wire.messages import AllocateRequest, Options
    from vsearch.legs.protocol import Leg
    from vsearch.search.state.model import Model
    from vsearch.search.state.shard_runs import ShardRuns
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest

KEY = "float64"
"""Type of the column by which rankings of shards are merged: scores of the leg that float32 would round."""

HYBRID_COLUMNS = ("float32", "int64", "float32", "int64")
"""Additional columns of answers by vectors and a leg: score and rank of each part."""


@dataclass(frozen=True)
class FusedLeg:
    """Queries of a leg in a request; see `vsearch.fanout.roles.leg.RequestLeg`."""

    queries: LegQueries
    leg: Leg[Any]

    @property
    def fused(self) -> bool:
        """Whether there are vectors as well."""
        return self.queries.depth is not None

    def estimated(self, model: Model) -> bool:
        """Whether there are vectors without rerank codes; the scores of the leg are exact."""
        return self.fused and model.rerank is None

    @property
    def ordered(self) -> bool:
        """A larger k only appends rows, since the number of candidates does not depend on it."""
        return True

    @property
    def rankings(self) -> int:
        """By vectors and by the leg, or by the leg only."""
        return 2 if self.fused else 1

    @property
    def column_types(self) -> tuple[str, ...]:
        """Scores and ranks of both parts, if there are two."""
        return HYBRID_COLUMNS if self.fused else ()

    @property
    def shard_column_types(self) -> tuple[str, ...]:
        """The key of the ranking, and the scores of both parts."""
        return (KEY, "float32", "float32") if self.fused else (KEY,)

    def check(self, manifest: Manifest) -> None:
        """Check that the index has the leg."""
        self.leg.require(manifest)

    def warnings(self, manifest: Manifest) -> list[str]:
        """Return the warnings of the leg."""
        return self.leg.warnings(manifest, self.queries.queries)

    def take(self, positions: NDArray[np.int64] | slice) -> dict[str, Any]:
        """Return selected queries."""
        chosen = np.arange(len(self.queries.queries))[positions].tolist()
        queries = tuple(self.queries.queries[place] for place in chosen)
        return {"leg": msgspec.structs.replace(self.queries, queries=queries)}

    def without_columns(self) -> dict[str, Any]:
        """Return no fields: scores are needed to merge."""
        return {}

    def sizes(self, options: Options) -> tuple[int, int]:
        """Return sizes, where every query counts as the longest."""
        longest = max(map(len, self.queries.queries), default=0)
        requested = self.leg.packed_bytes(longest) + longest
        returned = 8 * options.k
        if self.queries.depth is not None:
            returned = (2 * self.queries.depth - options.k) * (44 + 32 * len(options.columns)) + 8 * options.k
        return requested, returned

    def vectors(self, snapshot: Snapshot, request: AllocateRequest) -> NDArray[np.float32] | None:  # noqa: ARG002
        """Return the vectors of the request."""
        return floats(request.queries, request.count, request.dimensions) if self.fused else None

    def options(self, manifest: Manifest, options: Options) -> Options:  # noqa: ARG002
        """Return the options for the nearest candidates."""
        return self.shard_options(options)

    def shard_options(self, options: Options) -> Options:
        """Return the options for as many rows as there are candidates."""
        return options if self.queries.depth is None else msgspec.structs.replace(options, k=self.queries.depth)

    def key(self, options: Options) -> int:
        """Return the column of the key, after the requested ones."""
        return len(options.columns)

    def plan(self, snapshot: Snapshot, deadline: Deadline) -> FusedPlan:
        """Plan the queries; raises InputError for invalid ones."""
        planned = list(self.leg.plan(snapshot, self.queries.queries, SearchStats(), deadline.at))
        return FusedPlan(snapshot, self.queries, self.leg, planned)

    def scan(self, snapshot: Snapshot, options: Options) -> ShardScan:
        """Return the search of a shard."""
        self.check(snapshot.manifest)
        planned = self.leg.unpack(snapshot, PackedQueries(self.queries.planned, self.queries.shared))
        return ShardScan(snapshot, self.leg, planned, options, self.queries.depth)

    def finish(self, snapshot: Snapshot, merged: Answer, options: Options) -> Answer:
        """Fuse the rankings of each query, or return the only ones."""
        requested = len(options.columns)
        if self.queries.depth is None:
            return msgspec.structs.replace(merged, columns=merged.columns[:requested])
        fusion = FusionOptions(self.queries.fusion, self.queries.weights, self.queries.depth)
        return fuse_answer(merged, fusion, options.k, requested, squared=snapshot.model.metric == "l2")


@dataclass(frozen=True, eq=False)
class FusedPlan:
    """Planned queries in the plan of a batch; see `vsearch.fanout.roles.leg.LegPlan`."""

    snapshot: Snapshot
    queries: LegQueries
    leg: Leg[Any]
    planned: list[Any]

    def searches(self, shard: ShardRuns) -> NDArray[np.bool_]:
        """Return which queries may have matching rows in a shard."""
        places = [run.number for run in shard.runs]
        return np.array([self.leg.occurs(self.snapshot, planned, places) for planned in self.planned], np.bool_)

    def take(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Return selected queries as they were planned."""
        packed = self.leg.pack(self.snapshot, [self.planned[position] for position in positions.tolist()])
        leg = msgspec.structs.replace(self.queries, queries=(), planned=packed.queries, shared=packed.shared)
        return {"leg": leg}


@dataclass(frozen=True, eq=False)
class ShardScan:
    """The search of a shard by a leg; see `vsearch.fanout.roles.leg.ShardScan`."""

    snapshot: Snapshot
    leg: Leg[Any]
    planned: list[Any]
    options: Options
    nearest: int | None
    ranked: dict[int, tuple[list[NDArray[np.float64]], Candidates | None]] = field(default_factory=dict)

    def rank(self, search: ShardSearch, position: int, hits: ShardHits | None) -> list[ShardHits]:
        """Return the rows of the leg, after the nearest rows if there are vectors."""
        snapshot, planned, stats = self.snapshot, self.planned[position], SearchStats()
        allowed = {
            run.number: _run_words(run, words) for run, words in zip(search.shard.runs, search.words, strict=True)
        }
        best = self.leg.scan(snapshot, planned, self.options.k, allowed, stats, search.deadline.at)
        counters = np.zeros(COUNTERS, np.int64)
        counters[SCANNED] = stats.rows_scanned
        first = search.shard.first_row
        by_leg = ShardHits(best.scores, best.rows - first, counters)
        if hits is None:
            self.ranked[position] = [best.keys], None
            return [by_leg]
        count = int(np.count_nonzero(hits.rows >= 0))
        near = ShardHits(hits.scores[:count], hits.rows[:count], hits.counters)
        nearest = Ranking(near.rows + first, as_seen(near.scores, snapshot.model))
        request = SearchRequest(self.options.k, snapshot.settings, deadline=search.deadline.at)
        point = search.queries[position : position + 1]
        candidates = score_both(snapshot, point, self.leg, planned, nearest, best, request, prepared=True)
        self.ranked[position] = [near.scores.astype(np.float64), best.keys], candidates
        return [near, by_leg]

    def columns(self, rows: Sequence[NDArray[np.int64]]) -> tuple[Column, ...]:
        """Return the key of every row of the rankings, and the scores of both parts."""
        ranked = [self.ranked[position] for position in range(len(self.planned))]
        keys = _column(KEY, [key for of_query, _ in ranked for key in of_query])
        if self.nearest is None:
            return (keys,)
        by_vector, by_leg = [], []
        for ranking, of_ranking in enumerate(rows):
            candidates = ranked[ranking // 2][1]
            assert candidates is not None  # noqa: S101  there are vectors
            places = np.searchsorted(candidates.rows, of_ranking)
            by_vector.append(candidates.by_vector[places])
            by_leg.append(candidates.by_leg[places])
        return keys, _column("float32", by_vector), _column("float32", by_leg)


def fuse_answer(merged: Answer, fusion: FusionOptions, k: int, requested: int, *, squared: bool) -> Answer:
    """Fuse the merged rankings of shards, two per query, into the answer.

    Parameters
    ----------
    requested : int
        Number of requested columns, before those of the leg.
    """
    counts_found = int32s(merged.found)
    edges = np.concatenate(([0], np.cumsum(counts_found[::2].astype(np.int64) + counts_found[1::2])))
    rows = int64s(merged.rows)
    by_vector, by_leg = (floats(column.values).astype(np.float64) for column in merged.columns[requested + 1 :])
    counts, places, scores, ranks = [], [], [], []
    for query, (start, stop) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        union, at = np.unique(rows[start:stop], return_index=True)
        at += start
        if not len(union):
            counts.append(0)
            continue
        fused = fuse(Candidates(union, by_vector[at], by_leg[at]), fusion, k, query, squared=squared)
        counts.append(len(fused.best))
        places.append(at[fused.best])
        scores.append(fused.scores)
        ranks.append((fused.vector_ranks, fused.leg_ranks))
    best = np.concatenate([np.empty(0, np.int64), *places])
    vector_ranks, leg_ranks = [pair[0] for pair in ranks], [pair[1] for pair in ranks]
    return msgspec.structs.replace(
        merged,
        count=len(counts),
        k=k,
        found=np.array(counts, "<i4").tobytes(),
        scores=np.concatenate([np.empty(0), *scores]).astype("<f4").tobytes(),
        rows=rows[best].astype("<i8").tobytes(),
        ids=None if merged.ids is None else gather(merged.ids, best),
        columns=(
            *(gather(column, best) for column in merged.columns[:requested]),
            _column("float32", [by_vector[best]]),
            _column("int64", vector_ranks),
            _column("float32", [by_leg[best]]),
            _column("int64", leg_ranks),
        ),
    )


def _run_words(run: Any, words: NDArray[np.uint64] | None) -> NDArray[np.uint64] | None:
    """Return the rows of a run of a shard that pass; the part of a tail has the row numbers of the whole tail."""
    table = run.table
    first, stop = int(table.row_starts[0]), int(table.row_starts[-1] + table.rows[-1])
    if first == 0 and stop == run.rows:
        return words
    inside_part = full_words(stop)
    inside_part[: first >> 6] = 0
    if first & 63:
        inside_part[first >> 6] &= ~np.uint64((1 << (first & 63)) - 1)
    words_inside = np.zeros(-(-run.rows // 64), np.uint64)
    words_inside[: len(inside_part)] = inside_part
    return words_inside if words is None else words_inside & words


def _column(kind: str, parts: Sequence[NDArray[Any]]) -> Column:
    dtype = {"float64": "<f8", "float32": "<f4", "int64": "<i8"}[kind]
    values = np.concatenate([np.empty(0, dtype), *(part.astype(dtype) for part in parts)])
    return Column(kind, len(values), None, values.tobytes())
