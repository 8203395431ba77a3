"""Selection of contestants: they are tried, built, and measured while they build."""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from bench.data import METRICS, Data
from bench.measure import CLOCKS, PeakMemory
from bench.peers import SETS
from bench.peers.probe import absent, attempt
from bench.peers.protocol import Absent, Contestant, Index, Task

console = Console(stderr=True)
TRUSTED = ("vsearch", "faiss-cpu", "numpy")  # our own dependencies, which need no trial


@dataclass(frozen=True)
class Entry:
    """A contestant that has built its index; ``peak_bytes`` is anonymous memory above its start."""

    contestant: Contestant
    index: Index
    build_seconds: float
    peak_bytes: int

    @property
    def name(self) -> str:
        return self.contestant.name


@dataclass(frozen=True)
class Field:
    """The contestants that take part, and the reasons why others do not."""

    entries: list[Entry] = field(default_factory=list)
    absences: dict[str, str] = field(default_factory=dict)

    @property
    def packages(self) -> list[str]:
        return sorted({entry.contestant.package for entry in self.entries})


def assemble(
    contestant_set: str,
    data: Data,
    scratch: Path,
    *,
    build_threads: int,
    only: Iterable[str] = (),
    attributes: pa.Table | None = None,
) -> Field:
    """Try every foreign contestant in a child process, then build those that work.

    Raises
    ------
    SystemExit
        ``only`` names a contestant that is not in the set.
    """
    field = Field()
    contestants = chosen(contestant_set, only)
    warm: set[str] = set()  # packages already imported and compiled, off the clock
    for contestant in contestants:
        name = contestant.name
        foreign = contestant.package not in TRUSTED
        reason = absent(contestant_set, name, data.dimensions, data.metric) if foreign else None
        if reason is None:
            folder = scratch / name
            folder.mkdir()
            task = Task(data.base, data.metric, build_threads, folder, attributes, data.k)
            try:
                if contestant.package not in warm:
                    attempt(contestant_set, name, data.dimensions, data.metric)
                    warm.add(contestant.package)
                field.entries.append(build(contestant, task))
                continue
            except Absent as error:
                reason = str(error)
            except Exception as error:  # a peer's failure is a result to report, not the end of the bench
                console.print(traceback.format_exc())
                reason = f"failed to build: {type(error).__name__}: {error}"
        field.absences[name] = reason
        console.print(f"[yellow]absent[/] {name}: {reason}")
    return field


def chosen(contestant_set: str, only: Iterable[str]) -> list[Contestant]:
    """The set, or its members whose name starts with one of ``only``."""
    members = SETS[contestant_set]()
    prefixes = tuple(only)
    contestants = [c for c in members if not prefixes or c.name.startswith(prefixes)]
    if not contestants:
        raise SystemExit(
            f"no contestant is called {', '.join(prefixes)}; there are {', '.join(c.name for c in members)}"
        )
    return contestants


def build(contestant: Contestant, task: Task) -> Entry:
    """Build one index while time and memory are measured."""
    release_memory()
    with PeakMemory() as memory:
        start = time.perf_counter()
        index = contestant.build(task)
        seconds = time.perf_counter() - start
    console.print(f"[green]built[/] {contestant.name}: {index.description} in {seconds:.1f} s")
    return Entry(contestant, index, seconds, memory.rise)


def release_memory() -> None:
    """Return freed memory to the system, so that it does not hide the next contestant's allocations."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return


def parser(module: str, summary: str, *, queries: int | None = None) -> argparse.ArgumentParser:
    """Options shared by all benches on a folder."""
    options = argparse.ArgumentParser(prog=f"python -m bench.{module}", description=summary)
    options.add_argument("folder", type=Path, nargs="?", help="with base.npy and queries.npy; by default the sample")
    options.add_argument("--rows", type=int, help="only ROWS evenly spaced rows (the truth is recomputed)")
    options.add_argument("--queries", type=int, default=queries, help="only the first QUERIES")
    options.add_argument("--metric", choices=METRICS, default="cosine")
    options.add_argument("--only", nargs="+", default=(), metavar="NAME", help="contestants by name prefix")
    options.add_argument("--build-threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--clock", choices=CLOCKS, default="wall", help="clock for speeds")
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    return options
