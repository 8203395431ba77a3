"""The results of searches by vectors and another leg, such as words."""

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
    """The best rows of each query by vectors and another leg, such as words, best first: `Hits` whose scores are fused.

    Attributes
    ----------
    vector_scores, leg_scores : float32 (queries, k)
        Scores of the rows as `Index.search` and `Index.search_leg` give them; 0 for a row that the leg does not match, such as one
        with none of the words; NaN for missing rows.
    vector_ranks, leg_ranks : int64 (queries, k)
        Ranks by these scores, from 1, among the candidates of both parts, equal for equal scores; 0 for none.
    leg : str
        Name of the leg, ``"text"`` for words, ``"sparse"`` for weights of terms.
    text_scores, text_ranks
        Other names of `leg_scores` and `leg_ranks`.
    """

    vector_scores: NDArray[np.float32] = field(default_factory=lambda: NO_SCORES)
    vector_ranks: NDArray[np.int64] = field(default_factory=lambda: NO_RANKS)
    leg_scores: NDArray[np.float32] = field(default_factory=lambda: NO_SCORES)
    leg_ranks: NDArray[np.int64] = field(default_factory=lambda: NO_RANKS)
    leg: str = "text"

    @property
    def text_scores(self) -> NDArray[np.float32]:
        """The scores of the words."""
        self._require_text("text_scores")
        return self.leg_scores

    @property
    def text_ranks(self) -> NDArray[np.int64]:
        """The ranks by words."""
        self._require_text("text_ranks")
        return self.leg_ranks

    def _require_text(self, name: str) -> None:
        if self.leg != "text":
            raise AttributeError(f"{name} is for words, these hits are of the leg {self.leg!r}: use leg{name[4:]}")

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
            leg_scores=np.where(absent, none, self.leg_scores[at]),
            leg_ranks=np.where(absent, 0, self.leg_ranks[at]),
        )

    def to_arrow(self) -> pa.Table:
        """The table of `Hits.to_arrow`, with the scores and ranks of both parts at the end."""
        import pyarrow as pa

        table = super().to_arrow()
        present = ~np.isnan(self.scores.reshape(-1))
        parts = {"vector": (self.vector_scores, self.vector_ranks), self.leg: (self.leg_scores, self.leg_ranks)}
        for part, (scores, ranks) in parts.items():
            for name, values in ((f"{part}_score", scores), (f"{part}_rank", ranks)):
                label = name if name not in table.column_names else f"hybrid.{name}"
                table = table.append_column(label, pa.array(values.reshape(-1)[present]))
        return table
