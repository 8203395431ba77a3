"""Masks of whole snapshots, and their cache: a repeated predicate is neither parsed nor evaluated again."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import cached_property, renew_in_children
from vsearch.search.engine.masking import ShardMask, mask_live, mask_rows
from vsearch.search.state.spread import spread

if TYPE_CHECKING:
    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot

BUDGET_BYTES = 64 << 20
BY_CHANCE = 3.0  # times the expected deviation, which dozens of partitions hardly ever exceed by chance

MOST_ROWS = 0.5  # share of the rows that leaves the nearest ones at about the same ranks


@dataclass(frozen=True, eq=False)
class IndexMask:
    """The rows of a whole snapshot that pass a predicate.

    Attributes
    ----------
    shards : tuple of ShardMask
    matches : int64 (partitions,)
        Number of rows in each partition, over all shards, that may pass by their cells.
    effective_radii : float32 (partitions,)
        Radius of the matching rows of a partition: its radius, or less if few rows match (see `spread`).
    certain, certain_radii : int64 (partitions,), float32 (partitions,)
        The same for the rows that certainly pass by their cells.
    rows, rechecked : int
        Number of rows that pass, and of rows that only an exact column could decide.
    correlated : bool
        Whether the shares of passing rows differ between partitions by more than chance: then the passing rows of a
        partition may differ from its other rows.
    live : bool
        Whether it only lacks removed rows: there is no predicate.
    even : bool
        Whether it has most of the rows, and about the same share of all partitions.
    """

    shards: tuple[ShardMask, ...]
    matches: NDArray[np.int64]
    effective_radii: NDArray[np.float32]
    certain: NDArray[np.int64]
    certain_radii: NDArray[np.float32]
    rows: int
    rechecked: int
    correlated: bool
    live: bool = False
    even: bool = False

    @classmethod
    def of(cls, shards: list[ShardMask], snapshot: Snapshot, *, live: bool = False) -> IndexMask:
        """Combine the masks of all runs of a snapshot; `live` if they only lack removed rows."""
        partition_rows, radii = snapshot.partition_rows, snapshot.radii
        matches, certain = np.zeros(len(radii), np.int64), np.zeros(len(radii), np.int64)
        for mask, run in zip(shards, snapshot.shards, strict=True):
            partitions = slice(run.first_partition, run.first_partition + run.partitions)
            matches[partitions] += mask.matches
            certain[partitions] += mask.certain
        rows, correlated = sum(mask.rows for mask in shards), _correlated(certain, partition_rows)
        return cls(
            tuple(shards),
            matches,
            _spread(matches, partition_rows, radii),
            certain,
            _spread(certain, partition_rows, radii),
            rows,
            sum(mask.rechecked for mask in shards),
            correlated,
            live,
            not correlated and rows >= MOST_ROWS * int(partition_rows.sum()),
        )

    def filters(self, nprobe: int | None) -> bool:
        """Return whether routing must treat this as a filter, that is, expect that the rows nearest to a query do not pass.

        Removed rows leave `nprobe` exact, and otherwise count as a filter only if not removed evenly.
        """
        return not self.live or (nprobe is None and not self.even)

    @cached_property
    def words(self) -> tuple[NDArray[np.uint64], ...]:
        """The rows of each run that pass; always the same object, so that workspaces recognize an unchanged mask."""
        return tuple(mask.words for mask in self.shards)

    @property
    def bytes(self) -> int:
        open_bytes = sum(mask.open.nbytes for mask in self.shards if mask.open is not None)
        return self.matches.nbytes + open_bytes + sum(mask.words.nbytes for mask in self.shards)


def _spread(matches: NDArray[np.int64], rows: NDArray[np.int64], radii: NDArray[np.float32]) -> NDArray[np.float32]:
    return (radii * spread(matches, rows)).astype(np.float32)


def _correlated(passing: NDArray[np.int64], rows: NDArray[np.int64]) -> bool:
    """Return whether the squared deviations from the mean share exceed `BY_CHANCE` times those of a binomial."""
    total = max(1, int(rows.sum()))
    share = float(passing.sum()) / total
    variances = rows * (share * (1 - share))
    deviations = (passing - share * rows) ** 2
    return float(deviations.sum()) > BY_CHANCE * float(variances.sum())


def live_mask(snapshot: Snapshot) -> IndexMask | None:
    """Return the mask of the rows of a snapshot that are not removed, computed once; None if no row is removed."""
    try:
        mask: IndexMask | None = snapshot.derived[__name__]
    except KeyError:
        mask = None
        if any(len(run.gone) for run in snapshot.shards):
            mask = IndexMask.of([mask_live(run) for run in snapshot.shards], snapshot, live=True)
        snapshot.derived[__name__] = mask
    return mask


def restrict(mask: IndexMask, snapshot: Snapshot) -> IndexMask:
    """Remove expired rows from the mask of a snapshot, without evaluating the predicate again."""
    return IndexMask.of(
        [mask_rows(run, run_mask) for run, run_mask in zip(snapshot.shards, mask.shards, strict=True)], snapshot
    )


class MaskCache:
    """A thread-safe LRU cache of the masks of one snapshot, limited in bytes."""

    def __init__(self, budget: int = BUDGET_BYTES) -> None:
        self._budget = budget
        self._kept: OrderedDict[Hashable, IndexMask] = OrderedDict()
        self._holders: Counter[int] = Counter()
        self._bytes = 0
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread may have held at the fork."""
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], IndexMask]) -> tuple[IndexMask, bool]:
        """Return the mask of a key, computing it if needed, and whether it was cached."""
        cached = self.find(key)
        if cached is not None:
            return cached, True
        mask = make()
        self.keep(key, mask)
        return mask, False

    def find(self, key: Hashable) -> IndexMask | None:
        """Return the mask cached under a key, if any."""
        with self._lock:
            mask = self._kept.get(key)
            if mask is not None:
                self._kept.move_to_end(key)
            return mask

    def keep(self, key: Hashable, mask: IndexMask) -> None:
        """Cache a mask under a key; the bytes of a mask under several keys count once."""
        with self._lock:
            if key in self._kept or mask.bytes > self._budget:
                return
            self._kept[key] = mask
            self._bytes += _key_bytes(key)
            self._holders[id(mask)] += 1
            if self._holders[id(mask)] == 1:
                self._bytes += mask.bytes
            while self._bytes > self._budget and self._kept:
                oldest, dropped = self._kept.popitem(last=False)
                self._bytes -= _key_bytes(oldest)
                self._holders[id(dropped)] -= 1
                if not self._holders[id(dropped)]:
                    del self._holders[id(dropped)]
                    self._bytes -= dropped.bytes


def _key_bytes(key: Hashable) -> int:
    """Return the bytes of a key: predicates with long lists of values are long texts."""
    return len(key) if isinstance(key, (str, bytes)) else 0


def words_of(where: Where) -> str | bytes | None:
    """Return the cache key of an unparsed predicate: its text, or encoding, which distinguishes 1, 1.0 and True."""
    if where is None or isinstance(where, str):
        return where
    from vsearch.predicates import Expression, encode

    try:
        return encode(where) if isinstance(where, Expression) else None
    except (TypeError, ValueError, RecursionError):  # binding will report the error
        return None
