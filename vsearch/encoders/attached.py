"""Compressed encoders inside an index: their files as files of its model, which searches by vectors never read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vsearch.encoders.reading import from_files
from vsearch.encoders.writing import ENTRY, to_files
from vsearch.storage.files.segment_file import SegmentFile
from vsearch.storage.files.writing import write_arrays
from vsearch.storage.snapshots.kinds import ModelPart

if TYPE_CHECKING:
    from vsearch.encoders.compressed import CompressedEncoder
    from vsearch.storage.files.entries import FileEntry
    from vsearch.storage.stores.base import Store


def is_compressed(entries: Mapping[str, FileEntry]) -> bool:
    """Whether the encoder with these files, by name, is a compressed one."""
    return ENTRY in entries


def write_attached(store: Store, encoder: CompressedEncoder, writer: str) -> dict[str, FileEntry]:
    """Write an encoder beside the model of an index; its files by the kinds that the manifest names them with."""
    entries = {}
    for number, (name, data) in enumerate(to_files(encoder.model, encoder.report).items()):
        entry, _ = write_arrays(store, f"model/{writer}-encoder-{number}.arrow", {"bytes": data})
        entries[ModelPart.ENCODER.kind(name)] = entry
    return entries


def read_attached(store: Store, entries: Mapping[str, FileEntry], snapshot: int) -> CompressedEncoder:
    """The encoder of an index with these files, by name.

    Raises
    ------
    CorruptIndexError
        A file is missing or damaged.
    """
    files = {}
    for name, entry in entries.items():
        file = SegmentFile(store, entry, None, snapshot)
        file.ensure_all()
        files[name] = file.array("bytes")
    return from_files(files, "encoder")
