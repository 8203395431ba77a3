"""Queries of many vectors on their way through the roles, and how a processor ranks the documents of its shard for them.

They travel as they are; who plans encodes each to the one vector that the ordinary part of the index is searched with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.fanout.wire.columns import Column
from vsearch.fanout.wire.messages import (
    AllocateRequest,
    Documents,
    Options,
    ProcessRequest,
    SearchRequest,
    floats,
    int32s,
)
from vsearch.kernels.filters.bitmaps import list_rows
from vsearch.kernels.query.fields import COUNTERS, RERANKED
from vsearch.multivector.maxsim import match_rows, prepare_query
from vsearch.multivector.opening import DocumentIndex, encoding_of, open_documents
from vsearch.multivector.search import DocumentRequest, by_encodings, first_candidates, is_bounded, rank_shard
from vsearch.search.engine.masking import ShardMask
from vsearch.search.engine.merge import ShardHits
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import DocumentsEntry, Manifest

MATCHES = 2
"""Columns that matches travel in, after those that were asked for: the vectors' positions, and their scores."""


def pack_documents(
    queries: Sequence[NDArray[np.float32]], request: DocumentRequest, *, matches: bool = False
) -> Documents:
    """Checked queries, float32 (n, d) each, as they travel."""
    return Documents(
        dimensions=queries[0].shape[1],
        vectors=np.concatenate(queries).astype("<f4").tobytes(),
        lengths=np.array([len(query) for query in queries], "<i4").tobytes(),
        candidates=request.candidates,
        exact=request.exact,
        matches=matches,
    )


def unpack_queries(documents: Documents) -> list[NDArray[np.float32]]:
    """Each query's vectors, float32 (n, d)."""
    vectors = floats(documents.vectors, -1, documents.dimensions)
    return np.split(vectors, np.cumsum(int32s(documents.lengths))[:-1])


def take_documents(documents: Documents, positions: NDArray[np.int64] | slice) -> Documents:
    """Some of the queries, by position."""
    lengths = int32s(documents.lengths)
    queries = unpack_queries(documents)
    chosen = [queries[position] for position in np.arange(len(lengths))[positions]]
    vectors = np.concatenate(chosen).tobytes() if chosen else b""
    return msgspec.structs.replace(documents, vectors=vectors, lengths=lengths[positions].tobytes())


def check_documents(manifest: Manifest, documents: Documents) -> None:
    """Hold what is asked of documents against the index.

    Raises
    ------
    InputError
    """
    entry = _entry_of(manifest)
    if documents.dimensions != entry.dimensions:
        raise InputError(f"query vectors must have {entry.dimensions} dimensions, got {documents.dimensions}")
    if not is_bounded(floats(documents.vectors)):
        raise InputError("the queries' vectors hold numbers that are too large; mend the encoder")
    if documents.exact and entry.store is None:
        raise InputError("this index stores no vectors to be exact with; build it with store='float16'")


def _entry_of(manifest: Manifest) -> DocumentsEntry:
    if manifest.documents is None:
        raise InputError("this is an index of single vectors: use search, or build one of documents")
    return manifest.documents


def wanted_of(manifest: Manifest, request: SearchRequest | AllocateRequest | ProcessRequest) -> DocumentRequest:
    """What the documents are ranked by."""
    documents = request.documents
    if documents is None:
        raise InputError("the message has no queries of many vectors")
    check_documents(manifest, documents)
    return DocumentRequest(request.options.k, documents.candidates, documents.exact)


def planned_options(manifest: Manifest, request: AllocateRequest) -> Options:
    """How the encodings are searched: for the first candidates, or, where others come in their place, everywhere."""
    entry, wanted = _entry_of(manifest), wanted_of(manifest, request)
    first = first_candidates(entry, wanted, manifest.rows)
    if first is not None and by_encodings(entry, wanted):
        return msgspec.structs.replace(request.options, k=first)
    return msgspec.structs.replace(request.options, exact=True)


def encode_queries(snapshot: Snapshot, documents: Documents) -> NDArray[np.float32]:
    """Encodings float32 (count, D)."""
    encoding = encoding_of(snapshot)
    return np.stack([encoding.encode_query(query) for query in unpack_queries(documents)])


@dataclass(frozen=True, eq=False)
class ShardRanking:
    """How a processor ranks the documents of its shard.

    Attributes
    ----------
    first : int or None
        Candidates to begin with; None for every document.
    encoded : bool
        Whether these come from a search of the encodings.
    """

    index: DocumentIndex
    queries: list[NDArray[np.float32]]
    wanted: DocumentRequest
    first: int | None
    encoded: bool

    @classmethod
    def of(cls, snapshot: Snapshot, request: ProcessRequest) -> ShardRanking:
        """Raise InputError unless the request fits the index."""
        wanted = wanted_of(snapshot.manifest, request)
        entry = _entry_of(snapshot.manifest)
        first = first_candidates(entry, wanted, snapshot.manifest.rows)
        queries = unpack_queries(request.documents) if request.documents is not None else []
        return cls(open_documents(snapshot), queries, wanted, first, by_encodings(entry, wanted))

    def rank(self, shard: int, position: int, hits: ShardHits | None, mask: ShardMask | None) -> ShardHits:
        """The best documents for one query, out of what the encodings found, or of all that a mask lets pass."""
        documents = self.index.shards[shard]
        eligible = None
        if hits is None:
            rows = documents.shard.rows
            eligible = np.arange(rows) if mask is None else np.asarray(list_rows(mask.words, 0, rows), np.int64)
        query = prepare_query(self.index, self.queries[position])
        best = rank_shard(self.index, documents, query, self.wanted, self.first, hits=hits, eligible=eligible)
        counters = np.zeros(COUNTERS, np.int64) if hits is None else hits.counters
        counters[RERANKED] += len(best.candidates)
        return ShardHits(best.scores, best.rows, counters)

    def matches(self, rows: Sequence[NDArray[np.int64]]) -> tuple[Column, Column]:
        """Which vectors met in some rows of each query: their positions and their scores, a list for every row."""
        found = [
            match_rows(self.index, query, own, exact=self.wanted.exact)
            for query, own in zip(self.queries, rows, strict=True)
        ]
        lengths = np.repeat([len(query) for query in self.queries], [len(own) for own in rows])
        positions = b"".join(each.positions.astype("<i4").tobytes() for each in found)
        scores = b"".join(each.scores.astype("<f4").tobytes() for each in found)
        return _lists("int32", positions, lengths), _lists("float32", scores, lengths)


def read_matches(columns: Sequence[Column]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float32]]]:
    """Positions and scores, one array for each row, out of an answer's last columns."""
    positions, scores = columns[-MATCHES:]
    edges = np.frombuffer(positions.offsets or bytes(8), "<i8")[1:-1]
    if positions.items is None or scores.items is None or positions.offsets != scores.offsets:
        raise InputError("the answer holds no matches")
    numbers = np.frombuffer(positions.items.values, "<i4").astype(np.int64)
    return np.split(numbers, edges), np.split(np.frombuffer(scores.items.values, "<f4"), edges)


def _lists(kind: str, values: bytes, lengths: NDArray[np.int64]) -> Column:
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype("<i8")
    items = Column(kind, int(offsets[-1]), None, values)
    return Column(f"list<{kind}>", len(lengths), None, b"", offsets.tobytes(), items)
