"""Timing: thread counts, peak memory, interleaved repetitions."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self, TypeVar

from bench.data import Floats, Rows

Search = Callable[[Floats, int], Rows]
"""``search(queries, k)``: (n, d) float32 to (n, k) int64 row numbers, padded with -1."""

CLOCKS = ("wall", "processor")
"""Clocks for speeds: processor time of all threads is steadier on a shared machine."""

T = TypeVar("T")


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let FAISS, OpenMP, BLAS and Numba use ``count`` threads inside the block."""
    import faiss
    import numba

    threadpool_limits = importlib.import_module("threadpoolctl").threadpool_limits  # ships no types

    before = numba.get_num_threads()
    numba.set_num_threads(min(count, os.cpu_count() or 1))
    faiss.omp_set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        faiss.omp_set_num_threads(1)
        numba.set_num_threads(before)


def anonymous_bytes(process: str = "self") -> int:
    """Resident anonymous memory of a process in bytes; 0 if ``/proc`` does not say."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


@dataclass
class PeakMemory:
    """Context manager that measures the rise of anonymous memory above its start, in bytes.

    ``process`` may be the id of another process: a sampler in the same process would wait whenever native code holds the
    interpreter lock.
    """

    process: str = "self"
    interval: float = 0.005
    start: int = 0
    peak: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        gc.collect()
        self.start = self.peak = anonymous_bytes(self.process)
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(self.interval):
            self.peak = max(self.peak, anonymous_bytes(self.process))

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.peak = max(self.peak, anonymous_bytes(self.process))

    @property
    def rise(self) -> int:
        return self.peak - self.start


@dataclass(frozen=True)
class Timing:
    """One timed run: queries per second, and processor seconds per second of the wall clock.

    If ``cores`` is far above 1, a "single-threaded" search used more threads; if it is far below, another process had the
    processor.
    """

    qps: float
    cores: float


def time_singles(search: Search, queries: Floats, k: int, clock: str = "wall") -> Timing:
    """Search queries one at a time, with one call each."""
    singles = [queries[i : i + 1] for i in range(len(queries))]
    search(singles[0], k)

    def run() -> None:
        for query in singles:
            search(query, k)

    return _timed(run, len(queries), clock)


def time_batch(search: Search, queries: Floats, k: int, clock: str = "wall") -> Timing:
    """Search all queries in one call."""
    return _timed(lambda: search(queries, k), len(queries), clock)


def _timed(run: Callable[[], object], count: int, clock: str) -> Timing:
    processor, wall = time.process_time(), time.perf_counter()
    run()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Timing(count / (processor if clock == "processor" else wall), processor / wall)


def interleave(
    tasks: Sequence[Callable[[], T]],
    repetitions: int,
    progress: Callable[[int], None] | None = None,
) -> list[list[T]]:
    """Run every task once per repetition, in a new order each time.

    The drift of a shared machine then affects all tasks alike.

    Returns
    -------
    list of list
        For every task its results, one per repetition.
    """
    results: list[list[T]] = [[] for _ in tasks]
    shuffle = random.Random(0)
    for repetition in range(repetitions):
        order = list(range(len(tasks)))
        shuffle.shuffle(order)
        for i in order:
            results[i].append(tasks[i]())
        if progress is not None:
            progress(repetition)
    return results


def median_timing(timings: Sequence[Timing]) -> Timing:
    return Timing(median(t.qps for t in timings), median(t.cores for t in timings))


def fastest_reaching(
    recalls: Sequence[float], speeds: Sequence[float], levels: Sequence[float], keep: int = 2
) -> list[int]:
    """Positions of the ``keep`` fastest points at or above each level; if there are none, that of the best recall."""
    points = sorted(range(len(speeds)), key=lambda i: -speeds[i])
    chosen = {i for level in levels for i in [j for j in points if recalls[j] >= level][:keep]}
    return sorted(chosen or {max(points, key=lambda i: recalls[i])})


def front(recalls: Sequence[float], speeds: Sequence[float]) -> list[int]:
    """Positions of the points on the Pareto front, by rising recall."""
    positions: list[int] = []
    for i in sorted(range(len(recalls)), key=lambda i: (-recalls[i], -speeds[i])):
        if not positions or speeds[i] > speeds[positions[-1]]:
            positions.append(i)
    return positions[::-1]
