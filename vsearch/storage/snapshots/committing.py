"""Commit a snapshot.

A commit is a conditional put of one manifest, so there are no locks and nothing to repair: the new snapshot is either complete, or
readers never see it. After the put, the writer checks for commits and prunes of others in the meantime.
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
from vsearch.storage.snapshots.turns import pause_asked
from vsearch.storage.snapshots.upgrading import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from vsearch.storage.snapshots.manifest import LiveEntry, Manifest
    from vsearch.storage.stores.base import ObjectInfo, Store

PATIENCE = 60.0
"""Seconds for which a commit is retried."""

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0

MOST_REFUSALS = 6
"""Number of times that a put may be refused although no manifest exists."""

LINEAGE = 32
"""Number of previous writers in a manifest."""


def commit(store: Store, manifest: Manifest, *, base: int | None = None, insist: bool = False) -> Manifest:
    """Commit a snapshot whose files are written: put its manifest, then check that it is valid.

    Parameters
    ----------
    store : Store
    manifest : Manifest
        ``writer`` must be unique to this commit; ``snapshot`` and ``lineage`` are replaced.
    base : int, optional
        The snapshot that this one follows, 0 for a store without an index; refused if there is a newer one. By default, the
        newest.
    insist : bool
        Whether to retry on top of the snapshots of other writers, for up to a minute; tags are kept. Only without ``base``.

    Returns
    -------
    Manifest
        With the number of the commit.

    Raises
    ------
    ConflictError
        Another writer was first, or a prune has removed the files. Nothing was changed; files whose names start with
        ``writer`` are removed.
    StoreError
        The store failed; the message says if it is unknown whether the commit succeeded.
    """
    try:
        return _commit(store, manifest, base, insist)
    except _PrunedError:
        raise  # writers that built on this snapshot before it was taken back may use its files
    except ConflictError:
        with suppress(StoreError):
            discard(store, manifest.writer)
        raise


class _PrunedError(ConflictError):
    """Files of a snapshot were removed before it was committed."""


class TakenBackError(ConflictError):
    """A manifest was put under a pruned number and taken back; a prune may remove its files like those of an old snapshot."""


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
        lineage, live = previous
        kept = replacing(manifest, live) if insist else manifest
        manifest = msgspec.structs.replace(kept, snapshot=newest + 1, lineage=lineage)
        _check_present(store, manifest)
        outcome = _put(store, manifest)
        if outcome is _Outcome.COMMITTED and _valid(store, manifest) is not None:
            return manifest
        refusals += outcome is _Outcome.REFUSED
        if refusals == MOST_REFUSALS:
            raise ConflictError(
                f"{store.url}: the store refused snapshot {manifest.snapshot} {refusals} times as existing, but it does not "
                "exist; check for other writers, then retry"
            )
        if outcome is not _Outcome.REFUSED and not insist:
            break
        time.sleep(wait)
    raise ConflictError(
        f"{store.url}: another writer committed snapshot {manifest.snapshot} first; open the index again and retry"
    )


def commit_after(
    store: Store, base: Manifest, manifest: Manifest, *, check: bool = False, turn: str | None = None
) -> Manifest | None:
    """Commit a snapshot that follows another, with one put and one listing that starts at the name of the other.

    If other writers ask for their turn, it pauses after the commit.

    Parameters
    ----------
    store : Store
    base : Manifest
        The snapshot that it follows, read recently.
    manifest : Manifest
        ``writer`` must be unique to this commit; ``snapshot`` and ``lineage`` are replaced.
    check : bool
        Whether to check that its files exist, by listings before and after the put: for work that takes longer than the grace
        period of a prune, or files that a manifest referred to that was taken back.
    turn : str, optional
        The writer's own request for its turn.

    Returns
    -------
    Manifest or None
        With the number of the commit; None if another snapshot already follows `base`, and nothing was changed.

    Raises
    ------
    TakenBackError
        As for None, but a prune may remove the files, like those of an old snapshot.
    StoreError
        The store failed; the message says if it is unknown whether the commit succeeded.
    """
    lineage = (base.writer, *base.lineage)[:LINEAGE]
    manifest = msgspec.structs.replace(manifest, snapshot=base.snapshot + 1, lineage=lineage)
    if check:
        _check_present(store, manifest)
    for wait, _ in zip(retry_waits(), range(MOST_REFUSALS), strict=False):
        outcome = _put(store, manifest)
        if outcome is _Outcome.COMMITTED:
            infos = _valid(store, manifest, after=base.snapshot, check=check)
            if infos is not None:
                time.sleep(pause_asked(infos, _written(infos, manifest_path(manifest.snapshot)), turn))
                return manifest
            raise TakenBackError(f"{store.url}: snapshot {manifest.snapshot} was committed and pruned before")
        if outcome is _Outcome.FOREIGN:
            return None
        time.sleep(wait)
    return None


class _Outcome(Enum):
    COMMITTED = auto()
    FOREIGN = auto()  # another writer's manifest exists
    REFUSED = auto()  # no manifest exists


def retry_waits() -> Iterator[float]:
    """Yield seconds to wait after each attempt: exponential backoff with jitter, which ends after ``PATIENCE``."""
    end, bound = time.monotonic() + PATIENCE, FIRST_WAIT
    while time.monotonic() < end:
        yield random.uniform(bound / 2, bound)  # noqa: S311 (no secret)
        bound = min(2 * bound, LONGEST_WAIT)


def _put(store: Store, manifest: Manifest) -> _Outcome:
    """Put a manifest if none exists, and determine the outcome."""
    path, data = manifest_path(manifest.snapshot), encode_manifest(manifest)
    try:
        store.put(path, data, create=True)
    except ConflictError:
        # A put that is repeated because its response was lost finds its own result; and S3 may refuse both of two
        # concurrent puts (409) without writing anything.
        stored = stored_manifest(store, path)
        if stored is None:
            return _Outcome.REFUSED
        return _Outcome.COMMITTED if stored == data else _Outcome.FOREIGN
    except StoreError as error:
        try:
            stored = stored_manifest(store, path)
        except StoreError:
            raise StoreError(
                f"{store.url}: it is unknown whether snapshot {manifest.snapshot} was committed, because the store failed "
                f"({error}); check the snapshots before you retry"
            ) from error
        if stored == data:
            return _Outcome.COMMITTED
        if stored is None:
            raise
        return _Outcome.FOREIGN
    return _Outcome.COMMITTED


def _valid(
    store: Store, manifest: Manifest, *, after: int | None = None, check: bool = True
) -> list[ObjectInfo] | None:
    """Return a listing if a manifest that was put is the newest, or was followed, and its files exist; else take it back.

    Between the listing and the put, others may have committed this number and later ones, and a prune may have removed it;
    readers would then never see this one. And a prune may have condemned its files before it could see their manifest.

    Raises
    ------
    ConflictError
        A prune has condemned or removed its files.
    StoreError
        The check failed.
    """
    path = manifest_path(manifest.snapshot)
    try:
        start = None if after is None else manifest_path(after)
        infos = store.list("manifest", after=start)
        if not _followed(store, manifest, infos):
            store.delete([path])
            return None
        try:
            latest = _after_prunes(store, manifest, infos, start)
            if check or latest is not infos:
                _check_present(store, manifest)
        except _PrunedError:
            store.delete([path])
            raise
    except StoreError as error:
        raise StoreError(
            f"{store.url}: snapshot {manifest.snapshot} was committed, but could not be checked, because the store failed "
            f"({error}); verify the index"
        ) from error
    return latest


def _after_prunes(store: Store, manifest: Manifest, infos: list[ObjectInfo], start: str | None) -> list[ObjectInfo]:
    """Return the listing, or a later one, in which no prune condemns files of a manifest.

    Raises
    ------
    ConflictError
        A prune has removed some of the files, or does not end.
    """
    named = {entry.path for entry in manifest_files(manifest)}
    waits = retry_waits()
    while named & condemned_paths(store, infos, _written(infos, manifest_path(manifest.snapshot))):
        _check_present(store, manifest)
        wait = next(waits, None)  # the prune spares files that a manifest refers to, or is removing them
        if wait is None:
            raise _PrunedError(f"{store.url}: {_PRUNED}")
        time.sleep(wait)
        infos = store.list("manifest", after=start)
    return infos


def _written(infos: list[ObjectInfo], path: str) -> datetime | None:
    return next((info.modified for info in infos if info.path == path), None)


_PRUNED = (
    "a prune removed files of this snapshot before it was committed; nothing was committed. Repeat the build or change, and "
    "run no prune meanwhile whose grace is shorter than its pauses"
)


def _followed(store: Store, manifest: Manifest, infos: list[ObjectInfo]) -> bool:
    """Whether a manifest is the newest, or an ancestor of the newest."""
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
    with_number = by_number.get(manifest.snapshot)
    return with_number is None or with_number.modified < later.modified


def _check_present(store: Store, manifest: Manifest) -> None:
    """Check that all files of a manifest exist, by two listings.

    Raises
    ------
    ConflictError
        A file is missing or has another size.
    """
    entries = manifest_files(manifest)
    if not entries:
        return
    sizes = {info.path: info.bytes for folder in DATA_FOLDERS for info in store.list(folder)}
    missing = [entry.path for entry in entries if sizes.get(entry.path) != entry.bytes]
    if missing:
        raise _PrunedError(f"{store.url}: {_PRUNED} ({len(missing)} files, such as {missing[0]})")


def _previous(store: Store, newest: int) -> tuple[tuple[str, ...], LiveEntry | None] | None:
    """Return the writers of a snapshot and its ancestors, latest first, and its state; None if the snapshot was removed.

    Both are empty if it cannot be read.
    """
    try:
        before = read_manifest(store, newest) if newest else None
    except IndexNotFoundError:
        return None
    except (CorruptIndexError, FormatVersionError):
        return (), None
    if before is None:
        return (), None
    return (before.writer, *before.lineage)[:LINEAGE], before.live or None
