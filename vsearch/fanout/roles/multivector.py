"""Multi-vector queries in the roles of a stack, and the ranking of documents in processors.

Messages contain the vectors; the planner encodes each query as the single vector that the ordinary part of the index is searched
with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.roles.leg import ShardSearch
from vsearch.fanout.wire.messages import AllocateRequest, Answer, Documents, Options, floats, int32s
from vsearch.kernels.filters.bitmaps import list_rows
from vsearch.kernels.query.fields import COUNTERS, RERANKED
from vsearch.multivector.maxsim import match_rows, prepare_query
from vsearch.multivector.opening import DocumentIndex, encoding_of, open_documents
from vsearch.multivector.search import DocumentRequest, by_encodings, first_candidates, is_bounded, rank_shard
from vsearch.search.engine.merge import ShardHits, as_seen
from vsearch.search.state.model import Model
from vsearch.search.state.shard_runs import ShardRuns
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import DocumentsEntry, Manifest
from vsearch.storage.files.plain_columns import Column

MATCHES = 2
"""Columns of matches in answers, after the requested ones: positions of vectors, and their scores."""


def pack_documents(
    queries: Sequence[NDArray[np.float32]], request: DocumentRequest, *, matches: bool = False
) -> Documents:
    """Pack checked queries, float32 (n, d) each, for messages."""
    return Documents(
        dimensions=queries[0].shape[1],
        vectors=np.concatenate(queries).astype("<f4").tobytes(),
        lengths=np.array([len(query) for query in queries], "<i4").tobytes(),
        candidates=request.candidates,
        exact=request.exact,
        matches=matches,
    )


def unpack_queries(documents: Documents) -> list[NDArray[np.float32]]:
    """Return the vectors of each query, float32 (n, d)."""
    vectors = floats(documents.vectors, -1, documents.dimensions)
    return np.split(vectors, np.cumsum(int32s(documents.lengths))[:-1])


def take_documents(documents: Documents, positions: NDArray[np.int64] | slice) -> Documents:
    """Return selected queries."""
    lengths = int32s(documents.lengths)
    queries = unpack_queries(documents)
    chosen = [queries[position] for position in np.arange(len(lengths))[positions]]
    vectors = np.concatenate(chosen).tobytes() if chosen else b""
    return msgspec.structs.replace(documents, vectors=vectors, lengths=lengths[positions].tobytes())


def check_changes(manifest: Manifest) -> None:
    """Refuse an index with changed documents, since functions support only one run per shard."""
    live = manifest.live
    if live and (live.deltas or any(shard.runs for shard in manifest.shards)):
        raise InputError(
            f"functions do not support changed documents (snapshot {manifest.snapshot}): open the index by its own URL"
        )


def check_documents(manifest: Manifest, documents: Documents) -> None:
    """Check a request for documents against the index.

    Raises
    ------
    InputError
        The index has no documents of this kind, or the query vectors or options do not fit it.
    """
    entry = _entry_of(manifest)
    check_changes(manifest)
    if documents.dimensions != entry.dimensions:
        raise InputError(f"query vectors must have {entry.dimensions} dimensions, got {documents.dimensions}")
    if not is_bounded(floats(documents.vectors)):
        raise InputError("elements of query vectors must be at most 1e15 in magnitude")
    if documents.exact and entry.store is None:
        raise InputError("this index stores no vectors for exact=True; build it with store='float16'")


def _entry_of(manifest: Manifest) -> DocumentsEntry:
    if manifest.documents is None:
        raise InputError("this index has one vector per row: use search, or build an index of documents")
    return manifest.documents


@dataclass(frozen=True)
class DocumentLeg:
    """Multi-vector queries as a leg; see `vsearch.fanout.roles.leg.Leg`."""

    documents: Documents

    def estimated(self, model: Model) -> bool:  # noqa: ARG002
        """Whether MaxSim is computed from codes."""
        return not self.documents.exact

    @property
    def ordered(self) -> bool:
        """Whether every document is scored."""
        return self.documents.candidates is None

    @property
    def rankings(self) -> int:
        """One ranking per query."""
        return 1

    @property
    def column_types(self) -> tuple[str, ...]:
        """Types of the columns of matches: positions of vectors, and their scores."""
        return ("list<int32>", "list<float32>") if self.documents.matches else ()

    @property
    def shard_column_types(self) -> tuple[str, ...]:
        """The same."""
        return self.column_types

    def warnings(self, manifest: Manifest) -> list[str]:  # noqa: ARG002
        """Return no warnings."""
        return []

    def check(self, manifest: Manifest) -> None:
        """Check the request; see `check_documents`."""
        check_documents(manifest, self.documents)

    def take(self, positions: NDArray[np.int64] | slice) -> dict[str, Any]:
        """Return selected queries."""
        return {"documents": take_documents(self.documents, positions)}

    def without_columns(self) -> dict[str, Any]:
        """Return the fields of a message without matches."""
        return {"documents": msgspec.structs.replace(self.documents, matches=False)}

    def sizes(self, options: Options) -> tuple[int, int]:
        """Return sizes, where every query counts as the largest."""
        k = options.k
        longest = int(int32s(self.documents.lengths).max())
        query = 4 + 4 * self.documents.dimensions * longest
        return query, 8 * k * (1 + longest) if self.documents.matches else 0

    def vectors(self, snapshot: Snapshot, request: AllocateRequest) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the encodings float32 (count, D)."""
        encoding = encoding_of(snapshot)
        return np.stack([encoding.encode_query(query) for query in unpack_queries(self.documents)])

    def options(self, manifest: Manifest, options: Options) -> Options:
        """Return the options for planning: for the first candidates, or for all partitions."""
        _, _, nearest = self._candidates(manifest, options)
        if nearest is not None:
            return msgspec.structs.replace(options, k=nearest)
        return msgspec.structs.replace(options, exact=True)

    def shard_options(self, options: Options) -> Options:
        """Return the options of requests to shards."""
        return options

    def key(self, options: Options) -> None:
        """Return None: rankings are merged by score."""

    def plan(self, snapshot: Snapshot, deadline: Deadline) -> DocumentPlan:  # noqa: ARG002
        """Return the queries, whose encodings determine the partitions to visit."""
        return DocumentPlan(self)

    def finish(self, snapshot: Snapshot, merged: Answer, options: Options) -> Answer:  # noqa: ARG002
        """Return the merged answer with scores as users see them."""
        return msgspec.structs.replace(merged, scores=as_seen(floats(merged.scores), snapshot.model).tobytes())

    def scan(self, snapshot: Snapshot, options: Options) -> ShardRanking:
        """Return the ranking of a shard's documents."""
        request, first, nearest = self._candidates(snapshot.manifest, options)
        return ShardRanking(open_documents(snapshot), unpack_queries(self.documents), request, first, nearest)

    def _candidates(self, manifest: Manifest, options: Options) -> tuple[DocumentRequest, int | None, int | None]:
        """Return the ranking request, the number of first candidates, and the number found by encodings."""
        self.check(manifest)
        entry = _entry_of(manifest)
        request = DocumentRequest(options.k, self.documents.candidates, self.documents.exact)
        first = first_candidates(entry, request, manifest.rows)
        return request, first, first if by_encodings(entry, request) else None


