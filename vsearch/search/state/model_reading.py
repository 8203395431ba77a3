"""Read the model of an index, which all shards share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.metrics import HAMMING, METRICS
from vsearch.quantizers.registry import load_quantizer
from vsearch.quantizers.rotating import projected
from vsearch.search.state.model import Model
from vsearch.search.state.regions import check_regions
from vsearch.search.state.shard import RERANK_DTYPES
from vsearch.storage import FileEntry, Manifest, SegmentFile, Store, ensure_together
from vsearch.storage.snapshots.kinds import SPLITS, ModelPart

if TYPE_CHECKING:
    from vsearch.quantizers.rerank_codes import Rerank


def model_files(manifest: Manifest) -> list[FileEntry]:
    """Return the model files that searches read, without those of a query encoder."""
    return list(ModelPart.ENCODER.others(manifest.model).values())


def opened_files(manifest: Manifest) -> dict[str, FileEntry]:
    """Return the model files that opening a snapshot reads, by kind: without those of documents, and kinds of later versions."""
    return {kind: entry for kind, entry in ModelPart.SEARCH.files(manifest.model).items() if ":" not in kind}


def training_of(manifest: Manifest) -> dict[str, str]:
    """Return the paths of the model files that codes depend on, by kind; splits and query encoders do not change them."""
    return {kind: entry.path for kind, entry in ModelPart.ENCODER.others(manifest.model).items() if kind != SPLITS}


def reread_model(store: Store, manifest: Manifest, before: Manifest, model: Model) -> Model:
    """Read the model of a snapshot, given that of another; common files are not read again."""
    if manifest.model == before.model:
        return model
    if SPLITS in manifest.model and training_of(manifest) == training_of(before):
        file = SegmentFile(store, manifest.model[SPLITS], None, manifest.snapshot)
        file.ensure_all()
        return _checked(_with_splits(model, {name: file.array(name) for name in file.arrays}, manifest.partitions))
    return read_model(store, manifest)


def read_model(store: Store, manifest: Manifest) -> Model:
    """Read the model of a snapshot.

    Raises
    ------
    CorruptIndexError
        An array is missing or invalid.
    """
    bitwise = manifest.metric == HAMMING
    metric = "l2" if bitwise else manifest.metric
    if metric not in METRICS or manifest.rerank not in (None, *RERANK_DTYPES):
        reason = f"unknown metric {manifest.metric!r} or rerank {manifest.rerank!r}; upgrade vsearch"
        raise CorruptIndexError("manifest", reason)
    entries = opened_files(manifest)
    splits = entries.pop(SPLITS, None)
    files = [SegmentFile(store, entry, None, manifest.snapshot) for entry in entries.values()]
    split = [] if splits is None else [SegmentFile(store, splits, None, manifest.snapshot)]
    ensure_together([(file, name, None, None) for file in (*files, *split) for name in file.arrays])
    arrays = {name: file.array(name) for file in files for name in file.arrays}
    d = manifest.dimensions
    partitions = manifest.partitions if splits is None else len(arrays.get("centroids", ()))
    shapes = {
        "mean": (d,),
        "rerank_weights": (d,),
        "centroids": (partitions, d),
    }
    if "quantizer.rotation" in arrays or "quantizer.signs" not in arrays:
        shapes["quantizer.rotation"] = (d, d)
    if "adapter" in arrays:
        shapes["adapter"] = (d, d)
    centroids, halves = arrays.get("centroids"), None
    if centroids is not None and centroids.dtype == np.float16:
        arrays["centroids"], halves = centroids.astype(np.float32), centroids
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise CorruptIndexError("model", f"{name} must be a finite float32 array of shape {shape}")
    prefix = "quantizer."
    quantizer_arrays = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    quantizer = load_quantizer(manifest.quantizer.name, manifest.quantizer.configuration, quantizer_arrays)
    codec = projected(quantizer)
    if codec is not None and codec.signs.signs.shape[1] != d:
        raise CorruptIndexError("model", f"the quantizer must have {d} dimensions, got {codec.signs.signs.shape[1]}")
    centroids = arrays["centroids"]
    model = Model(
        metric=metric,
        mean=arrays["mean"],
        quantizer=quantizer,
        centroids=centroids,
        centroid_squares=np.einsum("ij,ij->i", centroids, centroids),
        rerank=cast("Rerank | None", manifest.rerank),  # checked above
        rerank_weights=arrays["rerank_weights"],
        adapter=arrays.get("adapter"),
        half_centroids=halves,
        bitwise=bitwise,
        regions=check_regions(arrays.get("regions"), partitions),
    )
    for file in split:
        model = _with_splits(model, {name: file.array(name) for name in file.arrays}, manifest.partitions)
    return _checked(model)


def _checked(model: Model) -> Model:
    """A model whose centroids have squares that float32 holds, as those of all vectors that are stored do."""
    if not np.isfinite(model.centroid_squares).all():
        raise CorruptIndexError("model", "centroids are too large for float32 to hold their squares")
    return model


def _with_splits(model: Model, arrays: Mapping[str, NDArray[Any]], partitions: int) -> Model:
    """Return a model with the split partitions of a file."""
    centroids, numbers = arrays.get("centroids"), arrays.get("numbers")
    dtype = np.float32 if model.half_centroids is None else np.float16
    if (
        centroids is None
        or centroids.dtype != dtype
        or centroids.shape != (partitions, model.dimensions)
        or not np.isfinite(centroids).all()
    ):
        expected = f"{np.dtype(dtype)} array of shape {(partitions, model.dimensions)}"
        raise CorruptIndexError("model", f"centroids must be a finite {expected}")
    if numbers is None or numbers.dtype != np.int32 or numbers.shape != (partitions,):
        raise CorruptIndexError("model", f"numbers must be an int32 array of shape ({partitions},)")
    if numbers.min(initial=0) < 0 or len(np.unique(numbers)) != partitions:
        raise CorruptIndexError("model", "the numbers of partitions must be unique and not negative")
    regions = check_regions(arrays.get("regions"), partitions)
    return model.with_centroids(centroids.astype(np.float32), numbers, regions)
