"""Search of multi-vector documents by functions: requests that fit a message, and hits with their matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.api.hits import DocumentHits, DocumentMatches
from vsearch.api.remote_client import MOST_QUERIES
from vsearch.api.remote_hits import RemoteHits
from vsearch.fanout.roles.multivector import MATCHES, pack_documents, read_matches
from vsearch.fanout.wire.messages import Documents, int32s
from vsearch.multivector.queries import check_request, prepare_queries


@dataclass(frozen=True, eq=False, repr=False)
class RemoteDocumentHits(RemoteHits, DocumentHits):
    """Documents found by functions; see `vsearch.DocumentHits`."""


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """Validated queries, float32 (n, d) each, the original positions of their vectors, and options for ranking documents."""

    queries: list[NDArray[np.float32]]
    places: list[NDArray[np.int64]]
    packed: Documents

    @classmethod
    def of(
        cls,
        vectors: Any,
        saliency: Any,
        keep: float,
        k: int,
        candidates: int | str | None,
        *,
        exact: bool,
        matches: bool,
    ) -> QueryBatch:
        """Validate queries, raising InputError; checks that depend on the index are left to the functions."""
        request = check_request(None, k, candidates, exact=exact, deadline=None)
        queries, places = prepare_queries(vectors, saliency, keep, None)
        return cls(queries, places, pack_documents(queries[:1], request, matches=matches))

    def batches(self, room: int | None, result_bytes: int, k: int) -> Iterator[Documents]:
        """Split into batches of queries whose requests, and usually replies, fit a message.

        Parameters
        ----------
        room : int or None
            Bytes per message; None without a limit.
        result_bytes : int
            Bytes of the answer to one query, without matches.
        """
        start, size, reply = 0, 0, 0
        options = self.packed
        for position, query in enumerate(self.queries):
            query_bytes = 4 + query.nbytes
            reply_bytes = result_bytes + (8 * k * (1 + len(query)) if options.matches else 0)
            queued = position - start
            if queued and (
                queued == MOST_QUERIES
                or (room is not None and (size + query_bytes > room or reply + reply_bytes > room))
            ):
                yield self._pack(start, position)
                start, size, reply = position, 0, 0
            size, reply = size + query_bytes, reply + reply_bytes
        yield self._pack(start, len(self.queries))

    def _pack(self, start: int, stop: int) -> Documents:
        batch, options = self.queries[start:stop], self.packed
        return Documents(
            dimensions=options.dimensions,
            vectors=np.concatenate(batch).astype("<f4").tobytes(),
            lengths=np.array([len(query) for query in batch], "<i4").tobytes(),
            candidates=options.candidates,
            exact=options.exact,
            matches=options.matches,
        )


def read_hits(
    batch: QueryBatch, packed_counts: bytes, k: int, columns: Sequence[Any]
) -> tuple[DocumentMatches, ...] | None:
    """The matches of every query, padded like the hits; None if they were not requested."""
    if not batch.packed.matches:
        return None
    counts = int32s(packed_counts).tolist()
    positions, scores = read_matches(columns) if len(columns) >= MATCHES else ([], [])
    all_matches, first = [], 0
    for query, places, count in zip(batch.queries, batch.places, counts, strict=True):
        vector_positions = np.full((k, len(query)), -1, np.int64)
        values = np.full((k, len(query)), np.nan, np.float32)
        for rank in range(count):
            vector_positions[rank], values[rank] = positions[first + rank], scores[first + rank]
        first += count
        all_matches.append(DocumentMatches(vector_positions, values, places))
    return tuple(all_matches)
