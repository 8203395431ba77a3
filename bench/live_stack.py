"""How soon a warm local stack of functions sees rows that were appended to its index."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np

import vsearch
from bench.live_data import Result, Row, Setup
from bench.live_writing import describe
from bench.serverless_stack import Stack, deployed, object_store, package

TURNS = 20
PATIENCE = 30.0
ASKED = 1.5


def stack(setup: Setup) -> Result:
    """Append a row and search for it until it is found, repeatedly."""
    rows = setup.collection.rows
    first = len(rows) - TURNS
    folder = setup.place()
    rows[:first].build(folder, shards=2)
    work = setup.kept / "stack"
    work.mkdir(exist_ok=True)
    with object_store(setup.scratch / "s3") as endpoint, deployed(work, folder, package(work), endpoint) as up:
        writer = vsearch.open(up.url, endpoint=endpoint, region="us-east-1")
        for turn in range(3):  # functions start, and read the index
            up.index.search(rows.vectors[turn : turn + 1], k=10)
        spent = [_seen_after(up, writer, rows[at : at + 1]) for at in range(first, len(rows))]
    return Result(
        [
            Row(
                "stack",
                "an append is seen by a warm stack",
                f"{ASKED:g} s",
                f"{median(spent):.2f} s, {max(spent):.2f} s at most",
                max(spent) <= ASKED,
                f"{describe(rows, setup)}; local FaaS and SeaweedFS; {TURNS} appends of one row, from the end of each on; wall time",
            )
        ]
    )


def _seen_after(up: Stack, writer: Any, row: Any) -> float:
    """Seconds from the end of an append until a search finds the row.

    Raises
    ------
    AssertionError
        The row is not found.
    """
    row.append_to(writer)
    begun = time.perf_counter()
    while time.perf_counter() - begun < PATIENCE:
        # by id, since an equal row may be the nearest
        ids = np.asarray(up.index.search(row.vectors, k=1, where=f"number = {row.ids[0]}").ids)
        if ids[0, 0] == row.ids[0]:
            return time.perf_counter() - begun
    raise AssertionError(f"row {row.ids[0]} is not found {PATIENCE:g} s after its append")
