"""Deployed functions follow an index that changes, without a new deployment and without reading unchanged files again."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import make_sample
from tests.functions.deployment import KEY, deploy
from tests.waiting import wait_until

D = 24


@pytest.fixture
def stack(tmp_path, s3_server, package, keys):
    """A stack of its own, the index, and rows that are not in it yet."""
    url = f"s3://vsearch/changed-{uuid4().hex}/index"
    vectors, attributes, queries = make_sample(600, D, 3)
    ids = [f"row {number}" for number in range(len(vectors))]
    index = vsearch.build(
        vectors[:400], url, attributes[:400], ids[:400], shards=2, partitions=12, **s3_server.options()
    )
    more = [(vectors[i : i + 50], attributes[i : i + 50], ids[i : i + 50]) for i in range(400, 600, 50)]
    with deploy(tmp_path, package.path, s3_server.endpoint, queries, [], stack="c", VSEARCH_INDEX=url) as deployed:
        yield deployed, index, more


def assert_same(remote, index, queries, mode, **options):
    """Scores may differ in their last bits: the functions' kernels are compiled for another instruction set."""
    columns = ("word", "tags", "price")
    for where in (None, "price < 60 AND word LIKE 'w%'", "tags @> ARRAY['t1']"):
        asked = {"k": 15, "where": where, "exact": True, "columns": columns}
        there, here = remote.search(queries, mode=mode, **asked, **options), index.search(queries, **asked)
        assert there.ids.tolist() == here.ids.tolist()
        np.testing.assert_allclose(there.scores, here.scores, rtol=1e-5)
        assert there.columns.to_pylist() == here.columns.to_pylist()
        options = {}
    return there


def test_changes_are_seen_without_deployment(stack):
    deployed, index, more = stack
    remote, queries = deployed.remote, deployed.queries
    for mode in ("flat", "alone"):
        assert_same(remote, index, queries, mode)
    index.append(*more[0])
    wait_until(lambda: remote.search(queries[:1], mode="flat").snapshot > 1, "the change is seen")
    assert_same(remote, index, queries, "flat")
    commit = index.upsert(*more[1][:2], more[0][2])
    index.append(*more[2])
    index.delete(where="year < 1995")
    commit = index.update({"word": "w new"}, where="price < 20")
    for mode in ("flat", "alone"):
        assert_same(remote, index, queries, mode, at_least=commit.snapshot)
    index.optimize(force=True)
    commit = index.append(*more[3])
    found = assert_same(remote, index, queries, "tree", at_least=commit.snapshot)
    assert found.complete
    warm = remote.search(queries, exact=True, mode="flat")
    assert warm.bill.usages.total.cold_starts == 0
    assert warm.bill.usages.processor.requests == 0


def test_json_reads_own_writes(stack):
    deployed, index, more = stack

    def post(**body):
        request = urllib.request.Request(
            f"{deployed.server.url}/url/c-http/search", json.dumps(body).encode(), {"x-api-key": KEY}
        )
        with urllib.request.urlopen(request) as reply:
            return json.loads(reply.read())

    vector = more[0][0][7].tolist()
    assert post(vector=vector, k=1)["snapshot"] == 1
    commit = index.append(*more[0])
    found = post(vector=vector, k=1, at_least=commit.snapshot, freshness=5)
    assert found["snapshot"] == commit.snapshot
    assert found["hits"][0][0]["id"] == more[0][2][7]
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(vector=vector, at_least=99)
    with caught.value:
        assert caught.value.code == 404
        assert "snapshot 99 does not exist yet" in json.loads(caught.value.read())["message"]
