"""The protocol of contestants: they build an index for a task, and the index searches."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log2
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
import pyarrow as pa

from bench.data import Floats, Rows
from bench.measure import Search


class Absent(Exception):  # noqa: N818 - a result, not an error
    """A contestant cannot take part; the message says why."""


def load(module: str, package: str | None = None) -> ModuleType:
    """Import a peer, or raise :class:`Absent` with the reason."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Absent(f"{package or module} is not installed or does not load: {error}") from error


@dataclass(frozen=True)
class Task:
    """The input of every contestant.

    Attributes
    ----------
    base : (rows, d) float32
        Of unit length if the metric is cosine.
    metric : "cosine", "ip" or "l2"
    threads : int
        Maximum number for a build.
    scratch : Path
        An empty folder for this contestant.
    attributes : pyarrow.Table or None
        Aligned with the rows of ``base``; only in the filter benchmark.
    k : int
        Neighbors per query, for contestants that tune themselves.
    """

    base: Floats
    metric: str
    threads: int
    scratch: Path
    attributes: pa.Table | None = None
    k: int = 10

    @property
    def rows(self) -> int:
        return int(self.base.shape[0])

    @property
    def dimensions(self) -> int:
        return int(self.base.shape[1])


@dataclass(frozen=True)
class Setting:
    """One point of a contestant's sweep; ``values`` are its own parameters."""

    values: Mapping[str, float] = field(default_factory=dict)
    name: str = ""

    @property
    def label(self) -> str:
        return self.name or " ".join(f"{name}={value:g}" for name, value in self.values.items())

    def __getitem__(self, name: str) -> int:
        return int(self.values[name])


@dataclass(frozen=True)
class Predicate:
    """A filter: the SQL text and, as the exact truth, the rows that satisfy it.

    ``sql`` is None for "no filter".
    """

    name: str
    sql: str | None
    rows: Rows
    columns: tuple[str, ...] = ()


class Index(Protocol):
    """A built index.

    ``bytes_per_vector`` covers everything except the raw vectors (codes, factors, ids, graph, centroids), ``raw_bytes_per_vector``
    the vectors kept for reranking.
    """

    description: str
    bytes_per_vector: float
    raw_bytes_per_vector: float

    def settings(self) -> Sequence[Setting]:
        """The sweep, from fast to thorough."""
        ...

    def configure(self, setting: Setting, where: Predicate | None = None, /) -> Search:
        """A search on one thread with this setting; valid until the next call of configure.

        ``where`` is only used by the contestants of ``bench.filters``.
        """
        ...


class Contestant(Protocol):
    """Builds an index; ``name`` is short and stable, ``package`` what to install.

    ``build`` raises :class:`Absent` if the contestant cannot take part.
    """

    @property
    def name(self) -> str: ...

    @property
    def package(self) -> str: ...

    def build(self, task: Task) -> Index: ...


def lists(rows: int) -> int:
    """Number of inverted lists for IVF indexes: the power of two nearest 4 sqrt(rows), at most rows / 39."""
    ideal = round(log2(4 * rows**0.5))
    limit = int(log2(max(1, rows // 39)))
    return 1 << min(ideal, limit)


def sweep(most: int, first: int = 1) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, ... up to ``most``."""
    values = sorted({round(first * 2**i * f) for i in range(24) for f in (1, 1.5)})
    return [v for v in values if v < most] + [most]


def folder_bytes(folder: Path, without: str = "") -> int:
    """Bytes of the files below a folder, except those with a given name."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.name != without)


def padded(ids: Rows, k: int) -> Rows:
    """Pad ids to k columns with -1."""
    short = k - ids.shape[1]
    return ids if short <= 0 else np.pad(ids, ((0, 0), (0, short)), constant_values=-1)
