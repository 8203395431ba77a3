"""The same changes with vsearch and LanceDB, on the same disk: seconds, objects and bytes written, recall and search time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

import vsearch
from bench import report
from bench.data import Rows, Truth, recall
from bench.live_data import Batch, K, Result, Setup, Spent, measured, search_with
from bench.live_writing import UPSERTED, UPSERTS, describe
from bench.measure import Search, interleave, threads, time_singles
from bench.peers.lance import ROW, LanceIndex
from bench.peers.protocol import Setting, folder_bytes, lists, load, sweep

DELETED = 0.1
REFINES = (2, 5, 20)


@dataclass
class Step:
    """The cost of one step for one system, and its searches afterwards."""

    system: str
    name: str
    spent: Spent
    objects: int
    written: int
    size: int
    search: Search | None = None
    setting: str = ""
    recall: float = 0.0
    milliseconds: float = 0.0


@contextmanager
def watched(system: str, name: str, folder: Path, steps: list[Step]) -> Iterator[None]:
    """Measure the cost of a step and the files it leaves; files that it removes itself are not counted."""
    before = _files(folder)
    with measured() as spent:
        yield
    after = _files(folder)
    new = [size for path, size in after.items() if before.get(path) != size]
    steps.append(Step(system, name, spent, len(new), sum(new), sum(after.values())))


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


class Ours:
    """vsearch with the settings found by its own tuning."""

    name = "vsearch"

    def __init__(self, folder: Path, rows: Batch) -> None:
        self.folder = folder / "index"
        self.index = rows.build(self.folder)

    def append(self, rows: Batch) -> None:
        rows.append_to(self.index)

    def upsert(self, rows: Batch) -> None:
        self.index.upsert(rows.vectors, rows.attributes, rows.ids)

    def delete(self, ids: Rows) -> None:
        self.index.delete(ids)

    def optimize(self) -> None:
        self.index.optimize(force=True)
        vsearch.prune(self.folder, keep=1, grace=0, older_than=0)

    def searches(self) -> list[list[tuple[str, Search]]]:
        """The settings to choose from, by kind, from fast to thorough."""
        return [[("its own settings", search_with(vsearch.open(self.folder)))]]


class Lance:
    """LanceDB with IVF_PQ, one sub-quantizer per four dimensions, refined with raw vectors, and an index of ids."""

    name = "LanceDB"

    def __init__(self, folder: Path, rows: Batch) -> None:
        self.folder, self.partitions = folder, lists_of(len(rows))
        lancedb = load("lancedb")
        self.table: Any = lancedb.connect(str(folder)).create_table("live", _table(rows))
        dimensions = rows.vectors.shape[1]
        self.table.create_index(
            metric="cosine", index_type="IVF_PQ", num_partitions=self.partitions, num_sub_vectors=dimensions // 4
        )
        self.table.create_scalar_index(ROW, index_type="BTREE")

    def append(self, rows: Batch) -> None:
        self.table.add(_table(rows))

    def upsert(self, rows: Batch) -> None:
        self.table.merge_insert(ROW).when_matched_update_all().when_not_matched_insert_all().execute(_table(rows))

    def delete(self, ids: Rows) -> None:
        self.table.delete(f"{ROW} IN ({', '.join(map(str, ids.tolist()))})")

    def optimize(self) -> None:
        self.table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)

    def searches(self) -> list[list[tuple[str, Search]]]:
        """See `Ours.searches`."""
        index = LanceIndex(self.table, "", 0.0, 0.0, self.partitions)
        probes = [n for n in sweep(self.partitions, first=8) if n & (n - 1) == 0]
        settings = [[Setting({"nprobes": n, "refine": refine}) for n in probes] for refine in REFINES]
        return [[(one.label, index.configure(one)) for one in labeled] for labeled in settings]


def lists_of(rows: int) -> int:
    """As many lists as other indexes have; LanceDB creates at most one per 256 rows."""
    return max(1, min(lists(rows), rows // 256))


def _table(rows: Batch) -> pa.Table:
    flat = pa.array(rows.vectors.ravel(), type=pa.float32())
    vectors = pa.FixedSizeListArray.from_arrays(flat, rows.vectors.shape[1])
    return rows.attributes.append_column("vector", vectors).append_column(ROW, pa.array(rows.ids))


def beside(setup: Setup) -> Result:
    """Appends, deletions and optimize, then upserts of the same rows, with both; searches in between, at equal recall."""
    rows = setup.collection.rows
    first = setup.first
    folder = setup.place()
    steps: list[Step] = []
    systems: list[Ours | Lance] = []
    for kind in (Ours, Lance):
        place = folder / kind.name
        place.mkdir(parents=True)
        with watched(kind.name, "build", place, steps):
            systems.append(kind(place, rows[:first]))

    def do(name: str, change: Callable[[Any], None], live: Rows) -> None:
        for system in systems:
            with watched(system.name, name, folder / system.name, steps):
                change(system)
        _search(setup, systems, steps[-len(systems) :], setup.collection.truth(live))

    def append(system: Any) -> None:
        for start in range(first, len(rows), setup.batch):
            system.append(rows[start : start + setup.batch])

    _search(setup, systems, steps, setup.collection.truth(rows.ids[:first]))
    do(f"append {setup.appends} x {setup.batch}", append, rows.ids)
    removed = np.random.default_rng(6).permutation(len(rows))[: round(DELETED * len(rows))]
    live = np.setdiff1d(rows.ids, removed)
    do(f"delete {DELETED:.0%}", lambda system: system.delete(removed), live)
    do("optimize", lambda system: system.optimize(), live)
    again = rows[live[: min(UPSERTED, len(live) // 10)]]

    def upsert(system: Any) -> None:
        for _ in range(UPSERTS):
            system.upsert(again)

    do(f"upsert the same {len(again):,} ids {UPSERTS} times", upsert, live)
    do("optimize again", lambda system: system.optimize(), live)
    fresh = setup.place()
    fresh.mkdir()
    sizes = []
    for kind in (Ours, Lance):
        place = fresh / kind.name
        place.mkdir()
        kind(place, rows[live])
        sizes.append(f"{kind.name} {folder_bytes(place) / 1e6:.1f} MB")
    about = (
        f"{describe(rows[:first], setup)} to begin with. {report.versions(['lancedb'])}: IVF_PQ with {lists_of(first)} lists and a "
        "sub-quantizer for four dimensions, BTREE of the ids, its float32 vectors to refine with; of its nprobes and refine factors "
        "the fastest with the recall of vsearch, which has the settings that it finds by itself, 1 bit and int8 codes, and no "
        "floats. Processor time is that of all threads; searches are single queries on one thread, in turns, medians. Objects and "
        "bytes are those of the files that a step left. Optimize removes older versions (vsearch: optimize(force=True), then prune)."
    )
    text = [
        about,
        _report(steps),
        f"A fresh build of the rows at the end: {', '.join(sizes)}.",
    ]
    return Result([], {"vsearch and LanceDB, the same changes": text})


def _search(setup: Setup, systems: list[Any], steps: list[Step], truth: Truth) -> None:
    """Time both at the recall of the first, if the other reaches it."""
    data, goal = setup.collection.data, 0.0
    singles = data.queries[: setup.timed]
    with threads(1):
        for system, step in zip(systems, steps, strict=True):
            best = 0.0
            for labeled in system.searches():
                for setting, search in labeled:
                    reached = recall(data, search(data.queries, K), truth)
                    if reached < goal and reached <= step.recall:
                        continue
                    speed = time_singles(search, singles[: max(1, len(singles) // 5)], K, "processor").qps
                    if step.recall < goal or speed > best:
                        step.recall, step.setting, step.search, best = reached, setting, search, speed
                    if reached >= goal:
                        break
            goal = step.recall if system is systems[0] else goal
        searches = [step.search for step in steps if step.search is not None]
        tasks = [partial(time_singles, search, singles, K, "processor") for search in searches]
        timings = interleave(tasks, setup.repetitions)
    for step, labeled in zip(steps, timings, strict=True):
        step.milliseconds = 1e3 / median(timing.qps for timing in labeled)


def _report(steps: list[Step]) -> str:
    header = ["step", "system", "processor s", "s", "objects", "MB written", "MB on disk", "recall@10", "ms a query"]
    lines = [
        [
            step.name,
            step.system,
            step.spent.processor,
            step.spent.wall,
            f"{step.objects:,}",
            step.written / 1e6,
            step.size / 1e6,
            report.share(step.recall),
            step.milliseconds,
            step.setting,
        ]
        for step in steps
    ]
    return report.table([*header, "searched with"], lines)
