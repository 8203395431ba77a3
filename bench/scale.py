"""``python -m bench.scale``: builds of several sizes on two workers of this machine, what their searches cost, and how both grow.

Vectors are synthetic and clustered (`bench.synthetic.clustered`), in `.npy` files of 500,000 rows below one folder. A build runs in
child processes, which are sampled from outside: processor time, anonymous memory, and bytes read and written.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from bench import NATIVE_THREADS, report
from bench.contest import console
from bench.data import Floats
from bench.synthetic import clustered

RESULTS = Path(__file__).with_name("RESULTS.md")
DIMENSIONS, QUERIES, K = 96, 200, 10
CENTERS = 4096
FILE_ROWS = 500_000
TARGET = 0.95


@dataclass
class Watched:
    """Totals over the processes of a build.

    Attributes
    ----------
    processor : dict of int to float
        Processor seconds by process.
    memory : dict of int to int
        Peak anonymous bytes by process.
    read, written : dict of int to int
        Bytes of system calls by process.
    """

    processor: dict[int, float] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)

    def sample(self, root: psutil.Process) -> None:
        """Take a sample of a process and its descendants."""
        for process in [root, *_descendants(root)]:
            try:
                times, counts = process.cpu_times(), process.io_counters()
                memory = _anonymous(process.pid)
            except (psutil.Error, OSError):  # it ended
                continue
            pid = process.pid
            self.processor[pid] = times.user + times.system
            self.memory[pid] = max(self.memory.get(pid, 0), memory)
            self.read[pid], self.written[pid] = counts.read_chars, counts.write_chars


def _descendants(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)  # type: ignore[no-any-return]
    except psutil.Error:
        return []


def _anonymous(pid: int) -> int:
    match = re.search(r"RssAnon:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) << 10 if match else 0  # a process that ended, but was not waited for, has none


@dataclass(frozen=True)
class Built:
    """A build, and the searches of its index: means per query."""

    name: str
    rows: int
    seconds: float
    processor: float
    peak: int
    read: int
    written: int
    stored: int
    recall: float | None = None
    scanned: float | None = None
    microseconds: float | None = None


def write_source(folder: Path, rows: int) -> Floats:
    """Write the vectors, unless they are there; returns the held-out queries."""
    done = folder / "queries.npy"
    if not done.exists():
        (folder / "source").mkdir(parents=True, exist_ok=True)
        base, queries = clustered(rows, QUERIES, DIMENSIONS, centers=CENTERS)
        for number, start in enumerate(range(0, rows, FILE_ROWS)):
            np.save(folder / "source" / f"{number:05}.npy", base[start : start + FILE_ROWS])
        np.save(done, queries)
    return np.load(done)  # type: ignore[no-any-return]


def watch(command: Sequence[str]) -> tuple[float, Watched]:
    """Run a command; returns its seconds and what its processes used.

    Raises
    ------
    SystemExit
        It failed.
    """
    watched, ended = Watched(), threading.Event()
    environment = {**os.environ, **dict.fromkeys(NATIVE_THREADS, "1")}
    begun = time.perf_counter()
    with subprocess.Popen(command, env=environment) as process:
        root = psutil.Process(process.pid)

        def keep_sampling() -> None:
            while not ended.wait(0.05):
                watched.sample(root)

        sampler = threading.Thread(target=keep_sampling)
        sampler.start()
        process.wait()
        ended.set()
        sampler.join()
    if process.returncode:
        raise SystemExit(f"{command[2]} ended with status {process.returncode}")
    return time.perf_counter() - begun, watched


def build(folder: Path, rows: int, how: str) -> Built:
    """Build in child processes, as `how` says: a name of `BUILDERS`."""
    target = folder / how
    seconds, watched = watch([sys.executable, "-m", "bench.scale", "--child", how, str(folder / "source"), str(target)])
    stored = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return Built(
        how,
        rows,
        seconds,
        sum(watched.processor.values()),
        max(watched.memory.values()),
        sum(watched.read.values()),
        sum(watched.written.values()),
        stored,
    )


def build_vsearch(source: Path, target: Path) -> None:
    """Two worker processes of one thread each."""
    import vsearch

    vsearch.build(str(source), str(target), client="local:2", overwrite=True)


def build_lancedb(source: Path, target: Path) -> None:
    """An IVF-PQ index with its own defaults for this number of rows, from batches."""
    import lancedb
    import pyarrow as pa

    def batches() -> object:
        for path in sorted(source.glob("*.npy")):
            part = np.load(path, mmap_mode="r")
            for start in range(0, len(part), 65_536):
                flat = pa.array(np.ascontiguousarray(part[start : start + 65_536]).reshape(-1))
                yield pa.record_batch([pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)], ["vector"])

    schema = pa.schema([("vector", pa.list_(pa.float32(), DIMENSIONS))])
    table = lancedb.connect(str(target)).create_table("vectors", batches(), schema=schema, mode="overwrite")
    table.create_index(metric="cosine", vector_column_name="vector")


def build_faiss(source: Path, target: Path) -> None:
    """Inverted lists of 48-byte PQ codes on disk, with as many lists as vsearch has partitions by default, on one thread."""
    import faiss

    from vsearch.building.partitioning import SAMPLE_PER_PARTITION, default_partitions

    paths = sorted(source.glob("*.npy"))
    parts = [np.load(path, mmap_mode="r") for path in paths]
    rows = sum(map(len, parts))
    lists = default_partitions(rows)
    target.mkdir(parents=True, exist_ok=True)
    faiss.omp_set_num_threads(1)
    index = faiss.index_factory(DIMENSIONS, f"IVF{lists},PQ48x8", faiss.METRIC_INNER_PRODUCT)
    step = max(1, rows // (SAMPLE_PER_PARTITION * lists))
    index.train(np.concatenate([np.ascontiguousarray(part[::step]) for part in parts]))
    lists_on_disk = faiss.OnDiskInvertedLists(lists, index.code_size, str(target / "lists"))
    index.replace_invlists(lists_on_disk)
    for part in parts:
        for start in range(0, len(part), 65_536):
            index.add(np.ascontiguousarray(part[start : start + 65_536]))
    faiss.write_index(index, str(target / "index"))


BUILDERS: dict[str, Callable[[Path, Path], None]] = {
    "vsearch": build_vsearch,
    "lancedb": build_lancedb,
    "faiss": build_faiss,
}


def search(folder: Path, built: Built, queries: Floats) -> Built:
    """Tune for the target on rows of the index, and measure with the held-out queries, on one thread."""
    import faiss

    import vsearch

    index = vsearch.open(str(folder / "vsearch"))
    index.tune(recall=TARGET, k=K)
    flat, first = faiss.IndexFlatIP(DIMENSIONS), 0
    best = np.full((len(queries), K), -np.inf, np.float32)
    rows = np.full((len(queries), K), -1, np.int64)
    for path in sorted((folder / "source").glob("*.npy")):
        flat.reset()
        part = np.load(path)
        flat.add(part)
        scores, ids = flat.search(queries, K)
        joined, numbers = np.hstack([best, scores]), np.hstack([rows, ids + first])
        order = np.argsort(-joined, axis=1, kind="stable")[:, :K]
        best, rows = np.take_along_axis(joined, order, 1), np.take_along_axis(numbers, order, 1)
        first += len(part)
    measured = index.recall(queries, K, truth=rows)
    times = []
    for query in np.tile(queries, (3, 1)):
        begun = time.process_time()
        index.search(query, K)
        times.append(time.process_time() - begun)
    scanned, median = measured.rows_scanned_per_query, float(np.median(times[len(queries) :]))
    return Built(**{**vars(built), "recall": measured.recall, "scanned": scanned, "microseconds": 1e6 * median})


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent with which values grow with sizes, fitted by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main() -> None:
    """Build, search, and replace the section of the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument(
        "--peers", type=int, default=3_000_000, help="the size at which peers are built too; 0 for none"
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vsearch-bench" / "scale")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        how, source, target = args.child
        BUILDERS[how](Path(source), Path(target))
        return
    built, peers = [], []
    for rows in args.rows:
        folder = args.work / f"{rows}x{DIMENSIONS}"
        queries = write_source(folder, rows)
        built.append(search(folder, build(folder, rows, "vsearch"), queries))
        console.print(built[-1])
        if rows == args.peers:
            peers = [build(folder, rows, how) for how in ("faiss", "lancedb")]
    text = write(built, peers)
    report.replace(RESULTS, "scale", text)
    print(text)


def write(built: Sequence[Built], peers: Sequence[Built]) -> str:
    """The section of the results."""
    facts = [
        f"- machine: {report.machine()}; load average of the last 15 minutes at the end: {os.getloadavg()[2]:.1f}",
        f"- data: synthetic, clustered ({CENTERS} centers), {DIMENSIONS} dimensions, cosine; {QUERIES} held-out queries, k = {K}",
        f"- vsearch: two worker processes of one thread; then `tune(recall={TARGET})` and single queries on one thread, processor time, median",
        f"- versions: {report.versions(['faiss-cpu', 'lancedb', 'distributed'])}; FAISS with one thread, LanceDB with its own",
        f"- date: {report.today()}",
    ]
    header = [
        "",
        "rows",
        "minutes",
        "processor s per 10^6 rows",
        "peak MB of a process",
        "GB read",
        "GB written",
        "GB stored",
    ]
    table = report.table(
        header,
        [
            [b.name, f"{b.rows:,}", b.seconds / 60, 1e6 * b.processor / b.rows, b.peak / 1e6, b.read / 1e9, b.written / 1e9, b.stored / 1e9]
            for b in [*built, *peers]
        ],
    )  # fmt: skip
    searched = report.table(
        ["rows", "recall@10", "rows scanned", "microseconds"],
        [[f"{b.rows:,}", b.recall, b.scanned, b.microseconds] for b in built],
    )
    parts = ["## Scale: builds on two workers", "\n".join(facts), table, searched]
    if len(built) > 1:
        sizes = [b.rows for b in built]
        growth = {
            "processor seconds of the build": exponent(sizes, [b.processor for b in built]),
            "rows scanned": exponent(sizes, [b.scanned or 1.0 for b in built]),
            "microseconds": exponent(sizes, [b.microseconds or 1.0 for b in built]),
        }
        parts.append(
            "Exponents of growth: " + ", ".join(f"{name} n^{value:.2f}" for name, value in growth.items()) + "."
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
