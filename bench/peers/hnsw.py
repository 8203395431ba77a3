"""hnswlib: a navigable small-world graph over float vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Floats, Rows
from bench.measure import Search
from bench.peers.protocol import Predicate, Setting, Task, load, sweep


@dataclass
class HnswIndex:
    """hnswlib's graph; a filter is a Python callback, the only kind that its interface supports."""

    graph: Any
    description: str
    bytes_per_vector: float
    raw_bytes_per_vector: float
    k: int = 10

    def settings(self) -> Sequence[Setting]:
        return [Setting({"ef": ef}) for ef in sweep(1024, first=max(12, self.k))]

    def configure(self, setting: Setting, where: Predicate | None = None) -> Search:
        graph = self.graph
        graph.set_ef(setting["ef"])
        allowed = None
        matches = graph.element_count
        if where is not None and where.sql is not None:
            flags = np.zeros(matches, dtype=bool)
            flags[where.rows] = True
            allowed = flags.tolist().__getitem__
            matches = len(where.rows)

        def search(queries: Floats, k: int) -> Rows:
            reachable = min(k, matches)
            ids = np.full((len(queries), k), -1, dtype=np.int64)
            try:
                neighbors, _ = graph.knn_query(queries, k=reachable, num_threads=1, filter=allowed)
            except RuntimeError:  # fewer than k reached: hnswlib returns nothing then
                return ids
            ids[:, :reachable] = neighbors
            return ids

        return search


@dataclass(frozen=True)
class Hnsw:
    """hnswlib with M links per node."""

    m: int = 16
    ef_construction: int = 200
    package: str = "hnswlib"

    @property
    def name(self) -> str:
        return f"hnswlib-m{self.m}"

    def build(self, task: Task) -> HnswIndex:
        hnswlib = load("hnswlib")
        graph = hnswlib.Index(space="l2" if task.metric == "l2" else "ip", dim=task.dimensions)
        graph.init_index(max_elements=task.rows, M=self.m, ef_construction=self.ef_construction, random_seed=0)
        graph.add_items(task.base, num_threads=task.threads)
        raw = 4.0 * task.dimensions
        return HnswIndex(
            graph=graph,
            description=f"hnswlib M={self.m} float32",
            bytes_per_vector=graph.index_file_size() / task.rows - raw,
            raw_bytes_per_vector=raw,
            k=task.k,
        )
