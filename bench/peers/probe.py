"""Try a contestant in a child process, since a peer may end the process it runs in.

``python -m bench.peers.probe SET NAME DIMENSIONS METRIC`` builds it on random rows and searches once; if that fails, its last line
on standard error is the reason.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.data import prepare
from bench.peers import SETS
from bench.peers.protocol import Absent, Task

ROWS = 2048
TIMEOUT = 300
DONE = "took part"  # printed in addition to status 0, since a peer may end the process cleanly


def absent(contestant_set: str, name: str, dimensions: int, metric: str) -> str | None:
    """Why a contestant cannot take part here; None if it can."""
    arguments = [contestant_set, name, str(dimensions), metric]
    command = [sys.executable, "-m", "bench.peers.probe", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"took longer than {TIMEOUT} s on {ROWS} rows"
    if done.returncode == 0 and done.stdout.rstrip().endswith(DONE):
        return None
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else f"the process ended with status {done.returncode}"


def attempt(contestant_set: str, name: str, dimensions: int, metric: str) -> None:
    """Build and search once; errors are raised."""
    contestant = {c.name: c for c in SETS[contestant_set]()}[name]
    base = prepare(np.random.default_rng(0).standard_normal((ROWS, dimensions)), metric)
    attributes = pa.table({"uniform": np.linspace(0, 1, ROWS)}) if contestant_set == "filters" else None
    with tempfile.TemporaryDirectory() as scratch:
        index = contestant.build(Task(base, metric, 1, Path(scratch), attributes))
        ids = index.configure(index.settings()[-1])(base[:4], 10)
        if ids.shape != (4, 10):
            raise Absent(f"returned shape {ids.shape}, expected (4, 10)")


if __name__ == "__main__":
    try:
        attempt(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
        print(DONE)
    except Absent as reason:
        sys.exit(str(reason))
