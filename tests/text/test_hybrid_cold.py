"""A search by vectors and words of an index that no search has read: both parts read at once, and find what they find later."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import vsearch
from tests.buckets import Bucket, opened
from tests.text.conftest import make_rows, table, vectors

PARTS = ("ids", "scores", "vector_scores", "vector_ranks", "leg_scores", "leg_ranks")


class Gated(Bucket):
    """A bucket whose first read of each part of a search waits until the other part reads as well."""

    def __init__(self, store):
        super().__init__(store)
        self.gate = None
        self.waited = set()

    def read_into(self, path, starts, stops, out):
        part = "words" if "-text-" in path else "vectors" if path.endswith("-codes.arrow") else None
        with self._lock:
            waits = self.gate is not None and part is not None and part not in self.waited
            self.waited |= {part} - {None}
        if waits:
            self.gate.wait()
        super().read_into(path, starts, stops, out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cold") / "index"
    rows = make_rows(3000, seed=1)
    vsearch.build(vectors(3000), folder, table(rows), text="body", partitions=100, shards=2)
    return folder


@pytest.mark.parametrize("where", [None, "number < 500"])
def test_both_parts_read_at_once(folder, where):
    bucket, cold = opened(folder, Gated)
    bucket.gate = threading.Barrier(2, timeout=20)  # breaks if one part waits for the other
    points = vectors(3, seed=5)
    texts = ["ak", "al bm", "zz"]
    hits = cold.search(points, 5, where=where, text=texts)
    assert bucket.waited == {"words", "vectors"}
    complete = vsearch.open(folder)
    complete.search(points, 5, exact=True)
    expected = complete.search(points, 5, where=where, text=texts)
    for name in PARTS:
        np.testing.assert_array_equal(getattr(hits, name), getattr(expected, name))
    counts = [h.stats for h in (hits, expected)]
    for name in ("queries", "partitions", "partitions_visited", "rows_masked", "rows_scanned", "rows_reranked"):
        assert getattr(counts[0], name) == getattr(counts[1], name), name
    assert hits.stats.bytes_fetched > 0


def test_an_error_of_one_part_is_that_of_the_search(folder, monkeypatch):
    _, cold = opened(folder, Gated)

    def fail(*_arguments):
        raise OSError("the disk is gone")

    monkeypatch.setattr("vsearch.legs.hybrid.search_vectors", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        cold.search(vectors(1, seed=5)[0], 5, text="ak")
    with pytest.raises(vsearch.InputError):
        cold.search(vectors(1, seed=5)[0], 5, text=[1, 2])
