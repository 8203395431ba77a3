"""Intel's Scalable Vector Search: a Vamana graph over LVQ, LeanVec or float vectors.

LVQ and LeanVec kill the process on processors that are not Intel's, which is why contestants are first tried in a child process
(:mod:`bench.peers.probe`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Floats, Rows
from bench.measure import Search
from bench.peers.protocol import Predicate, Setting, Task, folder_bytes, load, sweep


@dataclass
class SvsIndex:
    """A Vamana graph."""

    graph: Any
    description: str
    bytes_per_vector: float
    raw_bytes_per_vector: float
    k: int = 10

    def settings(self) -> Sequence[Setting]:
        return [Setting({"window": w}) for w in sweep(512, first=max(10, self.k))]

    def configure(self, setting: Setting, _where: Predicate | None = None) -> Search:
        self.graph.search_window_size = setting["window"]
        return self._search

    def _search(self, queries: Floats, k: int) -> Rows:
        return np.asarray(self.graph.search(queries, k)[0], dtype=np.int64)


@dataclass(frozen=True)
class Svs:
    """``storage`` is lvq4x8, leanvec or float16; ``degree`` the maximum links per node, ``window`` the candidates of a build."""

    storage: str
    degree: int = 32
    window: int = 200
    package: str = "scalable-vs"

    @property
    def name(self) -> str:
        return f"svs-{self.storage}-d{self.degree}"

    def build(self, task: Task) -> SvsIndex:
        svs = load("svs", self.package)
        far = task.metric == "l2"
        parameters = svs.VamanaBuildParameters(
            alpha=1.2 if far else 0.95, graph_max_degree=self.degree, window_size=self.window
        )
        distance = svs.DistanceType.L2 if far else svs.DistanceType.MIP
        graph = svs.Vamana.build(parameters, self._source(svs, task), distance, num_threads=task.threads)
        graph.num_threads = 1
        folders = [task.scratch / part for part in ("config", "graph", "data")]
        graph.save(*map(str, folders))
        raw = 2.0 * task.dimensions if self.storage == "float16" else 0.0
        return SvsIndex(
            graph=graph,
            description=f"SVS Vamana {self.storage} degree {self.degree}",
            bytes_per_vector=sum(map(folder_bytes, folders)) / task.rows - raw,
            raw_bytes_per_vector=raw,
            k=task.k,
        )

    def _source(self, svs: Any, task: Task) -> Any:
        if self.storage == "float16":
            return task.base.astype(np.float16)
        path = task.scratch / "base.fvecs"
        svs.write_vecs(task.base, str(path))
        source = svs.VectorDataLoader(str(path), svs.DataType.float32, dims=task.dimensions)
        if self.storage == "lvq4x8":
            return svs.LVQLoader(source, primary=4, residual=8)
        kinds = svs.LeanVecKind
        half = 32 * max(1, round(task.dimensions / 64))
        return svs.LeanVecLoader(source, leanvec_dims=half, primary_kind=kinds.lvq8, secondary_kind=kinds.lvq8)
