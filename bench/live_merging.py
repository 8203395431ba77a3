"""The cost of merges and of many snapshots: rows rewritten, runs, deltas, manifests, and histories of faults."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

import vsearch
from bench.live_data import Batch, Bucket, Result, Row, Setup, bucket, made, measured, open_on
from bench.live_reading import runs_of
from bench.live_writing import bucket_of, describe
from bench.measure import interleave
from bench.soak import LOSSES, fuzz
from vsearch.storage import Store, read_manifest
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.snapshots.manifest import encode_manifest, manifest_files

SHAPES = ((1, 1500), (100, 1000), (1000, 300), (10_000, 40))
"""Rows per batch, and number of batches."""

SHAPE_ROWS, SHAPE_DIMENSIONS = 20_000, 16
SNAPSHOTS = 100_000
SINGLES = 21


@dataclass
class Shape:
    """The worst values in a history of appends, each followed by `optimize`."""

    written: float
    runs: int
    deltas: int
    manifest: int
    processor: float


def shape(setup: Setup) -> Result:
    """Rows written per appended row, runs, deltas and manifests; and the cost of commits after very many others."""
    share = min(1.0, setup.large[0] / 1e6)
    lines = []
    for batch, appends in SHAPES:
        count = max(2, round(appends * share))
        history = _history(setup, batch, count)
        lines.append(
            Row(
                "shape",
                f"{count:,} appends of {batch:,}, optimize() after each",
                "each row written 11 times, 3 runs, 64 deltas, a manifest of 32 KB",
                f"{history.written:.2f} times, {history.runs} runs, {history.deltas} deltas, {history.manifest / 1e3:.1f} KB",
                history.written <= 11 and history.runs <= 3 and history.deltas <= 64 and history.manifest < 32_000,
                f"{SHAPE_ROWS:,} x {SHAPE_DIMENSIONS} made, to begin with; one shard; the most of each; "
                f"{1e3 * history.processor:.1f} ms an append with its optimize()",
            )
        )
    names = max(100, round(SNAPSHOTS * share))
    lines.append(_after_many(setup, names, [setup.place() for _ in range(2)], "a folder"))
    with bucket_of(setup) as (where, urls, options):
        lines.append(_after_many(setup, names, urls[:2], where, **options))
    return Result(lines)


def _history(setup: Setup, batch: int, appends: int) -> Shape:
    rows = made(SHAPE_ROWS + batch * appends, SHAPE_DIMENSIONS)
    rows = Batch(rows.vectors, rows.attributes, np.arange(len(rows)))
    index = rows[:SHAPE_ROWS].build(setup.place(), shards=1)
    written, runs, deltas, manifest = 0, 0, 0, 0
    known = _segments(index)
    with measured() as spent:
        for start in range(SHAPE_ROWS, len(rows), batch):
            rows[start : start + batch].append_to(index)
            written += batch
            after = _segments(index)
            # Deltas of level 0 come from appends, which are already counted, and may have been folded.
            written += sum(size for path, (size, again) in after.items() if path not in known and again)
            now = index.snapshot.manifest
            deltas = max(deltas, len(now.live.deltas))
            runs = max(runs, 1 + bool(now.shards[0].young) + bool(now.live.deltas))
            manifest = max(manifest, len(encode_manifest(now)))
            index.optimize(retune=False)
            known = _segments(index)
            written += sum(size for path, (size, again) in known.items() if path not in after and again)
    return Shape(written / (batch * appends), runs, deltas, manifest, spent.processor / appends)


def _segments(index: Any) -> dict[str, tuple[int, bool]]:
    """Rows of each segment, and whether they were written before."""
    manifest = index.snapshot.manifest
    runs = [run for shard in manifest.shards for run in shard.runs]
    deltas = manifest.live.deltas if manifest.live else ()
    return {run.bundle.path: (run.rows, True) for run in runs} | {
        delta.bundle.path: (delta.rows, delta.level > 0) for delta in deltas
    }


def _after_many(setup: Setup, names: int, urls: Sequence[str | Path], where: str, **options: Any) -> Row:
    """Appends of one row to an index with few snapshots and to one with very many, interleaved."""
    rows = made(2000 + 2 * SINGLES, SHAPE_DIMENSIONS)
    rows = Batch(rows.vectors, rows.attributes, np.arange(len(rows)))
    stores = [bucket(url, **options) for url in urls]
    begun = rows[:2000].build(setup.place(), shards=1)
    for store in stores:
        _copy(begun.snapshot.store, store)
    _age(stores[1], names)
    indexes = [open_on(store) for store in stores]
    turns = iter(range(2000, len(rows)))

    def add(store: Bucket, index: Any) -> tuple[float, str]:
        at = next(turns)
        with measured(store) as spent:
            rows[at : at + 1].append_to(index)
        return spent.processor, spent.requests

    pairs = list(zip(stores, indexes, strict=True))
    short, long = interleave([lambda pair=pair: add(*pair) for pair in pairs], SINGLES)  # type: ignore[misc]
    ratio = median(late[0] / early[0] for early, late in zip(short[1:], long[1:], strict=True))
    counted = [max((one[1] for one in series[1:]), key=len) for series in (short, long)]
    return Row(
        "shape",
        f"append 1 row after {names:,} snapshots, {where}",
        "as after a few",
        f"{ratio:.2f} times ({1e3 * median(one[0] for one in long[1:]):.1f} ms), {counted[1]}",
        ratio <= 1.1 and counted[0] == counted[1],
        f"in turns, median of {SINGLES - 1}; 2,000 x {SHAPE_DIMENSIONS}; up to a tenth counts as the same",
    )


def _copy(source: Store, target: Store) -> None:
    manifest = read_manifest(source)
    for path in (manifest_path(manifest.snapshot), *(entry.path for entry in manifest_files(manifest))):
        target.put(path, bytes(source.get(path)))


def _age(store: Bucket, names: int) -> None:
    """Move the newest manifest after very many others, which are placeholders, since nothing reads them."""
    manifest = read_manifest(store)
    numbers = range(manifest.snapshot + 1, names)
    if "://" in store.url:
        with ThreadPoolExecutor(32) as pool:
            for _ in pool.map(lambda number: store.put(manifest_path(number), b"-"), numbers, chunksize=100):
                pass
    else:  # without a sync for each
        for number in numbers:
            with open(f"{store.url}/{manifest_path(number)}", "xb"):  # noqa: PTH123
                pass
    store.put(manifest_path(names), encode_manifest(msgspec.structs.replace(manifest, snapshot=names)))


def merge(setup: Setup) -> Result:
    """A merge of all rows, some of them appended, compared with a build of the same rows, interleaved."""
    rows, first = setup.collection.rows, setup.first
    url = setup.built(first)
    index = vsearch.open(url)
    for part in np.array_split(np.arange(first, len(rows)), 10):
        rows[part].append_to(index)
    state = runs_of(index)

    def merge_copy() -> float:
        copied = vsearch.open(setup.copy(url))
        with measured() as spent:
            done = copied.optimize(force=True, retune=False)
        if done.rows_written != len(rows):
            raise AssertionError(f"{done.rows_written} of {len(rows)} rows were merged")
        return spent.processor

    def build() -> float:
        with measured() as spent:
            rows.build(setup.place())
        return spent.processor

    merged, built = interleave([merge_copy, build], setup.repetitions)
    ratio = median(one / other for one, other in zip(merged, built, strict=True))
    return Result(
        [
            Row(
                "merge",
                "optimize(force=True, retune=False) of all rows",
                "0.1 of a build's processor time",
                f"{ratio:.3f} ({median(merged):.2f} s of {median(built):.2f} s)",
                ratio <= 0.1,
                f"{describe(rows, setup)}; before: {state}; {setup.repetitions} turns, medians",
            )
        ]
    )


def histories(setup: Setup) -> Result:
    """Histories of writers with faults between their store calls: `bench.soak live`."""
    folder = setup.place()
    folder.mkdir()
    report = fuzz("live", setup.seed, 0, sys.maxsize, time.monotonic() + 60 * setup.minutes, folder)
    texts = [finding["text"] for finding in report.findings]
    losses = ", ".join(f"{sum(word in text for text in texts)} {word}" for word in LOSSES)
    for finding in report.findings:
        print(f"{finding['outcome']}: {finding['tried']}\n{finding['text']}\n")
    counted = ", ".join(f"{number:,} {what}" for what, number in sorted(report.counts.items()) if what != "histories")
    return Result(
        [
            Row(
                "histories",
                "random histories of writers, stores that lose answers, refuse, fail and kill",
                "10,000 without a row lost, doubled or resurrected",
                f"{report.tries:,} histories, {losses}, {len(report.findings)} findings",
                not report.findings and report.tries >= 10_000,
                f"seed {setup.seed}, {report.seconds / 60:.0f} minutes; {counted}",
            )
        ]
    )
