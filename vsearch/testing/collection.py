"""The rows that indexes are tested with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vsearch.api.protocol import SearchableIndex


@dataclass(frozen=True, eq=False)
class Opened:
    """An index, and the data it was built from.

    Attributes
    ----------
    index : SearchableIndex
        With metric l2, built from the data of `make_collection`.
    vectors : float32 (n, d)
    attributes : pyarrow.Table
    ids : list of str
    queries : float32 (m, d)
    refuses : frozenset of str
        Methods that this kind of index does not support: they raise a `VsearchError`.
    """

    index: SearchableIndex
    vectors: npt.NDArray[np.float32]
    attributes: pa.Table
    ids: list[str]
    queries: npt.NDArray[np.float32]
    refuses: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Collection:
    """Rows to build an index of, and queries; see `Opened`."""

    vectors: npt.NDArray[np.float32]
    attributes: pa.Table
    ids: list[str]
    queries: npt.NDArray[np.float32]

    def opened(self, index: Any, *refuses: str) -> Opened:
        """An index that was built from these rows."""
        return Opened(index, self.vectors, self.attributes, self.ids, self.queries, frozenset(refuses))


def make_collection(rows: int = 600, dimensions: int = 16, seed: int = 7) -> Collection:
    """Clustered rows with a number, a word, a flag and a text each; some values are NULL.

    Build the index by ``vsearch.build(c.vectors, url, c.attributes, c.ids, metric="l2", shards=2, partitions=8, text="text")``.
    """
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(6, dimensions)) * 3
    vectors = (centers[rng.integers(0, 6, rows)] + rng.normal(size=(rows, dimensions))).astype(np.float32)
    queries = (centers[rng.integers(0, 6, 12)] + rng.normal(size=(12, dimensions))).astype(np.float32)
    attributes = pa.table(
        {
            "number": pa.array(np.arange(rows)),
            "word": pa.array([f"w{row % 5}" if row % 7 else None for row in range(rows)]),
            "flag": pa.array([row % 3 == 0 for row in range(rows)]),
            "text": pa.array([_text(row) if row % 11 else None for row in range(rows)]),
        }
    )
    return Collection(vectors, attributes, [f"row-{row}" for row in range(rows)], queries)


def _text(row: int) -> str:
    """A text with words that some rows share: of every row, of its hundred, and of its last digit, in various numbers."""
    return f"row of{row // 100} digit{row % 10} {'more ' * (row % 17)}".strip()
