"""Time from the start of a worker's process to its first result, compared with a process that only imports NumPy.

``python -m bench.start FOLDER`` builds an index of the folder in a temporary place and starts processes in turns: Python alone,
``import numpy``, a worker that opens the index, searches it once and exits immediately, and one that shuts down Python normally.
Another worker shows by ``-X importtime`` which modules take its time, and by its own clock how long opening and searching take.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from bench import report
from bench.contest import console
from bench.data import load, sample
from bench.measure import interleave

TARGET = 1.5
SHOWN = 15  # modules in the profile
EMPTY = "pass"
NUMPY = "import numpy"
WORKER = """
import sys
import numpy as np
from bench import lean_worker as worker
hits = worker.search(worker.load(sys.argv[1]), np.load(sys.argv[2]), 10)
assert (hits.ids >= 0).all()
"""
FIRST = WORKER + "import os; os._exit(0)"
PHASES = """
import json, sys, time
clock = time.perf_counter
seconds = [clock()]
import numpy as np
seconds.append(clock())
from bench import lean_worker as worker
seconds.append(clock())
snapshot = worker.load(sys.argv[1])
seconds.append(clock())
query = np.load(sys.argv[2])
worker.search(snapshot, query, 10)
seconds.append(clock())
worker.search(snapshot, query, 10)
seconds.append(clock())
loaded = {name.split(".")[0] for name in sys.modules}
print(json.dumps([seconds, sorted(loaded & {"numba", "llvmlite", "pyarrow"})]))
"""
STEPS = ("import numpy", "import bench.lean_worker", "open the index", "first search", "second search")


@dataclass(frozen=True)
class Run:
    """One process from start to end: processor time of all its threads, and wall time, in seconds."""

    processor: float
    wall: float


def run(code: str, *arguments: str) -> Run:
    """Start a Python process and wait for its end.

    Raises
    ------
    SystemExit
        The process failed; its messages are on standard error.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"a process ended with status {process.returncode}")
    return Run(usage.ru_utime + usage.ru_stime, wall)


def compile_bytecode() -> None:
    """Compile vsearch to bytecode, like an installer; otherwise every process would compile it again."""
    import compileall

    import vsearch

    for folder in vsearch.__path__:
        compileall.compile_dir(folder, quiet=2)


def modules(text: str) -> list[tuple[str, float]]:
    """Modules of an ``-X importtime`` report with their own milliseconds, in the order of the report."""
    matches = re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", text)
    return [(name, int(microseconds) / 1e3) for microseconds, name in matches]


def own_modules(worker: Sequence[tuple[str, float]], numpy: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Modules that a worker loads and ``import numpy`` does not, slowest first."""
    common = {name for name, _ in numpy}
    return sorted((pair for pair in worker if pair[0] not in common), key=lambda pair: -pair[1])


def import_times(code: str, *arguments: str) -> list[tuple[str, float]]:
    """Modules that a process imports, with the minimum of their own milliseconds over a few runs."""
    command = [sys.executable, "-X", "importtime", "-c", code, *arguments]
    least: dict[str, float] = {}
    for _ in range(5):
        for name, milliseconds in modules(subprocess.run(command, capture_output=True, text=True, check=True).stderr):
            least[name] = min(milliseconds, least.get(name, milliseconds))
    return list(least.items())


def phases(url: str, query: str, repetitions: int) -> tuple[list[float], list[str]]:
    """Median milliseconds of a worker's steps, and the heavy packages that it loaded."""
    answers = []
    for _ in range(repetitions):
        command = [sys.executable, "-c", PHASES, url, query]
        answers.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    steps = np.median([np.diff(seconds) for seconds, _ in answers], axis=0) * 1e3
    return steps.tolist(), answers[0][1]


def table(names: Sequence[str], runs: Sequence[Sequence[Run]]) -> str:
    """Medians, and ratios to ``import numpy`` of the same repetition."""
    numpy = runs[names.index(NUMPY)]
    lines = []
    for name, own_runs in zip(names, runs, strict=True):
        by_turn = list(zip(own_runs, numpy, strict=True))
        lines.append(
            [
                name,
                1e3 * median(measurement.processor for measurement in own_runs),
                median(measurement.processor / base.processor for measurement, base in by_turn),
                1e3 * median(measurement.wall for measurement in own_runs),
                median(measurement.wall / base.wall for measurement, base in by_turn),
            ]
        )
    return report.table(["process", "processor ms", "of import numpy", "wall ms", "of import numpy"], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.start", description="Process start to first result.")
    options.add_argument("folder", type=Path, nargs="?", help="with base.npy and queries.npy; by default the sample")
    options.add_argument("--rows", type=int, help="only ROWS evenly spaced rows")
    options.add_argument("--index", type=Path, help="an existing index of the folder")
    options.add_argument("--repetitions", type=int, default=21)
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = options.parse_args(arguments)
    data = load(args.folder or sample(), rows=args.rows, queries=1)
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        query, url = str(Path(scratch) / "query.npy"), str(args.index or Path(scratch) / "index")
        np.save(query, data.queries)
        if args.index is None:
            import vsearch

            vsearch.build(data.base, url, metric=data.metric, bits=1.0, rerank="int8")
            console.print("built the index")
        compile_bytecode()
        tasks = {
            "python": partial(run, EMPTY),
            NUMPY: partial(run, NUMPY),
            "worker to its first result": partial(run, FIRST, url, query),
            "worker and its clearing up": partial(run, WORKER, url, query),
        }
        for task in tasks.values():  # warm the page cache
            task()
        runs = interleave(list(tasks.values()), args.repetitions)
        steps, heavy = phases(url, query, max(3, args.repetitions // 3))
        worker, numpy = import_times(WORKER, url, query), import_times(NUMPY)
    slowest = own_modules(worker, numpy)
    total = sum(milliseconds for _, milliseconds in slowest)
    reached = median(one.processor / base.processor for one, base in zip(runs[2], runs[1], strict=True))
    profile = [[name, milliseconds] for name, milliseconds in slowest[:SHOWN]]
    profile.append([f"{len(slowest) - SHOWN} others", sum(ms for _, ms in slowest[SHOWN:])])
    text = [
        table(list(tasks), runs),
        f"Aimed at {TARGET:g} of `import numpy` to the first result: {reached:.2f} by processor time, "
        + ("reached." if reached <= TARGET else "missed."),
        "What a worker does, median milliseconds by the wall clock:",
        report.table(STEPS, [steps]),
        f"Loaded of numba, llvmlite and pyarrow: {', '.join(heavy) or 'none'}.",
        f"The {len(slowest)} modules that `import numpy` does not load, by their own milliseconds, {total:.1f} in all:",
        report.table(["module", "ms"], profile),
    ]
    parameters = {
        "processes": f"{args.repetitions} of each kind, in turns; medians; ratios are medians of those of a turn",
        "versions": report.versions(["vsearch", "numpy"]),
    }
    report.replace(args.results, f"start {data.name}", report.section("Start of a worker", data, text, parameters))
    print("\n".join(text))


if __name__ == "__main__":
    main()
