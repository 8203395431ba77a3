"""Read bandwidth of codes: a scan of far more codes than fit the caches, compared with a plain loop over the same bytes.

``python -m bench.bandwidth`` writes an index of random 48-byte codes and searches all of it, one query at a time and 64 at once,
on one thread. A loop of XORs over the codes shows the most that one core can read. Each reader runs in its own process, so that a
crash is just a line in the results; readers take turns in every repetition.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np

from bench import report
from bench.contest import console
from bench.measure import CLOCKS, interleave, threads
from bench.synthetic import random_bytes, write_random_codes

K = 10
DIMENSIONS = 384
CODE_BYTES = DIMENSIONS // 8
PARTITION_ROWS = 5120
TRAINING_ROWS = 8192
BATCH = 64
TARGETS = {"xor": 0.85, "faiss-pq": 1.0, "faiss-rabitq": 2.0}

Read = Callable[[int], object]
"""Reads all codes for this many queries."""


@dataclass(frozen=True)
class Reader:
    """A reader: ``open`` takes the index of random codes; ``row_bytes`` is what a scan reads per row."""

    name: str
    description: str
    row_bytes: int
    open: Callable[[Path], Read]
    batches: bool = True


def queries() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(1).standard_normal((BATCH, DIMENSIONS), dtype=np.float32)


def xor_kernel() -> Any:
    """Compile the plain loop."""
    import numba

    compiled: Any = numba.njit(nogil=True)
    return compiled(_xor)


def _xor(words: np.ndarray[Any, np.dtype[np.uint64]]) -> np.uint64:
    total = np.uint64(0)
    for i in range(words.shape[0]):
        total ^= words[i]
    return total


def open_xor(url: Path) -> Read:
    """Run the loop over the codes of the index in place."""
    from bench import lean_worker as worker

    file = worker.load(str(url)).shards[0].files["codes"]
    file.ensure("first")
    words = file.array("first").reshape(-1).view(np.uint64)
    kernel = xor_kernel()
    kernel(words)
    if "zmm" not in (code := next(iter(kernel.inspect_asm().values()))) and "ymm" not in code and ".2d" not in code:
        raise SystemExit("the XOR loop was not vectorized, so it says nothing about the memory")
    return lambda _: kernel(words)


def open_ours(url: Path) -> Read:
    from bench import lean_worker as worker

    snapshot, query_rows = worker.load(str(url)), queries()
    partitions = snapshot.manifest.partitions

    def read(count: int) -> None:
        result = worker.search(snapshot, query_rows[:count], K, nprobe=partitions)
        if result.stats.rows_scanned != count * snapshot.manifest.rows:
            raise SystemExit(
                f"scanned {result.stats.rows_scanned} rows of {snapshot.manifest.rows} for {count} queries"
            )

    return read


def rows_of(url: Path) -> int:
    from vsearch.storage import open_store, read_manifest

    return read_manifest(open_store(str(url)), None).rows


def _training_vectors() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(2).standard_normal((TRAINING_ROWS, DIMENSIONS), dtype=np.float32)


def _with_codes(faiss: Any, plain: Any, codes: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    """Replace the codes of an index: adding ten million vectors would take minutes and change nothing."""
    faiss.copy_array_to_vector(codes.reshape(-1), plain.codes)
    plain.ntotal = len(codes)
    return plain


def _searching(faiss: Any, index: Any) -> Read:
    faiss.omp_set_num_threads(1)
    query_rows = queries()
    return lambda count: index.search(query_rows[:count], K)


def open_faiss_pq(url: Path) -> Read:
    import faiss

    rows = rows_of(url)
    plain = faiss.IndexPQ(DIMENSIONS, 2 * CODE_BYTES, 4, faiss.METRIC_INNER_PRODUCT)
    plain.train(_training_vectors())
    _with_codes(faiss, plain, random_bytes(rows * CODE_BYTES).reshape(rows, CODE_BYTES))
    return _searching(faiss, faiss.IndexPQFastScan(plain))


def open_faiss_rabitq(url: Path) -> Read:
    import faiss

    rows, vectors = rows_of(url), _training_vectors()
    plain = faiss.IndexRaBitQ(DIMENSIONS, faiss.METRIC_INNER_PRODUCT)
    plain.train(vectors)
    plain.add(vectors)
    real = faiss.vector_to_array(plain.codes).reshape(len(vectors), plain.code_size)
    codes = np.resize(real, (rows, plain.code_size))  # factors of real vectors: random ones would be no numbers
    codes[:, :CODE_BYTES] = random_bytes(rows * CODE_BYTES).reshape(rows, CODE_BYTES)
    _with_codes(faiss, plain, codes)
    del codes
    return _searching(faiss, faiss.IndexRaBitQFastScan(plain))


READERS = {
    reader.name: reader
    for reader in (
        Reader("xor", "XOR of the codes, a Numba loop", CODE_BYTES, open_xor, batches=False),
        Reader("vsearch", "vsearch, all partitions, 1 bit, no rerank", CODE_BYTES + 2, open_ours),
        Reader("faiss-pq", "FAISS IndexPQFastScan 96 x 4", CODE_BYTES, open_faiss_pq),
        Reader("faiss-rabitq", "FAISS IndexRaBitQFastScan", CODE_BYTES + 8, open_faiss_rabitq),
    )
}


def child(name: str, url: Path) -> None:
    """Open a reader on one processor; answer each query count from standard input with seconds, as one line of JSON."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # a batch is searched with as many threads as processors
    with threads(1):
        read = READERS[name].open(url)
        read(1)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            wall, processor = time.perf_counter(), time.process_time()
            read(int(line))
            print(json.dumps([time.process_time() - processor, time.perf_counter() - wall]), flush=True)


