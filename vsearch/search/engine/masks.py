"""Masks that were asked for lately: a predicate that comes again is neither parsed nor evaluated again."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import renew_in_children
from vsearch.search.engine.masking import ShardMask, mask_live, mask_rows

if TYPE_CHECKING:
    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot

BUDGET_BYTES = 64 << 20
BY_CHANCE = 3.0  # times what is expected: of some dozens of partitions hardly ever more
TAIL = 2.5  # ln of how seldom a row reaches beyond the bound; measured: filtered recall stays above the unfiltered


@dataclass(frozen=True, eq=False)
class IndexMask:
    """What a predicate lets pass in a whole snapshot.

    Attributes
    ----------
    shards : tuple of ShardMask
    matches : int64 (partitions,)
        Rows of all shards that may pass by their cells.
    spreads : float32 (partitions,)
        How far the matching rows of a partition spread: its radius, less where few match. The best of m Gaussian values
        lies about sqrt(2 ln m) deviations out, so the m best of n reach sqrt((ln m + TAIL) / (ln n + TAIL)) as far.
    certain, certain_spreads : int64 (partitions,), float32 (partitions,)
        The same of the rows that pass for certain by their cells.
    rows, rechecked : int
        Rows that pass, and rows that only an exact column could decide.
    correlated : bool
        Whether the shares that pass differ more between partitions than by chance: then the rows that pass in a partition
        need not be like the others there.
    """

    shards: tuple[ShardMask, ...]
    matches: NDArray[np.int64]
    spreads: NDArray[np.float32]
    certain: NDArray[np.int64]
    certain_spreads: NDArray[np.float32]
    rows: int
    rechecked: int
    correlated: bool

    @classmethod
    def of(cls, shards: list[ShardMask], snapshot: Snapshot) -> IndexMask:
        """Put the masks of all runs of a snapshot together."""
        partition_rows, radii = snapshot.partition_rows, snapshot.radii
        matches, certain = np.zeros(len(radii), np.int64), np.zeros(len(radii), np.int64)
        for mask, run in zip(shards, snapshot.shards, strict=True):
            own = slice(run.first_partition, run.first_partition + run.partitions)
            matches[own] += mask.matches
            certain[own] += mask.certain
        return cls(
            tuple(shards),
            matches,
            _spread(matches, partition_rows, radii),
            certain,
            _spread(certain, partition_rows, radii),
            sum(mask.rows for mask in shards),
            sum(mask.rechecked for mask in shards),
            _correlated(certain, partition_rows),
        )

    @property
    def bytes(self) -> int:
        return self.matches.nbytes + sum(mask.words.nbytes for mask in self.shards)


def _spread(matches: NDArray[np.int64], rows: NDArray[np.int64], radii: NDArray[np.float32]) -> NDArray[np.float32]:
    share = (np.log(np.maximum(matches, 1)) + TAIL) / (np.log(np.maximum(rows, 1)) + TAIL)
    return (radii * np.sqrt(share)).astype(np.float32)


def _correlated(passing: NDArray[np.int64], rows: NDArray[np.int64]) -> bool:
    """Whether the squares of deviations from the mean share are more than `BY_CHANCE` times those of a binomial."""
    total = max(1, int(rows.sum()))
    share = float(passing.sum()) / total
    variances = rows * (share * (1 - share))
    deviations = (passing - share * rows) ** 2
    return float(deviations.sum()) > BY_CHANCE * float(variances.sum())


def live_mask(snapshot: Snapshot) -> IndexMask | None:
    """The rows of a snapshot that are not removed; None where all are there. Made once."""
    if not any(len(run.gone) for run in snapshot.shards):
        return None
    mask = snapshot.derived.get(__name__)
    if mask is None:
        mask = IndexMask.of([mask_live(run) for run in snapshot.shards], snapshot)
        snapshot.derived[__name__] = mask
    return cast("IndexMask", mask)


def restrict(mask: IndexMask, snapshot: Snapshot) -> IndexMask:
    """What a mask of a whole snapshot lets pass once rows of it have expired: nothing is evaluated again."""
    return IndexMask.of(
        [mask_rows(run, each) for run, each in zip(snapshot.shards, mask.shards, strict=True)], snapshot
    )


class MaskCache:
    """The masks of one snapshot that were used last, up to a number of bytes. For many threads."""

    def __init__(self, budget: int = BUDGET_BYTES) -> None:
        self._budget = budget
        self._kept: OrderedDict[Hashable, IndexMask] = OrderedDict()
        self._holders: Counter[int] = Counter()
        self._bytes = 0
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """A lock that nobody holds."""
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], IndexMask]) -> tuple[IndexMask, bool]:
        """The mask of a key, made if it is not there, and whether it was."""
        found = self.find(key)
        if found is not None:
            return found, True
        made = make()
        self.keep(key, made)
        return made, False

    def find(self, key: Hashable) -> IndexMask | None:
        """The mask that is kept under a key."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def keep(self, key: Hashable, mask: IndexMask) -> None:
        """Keep a mask under a key, also one that is kept under another: its bytes count once."""
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
    """What a key takes besides its mask: long lists of values are long texts."""
    return len(key) if isinstance(key, (str, bytes)) else 0


def words_of(where: Where) -> str | bytes | None:
    """What a predicate is known by before it is read: its text, or an expression as it travels, in which 1, 1.0 and True differ."""
    if where is None or isinstance(where, str):
        return where
    from vsearch.predicates import Expression, encode

    try:
        return encode(where) if isinstance(where, Expression) else None
    except (TypeError, ValueError, RecursionError):  # what is wrong with it is said when it is bound
        return None
