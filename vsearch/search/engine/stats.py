"""What a search did, level by level."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

LEVELS = ("prepare", "mask", "scan", "merge", "fetch")


class _Level:
    """Adds the time between entering and leaving to one entry of a dict."""

    __slots__ = ("_name", "_start", "_times")

    def __init__(self, times: dict[str, float], name: str) -> None:
        self._times, self._name = times, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._times[self._name] += (time.perf_counter() - self._start) * 1e3


@dataclass
class SearchStats:
    """Counts and times of one `search` call, all its queries together.

    Attributes
    ----------
    queries : int
    partitions, partitions_visited : int
        Partitions of the index, and visits summed over the queries.
    rows_masked : int
        Rows of the index that the predicate lets pass; all rows where there is none.
    rows_rechecked : int
        Rows that the attribute cells could not decide and the exact column did.
    rows_scanned, rows_refined, rows_reranked : int
        Rows that each level looked at, summed over the queries.
    bytes_read : int
        Bytes of codes, factors, rerank codes and attribute cells that the search went through.
    bytes_fetched : int
        Bytes read from the store (or verified on first touch) because they were not there yet.
    milliseconds : dict
        Per level; ``scan`` holds route, scan, refine and rerank, which are one native call.
    estimated : bool
        Whether the scores are estimates, because the index holds no rerank codes.
    """

    queries: int = 0
    partitions: int = 0
    partitions_visited: int = 0
    rows_masked: int = 0
    rows_rechecked: int = 0
    rows_scanned: int = 0
    rows_refined: int = 0
    rows_reranked: int = 0
    bytes_read: int = 0
    bytes_fetched: int = 0
    milliseconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0.0))
    estimated: bool = False

    def level(self, name: str) -> _Level:
        """A context whose time is added to a level."""
        return _Level(self.milliseconds, name)

    def add(self, name: str, begun: float) -> None:
        """Add to a level what has passed since `begun` (`time.perf_counter`): a context costs more than that."""
        self.milliseconds[name] += (time.perf_counter() - begun) * 1e3

    @property
    def total_milliseconds(self) -> float:
        return sum(self.milliseconds.values())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total_milliseconds": self.total_milliseconds}
