"""Synthetic data of sizes that available real data do not have: an index of random codes, and clustered vectors.

Speeds on them represent speeds on real data only if recall is not involved, or if the method of generation is stated with them.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import numpy as np

from bench.data import Floats

BLOCK_ROWS = 32
CHUNK = 1 << 24


def random_bytes(count: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Random uint8 (count,), generated piece by piece."""
    random = np.random.default_rng(seed)
    data = np.empty(count, np.uint8)
    for start in range(0, count, CHUNK):
        part = data[start : start + CHUNK]
        part[:] = random.integers(0, 256, len(part), dtype=np.uint8)
    return data


def write_random_codes(url: str, partition_rows: int, partitions: int, dimensions: int = 384) -> int:
    """Write an index of random 1-bit codes without rerank codes, laid out like a build; return its rows.

    Parameters
    ----------
    url : str
        A folder.
    partition_rows : int
        Rows per partition, a multiple of 32.
    dimensions : int
        A multiple of 16; a code has ``dimensions / 8`` bytes.
    """
    from vsearch.building.pipeline import write_model
    from vsearch.quantizers.osq import OSQ
    from vsearch.quantizers.protocol import Calibration
    from vsearch.storage import (
        CHECKSUMS,
        FORMAT,
        CodecEntry,
        Manifest,
        ProvenanceEntry,
        SettingsEntry,
        ShardEntry,
        commit,
        join_checksums,
        open_store,
        write_arrays,
    )

    if partition_rows % BLOCK_ROWS or dimensions % 16:
        raise ValueError("partition_rows must be a multiple of 32 and dimensions one of 16")
    rows = partition_rows * partitions
    random = np.random.default_rng(0)
    ones = np.ones(partitions, np.float32)
    quantizer = OSQ(
        1.0,
        np.eye(dimensions, dtype=np.float32),
        np.ones(dimensions, np.float32),
        np.ones(dimensions, np.int32),
        Calibration(np.ones(1, np.float32), np.full(1, 0.05, np.float32)),
    )
    store = open_store(url)
    files, sums = {}, {}
    codes = random_bytes(rows * dimensions // 8).reshape(rows // BLOCK_ROWS, -1)
    arrays = {
        "codes": {"first": codes},
        "rows": {"factor": random.uniform(0.8, 1.0, rows).astype(np.float16)},
        "ids": {"id": np.arange(rows, dtype=np.uint32)},
        "partitions": {
            "rows": np.full(partitions, partition_rows, np.int64),
            **dict.fromkeys(("radius", "factor_scale", "first_factor_scale", "rerank_scale"), ones),
        },
    }
    for kind, columns in arrays.items():
        files[kind], sums[kind] = write_arrays(store, f"segments/random-{kind}.arrow", columns)
    files[CHECKSUMS], _ = write_arrays(store, "segments/random-checksums.arrow", {"crc32c": join_checksums(sums)})
    model = write_model(
        store,
        uuid.uuid4().hex,
        {f"quantizer.{name}": np.asarray(array) for name, array in quantizer.arrays().items()}
        | {
            "mean": np.zeros(dimensions, np.float32),
            "rerank_weights": np.ones(dimensions, np.float32),
            "centroids": random.standard_normal((partitions, dimensions), dtype=np.float32) / dimensions,
        },
    )
    commit(
        store,
        Manifest(
            format=FORMAT,
            snapshot=0,
            writer=uuid.uuid4().hex,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            rows=rows,
            dimensions=dimensions,
            metric="ip",
            id_type="row",
            quantizer=CodecEntry(quantizer.name, quantizer.configuration()),
            rerank=None,
            partitions=partitions,
            seed=0,
            model=model,
            shards=(ShardEntry(0, rows, partitions, files, {}),),
            attributes=(),
            settings=SettingsEntry(),
            provenance=ProvenanceEntry(),
        ),
    )
    return rows


def clustered(
    rows: int, queries: int, dimensions: int, *, centers: int, decay: float = 0.5, seed: int = 0
) -> tuple[Floats, Floats]:
    """Unit vectors (rows, d) and held-out queries (m, d) of one mixture that resembles embeddings: nested clusters, few strong directions.

    Coordinates have the deviations ``(i + 1) ** -decay``. A vector is a coarse center, plus a fine center near it, plus independent
    noise; the number of vectors per center falls with its rank.
    """
    random = np.random.default_rng(seed)
    spectrum = np.arange(1, dimensions + 1, dtype=np.float32) ** np.float32(-decay)
    coarse = random.standard_normal((max(1, centers // 64), dimensions), dtype=np.float32)
    fine = random.standard_normal((centers, dimensions), dtype=np.float32)
    fine += coarse[random.integers(len(coarse), size=centers)]
    weights = 1.0 / np.sqrt(np.arange(1, centers + 1))
    total = rows + queries
    chosen = random.choice(centers, size=total, p=weights / weights.sum())
    vectors = np.empty((total, dimensions), np.float32)
    for start in range(0, total, 65_536):
        assigned = chosen[start : start + 65_536]
        part = random.standard_normal((len(assigned), dimensions), dtype=np.float32)
        part += fine[assigned]
        part *= spectrum
        vectors[start : start + len(assigned)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return vectors[queries:], vectors[:queries]
