"""Text queries and vector queries through a local stack of functions: warm and cold, one query at a time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

import vsearch
from bench.data import Floats
from bench.serverless_stack import NAMES, Stack, deployed, object_store, package, process_seconds

PLAN = {"mode": "alone", "k": 10, "freshness": 3600.0}


@dataclass(frozen=True)
class Added:
    """Milliseconds of a search by a vector, and the extra cost of a text: wall time, and the coordinator's CPU time."""

    name: str
    vector: float
    text: float
    processor: float
    best: float


def measure(
    work: Path, vectors: Floats, encoders: dict[str, Path], texts: Sequence[str], warm: int, cold: int
) -> list[Added]:
    """Deploy an index with each encoder and time searches, by vectors and texts in turn.

    Parameters
    ----------
    encoders : dict of str to Path
        Folders of compressed encoders by name.
    texts : sequence of str
        Queries of about 12 tokens.
    """
    zipped = package(work)
    results = []
    for name, folder in encoders.items():
        encoder = vsearch.encoders.load(folder)
        place = work / f"texts-{name}" / "index"
        shutil.rmtree(place, ignore_errors=True)
        vsearch.build(vectors, place, shards=2).with_encoder(encoder)
        with object_store(work / "s3") as endpoint, deployed(work, place, zipped, endpoint) as stack:
            results += [_warm(stack, name, encoder, texts, warm), _cold(stack, name, encoder, texts, cold)]
    return results


def _warm(stack: Stack, name: str, encoder: vsearch.encoders.TextEncoder, texts: Sequence[str], count: int) -> Added:
    pairs = [(encoder.encode(text), text) for text in texts]
    for vector, text in pairs[:20]:
        _time(stack, vector)
        _time(stack, text)
    timings = []
    for vector, text in (pairs * (1 + count // len(pairs)))[:count]:
        timings.append((_time(stack, vector), _time(stack, text)))
    spent = [
        _processor(stack, lambda one=one: [_time(stack, pair[one]) for pair in pairs[:100]]) / 100 for one in (0, 1)
    ]  # type: ignore[misc]
    return _added(f"{name}, warm", timings, spent[1] - spent[0])


def _cold(stack: Stack, name: str, encoder: vsearch.encoders.TextEncoder, texts: Sequence[str], count: int) -> Added:
    pairs, spent = [], []
    for text in texts[:count]:
        pair = []
        for query in (encoder.encode(text), text):
            stack.evict_idle()
            pair.append((_time(stack, query), process_seconds(_environment(stack).pid)))
        pairs.append((pair[0][0], pair[1][0]))
        spent.append(pair[1][1] - pair[0][1])
    return _added(f"{name}, cold", pairs, median(spent))


def _added(name: str, pairs: Sequence[tuple[float, float]], processor: float) -> Added:
    vector, text = np.array(pairs).T * 1e3
    more = float(np.median(text - vector)), float(text.min() - vector.min())
    return Added(name, float(np.median(vector)), more[0], 1e3 * processor, more[1])


def _time(stack: Stack, query: object) -> float:
    start = time.perf_counter()
    stack.index.search(query, **PLAN)  # type: ignore[arg-type]
    return time.perf_counter() - start


def _environment(stack: Stack) -> object:
    (environment,) = stack.platform._functions[NAMES.coordinator].idle  # noqa: SLF001 (the only access to the processes)
    return environment


def _processor(stack: Stack, run: Callable[[], object]) -> float:
    before = process_seconds(_environment(stack).pid)
    run()
    return process_seconds(_environment(stack).pid) - before
