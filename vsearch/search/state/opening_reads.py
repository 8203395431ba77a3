"""What opening a snapshot reads, all in one round of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch.search.state.model_reading import opened_files
from vsearch.storage.files.bundle import SMALL, bundle_file
from vsearch.storage.files.naming import MissingObjectError
from vsearch.storage.files.prefetched import fetch_files
from vsearch.storage.snapshots.kinds import CHECKSUMS, COPY_PARTITIONS, PARTITIONS

if TYPE_CHECKING:
    from vsearch.storage import FileEntry, Manifest, Store
    from vsearch.storage.files.prefetched import PrefetchedStore

TABLES = (PARTITIONS, COPY_PARTITIONS, CHECKSUMS)


def read_ahead(store: Store, manifest: Manifest, only: int | None) -> PrefetchedStore | None:
    """Read the model, the tables of shards, small bundles and the headers of others; None if a file is missing or the store maps files.

    Parameters
    ----------
    only : int or None
        Number of the only shard to open.
    """
    shards = manifest.shards if only is None else (manifest.shards[only],)
    files: list[FileEntry] = list(opened_files(manifest).values())
    files += [shard.files[kind] for shard in shards for kind in TABLES if kind in shard.files and not shard.base]
    bundles = [run.bundle for shard in shards for run in shard.runs]
    bundles += [delta.bundle for delta in manifest.live.deltas] if manifest.live else []
    files += [bundle_file(entry) for entry in bundles if entry.bytes <= SMALL]
    headers = [
        (bundle_file(entry), entry.header.offset, entry.header.offset + entry.header.bytes)
        for entry in bundles
        if entry.bytes > SMALL
    ]
    try:
        ahead = fetch_files(store, files, {}, headers)
    except MissingObjectError:  # reading it explains why
        return None
    return ahead if ahead.files else None
