"""Names of manifests and files, and a check whether the manifest that names a file still exists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vsearch.errors import CorruptIndexError, SnapshotNotFoundError

if TYPE_CHECKING:
    from vsearch.storage.stores.base import Store

_FILE_NAME = re.compile(r"manifest/([0-9]{20})\.json")


def manifest_path(snapshot: int) -> str:
    """Path of the manifest of a snapshot."""
    return f"manifest/{snapshot:020d}.json"


def segment_path(writer: str, shard: int, kind: str) -> str:
    """Path of a shard's file, chosen by the writer; readers take paths from the manifest."""
    return f"segments/{writer}-{shard:05d}-{kind}.arrow"


def snapshot_number(path: str) -> int | None:
    """The snapshot whose manifest has this path; None if it is not the path of a manifest."""
    match = _FILE_NAME.fullmatch(path)
    return int(match[1]) if match else None


def check_not_pruned(store: Store, snapshot: int, path: str) -> None:
    """Distinguish a pruned snapshot from a damaged one when one of its files is missing.

    Parameters
    ----------
    store
    snapshot
        0 if it is not committed, which passes the check.
    path
        The missing file.

    Raises
    ------
    SnapshotNotFoundError
        The manifest is missing as well.
    """
    if snapshot:
        try:
            store.head(manifest_path(snapshot))
        except FileNotFoundError:
            raise SnapshotNotFoundError(
                f"{store.url}: snapshot {snapshot} was pruned after it was opened ({path} is gone); open the index again"
            ) from None


class MissingObjectError(CorruptIndexError):
    """An object that the snapshot refers to does not exist."""
