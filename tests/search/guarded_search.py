"""Search with every array that native code is given against a page that may not be touched; prints "same" at the end.

Run by test_guard_pages.py in a process of its own, since a stray read ends it. The forbidden page lies behind each array
first, then before it.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa

import vsearch
from tests.indexes import clustered
from vsearch.building import regions
from vsearch.kernels.query.fields import SEVERAL, CallField, RunField
from vsearch.search.state import arguments, batches, packed_regions, workspace
from vsearch.search.state.arguments import KernelArguments

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)
guarded = set()


def guard(array, side):
    """A copy of an array, flush with a page that may not be read or written."""
    pages = max(1, -(-array.nbytes // PAGE))
    memory = mmap.mmap(-1, (pages + 1) * PAGE)
    whole = np.frombuffer(memory, np.uint8)
    base = whole.__array_interface__["data"][0]
    forbidden = base + (pages * PAGE if side == "end" else 0)
    start = pages * PAGE - array.nbytes if side == "end" else PAGE
    copy = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    if LIBC.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(PAGE), 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    guarded.add(native_address(copy))
    KEPT.append((memory, whole))
    return copy


KEPT = []  # a page that is given back may be touched again
native_address = arguments.address
point = KernelArguments.point


class GuardedNumpy:
    """NumPy whose fresh arrays are guarded: what native code writes, Python reads in place."""

    def __init__(self, side):
        self._side = side

    def __getattr__(self, name):
        return getattr(np, name)

    def zeros(self, shape, dtype=float):
        return guard(np.zeros(shape, dtype), self._side)

    def empty(self, shape, dtype=float):
        return guard(np.full(shape, 7, dtype), self._side)

    def point(self, fields, field, array, dtype):
        if field in (RunField.READ, RunField.COMPLETE) and isinstance(field, RunField):
            point(fields, field, array, dtype)  # written while searches read: a copy would never change
            return
        point(fields, field, array if native_address(array) in guarded else guard(array, self._side), dtype)


def ask(folder, queries):
    index = vsearch.open(folder)
    near = {} if index._snapshot.model.regions is None else {"near_regions": 4, "familiar": -100.0}
    index._snapshot.settings = replace(index._snapshot.settings, **near)
    answers = []
    wheres = ({"where": "number < 40"}, {"where": "number > 3 OR number = 1"}, {"where": "number = 11"})
    for options in ({}, {"exact": True}, {"k": 61}, {"nprobe": 2}, *wheres):
        hits = index.search(queries, **options)
        answers += [hits.ids, hits.scores]
    alone = index.search(queries[0])
    assert not near or index._snapshot.workspace().values[CallField.CANDIDATE_COUNT] > 0
    return [*answers, alone.ids, alone.scores]


def main():
    folder = sys.argv[1]
    regions.LEAST_PARTITIONS = 100
    for number, (metric, rerank, bits, d, n, partitions, *spill) in enumerate(
        [
            ("cosine", "int8", 1.0, 37, 333, 5),
            ("ip", "float16", 3.0, 21, 320, 5),
            ("l2", "float32", 2.0, 5, 257, 5),
            ("l2", None, 0.5, 70, 64, 5),
            ("cosine", None, 8.0, 3, 33, 5),
            ("ip", "int8", 0.25, 1, 40, 5),
            ("l2", "int8", 4.0, 64, 1, 1),
            ("l2", "int8", 1.0, 18, 100, 70),  # two groups of centroids, and more than the nearest
            ("cosine", "int8", 1.0, 37, 333, 5, True),
            ("l2", "float16", 3.0, 20, 290, 40, True),
            ("cosine", "int8", 1.0, 18, 2000, 150),  # with regions
            ("l2", "float32", 1.0, 18, 2000, 150),
        ]
    ):
        url, queries = (
            f"{folder}/{number}",
            np.concatenate([clustered(4, d, seed=1), clustered(SEVERAL, d, seed=2)[:-2]]),
        )
        options = {
            "metric": metric,
            "rerank": rerank,
            "bits": bits,
            "shards": 2 if n > 100 else 1,
            "partitions": partitions,
            "spill": bool(spill),
        }
        vsearch.build(clustered(n, d), url, attributes=pa.table({"number": np.arange(n)}), **options)
        wanted = ask(url, queries)
        for side in ("end", "start"):
            arguments.np = workspace.np = batches.np = packed_regions.np = numpy = GuardedNumpy(side)
            KernelArguments.point = lambda *arguments, numpy=numpy: numpy.point(*arguments)
            found = ask(url, queries)
            KernelArguments.point = point
            arguments.np = workspace.np = batches.np = packed_regions.np = np
            for one, two in zip(wanted, found, strict=True):
                np.testing.assert_array_equal(one, two)
    print("same", len(KEPT) > 100)


main()
