"""NumPy: a float scan of exactly the rows that match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data import Floats, Rows
from bench.measure import Search
from bench.peers.protocol import Predicate, Setting, Task, padded


@dataclass
class ScanIndex:
    """The raw vectors; matching rows are known beforehand, gathering them is timed."""

    base: Floats
    far: bool
    raw_bytes_per_vector: float
    bytes_per_vector: float = 0.0
    description: str = "NumPy float scan of the matches"

    def settings(self) -> Sequence[Setting]:
        return [Setting(name="exact")]

    def configure(self, _setting: Setting, where: Predicate | None = None) -> Search:
        base, far = self.base, self.far
        unfiltered = where is None or where.sql is None
        rows = np.arange(len(base)) if where is None else where.rows

        def search(queries: Floats, k: int) -> Rows:
            vectors = base if unfiltered else base[rows]
            scores = vectors @ queries.T
            if far:
                scores = 2 * scores - np.einsum("ij,ij->i", vectors, vectors)[:, None]
            count = min(k, len(rows))
            if count == 0:
                return np.full((len(queries), k), -1, dtype=np.int64)
            best = np.argpartition(-scores, count - 1, axis=0)[:count].T
            order = np.argsort(-np.take_along_axis(scores.T, best, axis=1), axis=1, kind="stable")
            return padded(rows[np.take_along_axis(best, order, axis=1)], k)

        return search


@dataclass(frozen=True)
class Scan:
    """No index at all."""

    name: str = "numpy-scan"
    package: str = "numpy"

    def build(self, task: Task) -> ScanIndex:
        return ScanIndex(task.base, task.metric == "l2", 4.0 * task.dimensions)
