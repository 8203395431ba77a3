"""The codes of an index in memory, frozen during training, and scores and gradients against them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.jpq.loss import LOSSES, Lists
from vsearch.kernels.scan.blocks import untranspose
from vsearch.kernels.scan.ranking import rank_gradients, score_rows
from vsearch.metrics import gain_of
from vsearch.quantizers.pq import ProductQuantizer
from vsearch.search.state.model import Model
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage.snapshots.manifest import manifest_segments


@dataclass(frozen=True, eq=False)
class Parameters:
    """The trained parameters.

    Attributes
    ----------
    centroids : float32 (subquantizers, c, d / subquantizers)
    adapter : float32 (d, d)
        Applied to queries before the rotation.
    """

    centroids: NDArray[np.float32]
    adapter: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of a batch's loss for the centroids, the adapter, and the queries (m, d) before the adapter."""

    centroids: NDArray[np.float32]
    adapter: NDArray[np.float32]
    queries: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Documents:
    """All rows of an index with PQ codes.

    Attributes
    ----------
    snapshot : Snapshot
    codec : ProductQuantizer
    codes : uint8 (rows, subquantizers)
    factors, offsets : float32 (rows,)
    partitions : int32 (rows,)
    """

    snapshot: Snapshot
    codec: ProductQuantizer
    codes: NDArray[np.uint8]
    factors: NDArray[np.float32]
    offsets: NDArray[np.float32]
    partitions: NDArray[np.int32]

    def start(self) -> Parameters:
        """Return the current parameters of the index."""
        adapter = self.snapshot.model.adapter
        identity = np.eye(self.snapshot.model.dimensions, dtype=np.float32)
        return Parameters(self.codec.centroids, identity if adapter is None else adapter)

    def live(self, parameters: Parameters) -> Snapshot:
        """Return the index with these parameters, as a snapshot that can be searched."""
        model = model_with(self.snapshot.model, self.codec, parameters)
        return replace(self.snapshot, model=model)

    def scores(
        self, parameters: Parameters, rotated: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Score rows (m, w) for adapted and rotated queries (m, d): float32 (m, w), up to a constant per query."""
        model, gain = self.snapshot.model, np.float32(gain_of(self.snapshot.model.metric))
        inner = gain * (rotated @ model.centroids.T)
        if model.metric == "l2":
            inner -= model.centroid_squares
        subquantizers, _, width = parameters.centroids.shape
        parts = (gain * rotated).reshape(len(rotated), subquantizers, width)
        tables = np.matmul(parts.transpose(1, 0, 2), parameters.centroids.transpose(0, 2, 1)).transpose(1, 0, 2)
        scores = np.empty(rows.size, np.float32)
        score_rows(
            rows.reshape(-1),
            _starts(rows),
            self.codes,
            self.factors,
            self.partitions,
            inner,
            np.ascontiguousarray(tables),
            scores,
        )
        return scores.reshape(rows.shape) - self.offsets[rows]

    def gradients(
        self,
        parameters: Parameters,
        queries: NDArray[np.float32],
        rotated: NDArray[np.float32],
        rows: NDArray[np.int64],
        slopes: NDArray[np.float32],
    ) -> Gradients:
        """Return the gradients of ``sum slopes * scores`` for the parameters and the queries before the adapter."""
        model, gain = self.snapshot.model, np.float32(gain_of(self.snapshot.model.metric))
        by_partition = np.zeros((len(queries), len(model.centroids)), np.float32)
        by_query = np.zeros_like(rotated)
        by_centroid = np.zeros_like(parameters.centroids)
        rank_gradients(
            rows.reshape(-1),
            _starts(rows),
            np.ascontiguousarray(gain * slopes).reshape(-1),
            self.codes,
            self.factors,
            self.partitions,
            rotated,
            parameters.centroids,
            by_partition,
            by_query,
            by_centroid,
        )
        adapted = (by_query + by_partition @ model.centroids) @ self.codec.rotation
        return Gradients(by_centroid, adapted.T @ queries, adapted @ parameters.adapter)


def batch_loss(
    documents: Documents,
    parameters: Parameters,
    queries: NDArray[np.float32],
    lists: Lists,
    *,
    loss: str,
    sharpness: float,
) -> tuple[float, Gradients]:
    """Compute a loss of prepared queries (m, d) over their lists, and its gradients.

    Parameters
    ----------
    loss : {"lambda", "pairwise", "softmax"}
    sharpness : float
        Multiplier of the scores before the loss.
    """
    rotated = rotate(documents, parameters, queries)
    rows = np.maximum(lists.rows, 0)
    scores = documents.scores(parameters, rotated, rows) * np.float32(sharpness)
    value, slopes = LOSSES[loss](scores, lists)
    slopes = np.where(lists.valid, slopes, 0).astype(np.float32) * np.float32(sharpness)
    return value, documents.gradients(parameters, queries, rotated, rows, slopes)


def rotate(documents: Documents, parameters: Parameters, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Adapt and rotate prepared queries (m, d) for a search of the live index."""
    return np.ascontiguousarray((queries @ parameters.adapter.T) @ documents.codec.rotation.T)


def model_with(model: Model, codec: ProductQuantizer, parameters: Parameters) -> Model:
    """Return the model with these parameters; an identity adapter is stored as None."""
    trained = replace(codec, centroids=np.ascontiguousarray(parameters.centroids))
    identity = np.array_equal(parameters.adapter, np.eye(len(parameters.adapter), dtype=np.float32))
    return replace(model, quantizer=trained, adapter=None if identity else np.ascontiguousarray(parameters.adapter))


def load_documents(snapshot: Snapshot) -> Documents:
    """Read all codes of an index.

    Raises
    ------
    InputError
        The index does not have PQ codes, has rerank codes, or was changed since it was built.
    """
    codec, manifest = snapshot.model.quantizer, snapshot.manifest
    if not isinstance(codec, ProductQuantizer):
        raise InputError(
            f"training needs an index built with quantizer='pq', got one with {manifest.quantizer.name!r} codes"
        )
    if manifest.rerank is not None:
        raise InputError(
            f"the index has {manifest.rerank} rerank codes, which would undo what training learns; "
            "build it with rerank=None"
        )
    if manifest_segments(manifest):
        raise InputError(
            "the index was changed since it was built, which training does not support; rebuild it and train that"
        )
    codes = np.empty((manifest.rows, len(codec.centroids)), np.uint8)
    factors, offsets = np.empty(manifest.rows, np.float32), np.zeros(manifest.rows, np.float32)
    partitions = np.empty(manifest.rows, np.int32)
    for shard in snapshot.shards:
        table, arrays = shard.table, shard.arrays
        shard.ensure(np.arange(shard.partitions, dtype=np.int32))
        shard_rows = slice(shard.first_row, shard.first_row + shard.rows)
        local = np.repeat(np.arange(shard.partitions), table.rows)
        partitions[shard_rows] = shard.first_partition + local
        factors[shard_rows] = arrays.factors.view(np.float16).astype(np.float32) * table.factor_scales[local]
        if len(arrays.offsets):
            offsets[shard_rows] = arrays.offsets
        packed = np.empty((shard.rows, codec.stage_bytes[0]), np.uint8)
        for partition in range(shard.partitions):
            first, count = int(table.row_starts[partition]), int(table.rows[partition])
            block = int(table.block_starts[partition])
            untranspose(arrays.first_codes[block : block + -(-count // 32)], packed[first : first + count])
        codes[shard_rows] = codec.unpack(packed)
    return Documents(snapshot, codec, codes, factors, offsets, partitions)


def _starts(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
