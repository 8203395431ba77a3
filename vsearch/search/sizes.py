"""What an index is and what it takes."""

from __future__ import annotations

from typing import Any

from vsearch.search.snapshot import Snapshot

SCAN_KINDS = ("codes", "rows", "rerank", "ids", "partitions", "checksums")


def describe(snapshot: Snapshot) -> dict[str, Any]:
    """The answer of `Index.info`; bytes are those of the files, headers and padding included."""
    manifest, model = snapshot.manifest, snapshot.model
    by_kind: dict[str, int] = {}
    for shard in manifest.shards:
        for kind, entry in shard.files.items():
            part = kind if kind in SCAN_KINDS else "attributes" if kind == "attributes" else "cells"
            by_kind[part] = by_kind.get(part, 0) + entry.bytes
    by_kind["model"] = sum(entry.bytes for entry in manifest.model.values())
    rows = manifest.rows
    vector = sum(by_kind.get(part, 0) for part in SCAN_KINDS)
    return {
        "url": snapshot.store.url,
        "snapshot": manifest.snapshot,
        "created": manifest.created,
        "format": manifest.format,
        "rows": rows,
        "dimensions": manifest.dimensions,
        "metric": manifest.metric,
        "id_type": manifest.id_type,
        "quantizer": manifest.quantizer["name"],
        "bits": manifest.quantizer["configuration"].get("bits"),
        "code_bytes": sum(model.quantizer.stage_bytes),
        "stages": len(model.quantizer.stage_bytes),
        "rerank": manifest.rerank,
        "partitions": manifest.partitions,
        "shards": len(manifest.shards),
        "seed": manifest.seed,
        "attributes": {a.name: a.type for a in manifest.attributes},
        "settings": snapshot.settings.to_dict(),
        "training": manifest.provenance.get("jpq"),
        "bytes": sum(by_kind.values()),
        "bytes_per_vector": vector / rows,
        "bytes_per_vector_by_part": {part: size / rows for part, size in sorted(by_kind.items())},
    }
