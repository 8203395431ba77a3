"""Drift: how much an index has changed since its training and tuning."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot

CHANGED_SHARE = 0.1
"""Number of changes, as a fraction of the rows at the last tuning, above which an index is tuned again."""

ENERGY = 1.05
"""Relative residual energy of later rows above which an index is tuned again."""

LEAST_SHARE = 0.01
"""Fraction of changes below which an index is not tuned again, regardless of the residual energy."""

FAR_ENERGY = 1.5
"""Relative residual energy above which retraining is recommended."""

LEAST_ROWS = 20
"""Minimum number of rows in deltas for judging their distance."""

SMALL_PARTITION = 64
"""Mean rows of partitions below which centroids fit their own rows more closely than others of the same distribution."""

FAR_ENERGY_OF_SMALL = 3.0
"""Relative residual energy above which a commit warns, if partitions are small."""

GROWTH = 10.0
"""Number of rows, relative to the training, above which retraining is recommended, as there are too few partitions."""


@dataclass(frozen=True)
class Drift:
    """Changes of an index since its model was trained.

    Attributes
    ----------
    energy : float
        Mean squared distance of the rows of the tail and of young runs to their centroids, relative to the base; 1 if there
        are no such rows.
    rows : float
        Number of rows, relative to the training.
    recommendation : str or None
        The method to run, and the reason.
    """

    energy: float
    rows: float
    recommendation: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)


def measure_drift(snapshot: Snapshot) -> Drift:
    """Measure the drift of a snapshot from its partition tables. O(partitions of all runs)."""
    manifest = snapshot.manifest
    live = manifest.live
    if not live:
        return Drift(1.0, 1.0, None)
    energy = _energy(snapshot)
    rows = manifest.rows / live.trained_rows if live.trained_rows else 1.0
    return Drift(round(energy, 4), round(rows, 4), _recommend(snapshot, energy, rows))


def warn_of_distance(before: Snapshot, after: Snapshot) -> str | None:
    """Return a warning if a change made the rows in deltas too far from all partitions; None if they are not, or were before.

    O(rows in deltas); it needs no layout.
    """
    energy, bases = _delta_energy(after), _bases(after)
    small = sum(run.rows for run in bases) < SMALL_PARTITION * sum(run.partitions for run in bases)
    limit = FAR_ENERGY_OF_SMALL if small else FAR_ENERGY
    if energy < limit or (before is not after and _delta_energy(before) >= limit):
        return None
    action = "retrain()" if after.manifest.documents is None else "build the index again"
    return (
        f"the rows added since the last merge are far from all partitions: their squared distance to centroids is "
        f"{energy:.1f} times that of the trained rows, so searches visit more of the index and codes are less exact; "
        f"{action} if more such rows are expected"
    )


def _delta_energy(snapshot: Snapshot) -> float:
    """Return the residual energy of the rows in deltas relative to the bases; 1 for too few rows."""
    squares = [delta.rows.codes.squares for delta in snapshot.deltas]
    if sum(map(len, squares)) < LEAST_ROWS:
        return 1.0
    before, runs = _mean_square(_bases(snapshot)), np.concatenate(squares)
    return float(runs.mean(dtype=np.float64)) / before if before else 1.0


def _bases(snapshot: Snapshot) -> list[Shard]:
    runs = iter(snapshot.runs)
    by_shard = [[next(runs) for _ in range(1 + bool(entry.young))] for entry in snapshot.manifest.shards]
    return [shard_runs[0] for shard_runs in by_shard]


def needs_tuning(snapshot: Snapshot) -> bool:
    """Whether enough rows changed since the settings were found."""
    live = snapshot.manifest.live
    if not live or not live.trained_rows or not snapshot.manifest.rows:
        return False
    share = live.changed / max(1, live.tuned_rows)
    return share > CHANGED_SHARE or (share > LEAST_SHARE and _energy(snapshot) > ENERGY)


def _recommend(snapshot: Snapshot, energy: float, rows: float) -> str | None:
    action = "retrain()" if snapshot.manifest.documents is None else "build it again"
    if rows >= GROWTH:
        return f"{action}: the index has {rows:.0f} times as many rows as when it was trained"
    if energy >= FAR_ENERGY:
        return (
            f"{action}: the squared distance of later rows to centroids is {energy:.1f} times that of the trained rows"
        )
    if needs_tuning(snapshot):
        return "optimize(): many rows changed since the settings were tuned"
    return None


def _energy(snapshot: Snapshot) -> float:
    """Return the residual energy of later rows, relative to the bases."""
    bases, later = [], []
    shards = iter(snapshot.shards)
    for entry in snapshot.manifest.shards:
        bases.append(next(shards))
        later += [next(shards)] if entry.young else []
    later += shards
    before, after = _mean_square(bases), _mean_square(later)
    return after / before if before and after else 1.0


def _mean_square(runs: Sequence[Shard]) -> float:
    """Return the mean squared distance of the rows of runs to their centroids; 0 for no rows."""
    rows = sum(run.rows for run in runs)
    total = sum(float(run.table.rows @ np.square(run.table.radii, dtype=np.float64)) for run in runs)
    return total / rows if rows else 0.0
