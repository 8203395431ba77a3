"""The messages between client, coordinator, allocators and processors: msgpack structs. `vsearch.fanout.wire.codec` has their bytes.

Vectors, scores and rows travel as little-endian bytes whose lengths follow from the counts beside them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.fanout.calls.bill import Usages
from vsearch.fanout.calls.retries import ErrorKind
from vsearch.fanout.calls.tree import DEEPEST, LARGEST
from vsearch.storage.files.plain_columns import Column

VERSION = 4
"""1 had no `id`, 2 neither `at_least` and `freshness` nor `moment`, 3 neither `texts` nor changes."""
LARGEST_MESSAGE = 256 << 20
LARGEST_K = 10_000
LARGEST_BATCH = 100_000
LARGEST_WHERE = 4 << 20
LARGEST_TEXT = 4 << 20
LARGEST_TEXTS = 32 << 20
MOST_TEXTS = 1000
"""Each of them takes a coordinator milliseconds; larger batches are split."""
OVERFLOW = "messages"
"""The folder of messages in the overflow store: nothing else in it is ever read as one."""

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
    """What is asked of every query of a message; see `vsearch.Index.search`.

    Attributes
    ----------
    where : bytes or None
        An encoded expression.
    offset : int
        Rows before those wanted; never sent to a processor.
    """

    k: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_K)]
    where: Annotated[bytes, msgspec.Meta(max_length=LARGEST_WHERE)] | None = None
    nprobe: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    exact: bool = False
    min_score: float | None = None
    columns: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=1024)], ...], msgspec.Meta(max_length=1000)] = ()
    offset: Annotated[int, msgspec.Meta(ge=0, lt=LARGEST_K)] = 0


class Documents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Queries of many vectors, and how documents are ranked for them; see `vsearch.Index.search_documents`.

    Attributes
    ----------
    vectors : bytes
        float32 (sum of lengths, dimensions), of all queries one after another.
    lengths : bytes
        int32 (count,): vectors of each query.
    candidates : int or None
        Documents that each shard reranks; None for all.
    matches : bool
        Whether the answer tells which vectors met, in two columns after those that were asked for.
    """

    dimensions: Dimensions
    vectors: bytes
    lengths: bytes
    candidates: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    exact: bool = False
    matches: bool = False


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """Any message. `version` comes first, so that a newer one can be told.

    Attributes
    ----------
    id : str
        Of a request; its reply has the same, so that nobody takes the reply to another.
    """

    version: Version = VERSION
    id: Annotated[str, msgspec.Meta(max_length=64)] = ""


class SearchRequest(Message, frozen=True, tag="search"):
    """To the coordinator: queries float32 (count, dimensions) as the user gave them; none where `documents` or `texts` has them.

    Attributes
    ----------
    texts : tuple of bytes
        Queries for the encoder of the index, which knows their dimensions: that is 0 here. In UTF-8, which may have halves of
        surrogate pairs.
    snapshot : int or None
        None: the newest.
    at_least : int
        The least snapshot that will do.
    freshness : float
        Seconds by which the newest may be late.
    moment : int or None
        The time by which rows have expired; None: now, of a snapshot that is named the time when it was made.
    remaining : float or None
        Seconds until nobody waits for the answer any more.
    mode, allocators, branching
        What the caller wants of the plan; "auto" and None leave it to the coordinator.
    allow_partial : bool
        Whether an answer without some shards is of use.
    trace : str
        The span that it belongs to, as a W3C ``traceparent``; empty where none is recorded.
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


class AllocateRequest(Message, frozen=True, tag="allocate"):
    """To an allocator: the queries of its subtree, and how many allocators that has. `moment` is the coordinator's."""

    snapshot: Snapshot
    count: Count
    dimensions: Dimensions
    queries: bytes
    options: Options
    allocators: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
    branching: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    level: Annotated[int, msgspec.Meta(ge=1, le=DEEPEST)]
    moment: Moment | None = None
    remaining: Seconds | None = None
    trace: Trace = ""
    documents: Documents | None = None


