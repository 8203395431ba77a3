"""The interface of kinds of search other than by single vectors: by multi-vector queries, and by the legs of `vsearch.legs`.

Each has its own field in a request. It may plan with vectors, so that partitions and predicates apply to it as well. In each
shard it ranks the rows that these vectors found, or all rows that match, or both. Rankings of shards are merged by score, so scores
must be comparable between shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.wire.messages import AllocateRequest, Answer, Options
from vsearch.search.engine.masking import ShardMask
from vsearch.search.engine.merge import ShardHits
from vsearch.search.state.model import Model
from vsearch.search.state.shard_runs import ShardRuns
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import Manifest
from vsearch.storage.files.plain_columns import Column


@dataclass(frozen=True, eq=False)
class ShardSearch:
    """The ranking of the rows of a shard by a leg.

    Attributes
    ----------
    shard : ShardRuns
    queries : float32 (count, dimensions)
        Prepared.
    masks : sequence of ShardMask or None
        Rows of each run that pass the predicate; None without one.
    words : sequence of uint64 (words,) or None
        The same without removed rows; None if all rows pass.
    deadline : Deadline
    """

    shard: ShardRuns
    queries: NDArray[np.float32]
    masks: Sequence[ShardMask | None]
    words: Sequence[NDArray[np.uint64] | None]
    deadline: Deadline


class ShardScan(Protocol):
    """The search of a shard for the queries of one request."""

    @property
    def nearest(self) -> int | None:
        """Number of rows that are searched by vector first; None to rank all matching rows."""

    def rank(self, search: ShardSearch, position: int, hits: ShardHits | None) -> list[ShardHits]:
        """Return the rankings of a shard for a query, by the hits of the vector search or among all rows that pass."""

    def columns(self, rows: Sequence[NDArray[np.int64]]) -> tuple[Column, ...]:
        """Return additional columns about the rows of each ranking, one for each of `RequestLeg.shard_column_types`."""


class LegPlan(Protocol):
    """The part of a leg in the plan of a batch."""

    def searches(self, shard: ShardRuns) -> NDArray[np.bool_]:
        """Return which queries search a shard regardless of the partitions that their vectors visit: (count,)."""

    def take(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Return the fields of a message to a processor with some of the queries."""


class RequestLeg(Protocol):
    """The part of a request that belongs to a leg."""

    def estimated(self, model: Model) -> bool:
        """Whether scores are estimates, in an index with this model."""

    @property
    def ordered(self) -> bool:
        """Whether a search with a larger k keeps the order of one with a smaller k."""

    @property
    def rankings(self) -> int:
        """Number of rankings that a shard returns for each query."""

    @property
    def column_types(self) -> tuple[str, ...]:
        """Types of the additional columns of its answers, after the requested ones."""

    @property
    def shard_column_types(self) -> tuple[str, ...]:
        """The same for the answers of shards."""

    def check(self, manifest: Manifest) -> None:
        """Raise InputError unless the request matches the index."""

    def warnings(self, manifest: Manifest) -> list[str]:
        """Return warnings about the queries."""

    def take(self, positions: NDArray[np.int64] | slice) -> dict[str, Any]:
        """Return the fields of a message with some of the queries."""

    def without_columns(self) -> dict[str, Any]:
        """Return the fields of a message for an answer without the columns of the leg."""

    def sizes(self, options: Options) -> tuple[int, int]:
        """Return the bytes of its largest query, and of its additions to the answer of a shard per query."""

    def vectors(self, snapshot: Snapshot, request: AllocateRequest) -> NDArray[np.float32] | None:
        """Return the vectors to plan with: float32 (count, dimensions of the index); None without vectors."""

    def options(self, manifest: Manifest, options: Options) -> Options:
        """Return the options for planning."""

    def shard_options(self, options: Options) -> Options:
        """Return the options of requests to shards."""

    def key(self, options: Options) -> int | None:
        """Return the column of answers of shards, of type float64, by which they are merged; None for the score."""

    def plan(self, snapshot: Snapshot, deadline: Deadline) -> LegPlan:
        """Return the part of the leg in the plan of its queries."""

    def scan(self, snapshot: Snapshot, options: Options) -> ShardScan:
        """Return the search of a shard; raises InputError unless the request matches the index."""

    def finish(self, snapshot: Snapshot, merged: Answer, options: Options) -> Answer:
        """Return the answer of a batch, given the merged answers of its shards."""
