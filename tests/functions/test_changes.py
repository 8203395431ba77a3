"""A deployed stack with a writer and a keeper: rows are written over HTTP and by RemoteIndex while they are searched."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
import zipfile
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import make_sample
from tests.functions.deployment import KEY, WRITE_KEY, deploy

D = 24


@pytest.fixture(scope="module")
def stack(tmp_path_factory, s3_server, package, changes_package, keys):
    url = f"s3://vsearch/written-{uuid4().hex}/index"
    vectors, attributes, queries = make_sample(600, D, 3)
    ids = [f"row {number}" for number in range(400)]
    options = s3_server.options()
    vsearch.build(vectors[:400], url, attributes[:400], ids, shards=2, partitions=12, **options)
    packages = {"package": package.path, "changes": changes_package.path}
    with deploy(
        tmp_path_factory.mktemp("faas"),
        s3_endpoint=s3_server.endpoint,
        queries=queries,
        reference=[],
        stack="w",
        VSEARCH_INDEX=url,
        **packages,
    ) as deployed:
        yield deployed, vsearch.open(url, refresh=0, **options), vectors, attributes


def request(deployed, method, path, body, **headers):
    sent = urllib.request.Request(
        f"{deployed.server.url}/url/w-http/{path}",
        json.dumps(body).encode(),
        {"x-api-key": KEY, "x-write-key": WRITE_KEY, **headers},
        method=method,
    )
    try:
        with urllib.request.urlopen(sent) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_the_package_has_arrow_and_no_compiler(changes_package, package):
    names = zipfile.ZipFile(changes_package.path).namelist()
    assert {"functions/writer.py", "functions/keeper.py", "vsearch/live/commits.py"} <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"numba", "llvmlite", "pandas", "scipy", "boto3", "torch", "functions/http.py"}
    assert not any(part in name for name in names for part in ("libarrow_flight", "libarrow_s3", "/tests/"))
    searching = zipfile.ZipFile(package.path).namelist()
    assert not any(name.startswith(("vsearch/live/", "vsearch/building/", "pyarrow/")) for name in searching)
    assert not {"functions/writer.py", "functions/keeper.py", "functions/framework_changes.py"} & set(searching)


def test_rows_over_http(stack):
    deployed, index, vectors, _ = stack
    rows = [{"id": f"new {i}", "vector": vectors[400 + i].tolist(), "columns": {"year": 3000 + i}} for i in range(20)]
    status, reply = request(deployed, "POST", "rows", {"rows": rows}, **{"idempotency-key": "first"})
    assert (status, reply.get("added")) == (200, 20), (reply, deployed.platform.log("w-writer")[-1500:])
    again = request(deployed, "POST", "rows", {"rows": rows}, **{"idempotency-key": "first"})
    assert (again[0], again[1]["snapshot"]) == (200, reply["snapshot"])
    search = {"vector": rows[3]["vector"], "k": 1, "where": "year >= 3000", "columns": ["year"]}
    status, found = request(deployed, "POST", "search", {**search, "at_least": reply["snapshot"]})
    assert (status, found["hits"][0][0]["id"], found["hits"][0][0]["columns"]) == (200, "new 3", {"year": 3003})
    status, bad = request(deployed, "POST", "rows", {"rows": [rows[0], {"id": "x", "vector": [1.0]}]})
    assert (status, [fault["position"] for fault in bad["rows"]]) == (400, [1])
    assert (
        request(deployed, "PATCH", "rows", {"where": "year >= 3010", "values": {"word": "late"}})[1]["replaced"] == 10
    )
    assert request(deployed, "DELETE", "rows?dry_run=true", {"where": "word = 'late'"})[1]["deleted"] == 10
    assert request(deployed, "DELETE", "rows", {"where": "word = 'late'"})[1]["deleted"] == 10
    assert request(deployed, "POST", "rows", {"rows": rows}, **{"x-write-key": KEY})[0] == 401
    index.refresh()
    assert (len(index), len(index.get([f"new {i}" for i in range(10)]))) == (410, 10)


def test_writers_keeper_and_searches_at_once(stack):
    """Every row that was confirmed is found, and nothing else, while the keeper merges and two clients write."""
    deployed, index, vectors, attributes = stack
    before, done, failures = len(index), threading.Event(), []

    def write(client):
        try:
            for turn in range(6):
                ids = [f"{client} {turn} {i}" for i in range(5)]
                rows = slice(400 + 10 * turn, 405 + 10 * turn)
                deployed.remote.append(vectors[rows], attributes[rows], ids)
                deployed.remote.delete(ids[:1])
        except BaseException as error:
            failures.append(error)

    def keep():
        while not done.is_set():
            deployed.remote.optimize(force=True)

    threads = [threading.Thread(target=write, args=(client,)) for client in ("a", "b")]
    keeper = threading.Thread(target=keep)
    for thread in (*threads, keeper):
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert deployed.remote.search(deployed.queries[:2], k=5).ids.shape == (2, 5)
    done.set()
    for thread in (*threads, keeper):
        thread.join()
    assert failures == []
    index.refresh()
    assert len(index) == before + 2 * 6 * 4
    report = deployed.remote.optimize(force=True)
    index.refresh()
    queries, where = deployed.queries, "year > 1995"
    found = deployed.remote.search(queries, k=9, where=where, exact=True, at_least=report.snapshot)
    assert found.ids.tolist() == index.search(queries, k=9, where=where, exact=True).ids.tolist()


def test_a_keeper_runs_on_its_schedule(tmp_path, s3_server, package, changes_package, keys):
    url = f"s3://vsearch/kept-{uuid4().hex}/index"
    vectors, attributes, queries = make_sample(300, D, 3)
    index = vsearch.build(vectors[:100], url, attributes[:100], np.arange(100), shards=1, **s3_server.options())
    index.append(vectors[100:], attributes[100:], np.arange(100, 300))
    index.delete(where="id < 60")  # more than a fifth: the base is due
    before = index.info()["snapshot"]
    with deploy(
        tmp_path, package.path, s3_server.endpoint, queries, [], "k", changes=changes_package.path, keep_every=0.5,
        VSEARCH_INDEX=url,
    ) as deployed:  # fmt: skip
        begun = time.monotonic()
        while not index.refresh():
            assert time.monotonic() < begun + 60, deployed.platform.log("k-keeper").decode()
            time.sleep(0.1)
    assert index.info()["snapshot"] > before
    assert len(index) == 240
    assert index.snapshot.manifest.live.operation.kind in ("optimize", "tune")
