"""What an index is and what it takes."""

from __future__ import annotations

from typing import Any

import msgspec

from vsearch.encoders.entries import is_compressed
from vsearch.search.state.document_fetching import count_vectors
from vsearch.search.state.drift import measure_drift
from vsearch.search.state.expiry import ttl_name
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage.snapshots import kinds

#: What the files of documents of many vectors are counted under.
DOCUMENT_PARTS = {
    kinds.DOCUMENTS: "document_lengths",
    kinds.PATCH_CODES: "patch_codes",
    kinds.PATCH_NUMBERS: "patch_codes",
    kinds.PATCH_RESIDUALS: "patch_residuals",
    kinds.PATCH_FACTORS: "patch_factors",
    kinds.PATCH_POSITIONS: "patch_positions",
    kinds.PATCH_EXACT: "patch_exact",
    kinds.LIST_LENGTHS: "lists",
    kinds.LISTS: "lists",
}


BUNDLE_PARTS = ("runs", "deltas")
"""What segments in bundles are counted under."""


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """The answer of `Index.info`; bytes are those of the files, headers and padding included."""
    manifest, model = snapshot.manifest, snapshot.model
    by_kind: dict[str, int] = {}
    for shard in manifest.shards:
        for kind, entry in shard.files.items():
            part = (
                DOCUMENT_PARTS.get(kind, kinds.CELLS) if kind not in (*kinds.VECTOR_KINDS, kinds.ATTRIBUTES) else kind
            )
            by_kind[part] = by_kind.get(part, 0) + entry.bytes
    by_kind |= _bundle_bytes(snapshot)
    by_kind["model"] = sum(entry.bytes for entry in kinds.ModelPart.ENCODER.others(manifest.model).values())
    encoder = kinds.ModelPart.ENCODER.files(manifest.model)
    if encoder:
        by_kind["encoder"] = sum(entry.bytes for entry in encoder.values())
    rows = snapshot.live_count
    vector = sum(by_kind.get(part, 0) for part in (*kinds.VECTOR_KINDS, *BUNDLE_PARTS))
    return {
        "url": snapshot.store.url,
        "snapshot": manifest.snapshot,
        "created": manifest.created,
        "format": manifest.format,
        "rows": rows,
        "ttl": ttl_name(manifest),
        "expired": snapshot.expired,
        **describe_changes(snapshot),
        "drift": measure_drift(snapshot).to_dict(),
        "skipped": manifest.provenance.skipped or {},
        "dimensions": manifest.dimensions,
        "metric": manifest.metric,
        "id_type": manifest.id_type,
        "quantizer": manifest.quantizer.name,
        "bits": manifest.quantizer.configuration.get("bits"),
        "code_bytes": sum(model.quantizer.stage_bytes),
        "stages": len(model.quantizer.stage_bytes),
        "rerank": manifest.rerank,
        "partitions": manifest.partitions,
        "shards": len(manifest.shards),
        "seed": manifest.seed,
        "attributes": {a.name: a.type for a in manifest.attributes},
        "settings": snapshot.settings.to_dict(),
        "training": manifest.provenance.jpq or None,
        "encoder": {"compressed": is_compressed(encoder), "bytes": by_kind["encoder"]} if encoder else None,
        "documents": describe_documents(snapshot, by_kind),
        "bytes": sum(by_kind.values()),
        "bytes_per_vector": vector / max(rows, 1),
        "bytes_per_vector_by_part": {part: size / max(rows, 1) for part, size in sorted(by_kind.items())},
    }


def describe_changes(snapshot: Snapshot) -> dict[str, Any]:
    """What became of an index since it was built: removed rows that are still in its files, deltas, runs by shard, their tail."""
    live = snapshot.manifest.live
    removed = sum(len(run.gone) for run in snapshot.shards) - snapshot.expired
    runs = [1 + bool(shard.young) for shard in snapshot.manifest.shards]
    tail = sum(run.rows for run in snapshot.shards[sum(runs) :])
    return {
        "removed": removed,
        "deltas": len(live.deltas) if live else 0,
        "runs": runs,
        "tail_rows": tail,
    }


def _bundle_bytes(snapshot: Snapshot) -> dict[str, int]:
    """Bytes of what is in bundles: runs and deltas, each with its attributes."""
    manifest = snapshot.manifest
    runs = sum(run.bundle.bytes for shard in manifest.shards for run in shard.runs)
    deltas = sum(delta.bundle.bytes for delta in manifest.live.deltas) if manifest.live else 0
    return {part: size for part, size in zip(BUNDLE_PARTS, (runs, deltas), strict=True) if size}


def describe_documents(snapshot: Snapshot, by_part: dict[str, int]) -> dict[str, Any] | None:
    """What an index holds of documents of many vectors; None where it holds single ones.

    Bytes are those of the files, headers and padding included, everything that a search may read: the codes, what the
    candidates are found by, ids and checksums. Attributes are the user's own, and the model does not grow with the
    documents: both are apart, but for attributes in bundles, which are one file each. Ratios are to all vectors that were given,
    before any was left out or merged: of documents that are not removed in proportion to their vectors.
    """
    entry = snapshot.manifest.documents
    if entry is None:
        return None
    documents = max(1, snapshot.manifest.rows)
    vectors = count_vectors(snapshot) if snapshot.manifest.live else entry.vectors
    given = round(vectors * entry.vectors_given / max(1, entry.vectors))
    names = {*DOCUMENT_PARTS.values(), *BUNDLE_PARTS}
    patches = {part: size / documents for part, size in sorted(by_part.items()) if part in names}
    candidates = sum(by_part.get(part, 0) for part in kinds.VECTOR_KINDS) / documents
    total = sum(patches.values()) + candidates
    raw = given * entry.dimensions / documents
    return {
        "documents": snapshot.manifest.rows,
        "dimensions": entry.dimensions,
        "vectors_given": given,
        "vectors": vectors,
        "codec": msgspec.to_builtins(entry.patches),
        "keep": entry.keep,
        "pool": entry.pool,
        "candidates": entry.candidates,
        "bytes_per_document": total,
        "bytes_per_document_by_part": patches | {"candidates": candidates},
        "model_bytes": by_part["model"],
        "float16_bytes_per_document": 2 * raw,
        "ratio_to_float16": 2 * raw / total,
        "ratio_to_float32": 4 * raw / total,
    }
