"""Drift: how far an index has moved away from what its model and its settings were made for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot

CHANGED_SHARE = 0.1
"""Of the rows that settings were found for: with more changes than that, others are found."""

ENERGY = 1.05
"""Residual energy of later rows, relative to that of the others, above which other settings are found."""

LEAST_SHARE = 0.01
"""Changes below this share say nothing about the settings, however far the rows lie."""

FAR_ENERGY = 1.5
"""Residual energy from which a new model is worth its time."""

GROWTH = 10.0
"""Times the rows of its training, from which an index has too few partitions."""


@dataclass(frozen=True)
class Drift:
    """What became of an index since its model was trained.

    Attributes
    ----------
    energy : float
        Mean squared distance of the rows of the tail and of young runs to their centroids, over that of the base; 1 where there
        are none.
    rows : float
        Rows, over those of the training.
    recommendation : str or None
        What to do about it.
    """

    energy: float
    rows: float
    recommendation: str | None

    def to_dict(self) -> dict[str, Any]:
        """The same as a dict."""
        return asdict(self)


def measure_drift(snapshot: Snapshot) -> Drift:
    """Drift of a snapshot: from its partition tables alone. O(partitions of all runs)."""
    manifest = snapshot.manifest
    live = manifest.live
    if not live:
        return Drift(1.0, 1.0, None)
    energy = _energy(snapshot)
    rows = manifest.rows / live.trained_rows if live.trained_rows else 1.0
    return Drift(round(energy, 4), round(rows, 4), _recommend(snapshot, energy, rows))


def needs_tuning(snapshot: Snapshot) -> bool:
    """Whether the settings were found for other rows than there are now."""
    live = snapshot.manifest.live
    if not live or not live.trained_rows or not snapshot.manifest.rows:
        return False
    share = live.changed / max(1, live.tuned_rows)
    return share > CHANGED_SHARE or (share > LEAST_SHARE and _energy(snapshot) > ENERGY)


def _recommend(snapshot: Snapshot, energy: float, rows: float) -> str | None:
    anew = "retrain()" if snapshot.manifest.documents is None else "build it again"
    if rows >= GROWTH:
        return f"{anew}: the index has {rows:.0f} times the rows of its training"
    if energy >= FAR_ENERGY:
        return f"{anew}: later rows lie {energy:.1f} times as far (squared) from the centroids as those of the training"
    if needs_tuning(snapshot):
        return "optimize(): the settings were found for other rows"
    return None


def _energy(snapshot: Snapshot) -> float:
    """Energy of rows that came later, over that of the bases'."""
    bases, later = [], []
    shards = iter(snapshot.shards)
    for entry in snapshot.manifest.shards:
        bases.append(next(shards))
        later += [next(shards)] if entry.young else []
    later += shards
    before, after = _mean_square(bases), _mean_square(later)
    return after / before if before and after else 1.0


def _mean_square(runs: Sequence[Shard]) -> float:
    """Mean squared distance of the rows of some runs to their centroids; 0 for none."""
    rows = sum(run.rows for run in runs)
    total = sum(float(run.table.rows @ np.square(run.table.radii, dtype=np.float64)) for run in runs)
    return total / rows if rows else 0.0
