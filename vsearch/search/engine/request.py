"""Requests and results of searches, in one process and behind functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.model import SearchSettings

if TYPE_CHECKING:
    from vsearch.search.engine.stats import SearchStats


class SearchRequest(msgspec.Struct, frozen=True):
    """The parameters of a search other than its vectors.

    Attributes
    ----------
    k : int
    settings : SearchSettings
    nprobe : int or None
        See `routing.plan_visits`.
    exact : bool
    min_score : float or None
        See `merge.drop_dissimilar`.
    deadline : float or None
        `time.monotonic` value after which the search times out.
    offset : int
        Number of rows to skip; for `vectors.search_page`.
    """

    k: int
    settings: SearchSettings
    nprobe: int | None = None
    exact: bool = False
    min_score: float | None = None
    deadline: float | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        if self.k < 1:  # kernels write the first hit before they check k
            raise ValueError(f"k must be at least 1, got {self.k}")


class Answer(msgspec.Struct, frozen=True, eq=False):
    """The best rows of m queries: scores float32 (m, k), as users see them, rows int64 (m, k); NaN and -1 if none."""

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    stats: SearchStats
