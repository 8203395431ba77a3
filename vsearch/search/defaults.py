"""Settings of an index that nobody asked for: those it is built with, and those it gets when it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch.search.samples import FOREIGN_QUERIES, draw_foreign, draw_mixture
from vsearch.search.tuning import tune, widened

if TYPE_CHECKING:
    from vsearch.search.state.model import SearchSettings
    from vsearch.search.state.snapshot import Snapshot

DEFAULT_RECALL = 0.97
"""What a new index is tuned to, on rows of its own."""

DEFAULT_K = 10

TUNING_QUERIES = 512

TUNING_ROWS = 1 << 28
"""Rows scored exactly by such a tuning, all queries together."""

SMALL = 500
"""Rows of which a search looks at nearly all: a sample of them says little, and a scan costs next to nothing."""


def tune_defaults(snapshot: Snapshot, recall: float = DEFAULT_RECALL, k: int = DEFAULT_K) -> SearchSettings:
    """Settings that reach a recall for rows of an index, which has some, and for queries unlike them."""
    rows, seed = snapshot.live_count, snapshot.manifest.seed
    queries = max(16, min(TUNING_QUERIES, TUNING_ROWS // rows))
    sample = draw_mixture(snapshot, queries, seed)
    foreign = draw_foreign(snapshot, min(FOREIGN_QUERIES, queries), seed)
    settings, _ = tune(snapshot, sample, recall, min(k, rows), foreign)
    return widened(settings) if rows <= SMALL else settings
