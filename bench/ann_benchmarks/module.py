"""vsearch in ann-benchmarks, through its public interface only; `bench/README.md` says where the files go."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ann_benchmarks.algorithms.base.module import BaseANN

import vsearch

METRICS = {"angular": "cosine", "euclidean": "l2", "hamming": "hamming"}


class Vsearch(BaseANN):
    """An index in a temporary folder, tuned to one recall after the other.

    Parameters
    ----------
    metric : {"angular", "euclidean", "hamming"}
    count : int
        Neighbors that will be asked for; the recall is tuned for them.
    options : mapping
        Arguments of `vsearch.build`, such as ``bits`` and ``rerank``.
    """

    def __init__(self, metric: str, count: int, options: Mapping[str, Any]) -> None:
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
        self._metric, self._count, self._options = metric, count, dict(options)
        self._folder: Path | None = None
        self._index: vsearch.Index
        self._exact = False
        self._computed = 0
        self._batch: list[np.ndarray] = []
        self.name = self._named()

    def _named(self, recall: float | None = None) -> str:
        options = {"metric": self._metric, **self._options} | ({} if recall is None else {"recall": recall})
        return f"vsearch({', '.join(f'{name}={value}' for name, value in options.items())})"

    def _vectors(self, X: np.ndarray) -> np.ndarray:
        if self._metric == "hamming":
            return np.asarray(X, np.bool_)
        return np.ascontiguousarray(X, np.float32)

    def fit(self, X: np.ndarray) -> None:
        """Build the index. Under the angular distance, rows of zeros have no distance to anything and are left out."""
        self.done()
        self._folder = Path(tempfile.mkdtemp(prefix="vsearch-"))
        rows, metric = np.arange(len(X)), METRICS[self._metric]
        vectors = self._vectors(X)
        self._index = vsearch.build(
            vectors, self._folder / "index", ids=rows, metric=metric, missing="skip", **self._options
        )
        self._index.search(vectors[0], self._count)  # loads the kernels

    def set_query_arguments(self, recall: float) -> None:
        """Tune to a recall; 1 scores all rows."""
        self._exact = recall >= 1
        if not self._exact:
            self._index.tune(recall=recall, k=self._count)
        self._computed = 0
        self.name = self._named(recall)

    def _search(self, queries: np.ndarray, n: int) -> np.ndarray:
        hits = self._index.search(self._vectors(queries), n, exact=self._exact)
        self._computed += hits.stats.rows_scanned + hits.stats.rows_reranked
        return hits.ids

    def query(self, q: np.ndarray, n: int) -> np.ndarray:
        return self._search(q, n)[0]

    def batch_query(self, X: np.ndarray, n: int) -> None:
        self._batch = [ids[ids >= 0] for ids in self._search(X, n)]

    def get_batch_results(self) -> list[np.ndarray]:
        return self._batch

    def get_additional(self) -> dict[str, Any]:
        return {"dist_comps": self._computed}

    def get_memory_usage(self) -> float:
        """Kilobytes of the index: its files are mapped, so the memory of the process would not say."""
        return self._index.info()["bytes"] / 1024 if self._folder else 0.0

    def done(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
