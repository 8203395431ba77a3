r"""Encode and decode messages, with a version and a checksum.

A message is ``vsm\0``, the CRC32C of the rest (4 bytes, little-endian), and the struct as msgpack. `decode` accepts untrusted
bytes, and returns consistent messages. Values that depend on the index (dimensions, shards, partitions, columns) are checked by the
role that receives it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from vsearch.checks import LARGEST_DEPTH, LARGEST_K
from vsearch.errors import InputError
from vsearch.fanout.wire.change_messages import BadRows, Committed, KeepRequest, Kept, WriteRequest
from vsearch.fanout.wire.legs import LegQueries, check_leg
from vsearch.fanout.wire.messages import (
    LARGEST_MESSAGE,
    VERSION,
    AllocateRequest,
    Answer,
    Described,
    Failure,
    InfoRequest,
    Message,
    Overflow,
    ProcessRequest,
    SearchRequest,
    Warmed,
    WarmRequest,
    floats,
    int32s,
    int64s,
)
from vsearch.fanout.wire.texts import LARGEST_TEXTS, text_of
from vsearch.metrics import LARGEST_NORM
from vsearch.storage.files.checksums import crc32c
from vsearch.storage.files.plain_columns import check_column

MARK = b"vsm\0"

AnyMessage = (
    SearchRequest
    | AllocateRequest
    | ProcessRequest
    | WarmRequest
    | InfoRequest
    | WriteRequest
    | KeepRequest
    | Answer
    | Warmed
    | Described
    | Committed
    | BadRows
    | Kept
    | Failure
    | Overflow
)

_decoder = msgspec.msgpack.Decoder(AnyMessage)


class _Version(msgspec.Struct):
    version: int


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    return seal(msgspec.msgpack.encode(message))


def seal(body: bytes) -> bytes:
    """Prepend the checksum to a body, so that replies damaged in transit are detected."""
    return MARK + crc32c(body).to_bytes(4, "little") + body


def decode(data: bytes | memoryview) -> Any:
    """Decode an untrusted message.

    Raises
    ------
    InputError
        It is not a message, has a newer version, or is inconsistent.
    """
    if len(data) > LARGEST_MESSAGE:
        raise InputError(f"messages must have at most {LARGEST_MESSAGE} bytes, got {len(data)}; send fewer queries")
    if bytes(data[: len(MARK)]) != MARK:
        raise InputError("the bytes are not a message of vsearch")
    start = len(MARK) + 4
    data, checksum = memoryview(data)[start:], int.from_bytes(data[len(MARK) : start], "little")
    if crc32c(bytes(data)) != checksum:
        raise InputError("the message is damaged: its checksum does not match")
    try:
        message = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(_explain(data, error)) from None
    if message.version != VERSION:
        raise InputError(
            f"the message has version {message.version}, this vsearch supports {VERSION}; upgrade the older side"
        )
    try:
        _check(message)
    except ValueError as error:
        raise InputError(f"the message is inconsistent: {error}") from None
    return message


def _explain(data: bytes | memoryview, error: Exception) -> str:
    try:
        version = msgspec.msgpack.decode(data, type=_Version).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        version = VERSION
    if version > VERSION:
        return f"the message has version {version}, this vsearch supports {VERSION}; upgrade the older side"
    return f"the bytes are not a message: {str(error)[:300]}"


def _check(message: Any) -> None:
    if isinstance(message, SearchRequest | AllocateRequest | ProcessRequest):
        _check_queries(message)
        minimum = message.options.min_score
        if minimum is not None and not np.isfinite(minimum):
            raise ValueError("min_score must be finite")
        if message.options.offset + message.options.k > LARGEST_DEPTH:
            raise ValueError(f"offset + k must be at most {LARGEST_DEPTH}")
        if message.options.k > LARGEST_K and not isinstance(message, ProcessRequest):
            raise ValueError(f"k must be at most {LARGEST_K}")
        if isinstance(message, ProcessRequest):
            if message.options.offset:
                raise ValueError("offset must be 0 for a processor")
            _check_visits(message)
    elif isinstance(message, Answer):
        _check_answer(message)


def _check_queries(message: SearchRequest | AllocateRequest | ProcessRequest) -> None:
    documents, leg = message.documents, message.leg
    if leg is not None:
        _check_leg(message, leg)
        if leg.depth is None:
            return
    if isinstance(message, SearchRequest) and message.texts:
        _check_texts(message)
        return
    if message.dimensions < 1:
        raise ValueError("vectors must have at least one dimension")
    if documents is None or isinstance(message, ProcessRequest):
        prepared = isinstance(message, ProcessRequest)
        _check_vectors(message.queries, message.count, message.dimensions, LARGEST_NORM if prepared else np.inf)
    elif message.queries or message.dimensions != documents.dimensions:
        raise ValueError(
            "multi-vector queries cannot be combined with single vectors, and must have the same dimensions"
        )
    if documents is None:
        return
    lengths = int32s(documents.lengths) if len(documents.lengths) == 4 * message.count else np.zeros(1, np.int32)
    if (lengths < 1).any():
        raise ValueError("lengths must be one positive integer per query")
    _check_vectors(documents.vectors, int(lengths.sum(dtype=np.int64)), documents.dimensions)


def _check_leg(message: SearchRequest | AllocateRequest | ProcessRequest, leg: LegQueries) -> None:
    check_leg(leg, message.count, planned=isinstance(message, ProcessRequest))
    if message.documents is not None:
        raise ValueError(f"the leg {leg.name} cannot be combined with multi-vector queries")
    if leg.depth is None:
        texts = message.texts if isinstance(message, SearchRequest) else ()
        if message.queries or message.dimensions or texts:
            raise ValueError("the depth of a leg must be set if and only if there are vectors or texts")
        if message.options.nprobe is not None or message.options.exact:
            raise ValueError(f"nprobe and exact require vectors, got only the leg {leg.name}")
    elif leg.depth < message.options.k + message.options.offset:
        raise ValueError("depth must be at least offset + k")
    elif isinstance(message, ProcessRequest) and leg.depth != message.options.k:
        raise ValueError(f"k must be the depth, {leg.depth}, for a processor")
    if message.options.min_score is not None:
        raise ValueError(f"min_score cannot be combined with the leg {leg.name}")


def _check_texts(message: SearchRequest) -> None:
    if message.queries or message.dimensions or message.documents is not None:
        raise ValueError("texts cannot be combined with vectors")
    if len(message.texts) != message.count:
        raise ValueError(f"there must be {message.count} texts, got {len(message.texts)}")
    total = sum(map(len, message.texts))
    if total > LARGEST_TEXTS:
        raise ValueError(f"texts must have at most {LARGEST_TEXTS} bytes, got {total}")
    for text in message.texts:
        text_of(text)  # a UnicodeDecodeError is a ValueError


def _check_vectors(data: bytes, count: int, dimensions: int, largest: float = LARGEST_NORM) -> None:
    if len(data) != 4 * count * dimensions:
        raise ValueError(
            f"{count} queries of {dimensions} dimensions must have {4 * count * dimensions} bytes, got {len(data)}"
        )
    with np.errstate(invalid="ignore"):  # signaling NaN
        values = floats(data, count, dimensions).astype(np.float64)
    squares = np.einsum("ij,ij->i", values, values)
    if not (np.isfinite(squares) & (squares <= largest**2)).all():
        raise ValueError(f"queries must be finite and have norms of at most {largest:g}")


def _check_visits(message: ProcessRequest) -> None:
    if not len(message.visits) == len(message.minimums) == 4 * message.count:
        raise ValueError("visits and minimums must have one number per query")
    visits, minimums = int32s(message.visits), int32s(message.minimums)
    if (visits < 0).any() or (minimums < 0).any() or (minimums > visits).any():
        raise ValueError("minimums must be from 0 to visits")
    total = 4 * int(visits.sum(dtype=np.int64))
    if not len(message.partitions) == len(message.bases) == len(message.bounds) == total:
        raise ValueError(f"partitions, bases and bounds must have {total // 4} entries")
    if not (np.isfinite(floats(message.bases)).all() and np.isfinite(floats(message.bounds)).all()):
        raise ValueError("bases and bounds must be finite")


def _check_answer(message: Answer) -> None:
    if len(message.found) != 4 * message.count:
        raise ValueError("found must have one number per query")
    counts = int32s(message.found)
    if (counts < 0).any() or (counts > message.k).any():
        raise ValueError(f"each query must have from 0 to {message.k} rows")
    total = int(counts.sum(dtype=np.int64))
    if len(message.scores) != 4 * total or len(message.rows) != 8 * total:
        raise ValueError(f"scores and rows must have {total} entries")
    if not np.isfinite(floats(message.scores)).all() or (int64s(message.rows) < 0).any():
        raise ValueError("scores must be finite, and rows must not be negative")
    if message.ids is None and total:
        raise ValueError("rows must have ids")
    for column in (*message.columns, *([] if message.ids is None else [message.ids])):
        check_column(column, total)
    for outcome in message.outcomes:
        if outcome.first + outcome.count > message.count:
            raise ValueError("an outcome refers to queries out of range")
