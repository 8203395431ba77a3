"""What functions find is what an index finds that is opened in this process, with one shard or `exact` bit by bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import Stack, make_sample
from tests.fanout.test_answers import assert_same
from vsearch.fanout.wire.messages import int32s
from vsearch.fanout.wire.values import to_values

WHERES = (None, "price < 43.21 AND year >= 2001", "year = 1995 AND price > 60")


@pytest.fixture(scope="module", params=[1, 3])
def stack(request, tmp_path_factory):
    vectors, attributes, queries = make_sample(1500, 32, 5)
    url = f"memory://agreement-{request.param}/index"
    index = vsearch.build(vectors, url, attributes, shards=request.param, partitions=30)
    index.append(vectors[:50] * 1.01, attributes.slice(0, 50))
    return Stack(url, index, queries)


@pytest.mark.parametrize("mode", ["alone", "flat"])
def test_functions_find_what_the_index_finds(stack, mode):
    shards = len(stack.index.snapshot.groups)
    for where in WHERES:
        assert_same(stack.search(where=where, mode=mode, exact=True), stack.hits(where, exact=True))
        answer, hits = stack.search(where=where, mode=mode), stack.hits(where)
        if shards == 1:
            assert_same(answer, hits)
        edges = np.cumsum([0, *int32s(answer.found)])
        ids = to_values(answer.ids)
        found = [set(ids[start:stop]) for start, stop in pairwise(edges)]
        expected = [set(row) - {-1} for row in hits.ids.tolist()]
        assert [len(row) for row in found] == [len(row) for row in expected]
        shared = sum(len(one & other) for one, other in zip(found, expected, strict=True))
        assert shared >= 0.98 * sum(map(len, expected))
