"""The arrays with which a thread fuses two rankings of few rows."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.legs.api import fuse, unite
from vsearch.kernels.legs.fields import MOST, PARTS, RRF, WEIGHTED, FusionField
from vsearch.search.fusion import CONSTANT
from vsearch.search.state.arguments import KernelArguments, address

# read once, since looking up a member of an enumeration costs as much as the assignment
NEAR, RANKED, COUNT, FAR, UNRANKED, KIND, SQUARED, K, SIZE = map(
    int,
    (
        FusionField.NEAR,
        FusionField.RANKED,
        FusionField.COUNT,
        FusionField.FAR,
        FusionField.UNRANKED,
        FusionField.KIND,
        FusionField.SQUARED,
        FusionField.K,
        FusionField.SIZE,
    ),
)
MISSING = FAR, UNRANKED
KINDS = {"rrf": RRF, "weighted": WEIGHTED}


class FusionWorkspace:
    """The argument block of the kernels of fusion, and its arrays, of which a call uses the first entries.

    Attributes
    ----------
    rows : int64 (MOST,)
        Candidates, ascending.
    scores : float64 (2, MOST)
        Their scores by vectors and by the leg.
    missing_rows, missing_scores : int64 (2, MOST), float32 (2, MOST)
        Candidates that a part did not find, ascending, and their scores, to be set by the caller.
    far_rows_at, far_scores_at : int
        Addresses of those of vectors.
    fused : float64 (MOST,)
    ranks : int64 (2, MOST)
    best : int64 (MOST,)
        Places of the best candidates.
    best_scores : float32 (3, MOST)
        Their fused scores, and those by vectors and by the leg, then NaN.
    best_rows : int64 (3, MOST)
        Their rows, and ranks by vectors and by the leg, then -1 and 0.
    """

    def __init__(self) -> None:
        self._block = KernelArguments(len(FusionField))
        self._address, self.values = self._block.address, self._block.values.data
        self._found_rows = self._array(FusionField.FOUND_ROWS, np.int64)
        self._found_scores = self._array(FusionField.FOUND_SCORES, np.float32)
        self.rows = self._array(FusionField.ROWS, np.int64)
        self.scores = self._array(FusionField.SCORES, np.float64, PARTS)
        self._places = self._array(FusionField.MISSING_PLACES, np.int64, PARTS)
        self.missing_rows = self._array(FusionField.MISSING_ROWS, np.int64, PARTS)
        self.missing_scores = self._array(FusionField.MISSING_SCORES, np.float32, PARTS)
        self.far_rows_at, self.far_scores_at = address(self.missing_rows), address(self.missing_scores)
        self.ranks = self._array(FusionField.RANKS, np.int64, PARTS)
        self.fused = self._array(FusionField.FUSED, np.float64)
        self.best = self._array(FusionField.BEST, np.int64)
        self.best_scores = self._array(FusionField.BEST_SCORES, np.float32, 3)
        self.best_rows = self._array(FusionField.BEST_ROWS, np.int64, 3)
        self._array(FusionField.ORDER, np.int64)
        self._array(FusionField.PASSED, np.int64)
        self._array(FusionField.KEYS, np.float64)
        self._weights = 1.0, 1.0
        self._numbers = np.array([*self._weights, CONSTANT])
        self._block.point(FusionField.NUMBERS, self._numbers, np.float64)

    def _array(self, field: FusionField, dtype: Any, *shape: int) -> NDArray[Any]:
        array: NDArray[Any] = np.zeros((*shape, MOST), dtype)
        self._block.point(field, array, dtype)
        return array

    def unite(
        self,
        near_rows: NDArray[np.int64],
        near_scores: NDArray[np.float32],
        leg_rows: NDArray[np.int64],
        leg_scores: NDArray[np.floating[Any]],
    ) -> int:
        """List the rows of two rankings, at most `MOST` together, in `rows` and `scores`; return their number.

        Scores are rounded to float32.
        """
        near, ranked, values = len(near_rows), len(leg_rows), self.values
        self._found_rows[:near], self._found_scores[:near] = near_rows, near_scores
        self._found_rows[near : near + ranked], self._found_scores[near : near + ranked] = leg_rows, leg_scores
        values[NEAR], values[RANKED] = near, ranked
        unite(self._address)
        return values[COUNT]

    def missing(self, part: int) -> NDArray[np.int64]:
        """Return the rows, ascending, that vectors (0) or the leg (1) did not find; valid until the next call."""
        return self.missing_rows[part, : self.values[MISSING[part]]]

    def missing_places(self, part: int) -> NDArray[np.int64]:
        """Return the places of these rows among the candidates."""
        return self._places[part, : self.values[MISSING[part]]]

    def fuse_united(self, fusion: str, weights: tuple[float, float], k: int, *, squared: bool) -> None:
        """Choose the k best of the candidates of `unite`; all of `missing` have scores in `missing_scores`.

        Parameters
        ----------
        fusion : {"rrf", "weighted"}
        weights : tuple of float
            Of vectors and of the leg.
        k : int
            Up to `MOST`.
        squared : bool
            Whether scores of vectors are squared distances.
        """
        values = self.values
        values[K], values[KIND], values[SQUARED] = k, KINDS[fusion], squared
        if weights != self._weights:
            self._numbers[:2] = self._weights = weights
        fuse(self._address)

    def fuse(self, count: int, fusion: str, weights: tuple[float, float], k: int, *, squared: bool) -> int:
        """Choose the k best of the first `count` candidates, which have all scores; return the number of the best."""
        self.values[COUNT], self.values[FAR], self.values[UNRANKED] = count, 0, 0
        self.fuse_united(fusion, weights, k, squared=squared)
        return self.values[SIZE]


_threads = threading.local()


def fusion_workspace() -> FusionWorkspace:
    """Return the workspace of the calling thread."""
    workspace: FusionWorkspace | None = getattr(_threads, "workspace", None)
    if workspace is None:
        workspace = _threads.workspace = FusionWorkspace()
    return workspace
