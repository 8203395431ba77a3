"""The messages between client, coordinator, allocators and processors: msgpack structs. `vsearch.fanout.wire.codec` has their bytes.

Vectors, scores and rows are little-endian bytes, whose lengths follow from the counts in the same message.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.checks import LARGEST_DEPTH
from vsearch.fanout.calls.bill import Usages
from vsearch.fanout.calls.retries import ErrorKind
from vsearch.fanout.calls.tree import DEEPEST, LARGEST
from vsearch.fanout.wire.legs import LegQueries
from vsearch.fanout.wire.texts import LARGEST_TEXT, MOST_TEXTS
from vsearch.storage.files.plain_columns import Column

VERSION = 6
"""Version 1 had no `id`, 2 neither `at_least` and `freshness` nor `moment`, 3 neither `texts` nor changes, 4 no words, 5 no `leg` but words."""
LARGEST_MESSAGE = 256 << 20
LARGEST_BATCH = 100_000
LARGEST_WHERE = 4 << 20
OVERFLOW = "messages"
"""The folder of messages in the overflow store; other objects are never read as messages."""

Version = Annotated[int, msgspec.Meta(ge=1)]
Snapshot = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Count = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_BATCH)]
Dimensions = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Position = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_BATCH)]
Tally = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Trace = Annotated[str, msgspec.Meta(max_length=100)]
ShardNumber = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Moment = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Nanoseconds since 1970 UTC."""
Mode = Literal["auto", "alone", "flat", "tree"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options for all queries of a message; see `vsearch.Index.search`.

    Attributes
    ----------
    where : bytes or None
        An encoded expression.
    k : int
        More than 10,000 only for a processor, whose rows end up on several pages.
    offset : int
        Number of rows to skip; never sent to a processor.
    """

    k: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_DEPTH)]
    where: Annotated[bytes, msgspec.Meta(max_length=LARGEST_WHERE)] | None = None
    nprobe: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    exact: bool = False
    min_score: float | None = None
    columns: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=1024)], ...], msgspec.Meta(max_length=1000)] = ()
    offset: Annotated[int, msgspec.Meta(ge=0, lt=LARGEST_DEPTH)] = 0


class Documents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Multi-vector queries, and how to rank documents; see `vsearch.Index.search_documents`.

    Attributes
    ----------
    vectors : bytes
        float32 (sum of lengths, dimensions): the vectors of all queries, in order.
    lengths : bytes
        int32 (count,): number of vectors of each query.
    candidates : int or None
        Number of documents that each shard reranks; None for all.
    matches : bool
        Whether the answer has the matching vectors, in two columns after the requested ones.
    """

    dimensions: Dimensions
    vectors: bytes
    lengths: bytes
    candidates: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    exact: bool = False
    matches: bool = False


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """Base class of messages. `version` comes first, so that newer versions can be recognized.

    Attributes
    ----------
    id : str
        Id of the request, which the reply repeats, so that replies cannot be mistaken for others.
    """

    version: Version = VERSION
    id: Annotated[str, msgspec.Meta(max_length=64)] = ""


class SearchRequest(Message, frozen=True, tag="search"):
    """To the coordinator: unprepared queries float32 (count, dimensions); none if they are in `documents`, `texts` or `leg`.

    Attributes
    ----------
    texts : tuple of bytes
        Queries for the encoder of the index, in UTF-8 that may have lone surrogates; `dimensions` is then 0.
    snapshot : int or None
        None for the newest.
    at_least : int
        Minimum snapshot number.
    freshness : float
        Maximum staleness of the newest snapshot in seconds.
    moment : int or None
        The time by which rows have expired; None for now or, with `snapshot`, for its creation time.
    remaining : float or None
        Seconds until the deadline.
    mode, allocators, branching
        Requested plan; "auto" and None leave the choice to the coordinator.
    allow_partial : bool
        Whether an answer without some shards is acceptable.
    trace : str
        W3C ``traceparent`` of the span of the request; empty without tracing.
    """

    count: Count
    dimensions: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    queries: bytes
    options: Options
    texts: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=LARGEST_TEXT)], ...], msgspec.Meta(max_length=MOST_TEXTS)
    ] = ()
    snapshot: Snapshot | None = None
    at_least: Snapshot = 0
    freshness: Seconds = 0.0
    moment: Moment | None = None
    remaining: Seconds | None = None
    mode: Mode = "auto"
    allocators: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)] | None = None
    branching: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    allow_partial: bool = False
    trace: Trace = ""
    documents: Documents | None = None
    leg: LegQueries | None = None


class AllocateRequest(Message, frozen=True, tag="allocate"):
    """To an allocator: the queries of its subtree, and the number of its allocators. `moment` is set by the coordinator."""

    snapshot: Snapshot
    count: Count
    dimensions: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    queries: bytes
    options: Options
    allocators: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
    branching: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    level: Annotated[int, msgspec.Meta(ge=1, le=DEEPEST)]
    moment: Moment | None = None
    remaining: Seconds | None = None
    trace: Trace = ""
    documents: Documents | None = None
    leg: LegQueries | None = None


