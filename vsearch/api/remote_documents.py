"""Searching documents of many vectors by the functions of a stack: requests that fit a message, and hits with their matches."""

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


@dataclass(frozen=True, eq=False)
class RemoteDocumentHits(RemoteHits, DocumentHits):
    """Documents that functions found; see `vsearch.DocumentHits`."""


@dataclass(frozen=True, eq=False)
class QueryBatch:
    """Checked queries, float32 (n, d) each, where their vectors were in what was given, and how documents are ranked."""

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
        """Raise InputError for what is wrong with the queries; what depends on the index is checked there."""
        request = check_request(None, k, candidates, exact=exact, deadline=None)
        queries, places = prepare_queries(vectors, saliency, keep, None)
        return cls(queries, places, pack_documents(queries[:1], request, matches=matches))

    def batches(self, room: int | None, answered: int, k: int) -> Iterator[Documents]:
        """Runs of queries whose request, and mostly its reply, fit into a message.

        Parameters
        ----------
        room : int or None
            Bytes of a message; None without a limit.
        answered : int
            Bytes of the answer to a query, matches aside.
        """
        start, size, reply = 0, 0, 0
        wanted = self.packed
        for position, query in enumerate(self.queries):
            own = 4 + query.nbytes
            back = answered + (8 * k * (1 + len(query)) if wanted.matches else 0)
            many = position - start
            if many and (many == MOST_QUERIES or (room is not None and (size + own > room or reply + back > room))):
                yield self._pack(start, position)
                start, size, reply = position, 0, 0
            size, reply = size + own, reply + back
        yield self._pack(start, len(self.queries))

    def _pack(self, start: int, stop: int) -> Documents:
        own, wanted = self.queries[start:stop], self.packed
        return Documents(
            dimensions=wanted.dimensions,
            vectors=np.concatenate(own).astype("<f4").tobytes(),
            lengths=np.array([len(query) for query in own], "<i4").tobytes(),
            candidates=wanted.candidates,
            exact=wanted.exact,
            matches=wanted.matches,
        )


def read_hits(asked: QueryBatch, found: bytes, k: int, columns: Sequence[Any]) -> tuple[DocumentMatches, ...] | None:
    """The matches of every query, padded as its hits are; None where they were not asked for."""
    if not asked.packed.matches:
        return None
    counts = int32s(found).tolist()
    positions, scores = read_matches(columns) if len(columns) >= MATCHES else ([], [])
    made, first = [], 0
    for query, places, count in zip(asked.queries, asked.places, counts, strict=True):
        met = np.full((k, len(query)), -1, np.int64)
        values = np.full((k, len(query)), np.nan, np.float32)
        for rank in range(count):
            met[rank], values[rank] = positions[first + rank], scores[first + rank]
        first += count
        made.append(DocumentMatches(met, values, places))
    return tuple(made)
