"""turbovec: a flat scan of TurboQuant codes, alone or with float reranking by NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Floats, Rows
from bench.measure import Search
from bench.peers.protocol import Absent, Predicate, Setting, Task, load, padded

CALIBRATION_ROWS = 4096


@dataclass
class TurbovecIndex:
    """turbovec keeps no raw vectors; ``base`` is passed if NumPy reranks."""

    codes: Any
    base: Floats | None
    description: str
    bytes_per_vector: float
    code_bytes: float
    raw_bytes_per_vector: float

    def settings(self) -> Sequence[Setting]:
        if self.base is None:
            return [Setting(name="all rows")]
        return [Setting({"rerank": n}) for n in (15, 20, 30, 50, 100, 200)]

    def configure(self, setting: Setting, where: Predicate | None = None) -> Search:
        mask = None
        if where is not None and where.sql is not None:
            mask = np.zeros(len(self.codes), dtype=bool)
            mask[where.rows] = True
        if self.base is None:
            return lambda queries, k: padded(self.codes.search(queries, k, mask=mask)[1], k)
        base, depth = self.base, setting["rerank"]

        def search(queries: Floats, k: int) -> Rows:
            _, neighbors = self.codes.search(queries, max(k, depth), mask=mask)
            ids = np.empty((len(queries), min(k, neighbors.shape[1])), dtype=np.int64)
            for i, query in enumerate(queries):
                order = np.argsort(-(base[neighbors[i]] @ query), kind="stable")
                ids[i] = neighbors[i][order[:k]]
            return padded(ids, k)

        return search


@dataclass(frozen=True)
class Turbovec:
    """``bits`` is 2, 3 or 4."""

    bits: int = 4
    rerank: bool = False
    package: str = "turbovec"

    @property
    def name(self) -> str:
        return f"turbovec-{self.bits}" + ("-float" if self.rerank else "")

    def build(self, task: Task) -> TurbovecIndex:
        turbovec = load("turbovec")
        if task.metric == "l2":
            raise Absent("turbovec has no L2 distance")
        if task.dimensions % 8:
            raise Absent("turbovec needs a multiple of 8 dimensions")
        codes = turbovec.TurboQuantIndex(dim=task.dimensions, bit_width=self.bits)
        sample = np.random.default_rng(0).permutation(task.rows)[:CALIBRATION_ROWS]
        codes.calibrate(task.base[np.sort(sample)])
        codes.add(task.base)
        codes.prepare()
        written = len(codes.to_bytes()) / task.rows
        return TurbovecIndex(
            codes=codes,
            base=task.base if self.rerank else None,
            description=f"turbovec {self.bits} bit" + (" + float rerank (NumPy)" if self.rerank else ""),
            bytes_per_vector=written,
            code_bytes=task.dimensions * self.bits / 8 + 4,
            raw_bytes_per_vector=4.0 * task.dimensions if self.rerank else 0.0,
        )
