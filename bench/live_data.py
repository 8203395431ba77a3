"""Data for the bench of a changing index: rows to add and remove, indexes of them, and a store that counts requests."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

import vsearch
from bench.data import Data, Floats, Rows, Truth, exact, load, spaced
from bench.measure import Search
from bench.synthetic import clustered
from vsearch.api.index import Index
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import ObjectInfo, Store, open_store, read_manifest
from vsearch.storage.files.naming import snapshot_number
from vsearch.storage.stores.metered import MeteredStore

K = 10
CENTERS = 4096
COLUMNS = ("pos", "lexname", "polysemy", "has_example", "depth", "gloss_len")
"""Attributes to use from a folder, if it has them."""


@dataclass(frozen=True)
class Batch:
    """Rows as input of a change; their ids are their positions in the whole collection."""

    vectors: Floats
    attributes: pa.Table
    ids: Rows

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, where: slice | Rows) -> Batch:
        """Some of the rows."""
        table = self.attributes
        chosen = table.take(where) if isinstance(where, np.ndarray) else table[where]
        return Batch(self.vectors[where], chosen, self.ids[where])

    def build(self, url: Path, **options: Any) -> Index:
        return vsearch.build(self.vectors, str(url), self.attributes, self.ids, **options)

    def append_to(self, index: Index) -> None:
        index.append(self.vectors, self.attributes, self.ids)


@dataclass(frozen=True)
class Collection:
    """All rows, in random order, and held-out queries."""

    data: Data
    rows: Batch

    def truth(self, live: Rows) -> Truth:
        """The exact nearest neighbors among some rows."""
        data = self.data
        nearest = exact(data.base[live], data.queries, K, data.metric)
        return Truth(np.where(nearest.ids < 0, -1, live[nearest.ids]), nearest.scores)


def read(folder: Path, rows: int | None, queries: int | None) -> Collection:
    """The rows of a folder in random order: files are often sorted, and consecutive batches would drift."""
    data = load(folder, rows=rows, queries=queries)
    order = np.random.default_rng(0).permutation(data.rows)
    columns: dict[str, Any] = {"number": np.arange(data.rows)}
    if (folder / "attributes.parquet").exists():
        table = parquet.read_table(folder / "attributes.parquet").replace_schema_metadata(None)
        table = table.take(spaced(table.num_rows, data.rows)[order])
        columns |= {name: table[name] for name in COLUMNS if name in table.column_names}
    shuffled = replace(data, base=data.base[order])
    return Collection(shuffled, Batch(shuffled.base, pa.table(columns), np.arange(data.rows)))


def made(rows: int, dimensions: int) -> Batch:
    """Clustered unit vectors, each with a number and a kind, and ids in random order."""
    vectors, _ = clustered(rows, 1, dimensions, centers=CENTERS)
    random = np.random.default_rng(1)
    kinds = pa.array([f"kind {number}" for number in range(20)]).take(random.integers(20, size=rows))
    return Batch(vectors, pa.table({"number": np.arange(rows), "kind": kinds}), random.permutation(rows))


@dataclass(frozen=True)
class Setup:
    """Configuration shared by all parts.

    Attributes
    ----------
    collection : Collection
    large : (rows, dimensions)
        Size of the synthetic index, for the targets for a million rows.
    appends, batch : int
        Number of commits, and rows per commit.
    batches : tuple of int
        Batch sizes for which the cost of a search is measured.
    timed, repetitions : int
        Number of single queries per timing, and of repetitions.
    commits : int
        Number of commits per concurrent writer.
    minutes, seed
        Duration and seed of the histories.
    scratch : Path
    kept : Path
        Cache of built indexes.
    plots : Path
        Parent of the plots' folder.
    """

    collection: Collection
    large: tuple[int, int]
    appends: int
    batch: int
    batches: tuple[int, ...]
    timed: int
    repetitions: int
    commits: int
    minutes: float
    seed: int
    scratch: Path
    kept: Path
    plots: Path

    @cached_property
    def more(self) -> Batch:
        """Rows like those of the large index, with later ids."""
        rows, dimensions = self.large
        batch = made(rows // 8 + 2200, dimensions)
        return Batch(batch.vectors, batch.attributes, batch.ids + rows)

    @property
    def first(self) -> int:
        """Number of rows before the appends."""
        rows = len(self.collection.rows)
        return rows - self.appends * self.batch

    def large_index(self) -> Path:
        """A copy of the large index, as built."""
        rows, dimensions = self.large
        return self._built(f"live-{rows}x{dimensions}", lambda: made(rows, dimensions))

    def built(self, count: int) -> Path:
        """A copy of an index of the first rows, built once for all parts."""
        rows = self.collection.rows
        return self._built(f"live-{self.collection.data.name}-{len(rows)}-{count}", lambda: rows[:count])

    def left(self, live: Rows) -> Path:
        """A copy of an index of the rows that remain after the deletions."""
        rows = self.collection.rows
        return self._built(f"live-{self.collection.data.name}-{len(rows)}-left-{len(live)}", lambda: rows[live])

    def _built(self, name: str, rows: Callable[[], Batch]) -> Path:
        folder, unfinished = self.kept / name, self.kept / f"{name}-unfinished"
        if not folder.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            rows().build(unfinished)
            unfinished.rename(folder)
        return self.copy(folder)

    def place(self) -> Path:
        """A folder that does not exist yet."""
        return Path(tempfile.mkdtemp(dir=self.scratch)) / "index"

    def copy(self, folder: Path) -> Path:
        """A copy of an index that may be changed. Files are never overwritten, so hard links suffice."""
        return Path(shutil.copytree(folder, self.place(), copy_function=os.link))


class Bucket(MeteredStore):
    """A store that is read like a bucket: nothing is mapped, and lists, writes and reads are counted separately."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.lists, self.written = 0, dict[str, int]()
        self.manifests = 0

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        infos = super().list(prefix, after=after)
        self.lists += 1 + len(infos) // 1000
        return infos

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        self.manifests += snapshot_number(path) is not None
        self.written[path] = len(data)
        super().put(path, data, create=create)

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        self.written[path] = Path(local_path).stat().st_size
        super().put_file(path, local_path)

    def memory_map(self, path: str) -> None:
        """Files of a bucket cannot be mapped."""
        del path


