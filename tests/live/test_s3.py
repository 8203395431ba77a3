"""Changes of an index in a bucket, by several writers at once: conditional puts, ranges and listings are the server's own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vsearch


@pytest.mark.slow
def test_writers_on_one_prefix_lose_nothing(s3_url, s3_options):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 16)).astype(np.float32)
    prices = np.arange(600)
    vsearch.build(
        vectors[:300], s3_url, {"price": prices[:300]}, ids=prices[:300], shards=2, rerank="float32", **s3_options
    )
    reader = vsearch.open(s3_url, refresh=0.0, **s3_options)

    def write(number):
        index = vsearch.open(s3_url, **s3_options)
        for first in range(300 + 100 * number, 400 + 100 * number, 20):
            rows = slice(first, first + 20)
            index.append(vectors[rows], {"price": prices[rows]}, ids=prices[rows], token=f"rows {first}")
            index.delete([first - 300])
        return index.optimize(force=number == 1).snapshot

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    gone = {first - 300 for first in range(300, 600, 20)}
    live = np.array(sorted(set(range(600)) - gone))
    for index in (reader, vsearch.open(s3_url, **s3_options)):
        hits = index.search(vectors[live], k=1, exact=True)
        assert hits.ids[:, 0].tolist() == live.tolist()
        assert len(index) == len(live)
        assert index.search(vectors[:1], k=600, where="price < 40").stats.rows_masked == 38
    assert vsearch.verify(s3_url, **s3_options).ok


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_changes_an_index_that_its_parent_opened(s3_url, s3_options):
    vectors = np.random.default_rng(1).normal(size=(100, 8)).astype(np.float32)
    index = vsearch.build(vectors, s3_url, rerank="float32", **s3_options)
    index.append(vectors[:1])
    child = os.fork()
    if child == 0:
        try:
            again = vsearch.open(s3_url, **s3_options)
            os._exit(0 if again.append(vectors[:3]).added == 3 else 1)
        except vsearch.StoreError as error:  # what cannot work after a fork says so
            os._exit(2 if "spawn" in str(error) else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (0, 2)
    index.append(vectors[3:6])
    fresh = vsearch.open(s3_url, **s3_options)
    assert len(fresh) in (104, 107)
    assert fresh.search(vectors[5], k=2, exact=True).scores[0, 1] == pytest.approx(1, abs=1e-5)
