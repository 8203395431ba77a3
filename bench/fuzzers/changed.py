"""Small indexes of all kinds with all kinds of changes, in several states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa

import vsearch
from vsearch.api.index import Index
from vsearch.live.optimizing import fold, optimize
from vsearch.storage import Store, open_store

ROWS, DIMENSIONS = 90, 16
KINDS: dict[str, dict[str, Any]] = {
    "split": {"metric": "l2", "bits": 3.0, "shards": 2, "partitions": 4, "rerank": "int8"},
    "cells": {"metric": "cosine", "quantizer": "osq-lloyd", "bits": 2.0, "partitions": 4, "rerank": "float16"},
    "pq": {"metric": "ip", "quantizer": "pq", "bits": 2.0, "partitions": 4, "rerank": None},
    "bare": {"metric": "l2", "rerank": None, "partitions": 4},
    "expiring": {"metric": "l2", "rerank": "float32", "shards": 3, "partitions": 6, "ttl": "until"},
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "documents": {"codebook": 8, "residual_bits": 2, "store": "float16", "pool": 2.0, "shards": 2},
    "lists": {"codebook": 8, "residual_bits": 0, "candidates": "lists", "store": "float32"},
    "binary": {"codebook": 8, "residual_bits": 0, "binary": True},
}
TEXT = ("split", "binary")
"""Kinds with string ids."""

WHERES = (
    "number < 20",
    "price > 0.25 AND price < 0.5",
    "name LIKE 'row 1%'",
    "list_contains(tags, 'b')",
    "amount > 3.5 OR ok",
    "extra = 7 OR extra IS NULL",
    "name > 'row 5' AND NOT ok",
)
START = datetime(2100, 1, 1, tzinfo=UTC)


def table_of(first: int, count: int, *, extra: bool = False) -> pa.Table:
    numbers = np.arange(first, first + count)
    columns = {
        "number": pa.array(numbers % 50, mask=numbers % 7 == 0),
        "price": pa.array(numbers % 17 / 17),
        "name": pa.array([f"row {i}" for i in numbers]),
        "tags": pa.array([["a", "b"][: i % 3] for i in numbers]),
        "amount": pa.array([i / 4 for i in numbers]).cast(pa.decimal128(9, 2)),
        "ok": pa.array([bool(i % 2) if i % 9 else None for i in numbers]),
        "until": pa.array([START + timedelta(days=int(i)) for i in numbers], pa.timestamp("us", tz="UTC")),
    }
    return pa.table(columns | ({"extra": pa.array(numbers)} if extra else {}))


def vectors_of(kind: str, count: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    if kind in DOCUMENTS:
        return [rng.standard_normal((n, DIMENSIONS)).astype(np.float32) for n in rng.integers(1, 7, count)]
    near = rng.standard_normal((count, DIMENSIONS)) * 0.3 + np.eye(DIMENSIONS)[rng.integers(0, 2, count)] * 2
    return near.astype(np.float32)


def names_of(kind: str, numbers: Any) -> Any:
    return [f"id {number}" for number in numbers] if kind in TEXT else np.array(list(numbers), np.int64)


class Beginning:
    """An index with all kinds of changes: its objects, and the ids of its rows."""

    def __init__(self, kind: str) -> None:
        self.kind, store = kind, open_store(f"memory://forged-{kind}-{uuid4().hex}/index")
        options: dict[str, Any] = {**KINDS, **DOCUMENTS}[kind]
        if kind in DOCUMENTS:
            table, ids = table_of(0, ROWS), names_of(kind, range(ROWS))
            vsearch.build_documents(
                vectors_of(kind, ROWS, 1), None, store.url, attributes=table, ids=ids, dimensions=32, **options
            )
        else:
            vsearch.build(
                vectors_of(kind, ROWS, 1), store.url, table_of(0, ROWS), names_of(kind, range(ROWS)), **options
            )
        index = vsearch.open(store.url)
        self.dimensions = index.snapshot.manifest.dimensions
        self.stages: list[tuple[dict[str, bytes], list[Any]]] = []
        for change in (self._first, self._second, self._third):
            change(index)
            present = index.search(np.zeros(self.dimensions, np.float32), k=len(index), exact=True).ids[0].tolist()
            self.stages.append(({info.path: bytes(store.get(info.path)) for info in store.list("")}, present))

    def _put(self, index: Index, first: int, count: int, seed: int, *, upsert: bool = False) -> None:
        change = index.upsert if upsert else index.append
        extra = "extra" in index.snapshot.schema.names
        change(
            vectors_of(self.kind, count, seed),
            table_of(first, count, extra=extra),
            names_of(self.kind, range(first, first + count)),
        )

    def _first(self, index: Index) -> None:
        """Deltas on top of the files of a build."""
        self._put(index, 100, 14, 2)
        self._put(index, 3, 5, 3, upsert=True)
        index.delete(names_of(self.kind, [9, 10, 11, 101]))
        index.update({"price": 0.4}, where="number = 12")
        index.add_column("extra", [7, 7, 7], names_of(self.kind, [20, 21, 104]))

    def _second(self, index: Index) -> None:
        """Bases and young runs in bundles, split partitions, and a folded delta."""
        optimize(index.snapshot, force=True)
        index.refresh()
        index.drop_column("ok")
        index.add_column("ok", "bool")
        self._put(index, 120, 9, 4)
        index.delete(names_of(self.kind, [30, 31, 105]))
        optimize(index.snapshot)
        index.refresh()
        self._put(index, 130, 5, 5)
        index.update({"name": "row 1"}, ids=names_of(self.kind, [40, 131]))

    def _third(self, index: Index) -> None:
        """Folded deltas, followed by others."""
        for number in range(3):
            self._put(index, 140 + 3 * number, 3, 6 + number)
            index.delete(names_of(self.kind, [50 + number, 132 + number]))
        fold(index.snapshot, most=2)
        index.refresh()
        self._put(index, 60, 3, 11, upsert=True)
        index.delete(where="number = 3")

    def copy(self, store: Store, stage: int) -> Store:
        """Copy the index into a store, in its state after some of its changes."""
        for path, data in self.stages[stage][0].items():
            store.put(path, data)
        return store


beginning_of = cache(Beginning)