class Crashed(Exception):  # noqa: N818 - a result, not an error
    """The process of a reader ended; the message says how."""


@dataclass
class Process:
    """A reader in its own process, on one processor."""

    name: str
    running: subprocess.Popen[str]

    @classmethod
    def start(cls, name: str, url: Path) -> Self:
        command = [sys.executable, "-m", "bench.bandwidth", "--reader", name, str(url)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return cls(name, subprocess.Popen(command, text=True, **pipes))  # type: ignore[call-overload]

    def answer(self) -> Any:
        line = self.running.stdout.readline() if self.running.stdout else ""
        if not line:
            raise Crashed(f"its process ended with status {self.running.wait()}")
        return json.loads(line)

    def seconds(self, count: int) -> tuple[float, float]:
        """Processor time and wall time of one pass for this many queries."""
        if self.running.stdin is not None:
            with suppress(BrokenPipeError):  # the next read tells how the process ended
                self.running.stdin.write(f"{count}\n")
                self.running.stdin.flush()
        processor, wall = self.answer()
        return processor, wall

    def stop(self) -> None:
        for pipe in (self.running.stdin, self.running.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self.running.wait()


@dataclass(frozen=True)
class Speed:
    """Seconds per pass over all codes, for one query and for a batch (None if not applicable), by repetition."""

    single: list[float]
    batch: list[float] | None


def measure(url: Path, names: Sequence[str], repetitions: int, clock: str) -> tuple[dict[str, Speed], dict[str, str]]:
    """Time all readers in turns; return their speeds, and the crashed ones with the reason."""
    crashed: dict[str, str] = {}
    with ExitStack() as stack:
        running: dict[str, Process] = {}
        for name in names:
            process = Process.start(name, url)
            stack.callback(process.stop)
            try:
                process.answer()
            except Crashed as reason:
                crashed[name] = str(reason)
            else:
                running[name] = process
                console.print(f"[green]ready[/] {name}")

        def timed(process: Process, count: int) -> float:
            if process.name in crashed:
                return float("nan")
            try:
                processor, wall = process.seconds(count)
            except Crashed as reason:
                crashed[process.name] = f"{reason} on {count} queries"
                return float("nan")
            return processor if clock == "processor" else wall

        variants = [(name, count) for name in running for count in (1, BATCH) if count == 1 or READERS[name].batches]
        tasks: list[Callable[[], float]] = [lambda n=name, c=count: timed(running[n], c) for name, count in variants]  # type: ignore[misc]
        speeds = dict(zip(variants, interleave(tasks, repetitions), strict=True))
    completed = [name for name in running if name not in crashed]
    return {name: Speed(speeds[name, 1], speeds.get((name, BATCH))) for name in completed}, crashed


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Our speed relative to theirs: the median over the repetitions, each of which includes both."""
    return median(b / a for a, b in zip(ours, theirs, strict=True))


def table(speeds: dict[str, Speed], rows: int) -> str:
    """Gigabytes per second by reader: of codes, and of everything that a scan reads; a batch reads once per query."""
    lines = []
    ours = speeds.get("vsearch")
    for name, speed in speeds.items():
        reader = READERS[name]
        single = median(speed.single)
        batch = None if speed.batch is None else median(speed.batch) / BATCH
        lines.append(
            [
                reader.description,
                reader.row_bytes,
                1e3 * single,
                rows * CODE_BYTES / single / 1e9,
                rows * reader.row_bytes / single / 1e9,
                None if batch is None else 1e3 * batch,
                None if batch is None else rows * CODE_BYTES / batch / 1e9,
                None if ours is None else ratio(ours.single, speed.single),
                None if ours is None or ours.batch is None or not speed.batch else ratio(ours.batch, speed.batch),
            ]
        )
    header = ["reader", "bytes/row read", "single ms", "GB/s of codes", "GB/s read"]
    header += [f"batch of {BATCH}: ms/query", "GB/s of codes per query", "vsearch is x times as fast", "in the batch"]
    return report.table(header, lines)


def verdicts(speeds: dict[str, Speed]) -> str:
    """The targets and the results, each in bytes of codes per second."""
    if "vsearch" not in speeds:
        return ""
    ours, lines = speeds["vsearch"], []
    for name, target in TARGETS.items():
        if name not in speeds:
            continue
        theirs = speeds[name]
        read = READERS["vsearch"].row_bytes / CODE_BYTES if name == "xor" else 1.0
        reached = [read * ratio(ours.single, theirs.single)]
        if ours.batch and theirs.batch:
            reached.append(ratio(ours.batch, theirs.batch))
        what = "of the bytes a second of the XOR loop" if name == "xor" else f"times the speed of {name}"
        ratios = " and ".join(f"{value:.2f}" for value in reached)
        met = "reached" if min(reached) >= target else "missed"
        lines.append(
            f"- aimed at {target:g} {what}: {ratios} ({'single' if len(reached) == 1 else 'single, batch'}), {met}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.bandwidth", description="Bytes of codes read per second.")
    options.add_argument("folder", type=Path, nargs="?", help="ignored: the codes are random")
    options.add_argument("--partitions", type=int, default=2048, help=f"of {PARTITION_ROWS} rows each")
    options.add_argument("--repetitions", type=int, default=9)
    options.add_argument("--only", nargs="+", default=list(READERS), choices=list(READERS))
    options.add_argument("--clock", choices=CLOCKS, default="processor", help="clock for speeds")
    options.add_argument("--scratch", type=Path, help="folder for the index (default: temporary)")
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    options.add_argument("--reader", nargs=2, help=argparse.SUPPRESS)
    args = options.parse_args(arguments)
    if args.reader:
        child(args.reader[0], Path(args.reader[1]))
        return
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-", dir=args.scratch) as scratch:
        url = Path(scratch) / "codes"
        rows = write_random_codes(str(url), PARTITION_ROWS, args.partitions, DIMENSIONS)
        console.print(f"wrote {rows:,} random codes, {rows * CODE_BYTES / 1e6:,.0f} MB")
        speeds, crashed = measure(url, args.only, args.repetitions, args.clock)
    facts = [
        f"- data: {rows:,} random codes of {CODE_BYTES} bytes ({rows * CODE_BYTES / 1e6:,.0f} MB), k = {K}",
        f"- machine: {report.machine()}",
        "- threads: 1, every reader in a process of its own on the same core",
        f"- clock: {args.clock}; {args.repetitions} repetitions in turns, medians; ratios are medians of those of a turn",
        f"- versions: {report.versions(['vsearch', 'faiss-cpu', 'numba'])}",
        f"- date: {report.today()}",
    ]
    text = [table(speeds, rows), verdicts(speeds), report.absences(crashed)]
    report.replace(args.results, "bandwidth", "\n\n".join(["## Bandwidth of the scan", "\n".join(facts), *text]))
    print("\n".join(text[:2]))


if __name__ == "__main__":
    main()
