"""Describe an index and its size."""

from __future__ import annotations

from typing import Any

import msgspec

from vsearch.encoders.entries import is_compressed
from vsearch.search.state.document_fetching import count_vectors
from vsearch.search.state.drift import measure_drift
from vsearch.search.state.expiry import ttl_name
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage.snapshots import kinds
from vsearch.storage.snapshots.leg_entries import leg_entries

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
"""Names in `Index.info` of the files of multi-vector documents, by file kind."""

BUNDLE_PARTS = ("runs", "deltas")
"""Names in `Index.info` of segments in bundles."""


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """Return the result of `Index.info`; sizes are those of the files, with headers and padding."""
    manifest, model = snapshot.manifest, snapshot.model
    by_kind: dict[str, int] = {}
    for shard in manifest.shards:
        for kind, entry in shard.files.items():
            part = kind if kind in (*kinds.VECTOR_KINDS, kinds.ATTRIBUTES) else DOCUMENT_PARTS.get(kind, kinds.CELLS)
            part = "copies" if kind in kinds.COPY_KINDS else _leg_part(kind) or part
            by_kind[part] = by_kind.get(part, 0) + entry.bytes
    by_kind |= _bundle_bytes(snapshot)
    for leg, size in _leg_bytes(snapshot).items():
        by_kind["runs"] -= size
        by_kind[leg] = by_kind.get(leg, 0) + size
    by_kind["model"] = sum(entry.bytes for entry in kinds.ModelPart.ENCODER.others(manifest.model).values())
    encoder = kinds.ModelPart.ENCODER.files(manifest.model)
    if encoder:
        by_kind["encoder"] = sum(entry.bytes for entry in encoder.values())
    rows = snapshot.live_count
    vector = sum(by_kind.get(part, 0) for part in ("copies", *kinds.VECTOR_KINDS, *BUNDLE_PARTS))
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
        "spill": manifest.spill is True,
        "attributes": {a.name: a.type for a in manifest.attributes},
        "settings": snapshot.settings.to_dict(),
        "training": manifest.provenance.jpq or None,
        "encoder": {"compressed": is_compressed(encoder), "bytes": by_kind["encoder"]} if encoder else None,
        "documents": describe_documents(snapshot, by_kind),
        "text": describe_text(snapshot),
        "legs": sorted(leg_entries(manifest)),
        "bytes": sum(by_kind.values()),
        "bytes_per_vector": vector / max(rows, 1),
        "bytes_per_vector_by_part": {part: size / max(rows, 1) for part, size in sorted(by_kind.items())},
    }


def describe_text(snapshot: Snapshot) -> dict[str, Any] | None:
    """Return the settings of the text columns by name; None if words are not searched."""
    text = snapshot.manifest.text
    if not text or not text.columns:
        return None
    names = {attribute.field_name: attribute.name for attribute in snapshot.manifest.attributes}
    return {
        names[column.field]: {"weight": column.weight, "k1": column.k1, "b": column.b}
        | {"language": column.analyzer.language, "fold": column.analyzer.fold}
        | {"stop_words": len(column.analyzer.stop_words)}
        for column in text.columns
    }


def describe_changes(snapshot: Snapshot) -> dict[str, Any]:
    """Return counts of removed rows that are still in files, deltas, runs by shard, and rows of the tail."""
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
    """Return the bytes of bundles: runs and deltas, with their attributes."""
    manifest = snapshot.manifest
    runs = sum(run.bundle.bytes for shard in manifest.shards for run in shard.runs)
    deltas = sum(delta.bundle.bytes for delta in manifest.live.deltas) if manifest.live else 0
    return {part: size for part, size in zip(BUNDLE_PARTS, (runs, deltas), strict=True) if size}


def _leg_part(kind: str) -> str | None:
    """Return the name in `Index.info` of the files of the leg that a kind belongs to, if any."""
    leg = kinds.leg_of_kind(kind)
    return leg if leg in (None, "text") else f"leg_{leg}"


def _leg_bytes(snapshot: Snapshot) -> dict[str, int]:
    """Return the bytes of the files of legs in bundles, without padding, by leg."""
    sizes: dict[str, int] = {}
    for run in snapshot.shards:
        for kind, file in run.files.items():
            leg = _leg_part(kind)
            if leg is not None and file.path == run.files[kinds.PARTITIONS].path:
                sizes[leg] = sizes.get(leg, 0) + sum(array.bytes for array in file.entry.arrays)
    return {leg: size for leg, size in sizes.items() if size}


def describe_documents(snapshot: Snapshot, by_part: dict[str, int]) -> dict[str, Any] | None:
    """Describe the multi-vector documents of an index; None if it has one vector per row.

    Sizes are those of the files, with headers and padding, that a search may read: codes, the candidate search, ids and
    checksums. Attributes and the model are not included, except attributes in bundles, which are single files. Ratios refer
    to all input vectors before reduction, in proportion to the vectors of live documents.
    """
    entry = snapshot.manifest.documents
    if entry is None:
        return None
    documents = max(1, snapshot.manifest.rows)
    vectors = count_vectors(snapshot) if snapshot.manifest.live else entry.vectors
    input_vectors = round(vectors * entry.vectors_given / max(1, entry.vectors))
    names = {*DOCUMENT_PARTS.values(), *BUNDLE_PARTS}
    parts = {part: size / documents for part, size in sorted(by_part.items()) if part in names}
    candidates = sum(by_part.get(part, 0) for part in kinds.VECTOR_KINDS) / documents
    total = sum(parts.values()) + candidates
    raw = input_vectors * entry.dimensions / documents
    return {
        "documents": snapshot.manifest.rows,
        "dimensions": entry.dimensions,
        "vectors_given": input_vectors,
        "vectors": vectors,
        "codec": msgspec.to_builtins(entry.patches),
        "keep": entry.keep,
        "pool": entry.pool,
        "candidates": entry.candidates,
        "bytes_per_document": total,
        "bytes_per_document_by_part": parts | {"candidates": candidates},
        "model_bytes": by_part["model"],
        "float16_bytes_per_document": 2 * raw,
        "ratio_to_float16": 2 * raw / total,
        "ratio_to_float32": 4 * raw / total,
    }
