"""The rows that pass a predicate, as positions in a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.filters.bitmaps import list_rows
from vsearch.search.engine.masking import mask_live, mask_shard

if TYPE_CHECKING:
    from vsearch.predicates import Bound
    from vsearch.search.state.snapshot import Snapshot


def matching_rows(snapshot: Snapshot, bound: Bound | None) -> NDArray[np.int64]:
    """Return the positions of the rows that pass, int64 (n,), ascending; all live rows without predicate. O(rows)."""
    positions = [np.empty(0, np.int64)]
    for shard in snapshot.shards:
        mask = mask_live(shard) if bound is None else mask_shard(snapshot, shard, bound)
        positions.append(shard.first_row + list_rows(mask.words, 0, shard.rows))
    return np.concatenate(positions)
