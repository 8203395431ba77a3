"""The files of a shard, and the file with the chunk checksums of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.storage.files.segment_file import SegmentFile
from vsearch.storage.snapshots.kinds import CHECKSUMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vsearch.storage.snapshots.manifest import ShardEntry
    from vsearch.storage.stores.base import Store


def open_files(store: Store, shard: ShardEntry, snapshot: int = 0) -> dict[str, SegmentFile]:
    """Open the files of a shard, by kind, each with its chunk checksums, which are read from their file if there is one.

    Parameters
    ----------
    snapshot : int
        The snapshot that refers to the files.

    Raises
    ------
    CorruptIndexError
        The checksums are damaged or do not match the files.
    """
    kinds = sorted(kind for kind in shard.files if kind != CHECKSUMS)
    if CHECKSUMS not in shard.files:
        return {kind: SegmentFile(store, shard.files[kind], None, snapshot) for kind in kinds}
    holder = SegmentFile(store, shard.files[CHECKSUMS], None, snapshot)
    holder.ensure_all()
    sums = holder.array("crc32c")
    counts = [shard.files[kind].chunks for kind in kinds]
    if sums.dtype != np.uint32 or sums.shape != (sum(counts),):
        raise CorruptIndexError(
            holder.path,
            f"must contain {sum(counts)} checksums, got {sums.dtype} {sums.shape}; build the index again",
        )
    ends = np.cumsum(counts, dtype=np.int64).tolist()
    return {
        kind: SegmentFile(store, shard.files[kind], sums[end - count : end], snapshot)
        for kind, count, end in zip(kinds, counts, ends, strict=True)
    }


def join_checksums(checksums: Mapping[str, NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """Concatenate the chunk checksums of the files of a shard, passed by kind, in the order that `open_files` expects."""
    parts = [checksums[kind] for kind in sorted(checksums)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint32)