class ProcessRequest(Message, frozen=True, tag="process"):
    """To a processor: prepared queries float32 (count, dimensions) and the partitions that each visits in its shard.

    Attributes
    ----------
    visits, minimums : bytes
        int32 (count,): number of partitions that each query visits, and number of those visited regardless of their bounds.
    partitions, bases, bounds : bytes
        int32, float32, float32: partition (numbered within the shard), centroid score and upper bound of each visit.
    """

    snapshot: Snapshot
    shard: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    count: Count
    dimensions: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    queries: bytes
    options: Options
    visits: bytes
    minimums: bytes
    partitions: bytes
    bases: bytes
    bounds: bytes
    moment: Moment | None = None
    remaining: Seconds | None = None
    trace: Trace = ""
    documents: Documents | None = None
    leg: LegQueries | None = None


class WarmRequest(Message, frozen=True, tag="warm"):
    """To any role: load the data of a search, and reply; with `legs`, also the data of legs."""

    snapshot: Snapshot | None = None
    shard: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    legs: bool = True


class InfoRequest(Message, frozen=True, tag="info"):
    """To the coordinator: describe the index. `moment` is as in a search."""

    snapshot: Snapshot | None = None
    moment: Moment | None = None


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A shard (or a subtree of allocators) that failed for a range of queries.

    Attributes
    ----------
    shard : int or None
        None if an allocator failed, so that no shard answered the queries.
    first, count : int
        The range of queries.
    error : str
        An error kind.
    """

    shard: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None
    first: Position
    count: Count
    error: Annotated[str, msgspec.Meta(max_length=100)]
    message: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    attempts: Tally = 1


class Counters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of the work of searches, summed over queries; see `vsearch.search.engine.stats.SearchStats`."""

    partitions_visited: Tally = 0
    rows_scanned: Tally = 0
    rows_refined: Tally = 0
    rows_reranked: Tally = 0
    rows_masked: Tally = 0
    rows_rechecked: Tally = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))


class Answer(Message, frozen=True, tag="answer"):
    """From any role: the best rows of each query, best first.

    Attributes
    ----------
    found : bytes
        int32 (count,): number of rows of each query, at most k.
    scores, rows : bytes
        float32, int64: scores and rows of all queries, in order. Rows are numbered over all shards.
    ids : Column or None
        Ids of these rows; None if there are no rows.
    columns : tuple of Column
    outcomes : tuple of Outcome
        Failures after all retries; empty if the answer is complete.
    shards : tuple of int
        The shards that were searched, ascending.
    arch : str
        Processor architecture of the function, on which its price depends.
    plan : str
        The plan, and the reason for it.
    moment : int or None
        The time of the search, if rows may expire.
    warnings : tuple of str
        Warnings about the queries; set by a coordinator.
    """

    count: Count
    k: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_DEPTH)]
    found: bytes
    scores: bytes
    rows: bytes
    ids: Column | None = None
    columns: Annotated[tuple[Column, ...], msgspec.Meta(max_length=1000)] = ()
    outcomes: tuple[Outcome, ...] = ()
    shards: tuple[ShardNumber, ...] = ()
    usages: Usages = Usages()
    counters: Counters = Counters()
    snapshot: Snapshot = 0
    moment: Moment | None = None
    arch: Annotated[str, msgspec.Meta(max_length=100)] = ""
    plan: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    estimated: bool = False
    warnings: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=1000)], ...], msgspec.Meta(max_length=100)] = ()


class Warmed(Message, frozen=True, tag="warmed"):
    """From any role: it is ready."""

    snapshot: Snapshot
    bytes: Tally
    usages: Usages = Usages()


class Described(Message, frozen=True, tag="described"):
    """From the coordinator: the result of `vsearch.Index.info` as JSON. `moment` is set if rows may expire."""

    document: Annotated[bytes, msgspec.Meta(max_length=4 << 20)]
    moment: Moment | None = None
    usages: Usages = Usages()


class Failure(Message, frozen=True, tag="failure"):
    """From any role: the error of a request."""

    error: Annotated[str, msgspec.Meta(max_length=100)]
    message: Annotated[str, msgspec.Meta(max_length=10_000)]
    usages: Usages = Usages()
    final: bool = False


class Overflow(Message, frozen=True, tag="overflow"):
    """Replaces a message that is too large for the platform: its path in the overflow store."""

    path: Annotated[str, msgspec.Meta(pattern=rf"^{OVERFLOW}/[0-9a-f]{{32}}\Z")]
    bytes: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_MESSAGE)]
    crc32c: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


def floats(data: bytes, *shape: int) -> NDArray[np.float32]:
    """Return a read-only float32 array over the bytes of a message."""
    return np.frombuffer(data, "<f4").reshape(shape or (-1,))


def int32s(data: bytes) -> NDArray[np.int32]:
    """Return a read-only int32 array over the bytes of a message."""
    return np.frombuffer(data, "<i4")


def int64s(data: bytes) -> NDArray[np.int64]:
    """Return a read-only int64 array over the bytes of a message."""
    return np.frombuffer(data, "<i8")


def failure(
    kind: ErrorKind,
    message: str,
    usages: Usages = Usages(),  # noqa: B008 (immutable)
    *,
    final: bool = False,
) -> Failure:
    """Return a failure message, with its text truncated."""
    return Failure(error=str(kind), message=" ".join(message.split())[:2000], usages=usages, final=final)
