"""Statistics of a search, by level."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

SAME = ("queries", "partitions", "rows_masked", "estimated")
"""Fields that are the same for all parts of a search."""

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
    """Counts and times of one `search` call, over all its queries.

    Attributes
    ----------
    queries : int
    partitions, partitions_visited : int
        Partitions of the index, and visits summed over the queries.
    rows_masked : int
        Rows of the index that pass the predicate; all rows if there is none.
    rows_rechecked : int
        Rows that the attribute cells left undecided and the exact column decided.
    rows_scanned, rows_refined, rows_reranked : int
        Rows processed by each level, summed over the queries.
    bytes_read : int
        Bytes of codes, factors, rerank codes and attribute cells that the search processed.
    bytes_fetched : int
        Bytes read from the store (or verified on first access) because they were not in memory yet.
    milliseconds : dict
        Time per level; ``scan`` includes route, scan, refine and rerank, which are one native call.
    estimated : bool
        Whether the scores are estimates because the index has no rerank codes.
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
        """Return a context manager that adds its duration to a level."""
        return _Level(self.milliseconds, name)

    def add(self, name: str, started: float) -> None:
        """Add the time since `started` (`time.perf_counter`) to a level; cheaper than a context manager."""
        self.milliseconds[name] += (time.perf_counter() - started) * 1e3

    def include(self, other: SearchStats) -> None:
        """Add the counts and times of a part of the same search."""
        for name, value in vars(other).items():
            if name == "milliseconds":
                for level, spent in value.items():
                    self.milliseconds[level] += spent
            else:
                setattr(self, name, max(getattr(self, name), value) if name in SAME else getattr(self, name) + value)

    @property
    def total_milliseconds(self) -> float:
        return sum(self.milliseconds.values())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total_milliseconds": self.total_milliseconds}
