r"""Messages as bytes, and back: versioned, sealed by a checksum, and checked.

A message is ``vsm\0``, the CRC32C of the rest (4 bytes, little-endian), and the struct as msgpack. `decode` accepts bytes
from anywhere: what it returns is consistent in itself. What depends on the index (dimensions, shards, partitions, columns)
is checked by the role that gets it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from vsearch.errors import InputError
from vsearch.fanout.wire.change_messages import BadRows, Committed, KeepRequest, Kept, WriteRequest
from vsearch.fanout.wire.messages import (
    LARGEST_K,
    LARGEST_MESSAGE,
    LARGEST_TEXTS,
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
    text_of,
)
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
    """The bytes of a message."""
    return seal(msgspec.msgpack.encode(message))


def seal(body: bytes) -> bytes:
    """Put the checksum before a body: a reply that was damaged on its way must not pass for another answer."""
    return MARK + crc32c(body).to_bytes(4, "little") + body


def decode(data: bytes | memoryview) -> Any:
    """Read a message that may come from anywhere.

    Raises
    ------
    InputError
        It is no message, one of a newer version, or does not fit together.
    """
    if len(data) > LARGEST_MESSAGE:
        raise InputError(f"a message of {len(data)} bytes is larger than {LARGEST_MESSAGE}; send fewer queries")
    if bytes(data[: len(MARK)]) != MARK:
        raise InputError("these bytes are no message of vsearch")
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
            f"the message has version {message.version}, this vsearch speaks {VERSION}; upgrade the older side"
        )
    try:
        _check(message)
    except ValueError as error:
        raise InputError(f"the message does not fit together: {error}") from None
    return message


def _explain(data: bytes | memoryview, error: Exception) -> str:
    try:
        version = msgspec.msgpack.decode(data, type=_Version).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        version = VERSION
    if version > VERSION:
        return f"the message has version {version}, this vsearch speaks {VERSION}; upgrade the older side"
    return f"these bytes are no message: {str(error)[:300]}"


def _check(message: Any) -> None:
    if isinstance(message, SearchRequest | AllocateRequest | ProcessRequest):
        _check_queries(message)
        minimum = message.options.min_score
        if minimum is not None and not np.isfinite(minimum):
            raise ValueError("min_score is not finite")
        if message.options.offset + message.options.k > LARGEST_K:
            raise ValueError(f"offset + k is above {LARGEST_K}")
        if isinstance(message, ProcessRequest):
            if message.options.offset:
                raise ValueError("a processor takes no offset")
            _check_visits(message)
    elif isinstance(message, Answer):
        _check_answer(message)


def _check_queries(message: SearchRequest | AllocateRequest | ProcessRequest) -> None:
    documents = message.documents
    if isinstance(message, SearchRequest) and message.texts:
        _check_texts(message)
        return
    if message.dimensions < 1:
        raise ValueError("vectors have at least one dimension")
    if documents is None or isinstance(message, ProcessRequest):
        prepared = isinstance(message, ProcessRequest)
        _check_vectors(message.queries, message.count, message.dimensions, LARGEST_NORM if prepared else np.inf)
    elif message.queries or message.dimensions != documents.dimensions:
        raise ValueError("queries of many vectors come with single vectors, or with other dimensions")
    if documents is None:
        return
    lengths = int32s(documents.lengths) if len(documents.lengths) == 4 * message.count else np.zeros(1, np.int32)
    if (lengths < 1).any():
        raise ValueError("there is not one number of vectors, above 0, for each query")
    _check_vectors(documents.vectors, int(lengths.sum(dtype=np.int64)), documents.dimensions)


def _check_texts(message: SearchRequest) -> None:
    if message.queries or message.dimensions or message.documents is not None:
        raise ValueError("texts come with vectors")
    if len(message.texts) != message.count:
        raise ValueError(f"{len(message.texts)} texts are not {message.count} queries")
    total = sum(map(len, message.texts))
    if total > LARGEST_TEXTS:
        raise ValueError(f"texts of {total} bytes are more than {LARGEST_TEXTS}")
    for text in message.texts:
        text_of(text)  # a UnicodeDecodeError is a ValueError


def _check_vectors(data: bytes, count: int, dimensions: int, largest: float = LARGEST_NORM) -> None:
    if len(data) != 4 * count * dimensions:
        raise ValueError(f"{len(data)} bytes are not {count} queries of {dimensions} dimensions")
    values = floats(data, count, dimensions).astype(np.float64)
    squares = np.einsum("ij,ij->i", values, values)
    if not (np.isfinite(squares) & (squares <= largest**2)).all():
        raise ValueError(f"a query holds NaN or infinity, or is longer than {largest:g}")


def _check_visits(message: ProcessRequest) -> None:
    if not len(message.visits) == len(message.minimums) == 4 * message.count:
        raise ValueError("there is not one number of visits for each query")
    visits, minimums = int32s(message.visits), int32s(message.minimums)
    if (visits < 0).any() or (minimums < 0).any() or (minimums > visits).any():
        raise ValueError("numbers of visits must not be negative, nor the least number above all")
    total = 4 * int(visits.sum(dtype=np.int64))
    if not len(message.partitions) == len(message.bases) == len(message.bounds) == total:
        raise ValueError(f"partitions, bases and bounds are not of {total // 4} visits")
    if not (np.isfinite(floats(message.bases)).all() and np.isfinite(floats(message.bounds)).all()):
        raise ValueError("a base or bound is not finite")


def _check_answer(message: Answer) -> None:
    if len(message.found) != 4 * message.count:
        raise ValueError("there is not one number of rows for each query")
    found = int32s(message.found)
    if (found < 0).any() or (found > message.k).any():
        raise ValueError(f"a query has fewer than 0 or more than {message.k} rows")
    total = int(found.sum(dtype=np.int64))
    if len(message.scores) != 4 * total or len(message.rows) != 8 * total:
        raise ValueError(f"scores and rows are not of {total} rows")
    if not np.isfinite(floats(message.scores)).all() or (int64s(message.rows) < 0).any():
        raise ValueError("a score is not finite, or a row is negative")
    if message.ids is None and total:
        raise ValueError("rows come without ids")
    for column in (*message.columns, *([] if message.ids is None else [message.ids])):
        check_column(column, total)
    for outcome in message.outcomes:
        if outcome.first + outcome.count > message.count:
            raise ValueError("an outcome is about queries that there are not")
