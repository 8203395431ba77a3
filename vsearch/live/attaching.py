"""Attach a text encoder to an index, so that searches accept texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from vsearch.encoders.compressed import CompressedEncoder
from vsearch.encoders.writing import to_files
from vsearch.errors import InputError
from vsearch.live.commits import Draft, commit_change
from vsearch.storage import discarded_on_failure, probe, write_arrays
from vsearch.storage.snapshots.kinds import ModelPart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import FileEntry, Manifest, Store


@dataclass(frozen=True)
class Attach:
    """Replace the encoder of an index by one whose files are already written."""

    files: Mapping[str, FileEntry]
    kind: str = "encoder"

    def resolve(self, snapshot: Snapshot) -> Draft:
        return Draft(change=self._change, plain=not snapshot.manifest.live)

    def _change(self, manifest: Manifest) -> Manifest:
        model = ModelPart.ENCODER.others(manifest.model) | dict(self.files)
        return msgspec.structs.replace(manifest, model=model)


def attach(snapshot: Snapshot, encoder: object) -> Snapshot:
    """Write a compressed encoder into an index and commit it; return the new snapshot.

    Raises
    ------
    InputError
        The encoder is not compressed, or does not fit the index.
    ConflictError
        The index was rebuilt in the meantime.
    """
    if not isinstance(encoder, CompressedEncoder):
        raise InputError(
            f"encoder must be a CompressedEncoder, got {type(encoder).__name__}; create one with vsearch.encoders.compress"
        )
    if snapshot.manifest.documents is not None:
        raise InputError(
            "an index of multi-vector documents cannot use a text encoder, which returns one vector per text"
        )
    if encoder.dimensions != snapshot.manifest.dimensions:
        raise InputError(
            f"the encoder must have the index's {snapshot.manifest.dimensions} dimensions, got {encoder.dimensions}"
        )
    store, writer = snapshot.store, uuid4().hex
    probe(store)
    with discarded_on_failure(store, writer):
        files = write_encoder(store, encoder, writer)
    _, after = commit_change(snapshot, Attach(files), paths=[entry.path for entry in files.values()], check=True)
    return after


def write_encoder(store: Store, encoder: CompressedEncoder, writer: str) -> dict[str, FileEntry]:
    """Write the files of an encoder next to the model of an index; return them by their kinds in the manifest."""
    return write_encoder_files(store, to_files(encoder.model, encoder.report), writer)


def write_encoder_files(store: Store, files: Mapping[str, NDArray[np.uint8]], writer: str) -> dict[str, FileEntry]:
    """Write the files of a compressed encoder, by name; see `write_encoder`."""
    entries = {}
    for number, (name, data) in enumerate(files.items()):
        entry, _ = write_arrays(store, f"model/{writer}-encoder-{number}.arrow", {"bytes": data})
        entries[ModelPart.ENCODER.kind(name)] = entry
    return entries
