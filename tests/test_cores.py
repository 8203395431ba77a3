from __future__ import annotations

import os

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.cores import available_cores


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
