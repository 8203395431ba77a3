"""Reading the model of an index: what all its shards share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.metrics import METRICS
from vsearch.quantizers.registry import load_quantizer
from vsearch.search.state.model import Model
from vsearch.search.state.shard import RERANK_DTYPES
from vsearch.storage import FileEntry, Manifest, SegmentFile, Store, ensure_together
from vsearch.storage.snapshots.kinds import SPLITS, ModelPart

if TYPE_CHECKING:
    from vsearch.quantizers.rerank_codes import Rerank


def model_files(manifest: Manifest) -> list[FileEntry]:
    """Files of the model that searches read: not those of a query encoder."""
    return list(ModelPart.ENCODER.others(manifest.model).values())


def training_of(manifest: Manifest) -> dict[str, str]:
    """Return what codes and partitions depend on: files of the model by kind, which splits and query encoders leave as they are."""
    return {kind: entry.path for kind, entry in ModelPart.ENCODER.others(manifest.model).items() if kind != SPLITS}


def reread_model(store: Store, manifest: Manifest, before: Manifest, model: Model) -> Model:
    """Read the model of a snapshot, of which that of another is there. What the two have in common is not read again."""
    if manifest.model == before.model:
        return model
    if SPLITS in manifest.model and training_of(manifest) == training_of(before):
        file = SegmentFile(store, manifest.model[SPLITS], None, manifest.snapshot)
        file.ensure_all()
        return _with_splits(model, {name: file.array(name) for name in file.arrays}, manifest.partitions)
    return read_model(store, manifest)


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
    splits = entries.pop(SPLITS, None)
    files = [SegmentFile(store, entry, None, manifest.snapshot) for entry in entries.values()]
    split = [] if splits is None else [SegmentFile(store, splits, None, manifest.snapshot)]
    ensure_together([(file, name, None, None) for file in (*files, *split) for name in file.arrays])
    arrays = {name: file.array(name) for file in files for name in file.arrays}
    d = manifest.dimensions
    partitions = manifest.partitions if splits is None else len(arrays.get("centroids", ()))
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
    model = Model(
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
    for file in split:
        model = _with_splits(model, {name: file.array(name) for name in file.arrays}, manifest.partitions)
    return model


def _with_splits(model: Model, arrays: Mapping[str, NDArray[Any]], partitions: int) -> Model:
    """A model of which partitions were split, from the arrays of that file."""
    centroids, numbers = arrays.get("centroids"), arrays.get("numbers")
    dtype = np.float32 if model.half_centroids is None else np.float16
    if (
        centroids is None
        or centroids.dtype != dtype
        or centroids.shape != (partitions, model.dimensions)
        or not np.isfinite(centroids).all()
    ):
        raise CorruptIndexError("model", f"centroids are no finite {np.dtype(dtype)} of {partitions} partitions")
    if numbers is None or numbers.dtype != np.int32 or numbers.shape != (partitions,):
        raise CorruptIndexError("model", f"the numbers of its {partitions} partitions are missing")
    if numbers.min(initial=0) < 0 or len(np.unique(numbers)) != partitions:
        raise CorruptIndexError("model", "two of its partitions have one number")
    return model.with_centroids(centroids.astype(np.float32), numbers)
