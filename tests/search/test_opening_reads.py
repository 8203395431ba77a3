"""What opening an index in an object store reads: all that it needs at once, nothing twice, and nothing that it does not need."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.buckets import Bucket, opened
from tests.indexes import clustered
from vsearch.storage.snapshots.kinds import ModelPart

ROWS, D = 3000, 24


class Noted(Bucket):
    """A bucket that notes the ranges that are read, by path, and the rounds in which they are."""

    def __init__(self, store):
        super().__init__(store)
        self.ranges = []

    def read_into(self, path, starts, stops, out):
        with self._lock:
            self.ranges += [(path, int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]
        return super().read_into(path, starts, stops, out)


def search(index):
    index.search(clustered(1, D, seed=3)[0])


def plain(folder):
    vsearch.build(clustered(ROWS, D), folder, shards=2)
    return search


def copies(folder):
    vsearch.build(clustered(ROWS, D), folder, spill=True)
    return search


def words(folder):
    texts = pa.table({"text": [f"word{row % 50} other{row % 7}" for row in range(ROWS)]})
    vsearch.build(clustered(ROWS, D), folder, attributes=texts, text="text")
    return lambda index: index.search(clustered(1, D)[0], text="word3")


def changed(folder):
    index = vsearch.build(clustered(ROWS, D), folder)
    index.append(clustered(500, D, seed=1))
    index.optimize()
    index.append(clustered(50, D, seed=2))
    index.delete(np.arange(40))
    return search


def documents(folder):
    vectors = clustered(ROWS, D)
    vsearch.build_documents(vectors, np.arange(0, ROWS + 1, 10), folder)
    return lambda index: index.search_documents([clustered(5, D, seed=3)])


def empty(folder):
    index = vsearch.build(clustered(30, D), folder)
    index.delete(np.arange(30))
    return search


MADE = {"plain": plain, "copies": copies, "words": words, "changed": changed, "documents": documents, "empty": empty}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("small", [0, 1 << 20])
def test_nothing_is_read_twice(tmp_path, monkeypatch, kind, small):
    monkeypatch.setattr("vsearch.storage.files.bundle.SMALL", small)
    monkeypatch.setattr("vsearch.search.state.opening_reads.SMALL", small)
    use = MADE[kind](tmp_path / "index")
    bucket, index = opened(tmp_path / "index", Noted)
    assert bucket.ranges
    read = {path for path, _, _ in bucket.ranges}
    manifest = index.snapshot.manifest
    unneeded = [entry.path for entry in ModelPart.DOCUMENTS.entries(manifest.model).values()]
    assert bool(unneeded) == (kind == "documents")
    assert not read.intersection(unneeded)
    use(index)
    by_path = {}
    for path, start, stop in bucket.ranges:
        by_path.setdefault(path, []).append((start, stop))
    for path, ranges in by_path.items():
        ranges.sort()
        assert all(stop <= start for (_, stop), (start, _) in pairwise(ranges)), path
