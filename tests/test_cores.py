from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.cores import available_cores
from vsearch.search.engine.exhaustive import search_exhaustively


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system")
def test_searches_use_the_cores_they_are_given_and_answer_alike(tmp_path):
    index = vsearch.build(clustered(3000), tmp_path / "index", partitions=40)
    queries = clustered(70, seed=5)
    given = os.sched_getaffinity(0)
    assert available_cores() == len(given)
    several = index.search(queries, k=7)
    try:
        os.sched_setaffinity(0, {min(given)})
        assert available_cores() == 1
        alone = index.search(queries, k=7)
    finally:
        os.sched_setaffinity(0, given)
    np.testing.assert_array_equal(several.ids, alone.ids)
    np.testing.assert_array_equal(several.scores, alone.scores)
    one_by_one = [index.search(query, k=7) for query in queries]
    np.testing.assert_array_equal(several.ids, np.concatenate([hits.ids for hits in one_by_one]))
    np.testing.assert_array_equal(several.scores, np.concatenate([hits.scores for hits in one_by_one]))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("options", [{}, {"shards": 3}, {"rerank": None}, {"quantizer": "pq", "bits": 2.0}])
def test_an_exhaustive_query_uses_all_cores_and_answers_alike(tmp_path, monkeypatch, metric, options):
    rows = pa.table({"number": np.arange(1500)})
    index = vsearch.build(clustered(1500), tmp_path / "index", rows, metric=metric, partitions=40, **options)
    asked = {"exact": True, "k": 30}
    queries, spied = clustered(3, seed=5), []

    def noted(*given, **named):
        spied.append(given[2].k)
        return search_exhaustively(*given, **named)

    for where in (None, "number < 700", "number = 3", "number < 0"):
        alone = [index.search(query, where=where, **asked) for query in queries]
        with monkeypatch.context() as patched:
            patched.setattr("vsearch.search.engine.exhaustive.WORTH", 1)
            patched.setattr("vsearch.search.engine.exhaustive.available_cores", lambda: 3)
            patched.setattr("vsearch.search.vectors.search_exhaustively", noted)
            spied.clear()
            several = [index.search(query, where=where, **asked) for query in queries]
        assert spied == ([30] * 3 if where != "number < 0" else [])
        for one, other in zip(alone, several, strict=True):
            np.testing.assert_array_equal(one.ids, other.ids)
            np.testing.assert_array_equal(one.scores, other.scores)
            counts = [
                (s.partitions_visited, s.rows_scanned, s.rows_refined, s.rows_reranked)
                for s in (one.stats, other.stats)
            ]
            assert counts[0] == counts[1]
