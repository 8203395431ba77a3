"""What manifests and files are called, and whether the one that names a file is still there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vsearch.errors import SnapshotNotFoundError

if TYPE_CHECKING:
    from vsearch.storage.stores.base import Store

_FILE_NAME = re.compile(r"manifest/([0-9]{20})\.json")


def manifest_path(snapshot: int) -> str:
    """Where the manifest of a snapshot is."""
    return f"manifest/{snapshot:020d}.json"


def segment_path(writer: str, shard: int, kind: str) -> str:
    """Where a writer puts a file of a shard; readers go by the manifest alone."""
    return f"segments/{writer}-{shard:05d}-{kind}.arrow"


def snapshot_number(path: str) -> int | None:
    """The snapshot whose manifest is at ``path``; None where the path is no manifest's."""
    match = _FILE_NAME.fullmatch(path)
    return int(match[1]) if match else None


def check_not_pruned(store: Store, snapshot: int, path: str) -> None:
    """Tell a snapshot that was pruned from one that is damaged, when a file of it is not there.

    Parameters
    ----------
    store
    snapshot
        0 for one that is not committed, of which nothing can be said.
    path
        The file.

    Raises
    ------
    SnapshotNotFoundError
        Its manifest is not there either.
    """
    if snapshot:
        try:
            store.head(manifest_path(snapshot))
        except FileNotFoundError:
            raise SnapshotNotFoundError(
                f"{store.url}: snapshot {snapshot} was pruned since it was opened ({path} is gone); open the index again"
            ) from None
