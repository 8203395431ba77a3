"""The interface of search legs: kinds of search other than by single vectors.

Each leg has its own field in a request. A leg plans with vectors, so that partitions and predicates apply to it as well. In each
shard it ranks the rows that these vectors found, or all rows that match. Shards are merged by score, so scores must be comparable
between shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vsearch.fanout.wire.messages import AllocateRequest, Options, ProcessRequest, SearchRequest
from vsearch.search.engine.masking import ShardMask
from vsearch.search.engine.merge import ShardHits
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import Manifest
from vsearch.storage.files.plain_columns import Column


class ShardScan(Protocol):
    """The search of a shard for the queries of one request."""

    @property
    def nearest(self) -> int | None:
        """Number of rows that are searched by vector first; None to rank all matching rows."""

    def rank(self, shard: int, position: int, hits: ShardHits | None, mask: ShardMask | None) -> ShardHits:
        """Return the best rows of a shard for a query, among the hits of the vector search or the rows of a mask."""

    def columns(self, rows: Sequence[NDArray[np.int64]]) -> tuple[Column, ...]:
        """Return additional columns about the rows of each query, one for each of `Leg.column_types`."""


class Leg(Protocol):
    """The part of a request that belongs to a leg."""

    @property
    def estimated(self) -> bool:
        """Whether scores are estimates."""

    @property
    def ordered(self) -> bool:
        """Whether a search with a larger k keeps the order of one with a smaller k."""

    @property
    def column_types(self) -> tuple[str, ...]:
        """Types of the additional columns of its answers, after the requested ones."""

    def check(self, manifest: Manifest) -> None:
        """Raise InputError unless the request matches the index."""

    def take(self, positions: NDArray[np.int64] | slice) -> dict[str, Any]:
        """Return the fields of a message with some of the queries."""

    def without_columns(self) -> dict[str, Any]:
        """Return the fields of a message for an answer without the columns of the leg."""

    def sizes(self, k: int) -> tuple[int, int]:
        """Return the bytes of its largest query, and of its additions to the answer per query."""

    def encode(self, snapshot: Snapshot) -> NDArray[np.float32]:
        """Return the vectors to plan with: float32 (count, dimensions of the index)."""

    def options(self, manifest: Manifest, options: Options) -> Options:
        """Return the options for planning."""

    def scan(self, snapshot: Snapshot, options: Options) -> ShardScan:
        """Return the search of a shard; raises InputError unless the request matches the index."""


def leg_of(request: SearchRequest | AllocateRequest | ProcessRequest) -> Leg | None:
    """Return the leg of a request; None for a search by single vectors. Legs are imported on first use."""
    if request.documents is not None:
        from vsearch.fanout.roles.multivector import DocumentLeg

        return DocumentLeg(request.documents)
    return None