class ProcessRequest(Message, frozen=True, tag="process"):
    """To a processor: prepared queries float32 (count, dimensions) and the partitions that each visits in its shard.

    Attributes
    ----------
    visits, minimums : bytes
        int32 (count,): how many partitions each query visits, and how many of them whatever their bounds.
    partitions, bases, bounds : bytes
        int32, float32, float32, one for each visit of all queries; numbered inside the shard.
    """

    snapshot: Snapshot
    shard: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    count: Count
    dimensions: Dimensions
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


class WarmRequest(Message, frozen=True, tag="warm"):
    """To any role: load what a search would need, and answer."""

    snapshot: Snapshot | None = None
    shard: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class InfoRequest(Message, frozen=True, tag="info"):
    """To the coordinator: describe the index. `moment` is that of a search."""

    snapshot: Snapshot | None = None
    moment: Moment | None = None


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That one shard (or a subtree of allocators) gave no answer to a run of queries.

    Attributes
    ----------
    shard : int or None
        None: an allocator failed, so no shard answered these queries.
    first, count : int
        The queries it is about.
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
    """What searches looked at, summed over queries; see `vsearch.search.engine.stats.SearchStats`."""

    partitions_visited: Tally = 0
    rows_scanned: Tally = 0
    rows_refined: Tally = 0
    rows_reranked: Tally = 0
    rows_masked: Tally = 0
    rows_rechecked: Tally = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))


class Answer(Message, frozen=True, tag="answer"):
    """From any role: the best rows of each query, only those that were found, best first.

    Attributes
    ----------
    found : bytes
        int32 (count,): rows found for each query, at most k.
    scores, rows : bytes
        float32, int64, one for each row found, of all queries one after another. Rows are numbered through all shards.
    ids : Column or None
        Ids of these rows; None where there is no row.
    columns : tuple of Column
    outcomes : tuple of Outcome
        Of what failed for good; empty where the answer is complete.
    shards : tuple of int
        Which were searched, ascending.
    arch : str
        What the function runs on, which its price depends on.
    plan : str
        How it was answered, and why so.
    moment : int or None
        That of the search, where rows may expire.
    """

    count: Count
    k: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_K)]
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


class Warmed(Message, frozen=True, tag="warmed"):
    """From any role: it is ready."""

    snapshot: Snapshot
    bytes: Tally
    usages: Usages = Usages()


class Described(Message, frozen=True, tag="described"):
    """From the coordinator: what `vsearch.Index.info` gives, as JSON. `moment` is there where rows may expire."""

    document: Annotated[bytes, msgspec.Meta(max_length=4 << 20)]
    moment: Moment | None = None
    usages: Usages = Usages()


class Failure(Message, frozen=True, tag="failure"):
    """From any role: no answer, and why."""

    error: Annotated[str, msgspec.Meta(max_length=100)]
    message: Annotated[str, msgspec.Meta(max_length=10_000)]
    usages: Usages = Usages()
    final: bool = False


class Overflow(Message, frozen=True, tag="overflow"):
    """In place of a message that is too large for the platform: where it is in the overflow store."""

    path: Annotated[str, msgspec.Meta(pattern=rf"^{OVERFLOW}/[0-9a-f]{{32}}\Z")]
    bytes: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_MESSAGE)]
    crc32c: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


def floats(data: bytes, *shape: int) -> NDArray[np.float32]:
    """Read-only float32 array over the bytes of a message."""
    return np.frombuffer(data, "<f4").reshape(shape or (-1,))


def int32s(data: bytes) -> NDArray[np.int32]:
    """Read-only int32 array over the bytes of a message."""
    return np.frombuffer(data, "<i4")


def int64s(data: bytes) -> NDArray[np.int64]:
    """Read-only int64 array over the bytes of a message."""
    return np.frombuffer(data, "<i8")


def text_bytes(text: str) -> bytes:
    """A text as a message carries it."""
    return text.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """The text in a message.

    Raises
    ------
    UnicodeDecodeError
        It is none, which `vsearch.fanout.wire.codec.decode` refuses.
    """
    return data.decode("utf-8", "surrogatepass")


def failure(
    kind: ErrorKind,
    message: str,
    usages: Usages = Usages(),  # noqa: B008 (immutable)
    *,
    final: bool = False,
) -> Failure:
    """A failure to send, its text cut to what a message may hold."""
    return Failure(error=str(kind), message=" ".join(message.split())[:2000], usages=usages, final=final)
