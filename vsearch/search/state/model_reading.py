"""Reading the model of an index: what all its shards share."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.metrics import METRICS
from vsearch.quantizers.registry import load_quantizer
from vsearch.search.state.model import Model
from vsearch.search.state.shard import RERANK_DTYPES
from vsearch.storage import FileEntry, Manifest, SegmentFile, Store, ensure_together
from vsearch.storage.snapshots.kinds import ModelPart

if TYPE_CHECKING:
    from vsearch.quantizers.rerank_codes import Rerank


def model_files(manifest: Manifest) -> list[FileEntry]:
    """Files of the model that searches read: not those of a query encoder."""
    return list(ModelPart.ENCODER.others(manifest.model).values())


def read_model(store: Store, manifest: Manifest) -> Model:
    """Read the model of a snapshot.

    Raises
    ------
    CorruptIndexError
        Something is missing, or has a shape or numbers that it cannot have.
    """
    if manifest.metric not in METRICS or manifest.rerank not in (None, *RERANK_DTYPES):
        reason = f"metric {manifest.metric!r} with rerank {manifest.rerank!r} is not known; upgrade vsearch"
        raise CorruptIndexError("manifest", reason)
    entries = {kind: entry for kind, entry in ModelPart.SEARCH.files(manifest.model).items() if ":" not in kind}
    files = [SegmentFile(store, entry, None, manifest.snapshot) for entry in entries.values()]
    ensure_together([(file, name, None, None) for file in files for name in file.arrays])
    arrays = {name: file.array(name) for file in files for name in file.arrays}
    d, partitions = manifest.dimensions, manifest.partitions
    shapes = {
        "quantizer.rotation": (d, d),
        "mean": (d,),
        "rerank_weights": (d,),
        "centroids": (partitions, d),
    }
    if "adapter" in arrays:
        shapes["adapter"] = (d, d)
    centroids, halves = arrays.get("centroids"), None
    if centroids is not None and centroids.dtype == np.float16:
        arrays["centroids"], halves = centroids.astype(np.float32), centroids
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise CorruptIndexError("model", f"{name} is not a finite float32 array of the shape {shape}")
    prefix = "quantizer."
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    quantizer = load_quantizer(manifest.quantizer.name, manifest.quantizer.configuration, own)
    centroids = arrays["centroids"]
    return Model(
        metric=manifest.metric,
        mean=arrays["mean"],
        quantizer=quantizer,
        centroids=centroids,
        centroid_squares=np.einsum("ij,ij->i", centroids, centroids),
        rerank=cast("Rerank | None", manifest.rerank),  # one of them: checked above
        rerank_weights=arrays["rerank_weights"],
        adapter=arrays.get("adapter"),
        half_centroids=halves,
    )
