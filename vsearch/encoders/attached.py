"""Compressed encoders in an index, stored among its model files; searches by vectors do not read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vsearch.encoders.reading import read_model
from vsearch.storage.files.segment_file import SegmentFile

if TYPE_CHECKING:
    from vsearch.encoders.running import QuantizedBert
    from vsearch.storage.files.entries import FileEntry
    from vsearch.storage.stores.base import Store


def read_attached(store: Store, entries: Mapping[str, FileEntry], snapshot: int) -> QuantizedBert:
    """Read the model of the compressed encoder of an index from its files, by name.

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
    return read_model(files, "encoder", verify=False)[0]
