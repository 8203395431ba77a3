"""LanceDB: IVF_PQ with a prefilter, scalar indexes and refinement with raw vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from bench.data import Floats, Rows
from bench.measure import Search
from bench.peers.protocol import Predicate, Setting, Task, folder_bytes, lists, load, sweep

ROW = "row"


@dataclass
class LanceIndex:
    """A table with a vector index; scalar indexes are created when a column is first filtered."""

    table: Any
    description: str
    bytes_per_vector: float
    raw_bytes_per_vector: float
    partitions: int
    _indexed: set[str] = field(default_factory=set)

    def settings(self) -> Sequence[Setting]:
        probes = [n for n in sweep(self.partitions, first=8) if n in (8, 32, 128) or n == self.partitions]
        return [Setting({"nprobes": n, "refine": r}) for n in probes for r in (5, 20)]

    def configure(self, setting: Setting, where: Predicate | None = None) -> Search:
        sql = None if where is None else where.sql
        for column in () if where is None else where.columns:
            self._index_column(column)
        table, probes, refine = self.table, setting["nprobes"], setting["refine"]

        def search(queries: Floats, k: int) -> Rows:
            ids = np.full((len(queries), k), -1, dtype=np.int64)
            for i, query in enumerate(queries):
                request = table.search(query).limit(k).nprobes(probes).refine_factor(refine).select([ROW, "_distance"])
                if sql is not None:
                    request = request.where(sql, prefilter=True)
                rows = request.to_arrow()[ROW].to_numpy()
                ids[i, : len(rows)] = rows
            return ids

        return search

    def _index_column(self, column: str) -> None:
        if column in self._indexed:
            return
        kind = self.table.schema.field(column).type
        low_cardinality = pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
        self.table.create_scalar_index(column, index_type="BITMAP" if low_cardinality else "BTREE")
        self._indexed.add(column)


@dataclass(frozen=True)
class Lance:
    """One 8-bit sub-quantizer per 4 dimensions."""

    name: str = "lancedb"
    package: str = "lancedb"

    def build(self, task: Task) -> LanceIndex:
        lancedb = load("lancedb")
        table = table_of(task.base)
        if task.attributes is not None:
            for name in task.attributes.column_names:
                table = table.append_column(name, task.attributes[name])
        database = lancedb.connect(str(task.scratch))
        stored = database.create_table("bench", table)
        partitions = make_index(stored, task.rows, task.dimensions, task.metric)
        raw = 4.0 * task.dimensions
        index = folder_bytes(task.scratch / "bench.lance" / "_indices")
        return LanceIndex(
            table=stored,
            description=f"LanceDB IVF{partitions}_PQ{task.dimensions // 4}, prefilter, scalar indexes",
            bytes_per_vector=index / task.rows,
            raw_bytes_per_vector=raw,
            partitions=partitions,
        )


def table_of(vectors: Floats) -> pa.Table:
    """Vectors (n, d) and their numbers, as a table to be stored."""
    flat = pa.array(np.asarray(vectors).ravel(), type=pa.float32())
    columns = {
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        ROW: pa.array(np.arange(len(vectors))),
    }
    return pa.table(columns)


def make_index(stored: Any, rows: int, dimensions: int, metric: str) -> int:
    """Index the vectors of a table; return the number of partitions."""
    partitions = lists(rows)
    stored.create_index(
        metric={"cosine": "cosine", "ip": "dot", "l2": "l2"}[metric],
        index_type="IVF_PQ",
        num_partitions=partitions,
        num_sub_vectors=dimensions // 4,
    )
    return partitions
