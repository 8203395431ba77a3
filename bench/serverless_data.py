"""Stand-ins for public datasets of which only the shape is available: synthetic clustered vectors with a decaying spectrum.

Recalls and costs on them are those of the stand-ins, and are labeled as such wherever they are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from bench.data import Floats, Rows

ATTRIBUTES = ("a", "b", "c", "d")
"""Uniform in [0, 1), as in SQUASH's experiments."""

JOINT = 0.08
"""Fraction of the rows that match the predicates on all four attributes together."""

CLUSTERS_PER_ROW = 1 / 500
CHUNK = 100_000


@dataclass(frozen=True)
class StandIn:
    """The shape of a published dataset, and the part of it that is measured here.

    Attributes
    ----------
    name : str
        The dataset whose shape it has.
    rows, dimensions : int
        Of the published dataset.
    measured : int
        Rows that are generated and measured; the rest is extrapolated.
    shards : int
        Of the measured rows.
    published : float
        Dollars per million queries at SQUASH's cheapest point.
    """

    name: str
    rows: int
    dimensions: int
    measured: int
    shards: int
    published: float

    @property
    def folder(self) -> str:
        """Its location below the work folder."""
        return f"standin-{self.measured}x{self.dimensions}"


STAND_INS = (
    StandIn("SIFT1M", 1_000_000, 128, 1_000_000, 1, 10.0),
    StandIn("GIST1M", 1_000_000, 960, 200_000, 1, 50.0),
    StandIn("SIFT10M", 10_000_000, 128, 1_000_000, 1, 34.0),
    StandIn("DEEP10M", 10_000_000, 96, 2_000_000, 16, 33.0),
)


def make(folder: Path, rows: int, dimensions: int, queries: int = 1000, seed: int = 0) -> None:
    """Write ``base.npy``, ``queries.npy`` and ``attributes.parquet`` of a stand-in, unless they exist.

    Centers and the vectors around them are Gaussian with variances that fall as 1 / j from direction to direction, in a random
    rotation; clusters differ in size and width. Queries are drawn like the rows, but are not among them.
    """
    if (folder / "attributes.parquet").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    clusters = max(16, round(rows * CLUSTERS_PER_ROW))
    deviations = (1 / np.sqrt(np.arange(1, dimensions + 1))).astype(np.float32)
    rotation = np.linalg.qr(random.standard_normal((dimensions, dimensions)))[0].astype(np.float32)
    centers = random.standard_normal((clusters, dimensions), np.float32) * deviations
    widths = np.exp(random.normal(-0.4, 0.25, clusters)).astype(np.float32)
    shares = random.gamma(1.5, size=clusters)
    shares /= shares.sum()

    def draw(count: int) -> Floats:
        chosen = random.choice(clusters, count, p=shares)
        around = random.standard_normal((count, dimensions), np.float32) * deviations * widths[chosen, None]
        vectors: Floats = (centers[chosen] + around) @ rotation
        return vectors

    base = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (rows, dimensions))
    for start in range(0, rows, CHUNK):
        base[start : start + CHUNK] = draw(min(CHUNK, rows - start))
    base.flush()
    np.save(folder / "queries.npy", draw(queries))
    table = {name: random.random(rows, np.float32) for name in ATTRIBUTES}
    parquet.write_table(pa.table(table), folder / "attributes.parquet")


def ranges(seed: int) -> list[tuple[str, float, float]]:
    """A range for every attribute, all of the same width: together they match a fraction of `JOINT` of the rows."""
    width = JOINT ** (1 / len(ATTRIBUTES))
    lows = np.random.default_rng(seed).uniform(0, 1 - width, len(ATTRIBUTES))
    return [(name, round(low, 6), round(low + width, 6)) for name, low in zip(ATTRIBUTES, lows.tolist(), strict=True)]


def where(seed: int) -> str:
    """The ranges as a predicate."""
    return " AND ".join(f"{name} BETWEEN {low:.6f} AND {high:.6f}" for name, low, high in ranges(seed))


def true_neighbors(folder: Path, seed: int, queries: Floats, k: int) -> Rows:
    """Exact nearest rows by squared distance among those in the ranges: int64 (m, k)."""
    import faiss

    table = parquet.read_table(folder / "attributes.parquet")
    passing = np.ones(table.num_rows, np.bool_)
    for name, low, high in ranges(seed):
        values = table.column(name).to_numpy().astype(np.float64)
        passing &= (values >= low) & (values <= high)
    rows = np.flatnonzero(passing)
    base = np.load(folder / "base.npy", mmap_mode="r")
    flat = faiss.IndexFlatL2(base.shape[1])
    flat.add(np.ascontiguousarray(base[rows]))
    neighbors: Rows = rows[flat.search(queries, k)[1]]
    return neighbors