@dataclass(frozen=True)
class DocumentPlan:
    """Multi-vector queries in a plan; see `vsearch.fanout.roles.leg.LegPlan`."""

    leg: DocumentLeg

    def searches(self, shard: ShardRuns) -> NDArray[np.bool_]:  # noqa: ARG002
        """Return no further shards: those of the partitions that encodings visit suffice."""
        return np.zeros(len(self.leg.documents.lengths) // 4, np.bool_)

    def take(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Return selected queries."""
        return self.leg.take(positions)


@dataclass(frozen=True, eq=False)
class ShardRanking:
    """The ranking of a shard's documents.

    Attributes
    ----------
    first : int or None
        Number of first candidates; None for all documents.
    nearest : int or None
        Number of candidates from a search by encodings; None if they come from elsewhere.
    """

    index: DocumentIndex
    queries: list[NDArray[np.float32]]
    request: DocumentRequest
    first: int | None
    nearest: int | None

    def rank(self, search: ShardSearch, position: int, hits: ShardHits | None) -> list[ShardHits]:
        """Return the best documents for a query, among the hits of the encodings or the documents of a mask."""
        documents, mask = self.index.shards[search.shard.number], search.masks[0]
        eligible = None
        if hits is None:
            rows = documents.shard.rows
            eligible = np.arange(rows) if mask is None else np.asarray(list_rows(mask.words, 0, rows), np.int64)
        query = prepare_query(self.index, self.queries[position])
        best = rank_shard(self.index, documents, query, self.request, self.first, hits=hits, eligible=eligible)
        counters = np.zeros(COUNTERS, np.int64) if hits is None else hits.counters
        counters[RERANKED] += len(best.candidates)
        return [ShardHits(best.scores, best.rows, counters)]

    def columns(self, rows: Sequence[NDArray[np.int64]]) -> tuple[Column, ...]:
        """Return the matching vectors in rows of each query: lists of positions and of scores per row."""
        matches = [
            match_rows(self.index, query, hits, exact=self.request.exact)
            for query, hits in zip(self.queries, rows, strict=True)
        ]
        lengths = np.repeat([len(query) for query in self.queries], [len(hits) for hits in rows])
        positions = b"".join(match.positions.astype("<i4").tobytes() for match in matches)
        scores = b"".join(match.scores.astype("<f4").tobytes() for match in matches)
        return _lists("int32", positions, lengths), _lists("float32", scores, lengths)


def read_matches(columns: Sequence[Column]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float32]]]:
    """Read the positions and scores of matches, one array per row, from an answer's last columns."""
    positions, scores = columns[-MATCHES:]
    edges = np.frombuffer(positions.offsets or bytes(8), "<i8")[1:-1]
    if positions.items is None or scores.items is None or positions.offsets != scores.offsets:
        raise InputError("the answer has no matches")
    numbers = np.frombuffer(positions.items.values, "<i4").astype(np.int64)
    return np.split(numbers, edges), np.split(np.frombuffer(scores.items.values, "<f4"), edges)


def _lists(kind: str, values: bytes, lengths: NDArray[np.int64]) -> Column:
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype("<i8")
    items = Column(kind, int(offsets[-1]), None, values)
    return Column(f"list<{kind}>", len(lengths), None, b"", offsets.tobytes(), items)
