"""Removing old snapshots, and files that belong to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vsearch.errors import CorruptIndexError, FormatVersionError, IndexNotFoundError, InputError
from vsearch.storage.commits import read_manifest, snapshot_numbers
from vsearch.storage.manifest import manifest_files, manifest_path, snapshot_number

if TYPE_CHECKING:
    from vsearch.storage.stores import Store

GRACE = timedelta(days=1)
"""How long a file that no manifest names is taken for part of a commit under way."""


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune removed: snapshots, and the files that belonged to them or to nothing."""

    snapshots: tuple[int, ...]
    files: tuple[str, ...]
    bytes: int
    kept: tuple[int, ...]
    young: int
    """Files that no manifest names but that are too young to be removed."""


def prune(store: Store, keep: int = 2, *, grace: timedelta | float = GRACE, dry_run: bool = False) -> PruneReport:
    """Remove all but the newest snapshots, and the files that no kept one names.

    A file that no manifest names may belong to a commit under way; it is removed only when it is older than ``grace``.

    Parameters
    ----------
    store
    keep
        Snapshots to keep, at least 1.
    grace : timedelta or seconds
        0 only when nothing else writes.
    dry_run
        Report what would be removed, and remove nothing.

    Raises
    ------
    CorruptIndexError
        A snapshot that is to be kept cannot be read, so what it needs is not known. Nothing was removed.
    """
    if keep < 1:
        raise InputError(f"keep={keep}: at least one snapshot must be kept")
    margin = grace if isinstance(grace, timedelta) else timedelta(seconds=grace)
    # Files first, manifests after: whatever is committed in between names its files in time.
    files = [info for folder in ("model", "segments") for info in store.list(folder)]
    numbers = snapshot_numbers(store)
    if not numbers:
        raise IndexNotFoundError(f"{store.url}: there is no index here; nothing was removed")
    old, kept = numbers[:-keep], numbers[-keep:]
    needed = {e.path for number in kept for e in manifest_files(read_manifest(store, number))}
    retired = {path for number in old for path in _named(store, number)}
    horizon = datetime.now(UTC) - margin
    free = [info for info in files if info.path not in needed]
    gone = [info for info in free if info.path in retired or info.modified <= horizon or not margin]
    leftovers = [
        info
        for info in store.list("manifest")
        if snapshot_number(info.path) is None and (info.modified <= horizon or not margin)
    ]
    gone += leftovers
    if not dry_run:
        # Manifests first: a prune that stops half-way leaves orphans, never a snapshot without its files.
        store.delete([manifest_path(number) for number in old])
        store.delete([info.path for info in gone])
    return PruneReport(
        snapshots=tuple(old),
        files=tuple(info.path for info in gone),
        bytes=sum(info.bytes for info in gone),
        kept=tuple(kept),
        young=len(free) - (len(gone) - len(leftovers)),
    )


def _named(store: Store, number: int) -> set[str]:
    try:
        return {entry.path for entry in manifest_files(read_manifest(store, number))}
    except (CorruptIndexError, FormatVersionError, IndexNotFoundError):
        return set()
