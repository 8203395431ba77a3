"""Small files and manifests for the storage tests."""

from __future__ import annotations

from uuid import uuid4

import numpy as np

from vsearch.storage import (
    CHECKSUMS,
    FORMAT,
    CodecEntry,
    Manifest,
    ProvenanceEntry,
    SettingsEntry,
    ShardEntry,
    join_checksums,
    write_arrays,
)


def arrays(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "codes": random.integers(0, 256, (rows, 48), np.uint8),
        "factor": random.standard_normal(rows).astype(np.float16),
        "boxes": random.standard_normal((rows, 2, 3)).astype(np.float32),
        "row": np.arange(rows, dtype=np.int64),
    }


def write_shard(store, number: int, rows: int = 100, seed: int = 0) -> ShardEntry:
    files, sums = {}, {}
    name = uuid4().hex
    for kind, of_kind in {"codes": arrays(rows, seed), "ids": {"ids": np.arange(rows)}}.items():
        files[kind], sums[kind] = write_arrays(store, f"segments/{name}-{number}-{kind}.arrow", of_kind)
    path = f"segments/{name}-{number}-{CHECKSUMS}.arrow"
    files[CHECKSUMS], _ = write_arrays(store, path, {"crc32c": join_checksums(sums)})
    return ShardEntry(number, rows, 1, files)


def manifest(writer: str | None = None, shards=(), **changes) -> Manifest:
    fields = {
        "format": FORMAT,
        "snapshot": 0,
        "writer": writer or uuid4().hex,
        "created": "2026-01-01T00:00:00Z",
        "rows": sum(shard.rows for shard in shards),
        "dimensions": 8,
        "metric": "cosine",
        "id_type": "row",
        "quantizer": CodecEntry("osq", {"bits": 1.0}),
        "rerank": "int8",
        "partitions": sum(shard.partitions for shard in shards),
        "seed": 0,
        "model": {},
        "shards": tuple(shards),
        "attributes": (),
        "settings": SettingsEntry(),
        "provenance": ProvenanceEntry(),
    }
    return Manifest(**fields | changes)
