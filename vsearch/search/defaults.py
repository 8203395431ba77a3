"""Default search settings of an index: after a build, and after changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch.search.samples import FOREIGN_QUERIES, draw_foreign, draw_mixture
from vsearch.search.tuning import tune, widened

if TYPE_CHECKING:
    from vsearch.search.state.model import SearchSettings
    from vsearch.search.state.snapshot import Snapshot

DEFAULT_RECALL = 0.97
"""Recall that a new index is tuned to, on its own rows."""

DEFAULT_K = 10

TUNING_QUERIES = 512

TUNING_ROWS = 1 << 28
"""Maximum number of rows scored exactly by default tuning, over all queries."""

SMALL = 500
"""Rows up to which settings are widened: a sample says little about so few rows, and scanning them is cheap."""


def tune_defaults(snapshot: Snapshot, recall: float = DEFAULT_RECALL, k: int = DEFAULT_K) -> SearchSettings:
    """Tune a non-empty index to a recall, for queries like its rows and for queries unlike them."""
    rows, seed = snapshot.live_count, snapshot.manifest.seed
    queries = max(16, min(TUNING_QUERIES, TUNING_ROWS // rows))
    sample = draw_mixture(snapshot, queries, seed)
    foreign = draw_foreign(snapshot, min(FOREIGN_QUERIES, queries), seed)
    settings, _ = tune(snapshot, sample, recall, min(k, rows), foreign)
    return widened(settings) if rows <= SMALL else settings
