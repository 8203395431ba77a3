"""Upgrade manifests from format 1, which builds write, to format 2, which changes require."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from vsearch.storage.snapshots.kinds import ModelPart
from vsearch.storage.snapshots.manifest import FORMAT, LiveEntry, Manifest, NumbersEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgspec import UnsetType


def origin_of(manifest: Manifest) -> str:
    """Return the identifier shared by all snapshots that descend from one build."""
    if manifest.live:
        return manifest.live.origin
    return min(entry.path for entry in ModelPart.ENCODER.others(manifest.model).values())


def upgraded(manifest: Manifest) -> Manifest:
    """Return a manifest in the newest format, with the initial state of a changed index if it was never changed."""
    if manifest.live:
        return manifest
    shards = tuple(msgspec.structs.replace(shard, segment=number) for number, shard in enumerate(manifest.shards))
    rows = manifest.rows
    live = LiveEntry(
        next_row=rows, next_segment=len(shards), trained_rows=rows, tuned_rows=rows, origin=origin_of(manifest)
    )
    return msgspec.structs.replace(manifest, format=FORMAT, shards=shards, live=live)


def replacing(manifest: Manifest, before: LiveEntry | None) -> Manifest:
    """Return the manifest of a build that replaces an index: with its tags, and the numbers needed to restore them.

    Without tags, a manifest of format 1 is returned unchanged.
    """
    tags = dict(before.tags) if before is not None else {}
    if not tags and not manifest.live:
        return manifest
    manifest = upgraded(manifest)
    replaced = UNSET if before is None or not tags else greatest_numbers([before, before.replaced])
    live = manifest.live
    if not live:
        return manifest
    return msgspec.structs.replace(manifest, live=msgspec.structs.replace(live, tags=tags, replaced=replaced))


def greatest_numbers(entries: Iterable[LiveEntry | NumbersEntry | UnsetType]) -> NumbersEntry:
    """Return the greatest of the next numbers of several states."""
    known = [entry for entry in entries if entry]
    return NumbersEntry(*(max(getattr(entry, name) for entry in known) for name in NumbersEntry.__struct_fields__))
