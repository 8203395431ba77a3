"""Build time, compared with training and filling FAISS's inverted lists of PQ codes.

``python -m bench.building FOLDER`` builds with 1 bit and 8-bit rerank codes, and trains and adds to ``IVF1024,PQ96x4fs`` (for
384 dimensions), each in its own process that has imported its libraries and read the vectors before its clock starts. They take
turns. Our time covers everything that ``vsearch.build`` does: it also tunes the search, and writes and checksums the files. An
extra build shows where our time goes.

``--made 100000x3072`` builds from synthetic vectors of rank 256 plus noise, with as many lists for FAISS as we have partitions,
and SQ8 codes for reranking, so that the codes are comparable.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import NATIVE_THREADS, report
from bench.contest import console
from bench.data import Data, Floats, Truth, load, sample
from bench.measure import interleave
from bench.peers.protocol import lists

FUNCTIONS = (
    ("building/partitioning.py", "train_centroids", "k-means of the partitions"),
    ("building/training.py", "train_quantizer", "KLT, allocation, grids, calibration"),
    ("building/pipeline.py", "_assign", "every row to its partition"),
    ("building/layout.py", "lay_out", "rotate, encode, transpose"),
    ("storage/files/writing.py", "write_arrays", "files and checksums"),
    ("search/tuning.py", "tune", "tuning"),
)


@dataclass(frozen=True)
class Build:
    """Measurements of one build: processor time of all threads, wall time, and both by stage."""

    processor: float
    wall: float
    stages: dict[str, tuple[float, float]]
    functions: dict[str, float]


class Stages:
    """A progress callback that sums processor and wall time per stage."""

    def __init__(self) -> None:
        self.spent: dict[str, tuple[float, float]] = {}
        self._stage, self._at = "open", (time.process_time(), time.perf_counter())

    def __call__(self, stage: str, _done: int, _total: int) -> None:
        if stage != self._stage:
            self.close()
            self._stage = stage

    def close(self) -> None:
        """End the current stage."""
        now = (time.process_time(), time.perf_counter())
        before = self.spent.get(self._stage, (0.0, 0.0))
        self.spent[self._stage] = (before[0] + now[0] - self._at[0], before[1] + now[1] - self._at[1])
        self._at = now


def build_ours(base: Floats, metric: str, url: str, stages: Stages, **_: object) -> None:
    import vsearch

    vsearch.build(base, url, metric=metric, bits=1.0, rerank="int8", progress=stages)


RANK, NOISE = 256, 0.1  # of synthetic data: deviation of the noise relative to the signal


def make(shape: str) -> Floats:
    """Unit vectors of low rank with falling variances, plus noise; made in blocks, deterministically."""
    rows, dimensions = (int(number) for number in shape.split("x"))
    rng = np.random.default_rng(0)
    basis = (
        rng.standard_normal((RANK, dimensions), np.float32) / np.sqrt(np.arange(1, RANK + 1, dtype=np.float32))[:, None]
    )
    base = np.empty((rows, dimensions), np.float32)
    for start in range(0, rows, 4096):
        block = base[start : start + 4096]
        np.matmul(rng.standard_normal((len(block), RANK), np.float32), basis, out=block)
        block += NOISE * block.std() * rng.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return base


def read(args: argparse.Namespace) -> Data:
    """The data of a run; synthetic data have no queries and no truth."""
    if args.made:
        nothing = Truth(np.empty((0, 1), np.int64), np.empty((0, 1)))
        base = make(args.made)
        return Data(f"made-{args.made}", args.metric, base, base[:0], nothing)
    return load(args.folder or sample(), rows=args.rows, queries=1, metric=args.metric)


def factory(base: Floats, *, like: bool) -> str:
    """The FAISS factory string for some vectors; with `like`, as many lists as we have partitions, and SQ8 codes."""
    from vsearch.building.partitioning import default_partitions

    codes = f"PQ{base.shape[1] // 4}x4fs"
    if like:
        return f"IVF{default_partitions(len(base))},{codes},Refine(SQ8)"
    return f"IVF{lists(len(base))},{codes}"


def build_faiss(base: Floats, metric: str, _url: str, stages: Stages, *, like: bool = False) -> None:
    import faiss

    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(base.shape[1], factory(base, like=like), kind)
    stages("train", 0, 1)
    index.train(base)
    stages("add", 0, 1)
    index.add(base)


BUILDERS: dict[str, Callable[..., None]] = {"vsearch": build_ours, "faiss": build_faiss}


def child(name: str, args: argparse.Namespace) -> None:
    """Build once and print the measurements as one line of JSON."""
    import faiss

    import vsearch

    faiss.omp_set_num_threads(args.build_threads)
    build = BUILDERS[name]
    base, metric = read(args).base, args.metric
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        if name == "vsearch":  # compile now what would be compiled on first use
            vsearch.build(base[:2048], f"{scratch}/warm", metric=metric, bits=1.0, rerank="int8")
        profile = _profile() if args.profiled else None
        stages, start = Stages(), (time.process_time(), time.perf_counter())
        build(base, metric, f"{scratch}/index", stages, like=bool(args.made))
        stages.close()
        end = (time.process_time(), time.perf_counter())
        functions = {} if profile is None else _cumulative(profile)
    print(json.dumps([end[0] - start[0], end[1] - start[1], stages.spent, functions]))


def _profile() -> Any:
    import cProfile

    profile = cProfile.Profile()
    profile.enable()
    return profile


def _cumulative(profile: Any) -> dict[str, float]:
    """Wall seconds inside each of `FUNCTIONS`."""
    import pstats

    profile.disable()
    stats: Any = pstats.Stats(profile)
    seconds_by_function = {
        (where, name): cumulative for (where, _, name), (_, _, _, cumulative, _) in stats.stats.items()
    }
    return {
        label: sum(
            seconds for (where, named), seconds in seconds_by_function.items() if where.endswith(file) and named == name
        )
        for file, name, label in FUNCTIONS
    }


def run(name: str, args: argparse.Namespace, *, profiled: bool = False) -> Build:
    """Build in a separate process.

    Raises
    ------
    SystemExit
        The build failed; its messages are on standard error.
    """
    command = [sys.executable, "-m", "bench.building", "--child", name, "--metric", args.metric]
    command += ["--build-threads", str(args.build_threads), *([str(args.folder)] if args.folder else [])]
    command += [*(["--rows", str(args.rows)] if args.rows else []), *(["--profiled"] if profiled else [])]
    command += ["--made", args.made] if args.made else []
    environment = {**os.environ, **dict.fromkeys(NATIVE_THREADS, str(args.build_threads))}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the build of {name} ended with status {done.returncode}")
    processor, wall, stages, functions = json.loads(done.stdout.strip().splitlines()[-1])
    return Build(processor, wall, {stage: tuple(spent) for stage, spent in stages.items()}, functions)


def table(builds: dict[str, list[Build]]) -> str:
    """Medians of total build times and of their stages."""
    lines = []
    for name, runs in builds.items():
        wall, processor = median(b.wall for b in runs), median(b.processor for b in runs)
        lines.append([f"{name}, all", processor, wall, processor / wall])
        for stage in runs[0].stages:
            spent = [b.stages[stage] for b in runs if stage in b.stages]
            lines.append([f"{name}: {stage}", median(s[0] for s in spent), median(s[1] for s in spent), None])
    return report.table(["build", "processor s", "wall s", "cores"], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.building", description="Time of a build.")
    options.add_argument("folder", type=Path, nargs="?", help="with base.npy and queries.npy; by default the sample")
    options.add_argument("--made", metavar="ROWSxDIMENSIONS", help="synthetic vectors of rank 256 plus noise")
    options.add_argument("--rows", type=int, help="only ROWS evenly spaced rows")
    options.add_argument("--metric", default="cosine")
    options.add_argument("--build-threads", type=int, default=2)
    options.add_argument("--repetitions", type=int, default=3)
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    options.add_argument("--child", choices=list(BUILDERS), help=argparse.SUPPRESS)
    options.add_argument("--profiled", action="store_true", help=argparse.SUPPRESS)
    args = options.parse_args(arguments)
    if args.child:
        child(args.child, args)
        return
    data = read(args)
    tasks = [partial(run, name, args) for name in BUILDERS]
    runs = interleave(
        tasks, args.repetitions, lambda done: console.print(f"repetition {done + 1} of {args.repetitions}")
    )
    builds = dict(zip(BUILDERS, runs, strict=True))
    pairs = list(zip(builds["vsearch"], builds["faiss"], strict=True))
    processor = median(ours.processor / theirs.processor for ours, theirs in pairs)
    wall = median(ours.wall / theirs.wall for ours, theirs in pairs)
    text = [
        table(builds),
        f"vsearch takes {processor:.2f} of FAISS's processor time and {wall:.2f} of its wall time.",
    ]
    if not args.made:
        profile = run("vsearch", args, profiled=True)
        text += [
            "Where one build of ours spends its time (wall seconds of the first thread, inside the function):",
            report.table(
                ["function", "wall s"], [[function, seconds] for function, seconds in profile.functions.items()]
            ),
        ]
    parameters = {
        "threads": args.build_threads,
        "FAISS": f"{factory(data.base, like=bool(args.made))}, train and add",
        "vsearch": "bits 1, rerank int8; trains, encodes, writes files with checksums, tunes",
        "repetitions": f"{args.repetitions}, in turns; medians; ratios are medians of those of a turn",
        "versions": report.versions(["vsearch", "faiss-cpu"]),
    }
    report.replace(args.results, f"building {data.name}", report.section("Build time", data, text, parameters))
    print("\n".join(text))


if __name__ == "__main__":
    main()
