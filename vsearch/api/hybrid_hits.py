"""The results of searches by vectors and words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from vsearch.api.hits import Hits

if TYPE_CHECKING:
    import pyarrow as pa


NO_SCORES = np.empty((0, 0), np.float32)
NO_RANKS = np.empty((0, 0), np.int64)


@dataclass(frozen=True, eq=False, repr=False)
class HybridHits(Hits):
    """The best rows of each query by vectors and words, best first: `Hits` whose scores are fused.

    Attributes
    ----------
    vector_scores, text_scores : float32 (queries, k)
        Scores of the rows as `Index.search` and `Index.search_text` give them; 0 for a row with none of the words, NaN for missing rows.
    vector_ranks, text_ranks : int64 (queries, k)
        Ranks by these scores, from 1, among the candidates of both parts, equal for equal scores; 0 for none.
    """

    vector_scores: NDArray[np.float32] = field(default_factory=lambda: NO_SCORES)
    vector_ranks: NDArray[np.int64] = field(default_factory=lambda: NO_RANKS)
    text_scores: NDArray[np.float32] = field(default_factory=lambda: NO_SCORES)
    text_ranks: NDArray[np.int64] = field(default_factory=lambda: NO_RANKS)

    def choose(self, places: NDArray[np.int64], scores: NDArray[np.float32] | None = None) -> Self:
        """Return these hits in another order, or fewer of them, with the scores of both parts: see `Hits.choose`."""
        chosen = super().choose(places, scores)
        if not self.scores.shape[1]:
            return chosen
        absent = places < 0
        at = np.arange(len(places))[:, None], np.where(absent, 0, places)
        none = np.float32(np.nan)
        return replace(
            chosen,
            vector_scores=np.where(absent, none, self.vector_scores[at]),
            vector_ranks=np.where(absent, 0, self.vector_ranks[at]),
            text_scores=np.where(absent, none, self.text_scores[at]),
            text_ranks=np.where(absent, 0, self.text_ranks[at]),
        )

    def to_arrow(self) -> pa.Table:
        """The table of `Hits.to_arrow`, with the scores and ranks of both parts at the end."""
        import pyarrow as pa

        table = super().to_arrow()
        present = ~np.isnan(self.scores.reshape(-1))
        for name in ("vector_score", "vector_rank", "text_score", "text_rank"):
            values = getattr(self, f"{name}s").reshape(-1)[present]
            label = name if name not in table.column_names else f"hybrid.{name}"
            table = table.append_column(label, pa.array(values))
        return table
