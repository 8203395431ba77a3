"""Text queries: encoded once, by the function that receives the search, with the compressed encoder of the index.

Encoders are imported, and their files read, at the first text query.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from vsearch.encoders.entries import is_compressed
from vsearch.errors import InputError
from vsearch.fanout.calls.telemetry import span
from vsearch.fanout.roles.loading import Loader
from vsearch.fanout.wire.messages import SearchRequest
from vsearch.fanout.wire.texts import text_of
from vsearch.storage import FileEntry, Manifest
from vsearch.storage.files.prefetched import fetch_files
from vsearch.storage.snapshots.kinds import ModelPart
from vsearch.storage.stores.retrying import carried

if TYPE_CHECKING:
    from vsearch.encoders.encoder import TextEncoder


@dataclass(frozen=True, eq=False)
class HeldEncoder:
    """An open encoder, and its memory in bytes."""

    encoder: TextEncoder
    bytes: int


def has_encoder(manifest: Manifest) -> bool:
    """Whether an index holds an encoder that functions can run."""
    return is_compressed(ModelPart.ENCODER.files(manifest.model))


def load_encoder(loader: Loader, manifest: Manifest) -> TextEncoder:
    """Return the encoder of an index; it is cached until a snapshot has another one or memory is short.

    Raises
    ------
    InputError
        The index has no encoder, or it is not compressed.
    CorruptIndexError
        One of its files is missing or damaged.
    """
    entries = ModelPart.ENCODER.files(manifest.model)
    if not entries:
        raise InputError("the index has no query encoder: pass vectors, or attach one with Index.with_encoder")
    if not has_encoder(manifest):
        raise InputError(
            "the query encoder of the index is not compressed, which functions require: pass vectors, or replace it with "
            "vsearch.encoders.compress and Index.with_encoder"
        )
    loaded = loader.retention.get(
        _key(manifest),
        lambda: _read(loader, entries, manifest.snapshot),
        lambda loaded: {f"encoder {_key(manifest)}": loaded.bytes},
    )
    return loaded.encoder


def is_loaded(loader: Loader, manifest: Manifest) -> bool:
    """Whether the encoder of an index is open."""
    return _key(manifest) in loader.retention


def encode_texts(
    request: SearchRequest, loader: Loader, manifest: Manifest, ahead: Callable[[], object]
) -> SearchRequest:
    """Return a request with vectors in place of texts.

    Parameters
    ----------
    ahead : callable
        Loads data for the next step. It runs concurrently with the loading of the encoder, if that is not open yet.

    Raises
    ------
    InputError, CorruptIndexError
        See `load_encoder`.
    SearchTimeoutError
        The deadline of this thread passed.
    """
    from vsearch.encoders.queries import encode_queries

    if manifest.documents is not None:
        raise InputError("this index holds multi-vector documents: use search_documents, or query_vectors over HTTP")
    with span("encode", texts=request.count):
        if is_loaded(loader, manifest):
            encoder = load_encoder(loader, manifest)
        else:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(carried(ahead))  # errors are ignored: they recur, and are reported, when the data is needed
                encoder = load_encoder(loader, manifest)
        vectors = encode_queries(encoder.encode, [text_of(text) for text in request.texts])
    dimensions = vectors.shape[1]
    return msgspec.structs.replace(
        request, texts=(), dimensions=dimensions, queries=vectors.astype("<f4", copy=False).tobytes()
    )


def _key(manifest: Manifest) -> tuple[str, ...]:
    return tuple(sorted(entry.path for entry in ModelPart.ENCODER.files(manifest.model).values()))


def _read(loader: Loader, entries: dict[str, FileEntry], snapshot: int) -> HeldEncoder:
    with span("load", bytes=sum(entry.bytes for entry in entries.values())), ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(carried(fetch_files), loader.store, entries.values(), {})
        from vsearch.encoders.attached import read_attached  # takes as long as the requests, at first
        from vsearch.encoders.encoder import TextEncoder

        fetched = fetching.result()
        model = read_attached(fetched, entries, snapshot)
    sizes = sum(map(len, fetched.files.values()))
    return HeldEncoder(TextEncoder(model), sizes + model.own_bytes)
