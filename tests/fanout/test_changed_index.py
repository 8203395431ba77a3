"""Functions do not search a changed index yet: they say so, whatever the plan, and never answer from a part of it."""

from __future__ import annotations

import pytest

import vsearch
from tests.fanout.conftest import Stack, make_sample
from vsearch.api.remote_index import RemoteIndex
from vsearch.deploy.aws import deployer as aws_deployer
from vsearch.deploy.cost import measure_bill
from vsearch.deploy.deployer import DeployRequest
from vsearch.errors import InputError
from vsearch.fanout.wire.envelope import Envelope

CHANGES = {
    "delete": lambda index, vectors: index.delete([0, 1, 2]),
    "append": lambda index, vectors: index.append(vectors[:5]),
    "optimize": lambda index, vectors: (index.delete([0]), index.optimize(force=True)),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_changed_index_is_refused_by_name(change):
    vectors, attributes, queries = make_sample(400, 16, 3)
    url = f"memory://fanout-changed-{change}/index"
    index = vsearch.build(vectors, url, attributes, shards=2, partitions=8)
    stack = Stack(url, index, queries)
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    built = index.snapshot.manifest.snapshot
    assert remote.search(queries).ids.tolist() == index.search(queries).ids.tolist()
    before = index.search(queries).ids.tolist()
    CHANGES[change](index, vectors)
    stack.reset()
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    for mode in ("auto", "flat", "tree"):
        for where in (None, "price < 50", "price < -1e9"):
            for partial in (False, True):
                with pytest.raises(InputError, match="changed index"):
                    remote.search(queries, where=where, mode=mode, allow_partial=partial)
    with pytest.raises(InputError, match="changed index"):
        remote.get([5])
    pinned = RemoteIndex("test://t", stack.names, stack.local, Envelope(), snapshot=built)
    assert pinned.search(queries).ids.tolist() == before  # the snapshot that was built is searched as before


def test_an_index_whose_rows_expire_is_refused_by_name():
    vectors, attributes, queries = make_sample(300, 16, 3)
    url = "memory://fanout-ttl/index"
    attributes = attributes.append_column("expires", [[None, *range(299)]])
    index = vsearch.build(vectors, url, attributes, shards=2, partitions=8, ttl="expires")
    assert len(index) == 1
    stack = Stack(url, index, queries)
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    for mode in ("auto", "flat", "tree"):
        with pytest.raises(InputError, match=r"expire \(ttl\)"):
            remote.search(queries, mode=mode)
    with pytest.raises(InputError, match=r"expire \(ttl\)"):
        remote.get([0])
    with pytest.raises(InputError, match=r"expire \(ttl\)"):
        measure_bill(index.snapshot.store, queries=1)


def test_no_bill_is_forecast_and_nothing_deployed_for_a_changed_index(tmp_path, monkeypatch):
    vectors, attributes, _ = make_sample(300, 16, 3)
    index = vsearch.build(vectors, tmp_path / "index", attributes, partitions=4)
    store = index.snapshot.store
    assert measure_bill(store, queries=1)[0].total > 0
    index.delete([0])
    with pytest.raises(InputError, match="changed index"):
        measure_bill(store, queries=1)
    monkeypatch.setattr("vsearch.storage.open_store", lambda url, **_: store)  # what is at the URL, in a folder
    request = DeployRequest("s3://bucket/index", "t", 1769, "x86_64", None, 30)
    with pytest.raises(InputError, match="changed index"):
        aws_deployer.preview(request, lambda package: pytest.fail("a package was built"))
