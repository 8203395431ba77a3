"""The cost of changes: appends, deletions, competing writers, and the space used by upserts of the same rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing import get_context
from statistics import median
from typing import Any
from uuid import uuid4

import numpy as np

import vsearch
from bench.data import Floats, Rows
from bench.live_data import Batch, Result, Row, Setup, Spent, bucket, measured, open_on
from bench.peers.protocol import folder_bytes
from bench.serverless_stack import BUCKET, KEYS, object_store

LARGE_BATCH = 10_000
DELETED = 1000
TURNS, SINGLES = 5, 20
WRITERS, WRITTEN_DIMENSIONS = 8, 16
UPSERTED, UPSERTS = 1000, 100


def append(setup: Setup) -> Result:
    """Append one row to the large index, then batches, then one row again, repeatedly; the first of each is a warm-up."""
    batch = min(LARGE_BATCH, setup.large[0] // 50)
    store = bucket(setup.large_index())
    index, rows = open_on(store), iter(range(len(setup.more)))

    def times(turns: int, size: int) -> list[Spent]:
        spent = []
        for _ in range(turns + 1):
            chosen = setup.more[np.fromiter(islice(rows, size), np.int64)]
            with measured(store) as one:
                chosen.append_to(index)
            spent.append(one)
        return spent[1:]

    first, batches = times(SINGLES, 1), times(TURNS, batch)
    tail = index.info()["tail_rows"]
    return Result(
        [
            _append_row(setup, f"append {batch:,} rows", batches, 0.6, None),
            _append_row(setup, "append 1 row", first, 0.01, 40_000),
            _append_row(
                setup, f"append 1 row behind {tail:,} that are not merged yet", times(SINGLES, 1), 0.01, 40_000
            ),
        ]
    )


def _append_row(setup: Setup, what: str, spent: list[Spent], seconds: float, most: int | None) -> Row:
    processor = median(one.processor for one in spent)
    delta, manifest = (max(one.written[folder] for one in spent) for folder in ("segments", "manifest"))
    target = f"2 writes, 1 list, {1e3 * seconds:g} ms" + ("" if most is None else f", {most / 1e3:g} KB")
    requests = max((one.requests for one in spent), key=len)
    met = (
        all((one.writes, one.lists) == (2, 1) for one in spent)
        and processor <= seconds
        and (most is None or delta <= most)
    )
    return Row(
        "append",
        what,
        target,
        f"{requests}, {1e3 * processor:.1f} ms, {delta / 1e3:,.1f} KB and a manifest of {manifest / 1e3:.1f} KB",
        met,
        f"{large(setup)}; warm, median of {len(spent)}, the most requests and bytes of them",
    )


def large(setup: Setup) -> str:
    rows, dimensions = setup.large
    return f"{rows:,} x {dimensions} made"


def delete(setup: Setup) -> Result:
    """Deletions of random ids: right after opening the index, and then again; before and after a merge."""
    rows = setup.large[0]
    deleted = min(DELETED, rows // 20)
    ids = np.random.default_rng(2).permutation(rows)[: 2 * (TURNS + 1) * deleted].reshape(-1, deleted)
    folder, lines = setup.large_index(), []
    for state, chosen in (("as built", ids[: TURNS + 1]), ("merged before", ids[TURNS + 1 :])):
        if lines:
            vsearch.open(folder).optimize(force=True, retune=False)
        store = bucket(folder)
        index, spent = open_on(store), []
        for batch in chosen:
            with measured(store) as one:
                commit = index.delete(batch)
            if commit.deleted != deleted:
                raise AssertionError(f"{commit.deleted} of {deleted} rows were deleted")
            spent.append(one)
        lines.append(_delete_row(setup, f"delete {deleted:,} ids, {state}, first", spent[:1]))
        lines.append(_delete_row(setup, f"delete {deleted:,} ids, {state}, then", spent[1:]))
    return Result(lines)


def _delete_row(setup: Setup, what: str, spent: list[Spent]) -> Row:
    processor = median(one.processor for one in spent)
    most = max(spent, key=lambda one: one.reads)
    met = all(one.writes == 2 and one.reads <= 20 for one in spent) and processor <= 0.2
    measured_text = f"{most.requests} of {most.read / 1e6:.2f} MB, {1e3 * processor:.0f} ms"
    how = f"{large(setup)}; median of {len(spent)}, the most requests of them"
    return Row("delete", what, "2 writes, 20 reads, 200 ms", measured_text, met, how)


def writers(setup: Setup) -> Result:
    """Processes that append one row at a time to the same index."""
    random = np.random.default_rng(3)
    count = WRITERS * setup.commits
    vectors = random.standard_normal((1000 + count, WRITTEN_DIMENSIONS), dtype=np.float32)
    with bucket_of(setup) as (where, (url, _), options):
        begun = vsearch.build(vectors[:1000], url, ids=np.arange(1000), rerank="float32", **options)
        before = begun.snapshot.manifest.snapshot
        shares = np.arange(1000, len(vectors)).reshape(WRITERS, -1)
        tasks = [(url, options, vectors[share], share) for share in shares]
        with measured() as spent, get_context("spawn").Pool(WRITERS) as pool:
            done = pool.starmap(write, tasks, chunksize=1)
        index = vsearch.open(url, **options)
        failed = sorted(row for _, rows in done for row in rows)
        live = np.setdiff1d(np.arange(len(vectors)), failed)
        returned = index.search(vectors[live], k=1, exact=True).ids[:, 0]
        lost = int((returned != live).sum()) + abs(len(index) - len(live))
        snapshots = index.snapshot.manifest.snapshot - before
    attempts = sum(puts for puts, _ in done) / snapshots
    return Result(
        [
            Row(
                "writers",
                f"{WRITERS} writers x {setup.commits} commits of one row",
                "all succeed, none lost, 2.5 attempts on average",
                f"{count - len(failed):,} succeeded, {lost} lost or doubled, {attempts:.2f} attempts",
                not failed and not lost and attempts <= 2.5,
                f"{where}; processes of their own; {snapshots:,} snapshots, folds among them, in {spent.wall:.0f} s "
                f"with the start of the processes",
            )
        ]
    )


@contextmanager
def bucket_of(setup: Setup) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """Run SeaweedFS; yield its name, the URLs of two new indexes in it, and options. Without it, they are folders."""
    with ExitStack() as stack:
        try:
            endpoint = stack.enter_context(object_store(setup.scratch / "s3"))
        except FileNotFoundError:
            yield "a folder", [str(setup.place()) for _ in range(2)], {}
        else:
            os.environ |= {"AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1]}
            urls = [f"s3://{BUCKET}/{uuid4().hex}" for _ in range(2)]
            yield "SeaweedFS", urls, {"endpoint": endpoint, "region": "us-east-1"}


def write(url: str, options: dict[str, Any], vectors: Floats, ids: Rows) -> tuple[int, list[int]]:
    """Append rows one by one; return the number of manifests put, and the rows that could not be appended."""
    store = bucket(url, **options)
    index, failed = open_on(store), list[int]()
    for row, number in enumerate(ids):
        try:
            index.append(vectors[row : row + 1], ids=[int(number)])
        except vsearch.VsearchError as error:
            print(f"row {number}: {error}", flush=True)
            failed.append(int(number))
    return store.manifests, failed


def disk(setup: Setup) -> Result:
    """Upsert the same rows repeatedly, then optimize and prune; compared with the initial build."""
    rows = setup.collection.rows
    count = min(UPSERTED, len(rows) // 10)
    url = setup.built(len(rows))
    index = vsearch.open(url)
    size, live = folder_bytes(url), rows[np.sort(np.random.default_rng(4).permutation(len(rows))[:count])]
    with measured() as spent:
        for _ in range(UPSERTS):
            index.upsert(live.vectors, live.attributes, live.ids)
    most, lines = folder_bytes(url), []
    for name, force in (("optimize()", False), ("optimize(force=True)", True)):
        index.optimize(force=force, retune=False)
        vsearch.prune(url, keep=1, grace=0, older_than=0)
        after = folder_bytes(url)
        lines.append(
            Row(
                "disk",
                f"{UPSERTS} upserts of the same {count:,} ids, then {name} and prune",
                "1.2 times a fresh build",
                f"{after / size:.3f} times ({size / 1e6:.1f} MB, with all snapshots {most / 1e6:.1f}, then {after / 1e6:.1f})",
                after <= 1.2 * size,
                f"{describe(rows, setup)}; prune keeps one snapshot; an upsert took {1e3 * spent.processor / UPSERTS:.0f} ms",
            )
        )
    return Result(lines)


def describe(rows: Batch, setup: Setup) -> str:
    return f"{setup.collection.data.name}, {len(rows):,} x {rows.vectors.shape[1]}"
