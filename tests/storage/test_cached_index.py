"""Searches of an index in S3 with a cache on disk: what the server is asked for, and that answers stay the same."""

import json
import os
import pickle
import subprocess
import sys
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from tests.seaweed import BUCKET
from vsearch.cli.app import app
from vsearch.errors import CorruptIndexError, InputError
from vsearch.serving.settings import ServerSettings
from vsearch.storage.stores.cached import CachedStore
from vsearch.storage.stores.object_store import ObjectStore

SEARCH = """
import json, sys
import numpy as np, vsearch
from vsearch.storage.stores.object_store import ObjectStore

fetched, inner = [0], ObjectStore._range
def counted(self, path, start, stop):
    fetched[0] += stop - start if path.startswith(("segments/", "model/")) else 0
    return inner(self, path, start, stop)
ObjectStore._range = counted
options = json.loads(sys.argv[1])
index = vsearch.open(options.pop("url"), **options)
queries = np.random.default_rng(5).standard_normal((20, 32)).astype(np.float32)
hits = index.search(queries, k=10, columns=["n"])
print(json.dumps([fetched[0], hits.stats.bytes_fetched, hits.ids.tolist()]))
"""


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(4).standard_normal((20_000, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def built(s3_server, vectors):
    url = f"s3://{BUCKET}/{uuid4().hex}"
    vsearch.build(vectors, url, [{"n": i} for i in range(len(vectors))], **s3_server.options())
    return url


def started(url, options):
    arguments = [sys.executable, "-c", SEARCH, json.dumps({"url": url, **options})]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, env=dict(os.environ))


def finished(process):
    out, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(out)


def test_a_second_process_asks_for_a_fraction(built, s3_options, tmp_path):
    plain = finished(started(built, s3_options))
    cached = {**s3_options, "cache": str(tmp_path / "c")}
    first = finished(started(built, cached))
    second = finished(started(built, cached))
    assert first == plain  # nothing more is fetched, and the same is counted
    assert plain[0] > 100_000
    assert plain[1] > 0
    assert second == [0, 0, plain[2]]


def test_two_processes_at_once(built, s3_options, tmp_path):
    cached = {**s3_options, "cache": str(tmp_path / "c"), "cache_bytes": 1 << 20}
    answers = [finished(process) for process in [started(built, cached) for _ in range(2)]]
    assert answers[0][2] == answers[1][2] == finished(started(built, s3_options))[2]
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "c").rglob("*.pack")) <= 1 << 20


def test_damage_is_fetched_again(built, s3_options, vectors, tmp_path):
    expected = vsearch.open(built, **s3_options).search(vectors[:5], k=5).ids
    for _ in range(2):
        assert np.array_equal(vsearch.open(built, cache=tmp_path, **s3_options).search(vectors[:5], k=5).ids, expected)
        for path in tmp_path.rglob("*.pack"):
            data = np.fromfile(path, np.uint8)
            data[::1000] ^= 1
            data.tofile(path)
    assert np.array_equal(vsearch.open(built, cache=tmp_path, **s3_options).search(vectors[:5], k=5).ids, expected)


def test_an_index_that_changes_and_is_pickled(s3_url, s3_options, vectors, tmp_path):
    index = vsearch.build(vectors[:2000], s3_url, cache=tmp_path, **s3_options)
    other = vsearch.open(s3_url, refresh=0, cache=tmp_path, **s3_options)
    for step in range(3):
        index.append(vectors[2000 + step : 2001 + step])
        assert other.search(vectors[2000 + step], k=1).ids.tolist() == [[2000 + step]]
    index.delete([2001])
    assert other.search(vectors[2001], k=1).ids.tolist() != [[2001]]
    index.optimize()
    assert other.search(vectors[2002], k=1).ids.tolist() == [[2002]]
    assert isinstance(other.snapshot.store, CachedStore)
    place = pickle.loads(pickle.dumps(other))._place[0]
    assert place._folder.folder == str(tmp_path)
    vsearch.build(vectors[::-1][:2000], s3_url, cache=tmp_path, overwrite=True, **s3_options)
    newest = vsearch.open(s3_url, cache=tmp_path, **s3_options)
    assert newest.search(vectors[-1], k=1).ids.tolist() == [[0]]


def test_the_command_line_takes_a_cache(built, s3_options, vectors, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    for name, value in (("AWS_ACCESS_KEY_ID", "writer"), ("AWS_SECRET_ACCESS_KEY", "writer-secret")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    query = json.dumps(vectors[7].tolist())
    place = ["--endpoint", s3_options["endpoint"], "--cache", str(tmp_path), "--cache-bytes", str(8 << 20)]
    ran = CliRunner().invoke(app, ["search", built, query, "-k", "1", "--json", *place])
    assert ran.exit_code == 0, ran.output
    assert '"id": 7' in ran.output
    assert list(tmp_path.rglob("*.pack"))
    monkeypatch.setattr(ObjectStore, "read_into", None)  # the second time, nothing is fetched
    again = CliRunner().invoke(app, ["search", built, query, "-k", "1", "--json", *place])
    assert again.exit_code == 0, again.output
    one, two = json.loads(ran.output), json.loads(again.output)
    assert one["queries"] == two["queries"]


def test_a_server_has_a_cache_for_buckets():
    settings = ServerSettings.of(["a=s3://b/c", "d=folder"], "localhost", {}, writable=False, cache="x")
    assert settings.storage("s3://b/c") == {"cache": "x", "cache_bytes": None}
    assert settings.storage("folder") == {}
    with pytest.raises(InputError, match="all these are in folders"):
        ServerSettings.of(["folder", "d=file:///x"], "localhost", {}, writable=False, cache="x")
    with pytest.raises(InputError, match="requires cache"):
        ServerSettings.of(["s3://b/c"], "localhost", {}, writable=False, cache_bytes=5 << 20)


def test_what_arrived_damaged_is_not_kept(s3_server, built, tmp_path, monkeypatch):
    """The search that meets it fails, and the next one asks the store again."""
    inner, damaged = ObjectStore._range, []

    def damage(self, path, start, stop):
        data = bytearray(inner(self, path, start, stop))
        if "-codes" in path and not damaged:
            data[len(data) // 2] ^= 1
            damaged.append(path)
        return memoryview(bytes(data))

    options = {**s3_server.options(), "cache": str(tmp_path / "cache")}
    index = vsearch.open(built, **options)
    query = np.random.default_rng(6).standard_normal(32).astype(np.float32)
    expected = vsearch.open(built, **s3_server.options()).search(query).ids.tolist()
    monkeypatch.setattr(ObjectStore, "_range", damage)
    with pytest.raises(CorruptIndexError, match=r"-codes\.arrow"):
        index.search(query)
    assert damaged
    assert index.search(query).ids.tolist() == expected
    assert vsearch.open(built, **options).search(query).ids.tolist() == expected
