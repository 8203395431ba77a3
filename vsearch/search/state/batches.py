"""The argument block of a batch: several queries of one native call, its outputs, and the scratch of planning them together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import COUNTERS, SEVERAL, TOGETHER, BatchField
from vsearch.search.state.arguments import KernelArguments
from vsearch.search.state.model import Model


class Batch:
    """The argument block of the batches of one thread: `fields` is passed to `search_batch`."""

    def __init__(self, model: Model) -> None:
        d, coarse = model.dimensions, model.coarse_centroids
        words_length = d + d % 2
        self.fields = KernelArguments(len(BatchField))
        self._d = d
        for field, scratch in (
            (BatchField.ROTATED, np.empty((SEVERAL, d), np.float32)),
            (BatchField.PRODUCTS, np.empty((SEVERAL, len(coarse.steps)), np.float32)),
            (BatchField.QUERY_CODES, np.empty((SEVERAL, coarse.dimensions), np.int8)),
            (BatchField.QUERY_WORDS, np.empty((SEVERAL, words_length), np.int16)),
            (BatchField.GROUP_SUMS, np.empty((SEVERAL, TOGETHER), np.int32)),
            (BatchField.STEPS, np.empty(SEVERAL, np.float32)),
            (BatchField.TOTALS, np.empty(SEVERAL, np.float32)),
        ):
            self.fields.point(field, scratch, scratch.dtype)
        values = self.fields.values
        values[BatchField.DIMENSIONS], values[BatchField.POSITIONS] = d, len(coarse.steps)
        values[BatchField.CODES_LENGTH], values[BatchField.WORDS_LENGTH] = coarse.dimensions, words_length

    def pack(
        self, queries: NDArray[np.float32], k: int, *, prepared: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Pack m queries float32 (m, d), and make room for k hits of each, until `release`.

        Parameters
        ----------
        prepared : bool
            Whether the queries are already normalized, centered and rotated.

        Returns
        -------
        scores, rows, counters : float32 (m, k), int64 (m, k), int64 (m, COUNTERS)
            The outputs.
        """
        count = len(queries)
        if queries.shape != (count, self._d):
            msg = f"queries must have the shape ({count}, {self._d}), got {queries.shape}"
            raise ValueError(msg)
        scores, rows = np.empty((count, k), np.float32), np.empty((count, k), np.int64)
        counters = np.empty((count, COUNTERS), np.int64)
        self.fields.point(BatchField.QUERIES, np.ascontiguousarray(queries), np.float32)
        self.fields.point(BatchField.SCORES, scores, np.float32)
        self.fields.point(BatchField.ROWS, rows, np.int64)
        self.fields.point(BatchField.COUNTERS, counters, np.int64)
        values = self.fields.values
        values[BatchField.COUNT], values[BatchField.PREPARED], values[BatchField.K] = count, prepared, k
        return scores, rows, counters

    def release(self) -> None:
        """Keep queries and outputs no longer."""
        self.fields.forget(BatchField.QUERIES, BatchField.SCORES, BatchField.ROWS, BatchField.COUNTERS)
