"""Decide whether copies of rows in second partitions pay off, by the cost of a sample's searches with and without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import UNSET

from vsearch.search.defaults import TUNING_QUERIES, tune_defaults
from vsearch.search.engine.request import SearchRequest
from vsearch.search.recall import run_sample
from vsearch.search.samples import draw_mixture
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import CHECKSUMS, join_checksums, write_arrays
from vsearch.storage.files.naming import segment_path
from vsearch.storage.files.segment_file import SegmentFile
from vsearch.storage.snapshots.kinds import COPY_KINDS

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest, ShardEntry, Store

LEAST_GAIN = 0.1  # least saving, relative to the cost of a search, that is worth a tenth more bytes
# Nanoseconds of processor time, as measured with 384 dimensions in 2026. Counts are compared rather than times, so that
# the same input results in the same index on a busy machine.
BYTE_NS = 0.052  # of the scan, per byte of codes
VISIT_NS = 150.0  # per run and partition
RERANK_NS = 110.0


def choose_copies(store: Store, manifest: Manifest) -> Manifest:
    """Return the manifest of a new index with tuned settings, and without its copies if they do not pay.

    The files that are not used are removed.

    Parameters
    ----------
    manifest : Manifest
        Of an index with copies; not committed.
    """
    uncopied = without_copies(store, manifest)
    choices = {True: manifest, False: uncopied}
    costs, tuned = {}, {}
    for spilled, choice in choices.items():
        snapshot = open_snapshot(store, choice)
        settings = tune_defaults(snapshot)
        tuned[spilled] = msgspec.structs.replace(choice, settings=settings.to_entry())
        costs[spilled] = _cost(open_snapshot(store, tuned[spilled], (snapshot,)))
    kept = costs[True] <= (1 - LEAST_GAIN) * costs[False]
    names = [
        {entry.path for shard in choices[spilled].shards for entry in shard.files.values()}
        for spilled in (kept, not kept)
    ]
    store.delete(sorted(names[1] - names[0]))
    return tuned[kept]


def _cost(snapshot: Snapshot) -> float:
    """Return the estimated nanoseconds of a search of a sample of rows."""
    sample = draw_mixture(snapshot, min(TUNING_QUERIES, snapshot.live_count), snapshot.manifest.seed)
    settings = snapshot.settings
    stats = run_sample(snapshot, sample, SearchRequest(settings.k or 1, settings)).stats
    runs = 1 + (snapshot.manifest.spill is True)
    scanned = stats.rows_scanned * snapshot.model.row_bytes[0] * BYTE_NS
    return (scanned + stats.partitions_visited * runs * VISIT_NS + stats.rows_reranked * RERANK_NS) / max(
        1, stats.queries
    )


def without_copies(store: Store, manifest: Manifest) -> Manifest:
    """Return the manifest of a new index without its copies; only the files with chunk checksums are written again."""
    shards = tuple(_shard_without(store, manifest.writer, shard) for shard in manifest.shards)
    return msgspec.structs.replace(manifest, shards=shards, spill=UNSET)


def _shard_without(store: Store, writer: str, shard: ShardEntry) -> ShardEntry:
    holder = SegmentFile(store, shard.files[CHECKSUMS])
    holder.ensure_all()
    kinds = sorted(kind for kind in shard.files if kind != CHECKSUMS)
    counts = [shard.files[kind].chunks for kind in kinds]
    parts = np.split(holder.array("crc32c"), np.cumsum(counts)[:-1])
    sums = {kind: part for kind, part in zip(kinds, parts, strict=True) if kind not in COPY_KINDS}
    files = {kind: entry for kind, entry in shard.files.items() if kind in sums}
    path = segment_path(writer, shard.number, f"{CHECKSUMS}-alone")
    files[CHECKSUMS], _ = write_arrays(store, path, {"crc32c": join_checksums(sums)})
    return msgspec.structs.replace(shard, files=files)
