"""Find a snapshot by number, tag or time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vsearch.errors import IndexNotFoundError, InputError, SnapshotNotFoundError
from vsearch.storage.snapshots.commits import read_manifest, snapshot_numbers

if TYPE_CHECKING:
    from vsearch.storage.snapshots.manifest import Manifest
    from vsearch.storage.stores.base import Store

LONGEST_TAG = 200


def find_snapshot(
    store: Store, snapshot: int | None = None, tag: str | None = None, as_of: datetime | str | None = None
) -> Manifest:
    """Return the manifest of a snapshot; by default, of the newest.

    Raises
    ------
    InputError
        More than one argument is passed, or `as_of` is not a time.
    IndexNotFoundError
        The index or the snapshot (SnapshotNotFoundError) does not exist.
    """
    if sum(value is not None for value in (snapshot, tag, as_of)) > 1:
        raise InputError("at most one of snapshot, tag and as_of is allowed")
    if tag is not None:
        return read_manifest(store, tagged_snapshot(store, tag))
    return read_manifest(store, snapshot) if as_of is None else _as_of(store, read_time(as_of))


def tagged_snapshot(store: Store, tag: str) -> int:
    """Return the number of the snapshot with a tag.

    Raises
    ------
    InputError
        `tag` is not a valid tag.
    SnapshotNotFoundError
        No snapshot has the tag.
    """
    check_tag(tag)
    tags = stored_tags(read_manifest(store))
    if tag not in tags:
        raise SnapshotNotFoundError(
            f"{store.url}: no snapshot has the tag {tag!r}; existing tags: {', '.join(tags) or 'none'}"
        )
    return tags[tag]


def check_tag(name: object) -> None:
    """Check the name of a tag."""
    if not (isinstance(name, str) and 0 < len(name) <= LONGEST_TAG and name.isprintable()):
        raise InputError(
            f"the name of a tag must be a string of 1 to {LONGEST_TAG} printable characters, got {name!r:.100}"
        )


def stored_tags(manifest: Manifest) -> dict[str, int]:
    """Return the tags sorted by name."""
    return dict(sorted(manifest.live.tags.items())) if manifest.live else {}


def read_time(value: datetime | str) -> datetime:
    """Parse a time; without a time zone, it is in UTC.

    Raises
    ------
    InputError
        The value is not a time.
    """
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, AttributeError, TypeError, OverflowError):
        raise InputError(
            f"as_of must be a datetime or an ISO 8601 string such as 2030-01-31T12:00Z, got {value!r:.100}"
        ) from None


def moment_of(manifest: Manifest, as_of: datetime | str | None) -> int:
    """Return the time for which a snapshot is opened, by default its creation time, in nanoseconds since 1970 UTC."""
    when = read_time(manifest.created if as_of is None else as_of)
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _as_of(store: Store, when: datetime) -> Manifest:
    """Return the newest snapshot created by a time, by a binary search: O(log n) manifests are read."""
    numbers = snapshot_numbers(store)
    if not numbers:
        return read_manifest(store)  # raises IndexNotFoundError
    latest: Manifest | None = None
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        try:
            manifest = read_manifest(store, numbers[middle])
        except IndexNotFoundError:  # pruned since the listing
            del numbers[middle]
            high -= 1
            continue
        if read_time(manifest.created) <= when:
            latest, low = manifest, middle + 1
        else:
            high = middle
    if latest is None:
        raise SnapshotNotFoundError(
            f"{store.url}: no snapshot is as old as {when.isoformat()}; older ones were pruned, or the index was created later"
        )
    return latest
