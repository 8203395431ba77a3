"""Upgrade manifests from format 1, which builds write, to format 2, which changes require."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from vsearch.storage.snapshots.kinds import ModelPart
from vsearch.storage.snapshots.manifest import FORMAT, LiveEntry, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping


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


def with_tags(manifest: Manifest, tags: Mapping[str, int]) -> Manifest:
    """Return a manifest with exactly these tags; without tags, a manifest of format 1 is left as it is."""
    if not tags and not manifest.live:
        return manifest
    manifest = upgraded(manifest)
    live = manifest.live
    return msgspec.structs.replace(manifest, live=msgspec.structs.replace(live, tags=dict(tags))) if live else manifest
