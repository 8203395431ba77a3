"""The queries of a remote search: vectors or texts, in batches that fit a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.api.remote_client import Client, result_bytes
from vsearch.errors import InputError
from vsearch.fanout.wire.messages import Options, SearchRequest
from vsearch.fanout.wire.texts import LARGEST_TEXTS, text_bytes
from vsearch.search.state.model import check_queries

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXTS_TOGETHER = 256
"""Texts per request: a coordinator encodes them one after another, before it searches."""


def check_vectors(queries: Any) -> NDArray[np.float32]:
    """Queries as float32 (m, d).

    Raises
    ------
    InputError
        They are not vectors.
    """
    vectors = np.asarray(queries)
    if vectors.dtype == np.bool_:  # of an index under hamming; which metric it has, only the functions know
        vectors = vectors.view(np.uint8)
    if vectors.ndim == 1:
        vectors = vectors[None, :]
    if vectors.ndim == 0 and vectors.dtype.kind in "biuf":
        raise InputError("queries must have the shape (queries, dimensions) or (dimensions,), got one number")
    if vectors.size == 0 and (vectors.ndim != 2 or len(vectors) or not vectors.shape[1]):
        raise InputError("there are no queries; pass at least one")
    return check_queries(vectors, vectors.shape[-1] if vectors.ndim else 0)


def vector_requests(client: Client, vectors: NDArray[np.float32], options: Options) -> Iterator[SearchRequest]:
    """Requests for vectors float32 (m, d)."""
    size = client.batch(vectors.shape[1], options)
    for start in range(0, len(vectors), size):
        batch = vectors[start : start + size]
        yield SearchRequest(
            count=len(batch), dimensions=batch.shape[1], queries=batch.astype("<f4").tobytes(), options=options
        )


def text_requests(client: Client, texts: Sequence[str], options: Options) -> Iterator[SearchRequest]:
    """Requests for texts."""
    room = client.room(options)
    most, room = (TEXTS_TOGETHER, LARGEST_TEXTS) if room is None else (max(1, room // result_bytes(options)), room)
    batch: list[bytes] = []
    size = 0
    for data in map(text_bytes, texts):
        if batch and (len(batch) >= min(most, TEXTS_TOGETHER) or size + len(data) > min(room, LARGEST_TEXTS)):
            yield _text_request(batch, options)
            batch, size = [], 0
        batch.append(data)
        size += len(data) + 8
    yield _text_request(batch, options)


def _text_request(batch: Sequence[bytes], options: Options) -> SearchRequest:
    return SearchRequest(count=len(batch), dimensions=0, queries=b"", texts=tuple(batch), options=options)
