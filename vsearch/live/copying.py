"""Make the copies of rows in second partitions for new runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.building.copies import copies_of_codes

if TYPE_CHECKING:
    from vsearch.live.splitting import Split
    from vsearch.search.state.deltas import Rows
    from vsearch.search.state.snapshot import Snapshot


def copies_of_rows(snapshot: Snapshot, split: Split | None, rows: Rows, partitions: range) -> dict[str, dict[str, Any]]:
    """Return the parts of a run of a shard with the copies of its rows; none in an index without copies."""
    if snapshot.manifest.spill is not True:
        return {}
    used = np.bincount(rows.codes.partitions - partitions.start, minlength=len(partitions)) > 0
    if split is None:
        used |= snapshot.partition_rows[partitions.start : partitions.stop] > 0
    return copies_of_codes(snapshot.model if split is None else split.model, rows.codes, partitions, used)
