"""Commit the result of a training run as a new snapshot of the index."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.building.pipeline import write_model
from vsearch.search.samples import FOREIGN_QUERIES, Sample, draw_foreign
from vsearch.search.state.model import Model
from vsearch.search.state.snapshot import Snapshot, open_snapshot
from vsearch.search.tuning import tune
from vsearch.storage import FileEntry, Manifest, Store, commit, discarded_on_failure
from vsearch.storage.snapshots.kinds import ModelPart

RECALL, TUNING_QUERIES, TUNING_K = 0.99, 256, 10


def model_arrays(model: Model) -> dict[str, NDArray[Any]]:
    """Return all arrays of a model by their names in its files."""
    arrays = {f"quantizer.{key}": np.asarray(value) for key, value in model.quantizer.arrays().items()}
    arrays |= {"mean": model.mean, "rerank_weights": model.rerank_weights, "centroids": model.centroids}
    if model.regions is not None:
        arrays["regions"] = model.regions
    return arrays if model.adapter is None else arrays | {"adapter": model.adapter}


def write_trained(store: Store, manifest: Manifest, model: Model) -> Manifest:
    """Write a model under the manifest's writer; return the manifest with its files, keeping an encoder."""
    encoder = ModelPart.ENCODER.entries(manifest.model)
    return msgspec.structs.replace(manifest, model=encoder | write_model(store, manifest.writer, model_arrays(model)))


def publish(
    trained: Snapshot,
    base: Snapshot,
    facts: dict[str, Any],
    queries: NDArray[np.float32],
    writer: str,
    encoder: Mapping[str, FileEntry] | None = None,
) -> Snapshot:
    """Write, tune and commit a trained model.

    Parameters
    ----------
    trained : Snapshot
        With the trained model; its manifest names the shards' files.
    base : Snapshot
        The snapshot that it was trained from; the commit fails if there is a newer one.
    facts : dict
        The record of the training run for the manifest.
    queries : float32 (m, d)
        Normalized or centered queries; some of them are used to tune the settings.
    writer : str
        Prefix of the names of the files that this training run writes.
    encoder : dict, optional
        Files of a query encoder, which replace those of the base.

    Raises
    ------
    ConflictError
        A newer snapshot was committed in the meantime.
    """
    manifest = msgspec.structs.replace(trained.manifest, writer=writer)
    with discarded_on_failure(base.store, writer):
        manifest = _finalize(write_trained(base.store, manifest, trained.model), base, facts, queries, encoder)
    return open_snapshot(base.store, commit(base.store, manifest, base=base.manifest.snapshot))


def _finalize(
    manifest: Manifest,
    base: Snapshot,
    facts: dict[str, Any],
    queries: NDArray[np.float32],
    encoder: Mapping[str, FileEntry] | None,
) -> Manifest:
    """Return the manifest to commit: with the encoder, the training record and tuned settings."""
    if encoder is not None:
        model = ModelPart.ENCODER.others(manifest.model) | dict(encoder)
        manifest = msgspec.structs.replace(manifest, model=model)
    manifest = msgspec.structs.replace(
        manifest,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        provenance=msgspec.structs.replace(manifest.provenance, jpq=facts),
    )
    written = open_snapshot(base.store, manifest)
    step = max(1, len(queries) // TUNING_QUERIES)
    sample = np.ascontiguousarray(queries[::step][:TUNING_QUERIES] @ written.model.query_transform.T)
    foreign = draw_foreign(written, FOREIGN_QUERIES, manifest.seed)
    settings, _ = tune(written, Sample(sample, None), RECALL, min(TUNING_K, manifest.rows), foreign)
    return msgspec.structs.replace(manifest, settings=settings.to_entry())
