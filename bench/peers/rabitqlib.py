"""rabitqlib: the library of RaBitQ's authors, with inverted lists and the SymphonyQG graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Floats, Rows
from bench.measure import Search
from bench.peers.protocol import Predicate, Setting, Task, lists, load, sweep


@dataclass
class RabitqIndex:
    """Either index type; ``knob`` is the search argument that is swept."""

    index: Any
    knob: str
    sweep: Sequence[int]
    description: str
    bytes_per_vector: float
    raw_bytes_per_vector: float

    def settings(self) -> Sequence[Setting]:
        return [Setting({self.knob: value}) for value in self.sweep]

    def configure(self, setting: Setting, _where: Predicate | None = None) -> Search:
        index, arguments = self.index, {self.knob: setting[self.knob], "num_threads": 1}

        def search(queries: Floats, k: int) -> Rows:
            ids = np.asarray(index.search(queries, k, **arguments)[0], dtype=np.uint32)
            return ids.view(np.int32).astype(np.int64)  # 2**32 - 1, "none", becomes -1

        return search


def _metric(task: Task) -> str:
    return "l2" if task.metric == "l2" else "ip"


def _saved_bytes(index: Any, task: Task) -> int:
    path = task.scratch / "index"
    index.save(str(path))
    return path.stat().st_size


@dataclass(frozen=True)
class RabitqIvf:
    """Inverted lists of 1 to 9 bit codes; 32 keeps raw vectors for reranking."""

    bits: int
    package: str = "rabitqlib"

    @property
    def name(self) -> str:
        return f"rabitqlib-ivf-{self.bits}"

    def build(self, task: Task) -> RabitqIndex:
        library = load("rabitqlib")
        count = lists(task.rows)
        clustering = library.RaBitQKMeans(
            task.dimensions,
            count,
            num_threads=task.threads,
            final_assignment=library.FinalAssignmentMode.Exact,
        )
        clustering.train(task.base)
        index = library.IvfIndex(
            dim=task.dimensions,
            max_elements=task.rows,
            num_clusters=count,
            nbits=self.bits,
            metric=_metric(task),
        )
        index.build(task.base, clustering.centroids, clustering.assignments, num_threads=task.threads)
        raw = 4.0 * task.dimensions if self.bits == 32 else 0.0
        return RabitqIndex(
            index=index,
            knob="nprobe",
            sweep=sweep(count),
            description=f"rabitqlib IVF{count} " + ("1 bit + float32" if raw else f"{self.bits} bit"),
            bytes_per_vector=_saved_bytes(index, task) / task.rows - raw,
            raw_bytes_per_vector=raw,
        )


@dataclass(frozen=True)
class SymphonyQG:
    """A graph whose edges carry RaBitQ codes; the vectors themselves are kept raw."""

    name: str = "rabitqlib-symphonyqg"
    package: str = "rabitqlib"

    def build(self, task: Task) -> RabitqIndex:
        library = load("rabitqlib")
        graph = library.SymqgIndex(dim=task.dimensions, max_degree=32, metric=_metric(task))
        graph.build(task.base, ef_construction=200, num_threads=task.threads)
        raw = 4.0 * task.dimensions
        return RabitqIndex(
            index=graph,
            knob="ef",
            sweep=sweep(768, first=max(12, task.k)),
            description="rabitqlib SymphonyQG degree 32 float32",
            bytes_per_vector=_saved_bytes(graph, task) / task.rows - raw,
            raw_bytes_per_vector=raw,
        )
