"""FAISS: inverted lists of fast-scan codes, reranked with raw or 8-bit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Floats, Rows
from bench.measure import Search, threads
from bench.peers.protocol import Absent, Predicate, Setting, Task, lists, load, sweep

REFINE = (2, 4, 8, 16, 32, 64)
LARGEST_TABLES = 2**31 - 1  # bytes; FAISS counts them in 32 bits and crashes beyond


def metric_of(task: Task) -> int:
    faiss = load("faiss", "faiss-cpu")
    return int(faiss.METRIC_L2 if task.metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def stored_bytes(index: Any) -> int:
    """Bytes of the index as FAISS would write it."""
    return int(load("faiss", "faiss-cpu").serialize_index(index).size)


@dataclass
class FaissIvfIndex:
    """An IVF index inside an optional rotation, inside an optional refinement."""

    index: Any
    ivf: Any
    description: str
    bytes_per_vector: float
    raw_bytes_per_vector: float
    refined: bool
    table_bytes: int = 0  # lookup tables per query and list, if every list has its own

    def settings(self) -> Sequence[Setting]:
        probes = sweep(int(self.ivf.nlist))
        if not self.refined:
            return [Setting({"nprobe": n}) for n in probes]
        return [Setting({"nprobe": n, "refine": r}) for n in probes for r in REFINE]

    def configure(self, setting: Setting, where: Predicate | None = None) -> Search:
        self.ivf.nprobe = setting["nprobe"]
        if self.refined:
            self.index.k_factor = float(setting["refine"])
        if where is None or where.sql is None:
            return self._search
        return self._filtered(setting, where)

    def _search(self, queries: Floats, k: int) -> Rows:
        block = together(self.table_bytes, int(self.ivf.nprobe))
        if len(queries) <= block:
            ids: Rows = self.index.search(queries, k)[1]
            return ids
        parts = [self.index.search(queries[i : i + block], k)[1] for i in range(0, len(queries), block)]
        return np.concatenate(parts)

    def _filtered(self, setting: Setting, where: Predicate) -> Search:
        faiss = load("faiss", "faiss-cpu")
        bits = np.zeros(self.index.ntotal, dtype=bool)
        bits[where.rows] = True
        packed = np.packbits(bits, bitorder="little")
        selector = faiss.IDSelectorBitmap(packed)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=setting["nprobe"])

        def search(queries: Floats, k: int) -> Rows:
            # ``packed`` must live as long as this closure: the selector holds a bare pointer.
            _ = packed
            ids: Rows = self.index.search(queries, k, params=parameters)[1]
            return ids

        return search


def together(table_bytes: int, nprobe: int) -> int:
    """How many queries FAISS can take at once: all of their lookup tables are computed before the scan."""
    return max(1, LARGEST_TABLES // (table_bytes * nprobe)) if table_bytes else LARGEST_TABLES


@dataclass(frozen=True)
class FaissIvf:
    """``codes`` is the middle of a FAISS factory string; {t}, {q} and {h} are d / 2, d / 4 and d / 8."""

    name: str
    codes: str
    refine: str = "RFlat"
    rotation: str = ""
    package: str = "faiss-cpu"

    def build(self, task: Task) -> FaissIvfIndex:
        faiss = load("faiss", "faiss-cpu")
        d = task.dimensions
        if "{" in self.codes and d % 8:
            raise Absent(f"{d} dimensions are not divisible by 8")
        parts = [f"IVF{lists(task.rows)}", self.codes.format(t=d // 2, q=d // 4, h=d // 8)]
        if self.rotation:
            parts.insert(0, self.rotation.format(d=d))
        if self.refine:
            parts.append(self.refine)
        index = faiss.index_factory(d, ",".join(parts), metric_of(task))
        with threads(task.threads):
            index.train(task.base)
            index.add(task.base)
        refined = bool(self.refine)
        coded = faiss.downcast_index(index.base_index) if refined else index
        raw = 4.0 * d if self.refine == "RFlat" or self.codes == "Flat" else 0.0
        counted = stored_bytes(coded if self.refine == "RFlat" else index) / task.rows
        if self.codes == "Flat":
            counted -= raw
        return FaissIvfIndex(
            index=index,
            ivf=faiss.extract_index_ivf(coded),
            description="FAISS " + ",".join(parts),
            bytes_per_vector=counted,
            raw_bytes_per_vector=raw,
            refined=refined,
            table_bytes=4 * d if self.codes.startswith("RaBitQ") else 0,
        )