def bucket(url: str | Path, **options: Any) -> Bucket:
    return Bucket(open_store(url, **options))


def open_on(store: Store) -> Index:
    """The newest snapshot in a store."""
    return Index(open_snapshot(store, read_manifest(store)))


@dataclass
class Spent:
    """The cost of a step: seconds, requests, and bytes written by folder."""

    processor: float = 0.0
    wall: float = 0.0
    writes: int = 0
    lists: int = 0
    reads: int = 0
    read: int = 0
    written: dict[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> str:
        return f"{self.writes} writes, {self.lists} lists, {self.reads} reads"


@contextmanager
def measured(store: Bucket | None = None) -> Iterator[Spent]:
    """Measure the CPU time of all threads, and count the requests to a store, inside the block."""
    spent = Spent()
    before = (0, 0, 0, 0) if store is None else (store.requests, store.writes, store.lists, store.bytes)
    if store is not None:
        store.written.clear()
    processor, wall = time.process_time(), time.perf_counter()
    yield spent
    spent.processor, spent.wall = time.process_time() - processor, time.perf_counter() - wall
    if store is not None:
        requests, writes, spent.lists, spent.read = (
            now - then
            for now, then in zip((store.requests, store.writes, store.lists, store.bytes), before, strict=True)
        )
        spent.writes, spent.reads = writes - spent.lists, requests - writes
        for path, size in store.written.items():
            folder = path.partition("/")[0]
            spent.written[folder] = spent.written.get(folder, 0) + size


def search_with(index: Index) -> Search:
    """A search with the index's own settings."""

    def search(queries: Floats, k: int) -> Rows:
        ids: Rows = index.search(queries, k=k).ids
        return ids

    return search


@dataclass(frozen=True)
class Row:
    """One line of the table: the target and the measurement; ``met`` is None if there is no target."""

    part: str
    what: str
    asked: str
    measured: str
    met: bool | None
    how: str = ""

    @property
    def cells(self) -> list[str]:
        verdict = {True: "met", False: "**missed**", None: "-"}[self.met]
        return [self.part, self.what, self.asked, self.measured, verdict, self.how]


@dataclass(frozen=True)
class Result:
    """Results of a part: lines of the table, and additional sections by title."""

    rows: list[Row]
    sections: dict[str, list[str]] = field(default_factory=dict)
