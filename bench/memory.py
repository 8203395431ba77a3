"""Bounded memory: build from a file larger than the memory that should be needed.

``python -m bench.memory`` writes a synthetic float32 ``.npy`` file block by block and lets a child process build an index from its
path. The parent samples the child's resident anonymous memory (RssAnon): pages of mapped files do not count, since they can be
dropped. Sampling from outside avoids that native code holding the interpreter lock stalls a sampling thread in the child.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from bench import NATIVE_THREADS, report
from bench.contest import console
from bench.measure import PeakMemory, anonymous_bytes

BLOCK = 65_536
CENTERS = 1024
ALLOWANCE = 1.5e9  # bytes that a build may use on top of one shard


@dataclass(frozen=True)
class Outcome:
    """Measurements of one build; memory in bytes."""

    input_bytes: int
    imported: int
    peak: int
    seconds: float
    bytes_per_vector: float
    shards: int
    rows: int

    @property
    def allowed(self) -> float:
        """1.5 GB plus the largest equal share of the index."""
        return ALLOWANCE + self.bytes_per_vector * self.rows / max(1, self.shards)


def write_vectors(path: Path, rows: int, dimensions: int, seed: int = 0) -> int:
    """Write unit vectors around random centers, block by block; return the size of the file in bytes."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((CENTERS, dimensions), dtype=np.float32)
    out = open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, dimensions))
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        block = random.standard_normal((count, dimensions), dtype=np.float32)
        block += centers[random.integers(CENTERS, size=count)]
        out[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    out.flush()
    del out
    return path.stat().st_size


def child(path: Path, target: Path, bits: float, rerank: str | None) -> None:
    """Build and print the result as one line of JSON; runs in the child process."""
    import vsearch

    vsearch.build  # noqa: B018 - import everything that a build imports before taking the baseline
    imported = anonymous_bytes()
    start = time.perf_counter()
    index = vsearch.build(str(path), str(target), bits=bits, rerank=rerank)
    seconds = time.perf_counter() - start
    info = index.info()
    shards = info["shards"]
    facts = {
        "imported": imported,
        "seconds": seconds,
        "bytes_per_vector": float(info["bytes_per_vector"]),
        "shards": int(shards if isinstance(shards, int) else len(shards)),
    }
    print(json.dumps(facts))


def run(path: Path, target: Path, bits: float, rerank: str | None, rows: int) -> Outcome:
    """Build in a child process while its memory is sampled.

    Raises
    ------
    SystemExit
        The build failed; its messages are on standard error.
    """
    command = [sys.executable, "-m", "bench.memory", "--child", str(path), str(target)]
    command += ["--bits", str(bits), "--rerank", rerank or "none"]
    # A build may use all cores: thread limits set for the bench's own searches are not for the child.
    environment = {**os.environ, **dict.fromkeys(NATIVE_THREADS, str(os.cpu_count() or 1))}
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process,
        PeakMemory(str(process.pid), interval=0.01) as memory,
    ):
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the build ended with status {process.returncode}")
    facts = json.loads(output.strip().splitlines()[-1])
    return Outcome(input_bytes=path.stat().st_size, peak=memory.peak, rows=rows, **facts)


def write(outcome: Outcome, options: argparse.Namespace) -> str:
    """The section of the results."""
    header = ["input", "rows", "peak anonymous MB", "after import MB", "allowed MB", "seconds", "bytes/vector"]
    row = [
        f"{outcome.input_bytes / 1e6:,.0f} MB",
        f"{outcome.rows:,} x {options.dimensions}",
        outcome.peak / 1e6,
        outcome.imported / 1e6,
        outcome.allowed / 1e6,
        outcome.seconds,
        outcome.bytes_per_vector,
    ]
    facts = [
        f"- machine: {report.machine()}",
        f"- build: bits {options.bits:g}, rerank {options.rerank}, {outcome.shards} shards, from a float32 .npy file",
        f"- allowed: {ALLOWANCE / 1e9:g} GB and one shard",
    ]
    return "\n\n".join(["## Memory of a build", "\n".join(facts), report.table(header, [row])])


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.memory", description="Peak memory of a build.")
    options.add_argument("--rows", type=int, default=2_000_000)
    options.add_argument("--dimensions", type=int, default=384)
    options.add_argument("--bits", type=float, default=1.0)
    options.add_argument("--rerank", default="int8", help="int8, float16, float32 or none")
    options.add_argument("--scratch", type=Path, help="folder for the file and the index (default: temporary)")
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    options.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = options.parse_args(arguments)
    rerank = None if args.rerank == "none" else args.rerank
    if args.child:
        source, target = args.child
        child(source, target, args.bits, rerank)
        return
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-", dir=args.scratch) as scratch:
        path = Path(scratch) / "base.npy"
        size = write_vectors(path, args.rows, args.dimensions)
        console.print(f"wrote {args.rows:,} x {args.dimensions} float32, {size / 1e6:,.0f} MB")
        outcome = run(path, Path(scratch) / "index", args.bits, rerank, args.rows)
    text = write(outcome, args)
    report.replace(args.results, "memory", text)
    print(text)


if __name__ == "__main__":
    main()
