"""Committing a snapshot.

A commit is one manifest, put where none was. So there is nothing to lock and nothing to repair: either the new snapshot
is there whole, or readers never saw it. After the put the writer looks once more, at what others committed and pruned
meanwhile.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

from vsearch.errors import ConflictError, CorruptIndexError, FormatVersionError, IndexNotFoundError, StoreError
from vsearch.storage.files.naming import manifest_path, snapshot_number
from vsearch.storage.snapshots.commits import read_manifest, snapshot_numbers, stored_manifest
from vsearch.storage.snapshots.condemned import DATA_FOLDERS, condemned_paths, discard
from vsearch.storage.snapshots.manifest import encode_manifest, manifest_files
from vsearch.storage.snapshots.upgrading import with_tags

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from vsearch.storage.snapshots.manifest import Manifest
    from vsearch.storage.stores.base import ObjectInfo, Store

PATIENCE = 60.0
"""Seconds for which a commit is tried."""

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0

MOST_REFUSALS = 6
"""How often a put may be refused although nothing is there."""

LINEAGE = 32
"""How many writers before it a manifest names."""


def commit(store: Store, manifest: Manifest, *, base: int | None = None, insist: bool = False) -> Manifest:
    """Make a snapshot of files that are all written: put its manifest where none was, then see that it stands.

    Parameters
    ----------
    store
    manifest
        ``writer`` must be unique to this commit; ``snapshot`` and ``lineage`` are replaced.
    base
        The snapshot that this one goes on from, 0 for a place without an index; refused if there is a newer one by now.
        None: the newest, whichever.
    insist
        Where another writer is first, go on from its snapshot, for up to a minute; what tags name stays tagged. Only without a
        ``base``.

    Returns
    -------
    Manifest
        With the number it was committed under.

    Raises
    ------
    ConflictError
        Another writer was first, or a prune has removed the files. Nothing was changed; files whose names begin with
        ``writer`` are removed.
    StoreError
        The store failed. The message says so where it is not known whether the commit took place.
    """
    try:
        return _commit(store, manifest, base, insist)
    except _PrunedError:
        raise  # who went on from this snapshot before it was taken back may use its files
    except ConflictError:
        with suppress(StoreError):
            discard(store, manifest.writer)
        raise


class _PrunedError(ConflictError):
    """Files of a snapshot were removed before it was committed."""


class TakenBackError(ConflictError):
    """A manifest was put where a prune had made room, and taken back. To a prune its files were those of an old snapshot."""


def _commit(store: Store, manifest: Manifest, base: int | None, insist: bool) -> Manifest:
    refusals = 0
    for wait in retry_waits():
        newest = max(snapshot_numbers(store), default=0)
        if base is not None and newest != base:
            raise ConflictError(
                f"{store.url}: snapshot {newest} was committed since snapshot {base} was opened; "
                "open the index again and retry"
            )
        previous = _previous(store, newest)
        if previous is None:
            continue
        lineage, tags = previous
        kept = with_tags(manifest, tags) if insist else manifest
        manifest = msgspec.structs.replace(kept, snapshot=newest + 1, lineage=lineage)
        _check_present(store, manifest)
        outcome = _put(store, manifest)
        if outcome is _Outcome.COMMITTED and _stands(store, manifest):
            return manifest
        refusals += outcome is _Outcome.REFUSED
        if refusals == MOST_REFUSALS:
            raise ConflictError(
                f"{store.url}: snapshot {manifest.snapshot} was refused {refusals} times, as if another writer committed it "
                "first, and is not there; look for what else writes there, then retry"
            )
        if outcome is not _Outcome.REFUSED and not insist:
            break
        time.sleep(wait)
    raise ConflictError(
        f"{store.url}: another writer committed snapshot {manifest.snapshot} first; open the index again and retry"
    )


def commit_after(store: Store, base: Manifest, manifest: Manifest, *, check: bool = False) -> Manifest | None:
    """Commit a snapshot that follows another, in one put and one listing from that one's name on.

    Parameters
    ----------
    store
    base
        The snapshot that it follows, read lately.
    manifest
        ``writer`` must be unique to this commit; ``snapshot`` and ``lineage`` are replaced.
    check
        See that its files are there, by listings, before and after: for work that takes longer than a prune may wait, or
        whose files a manifest named that was taken back.

    Returns
    -------
    Manifest or None
        With the number it was committed under; None where another snapshot follows `base` already. Then nothing was changed.

    Raises
    ------
    TakenBackError
        As None; but a prune may remove the files, as if they were those of an old snapshot.
    StoreError
        The store failed. The message says so where it is not known whether the commit took place.
    """
    lineage = (base.writer, *base.lineage)[:LINEAGE]
    manifest = msgspec.structs.replace(manifest, snapshot=base.snapshot + 1, lineage=lineage)
    if check:
        _check_present(store, manifest)
    for wait, _ in zip(retry_waits(), range(MOST_REFUSALS), strict=False):
        outcome = _put(store, manifest)
        if outcome is _Outcome.COMMITTED:
            if _stands(store, manifest, after=base.snapshot, check=check):
                return manifest
            raise TakenBackError(f"{store.url}: snapshot {manifest.snapshot} was committed and pruned before")
        if outcome is _Outcome.FOREIGN:
            return None
        time.sleep(wait)
    return None


class _Outcome(Enum):
    COMMITTED = auto()
    FOREIGN = auto()  # another writer's manifest is there
    REFUSED = auto()  # nothing is there


def retry_waits() -> Iterator[float]:
    """Seconds to wait after each attempt, a random part of a bound that doubles; ends after ``PATIENCE``."""
    end, bound = time.monotonic() + PATIENCE, FIRST_WAIT
    while time.monotonic() < end:
        yield random.uniform(bound / 2, bound)  # noqa: S311 (no secret)
        bound = min(2 * bound, LONGEST_WAIT)


def _put(store: Store, manifest: Manifest) -> _Outcome:
    """Put a manifest where none was, and find out what came of it if that was not said."""
    path, data = manifest_path(manifest.snapshot), encode_manifest(manifest)
    try:
        store.put(path, data, create=True)
    except ConflictError:
        # A put that was sent twice, because its first answer was lost, meets its own success; and S3 refuses both of two
        # puts at one moment (409), with nothing written.
        stored = stored_manifest(store, path)
        if stored is None:
            return _Outcome.REFUSED
        return _Outcome.COMMITTED if stored == data else _Outcome.FOREIGN
    except StoreError as error:
        try:
            stored = stored_manifest(store, path)
        except StoreError:
            raise StoreError(
                f"{store.url}: it is not known whether snapshot {manifest.snapshot} was committed: the store failed before it "
                f"said so ({error}); look at the snapshots, then retry"
            ) from error
        if stored == data:
            return _Outcome.COMMITTED
        if stored is None:
            raise
        return _Outcome.FOREIGN
    return _Outcome.COMMITTED


def _stands(store: Store, manifest: Manifest, *, after: int | None = None, check: bool = True) -> bool:
    """Whether a manifest that was put is the newest, or was followed, and its files are there. If not, it is taken back.

    Between the listing and the put, others may have committed this very number and more, and a prune may have removed
    it; then nobody would ever see this one. And a prune may have condemned its files before it could see their manifest.

    Raises
    ------
    ConflictError
        A prune has condemned or removed its files.
    StoreError
        It could not be looked at again.
    """
    path = manifest_path(manifest.snapshot)
    try:
        start = None if after is None else manifest_path(after)
        infos = store.list("manifest", after=start)
        if not _followed(store, manifest, infos):
            store.delete([path])
            return False
        named = {entry.path for entry in manifest_files(manifest)}
        waits = retry_waits()
        while named & condemned_paths(store, infos, _written(infos, path)):
            wait = next(waits, None)  # the prune spares what it sees a manifest name, or has removed it by its end
            if wait is None:
                store.delete([path])
                raise _PrunedError(f"{store.url}: {_PRUNED}")
            time.sleep(wait)
            infos, check = store.list("manifest", after=start), True
        try:
            if check:
                _check_present(store, manifest)
        except _PrunedError:
            store.delete([path])
            raise
    except StoreError as error:
        raise StoreError(
            f"{store.url}: snapshot {manifest.snapshot} is committed, but the store failed before it was seen to stand "
            f"({error}); verify the index"
        ) from error
    return True


def _written(infos: list[ObjectInfo], path: str) -> datetime | None:
    return next((info.modified for info in infos if info.path == path), None)


_PRUNED = (
    "a prune removed files of this snapshot before it was committed; nothing was committed. Build again, and let no prune "
    "run meanwhile whose grace is shorter than the build's pauses"
)


def _followed(store: Store, manifest: Manifest, infos: list[ObjectInfo]) -> bool:
    """Whether a manifest is the newest or one that the newest goes back to."""
    by_number = {number: info for info in infos if (number := snapshot_number(info.path)) is not None}
    newest = max(by_number, default=0)
    if newest <= manifest.snapshot:
        return True
    later = by_number[newest]
    try:
        lineage = read_manifest(store, newest).lineage
    except (CorruptIndexError, FormatVersionError, IndexNotFoundError):
        lineage = ()
    back = newest - manifest.snapshot - 1
    if back < len(lineage):
        return lineage[back] == manifest.writer
    own = by_number.get(manifest.snapshot)
    return own is None or own.modified < later.modified


def _check_present(store: Store, manifest: Manifest) -> None:
    """See that all files of a manifest are there, by two listings.

    Raises
    ------
    ConflictError
        One is not, or has another length.
    """
    entries = manifest_files(manifest)
    if not entries:
        return
    sizes = {info.path: info.bytes for folder in DATA_FOLDERS for info in store.list(folder)}
    missing = [entry.path for entry in entries if sizes.get(entry.path) != entry.bytes]
    if missing:
        raise _PrunedError(f"{store.url}: {_PRUNED} ({len(missing)} files, such as {missing[0]})")


def _previous(store: Store, newest: int) -> tuple[tuple[str, ...], dict[str, int]] | None:
    """Writers of a snapshot and of those before it, the latest first, and tags; none where it cannot be read, None where it went."""
    try:
        before = read_manifest(store, newest) if newest else None
    except IndexNotFoundError:
        return None
    except (CorruptIndexError, FormatVersionError):
        return (), {}
    if before is None:
        return (), {}
    return (before.writer, *before.lineage)[:LINEAGE], dict(before.live.tags) if before.live else {}
