"""The result of a training as a new snapshot of the index."""

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
    """All arrays of a model by the names that its files give them."""
    arrays = {f"quantizer.{key}": np.asarray(value) for key, value in model.quantizer.arrays().items()}
    arrays |= {"mean": model.mean, "rerank_weights": model.rerank_weights, "centroids": model.centroids}
    return arrays if model.adapter is None else arrays | {"adapter": model.adapter}


def write_trained(store: Store, manifest: Manifest, model: Model) -> Manifest:
    """The manifest with a model that is written anew, under the manifest's writer; an encoder that it has stays."""
    kept = ModelPart.ENCODER.entries(manifest.model)
    return msgspec.structs.replace(manifest, model=kept | write_model(store, manifest.writer, model_arrays(model)))


def publish(
    trained: Snapshot,
    base: Snapshot,
    facts: dict[str, Any],
    queries: NDArray[np.float32],
    writer: str,
    encoder: Mapping[str, FileEntry] | None = None,
) -> Snapshot:
    """Write, tune and commit what was trained.

    Parameters
    ----------
    trained : Snapshot
        With the trained model; its manifest names the shards' files.
    base : Snapshot
        What it was trained from: the commit is refused if there is a newer one by now.
    facts : dict
        What the manifest keeps of the training.
    queries : float32 (m, d)
        Normalised or centred queries; some of them tune the settings.
    writer : str
        What the names of the files begin with that this training wrote.
    encoder : dict, optional
        Files of a query encoder that stand in for those of the base.

    Raises
    ------
    ConflictError
    """
    manifest = msgspec.structs.replace(trained.manifest, writer=writer)
    with discarded_on_failure(base.store, writer):
        manifest = _settled(write_trained(base.store, manifest, trained.model), base, facts, queries, encoder)
    return open_snapshot(base.store, commit(base.store, manifest, base=base.manifest.snapshot))


def _settled(
    manifest: Manifest,
    base: Snapshot,
    facts: dict[str, Any],
    queries: NDArray[np.float32],
    encoder: Mapping[str, FileEntry] | None,
) -> Manifest:
    """The manifest as it is committed: with its encoder, its facts and settings tuned to it."""
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
    some = np.ascontiguousarray(queries[::step][:TUNING_QUERIES] @ written.model.query_transform.T)
    foreign = draw_foreign(written, FOREIGN_QUERIES, manifest.seed)
    settings, _ = tune(written, Sample(some, None), RECALL, min(TUNING_K, manifest.rows), foreign)
    return msgspec.structs.replace(manifest, settings=settings.to_entry())
