"""FAISS codes without partitions or reordering: the estimators alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.data import Floats, Rows
from bench.measure import Search, threads
from bench.peers.faiss_ivf import metric_of, stored_bytes
from bench.peers.protocol import Absent, Predicate, Setting, Task, lists, load

ROTATION_SAMPLE = 16_384  # rows
ROTATION_ROUNDS = 20


@dataclass
class FaissFlatIndex:
    """A FAISS index that scans all its codes."""

    index: Any
    description: str
    bytes_per_vector: float
    code_bytes: float
    raw_bytes_per_vector: float = 0.0

    def settings(self) -> Sequence[Setting]:
        return [Setting(name="all rows")]

    def configure(self, _setting: Setting, _where: Predicate | None = None) -> Search:
        return self._search

    def _search(self, queries: Floats, k: int) -> Rows:
        ids: Rows = self.index.search(queries, k)[1]
        return ids


@dataclass(frozen=True)
class FaissFlat:
    """``factory`` is a FAISS factory string; {d} are the dimensions, {b} the bits, {m} = 8 * bytes / bits and {n} the number of
    inverted lists.

    With ``residual``, the codes are those of residuals to the centroids of inverted lists, all of which are scanned: the same
    conditions as for vsearch's own codes.
    """

    name: str
    factory: str
    bytes: int = 0
    bits: int = 8
    residual: bool = False
    package: str = "faiss-cpu"

    def build(self, task: Task) -> FaissFlatIndex:
        faiss = load("faiss", "faiss-cpu")
        subquantizers = self.bytes * 8 // self.bits
        if subquantizers and task.dimensions % subquantizers:
            raise Absent(f"{subquantizers} sub-quantizers do not divide {task.dimensions} dimensions")
        factory = self.factory.format(d=task.dimensions, m=subquantizers, b=self.bits, n=lists(task.rows))
        try:
            index = faiss.index_factory(task.dimensions, factory, metric_of(task))
        except RuntimeError as error:
            raise Absent(f"FAISS {faiss.__version__} has no {factory}: {error}") from error
        with threads(task.threads):
            if self.factory.startswith("OPQ"):
                self._train_rotation(index, task.base, subquantizers)
            index.train(task.base)
            index.add(task.base)
        if self.residual:
            ivf = faiss.extract_index_ivf(index)
            ivf.nprobe = ivf.nlist
        inner = faiss.downcast_index(index.index) if hasattr(index, "chain") else index
        return FaissFlatIndex(
            index=index,
            description=f"FAISS {factory}",
            bytes_per_vector=stored_bytes(index) / task.rows,
            code_bytes=float(inner.code_size),
        )

    def _train_rotation(self, index: Any, base: Floats, subquantizers: int) -> None:
        """Train the rotation for codes of these bits, on a sample.

        By default FAISS learns every rotation for 8 bits, whatever the bits of the following codes, in 50 rounds on 65,536 rows,
        which takes an hour on two cores.
        """
        faiss = load("faiss", "faiss-cpu")
        rotation = faiss.downcast_VectorTransform(index.chain.at(0))
        codes = faiss.ProductQuantizer(base.shape[1], subquantizers, self.bits)
        rotation.max_train_points = ROTATION_SAMPLE
        rotation.niter = ROTATION_ROUNDS
        rotation.pq = codes
        rotation.train(base)
        rotation.pq = None  # not owned by the rotation
