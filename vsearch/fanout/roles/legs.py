"""What the roles ask of a second leg of search, one beside that of single vectors, and which legs there are.

A request names its leg by a field of its own. A leg plans by vectors, so that partitions and conditions apply to it as well;
in each shard it makes hits out of what these vectors found there, or out of all rows that may be returned. Shards are merged
by score, which must therefore compare between shards.
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
    """How a processor searches its shard for the queries of one request."""

    @property
    def nearest(self) -> int | None:
        """Rows that the vectors are searched for first; None where all that may be returned come in their place."""

    def rank(self, shard: int, position: int, hits: ShardHits | None, mask: ShardMask | None) -> ShardHits:
        """The best rows of a shard for the query at a position, out of what the vectors found, or of what a mask lets pass."""

    def columns(self, rows: Sequence[NDArray[np.int64]]) -> tuple[Column, ...]:
        """What an answer carries besides about the rows of each query: a column for each of `Leg.column_types`."""


class Leg(Protocol):
    """The part of a request that a leg is asked."""

    @property
    def estimated(self) -> bool:
        """Whether its scores are estimates."""

    @property
    def ordered(self) -> bool:
        """Whether a deeper search keeps the order of a shallower one, as where every row is scored."""

    @property
    def column_types(self) -> tuple[str, ...]:
        """Types of the columns that its answers have after those that were asked for."""

    def check(self, manifest: Manifest) -> None:
        """Raise InputError unless it fits the index."""

    def take(self, positions: NDArray[np.int64] | slice) -> dict[str, Any]:
        """The fields of a message that is asked some of the queries only."""

    def without_columns(self) -> dict[str, Any]:
        """The fields of a message whose answer shall have no columns of the leg."""

    def sizes(self, k: int) -> tuple[int, int]:
        """Bytes of its largest query, and of what it adds to the answer to one."""

    def encode(self, snapshot: Snapshot) -> NDArray[np.float32]:
        """What partitions are planned by: float32 (count, dimensions of the index)."""

    def options(self, manifest: Manifest, options: Options) -> Options:
        """How partitions are planned."""

    def scan(self, snapshot: Snapshot, options: Options) -> ShardScan:
        """How a shard is searched; raises InputError unless it fits the index."""


def leg_of(request: SearchRequest | AllocateRequest | ProcessRequest) -> Leg | None:
    """The leg that a request names; None where it asks of single vectors alone. Each is loaded where it is asked for."""
    if request.documents is not None:
        from vsearch.fanout.roles.multivector import DocumentLeg

        return DocumentLeg(request.documents)
    return None
