"""ScaNN: a tree of partitions, anisotropic 4-bit hashing, reranking with raw vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Floats, Rows
from bench.measure import Search
from bench.peers.protocol import Predicate, Setting, Task, folder_bytes, lists, load, sweep


@dataclass
class ScannIndex:
    """A ScaNN searcher."""

    searcher: Any
    leaves: int
    description: str
    bytes_per_vector: float
    raw_bytes_per_vector: float

    def settings(self) -> Sequence[Setting]:
        return [Setting({"leaves": n, "reorder": r}) for n in sweep(self.leaves) for r in (20, 40, 80, 160, 320)]

    def configure(self, setting: Setting, _where: Predicate | None = None) -> Search:
        searcher, leaves, reorder = self.searcher, setting["leaves"], setting["reorder"]

        def search(queries: Floats, k: int) -> Rows:
            if len(queries) > 1:
                ids, _ = searcher.search_batched(queries, k, reorder, leaves)
                return np.asarray(ids, dtype=np.int64)
            neighbors, _ = searcher.search(queries[0], k, reorder, leaves)
            row = np.full((1, k), -1, dtype=np.int64)
            row[0, : len(neighbors)] = neighbors
            return row

        return search


@dataclass(frozen=True)
class Scann:
    """Two dimensions per 4-bit code, threshold 0.2, as recommended by its documentation."""

    name: str = "scann"
    package: str = "scann"

    def build(self, task: Task) -> ScannIndex:
        scann = load("scann")
        leaves = lists(task.rows)
        distance = "squared_l2" if task.metric == "l2" else "dot_product"
        threshold = float("nan") if task.metric == "l2" else 0.2
        builder = (
            scann.scann_ops_pybind.builder(task.base, 10, distance)
            .tree(
                num_leaves=leaves,
                num_leaves_to_search=min(32, leaves),
                training_sample_size=min(task.rows, 250_000),
            )
            .score_ah(2, anisotropic_quantization_threshold=threshold)
            .reorder(100)
        )
        builder.set_n_training_threads(task.threads)
        searcher = builder.build()
        searcher.set_num_threads(1)
        searcher.serialize(str(task.scratch))
        return ScannIndex(
            searcher=searcher,
            leaves=leaves,
            description=f"ScaNN tree {leaves}, AH 2, reorder float32",
            bytes_per_vector=folder_bytes(task.scratch, without="dataset.npy") / task.rows,
            raw_bytes_per_vector=4.0 * task.dimensions,
        )
