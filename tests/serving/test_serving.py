"""The server answers as the index does, over real sockets, while the index changes."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("uvicorn")

import vsearch
from tests.indexes import clustered
from tests.serving.server import ask, call, serving
from vsearch.serving import app as module
from vsearch.serving.settings import ServerSettings


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    table = pa.table({"x": range(200), "word": [f"w{i % 3}" for i in range(200)]})
    return vsearch.build(clustered(200, 8), tmp_path_factory.mktemp("serving") / "i", table, shards=2, partitions=4)


def test_a_small_body_cannot_ask_for_gigabytes(index):
    with serving(ServerSettings({"": index.snapshot.store.url})) as url:
        status, reply = ask(f"{url}/search", {"vectors": [[1.0] * 8] * 101, "k": 10_000})
        assert (status, reply["message"]) == (
            400,
            "queries times k must be at most 1,000,000, got 101 times 10,000; send fewer queries at a time",
        )
        assert ask(f"{url}/search", {"vectors": [[1.0] * 8] * 20, "k": 10_000})[0] == 200


def test_searches_are_those_of_the_index(index):
    queries = clustered(3, 8, seed=4)
    with serving(ServerSettings({"": index.snapshot.store.url})) as url:
        body = {"vectors": queries.tolist(), "k": 4, "where": "x < 100", "columns": ["word"]}
        status, found = ask(f"{url}/search", body)
        assert status == 200
        expected = index.search(queries, k=4, where="x < 100", columns=["word"])
        assert [[hit["id"] for hit in hits] for hits in found["hits"]] == expected.ids.tolist()
        assert [hit["columns"]["word"] for hits in found["hits"] for hit in hits] == expected.columns[
            "word"
        ].to_pylist()
        assert "bill" not in found
        assert ask(f"{url}/health") == (200, {"status": "ok"})
        assert ask(f"{url}/openapi.json")[1]["openapi"] == "3.1.0"
        assert ask(f"{url}/search", {"vector": [1.0], "k": 4})[0] == 400
        assert ask(f"{url}/search", {"vector": [1.0] * 8, "where": "y = 1"})[0] == 400
        assert ask(f"{url}/nothing", {})[0] == 404
        assert ask(f"{url}/search")[0] == 405
        assert ask(f"{url}/rows", {"rows": []})[0] == 404
        metrics = call(f"{url}/metrics")[1].decode()
        assert 'vsearch_requests_total{index="",status="200"} 2' in metrics
        assert 'vsearch_request_seconds_bucket{le="+Inf"} 7' in metrics


def test_several_indexes_and_keys(index):
    other = vsearch.build(clustered(20, 4), "memory://serving-other/i")
    settings = ServerSettings.of(
        [f"words={index.snapshot.store.url}", f"photos={other.snapshot.store.url}"],
        "0.0.0.0",
        {"VSEARCH_API_KEY": "a key"},
        writable=False,
    )
    with serving(settings) as url:
        query = {"vector": [1.0] * 8, "k": 1}
        assert ask(f"{url}/words/search", query)[0] == 401
        assert ask(f"{url}/words/search", query, x_api_key="another")[0] == 401
        assert ask(f"{url}/words/search", query, x_api_key="a key")[0] == 200
        assert ask(f"{url}/photos/search", {"vector": [1.0] * 4}, x_api_key="a key")[0] == 200
        assert call(f"{url}/search", query, x_api_key="a key")[0] == 404


def test_answers_stay_right_while_rows_are_added(tmp_path):
    vectors = clustered(60, 8)
    index = vsearch.build(vectors[:20], tmp_path / "i", ids=range(20))
    with serving(ServerSettings({"": str(tmp_path / "i")})) as url:
        wrong, stop = [], threading.Event()

        def search():
            while not stop.is_set():
                for row in range(0, 20, 7):
                    status, found = ask(f"{url}/search", {"vector": vectors[row].tolist(), "k": 1, "exact": True})
                    if status != 200 or found["hits"][0][0]["id"] != row:
                        wrong.append((row, status, found))

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        for row in range(20, 60, 5):
            commit = index.append(vectors[row : row + 5], ids=range(row, row + 5))
        asked = {"vector": vectors[57].tolist(), "k": 1, "exact": True, "at_least": commit.snapshot}
        status, found = ask(f"{url}/search", asked)
        stop.set()
        for thread in threads:
            thread.join()
        assert (status, found["hits"][0][0]["id"]) == (200, 57)
        assert wrong == []


def test_changes_need_permission(tmp_path):
    vsearch.build(clustered(20, 8), tmp_path / "i", {"x": np.arange(20)}, ids=range(20))
    rows = {"rows": [{"id": 99, "vector": [1.0] * 8, "columns": {"x": 5}}]}
    with serving(ServerSettings({"": str(tmp_path / "i")}, writable=True)) as url:
        status, reply = ask(f"{url}/rows", rows)
        assert status == 200, reply
    assert vsearch.open(tmp_path / "i").count("x = 5") == 2
    settings = ServerSettings.of([str(tmp_path / "i")], "127.0.0.1", {"VSEARCH_WRITE_KEY": "write"}, writable=True)
    with serving(settings) as url:
        assert ask(f"{url}/rows", rows)[0] == 401


def test_large_bodies_and_faults(index, monkeypatch):
    with serving(ServerSettings({"": index.snapshot.store.url})) as url:
        monkeypatch.setattr(module, "LARGEST_BODY", 1000)
        assert ask(f"{url}/search", b"x" * 1001)[0] == 413

        def fail(*_):
            raise RuntimeError("secret")

        monkeypatch.setattr(module.Endpoint, "answer", fail)
        status, text = call(f"{url}/search", {})
        assert (status, b"secret" in text) == (500, False)


@pytest.mark.parametrize(
    ("targets", "host", "environment", "writable", "message"),
    [
        ([], "127.0.0.1", {}, False, "no index"),
        (["a", "b"], "127.0.0.1", {}, False, "the same path"),
        (["a=x", "a=y"], "localhost", {}, False, "the same path"),
        (["health=x"], "::1", {}, False, "cannot be called"),
        (["x"], "0.0.0.0", {}, False, "VSEARCH_API_KEY"),
        (["x"], "example.org", {"VSEARCH_API_KEY": "k"}, True, "VSEARCH_WRITE_KEY"),
    ],
)
def test_settings_that_are_refused(targets, host, environment, writable, message):
    with pytest.raises(vsearch.InputError, match=message):
        ServerSettings.of(targets, host, environment, writable=writable)


@pytest.mark.parametrize("origin", ["example.org", "https://example.org/page", "https://", "null", "https://a b"])
def test_origins_that_are_refused(origin):
    with pytest.raises(vsearch.InputError, match="an origin must be"):
        ServerSettings.of(["x"], "127.0.0.1", {}, writable=False, origins=[origin])


def test_pages_of_other_origins_do_not_reach_a_server_without_keys(tmp_path):
    vsearch.build(clustered(20, 8), tmp_path / "i", ids=range(20))
    query = {"vector": [1.0] * 8, "k": 1}
    rows = {"rows": [{"id": 99, "vector": [1.0] * 8}]}
    with serving(ServerSettings.of([str(tmp_path / "i")], "127.0.0.1", {}, writable=True)) as url:
        # what a browser sends for a page without that the page needs permission
        status, reply = ask(f"{url}/rows", rows, origin="https://evil.example", content_type="text/plain")
        assert (status, "--origin" in reply["message"]) == (403, True)
        assert ask(f"{url}/rows", rows, origin="null")[0] == 403
        # a name of the page that leads to this machine
        assert ask(f"{url}/search", query, host="evil.example:8000", origin="http://evil.example:8000")[0] == 403
        assert ask(f"{url}/search", query, host="127.0.0.1.evil.example")[0] == 403
        assert ask(f"{url}/search", query, host="[::1")[0] == 403
        port = url.rpartition(":")[2]
        for own in ("localhost", f"localhost:{port}", "[::1]:1", "127.0.0.2"):
            assert ask(f"{url}/search", query, host=own, origin=f"http://{own}")[0] == 200
    assert vsearch.open(tmp_path / "i").count() == 20
    with pytest.raises(vsearch.InputError, match="all web pages"):
        ServerSettings.of(["x"], "127.0.0.1", {}, writable=False, origins=["*"])


def test_pages_of_origins_that_are_named(index):
    settings = ServerSettings.of(
        [index.snapshot.store.url], "127.0.0.1", {}, writable=False, origins=["https://App.example/"]
    )
    with serving(settings) as url:
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        request = urllib.request.Request(
            f"{url}/search",
            headers={**asked, "Access-Control-Request-Headers": "content-type, x-api-key"},
            method="OPTIONS",
        )
        with urllib.request.urlopen(request) as reply:
            assert reply.headers["access-control-allow-origin"] == "https://app.example"
            assert "access-control-allow-credentials" not in reply.headers
        body = json.dumps({"vector": [1.0] * 8, "k": 1}).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/search", body, {"Origin": asked["Origin"]})
        ) as reply:
            assert reply.headers["access-control-allow-origin"] == "https://app.example"
        assert call(f"{url}/search", body, origin="https://other.example")[0] == 403


def connected(url, text):
    """A socket of a client that has sent some of a request."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), 20)
    client.sendall(text.encode())
    return client


def test_bodies_that_do_not_arrive(index, monkeypatch, caplog):
    monkeypatch.setattr(module, "BODY_SECONDS", 0.05)
    begun = "POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    with serving(ServerSettings({"": index.snapshot.store.url})) as url:
        with connected(url, begun) as client:
            assert client.recv(100).startswith(b"HTTP/1.1 408")
        monkeypatch.setattr(module, "BODY_SECONDS", 20.0)
        connected(url, begun).close()
        assert ask(f"{url}/search", {"vector": [1.0] * 8, "k": 1})[0] == 200
    assert not caplog.records  # a client that goes away is no fault of the server


def test_without_a_key_no_body_is_read(index):
    settings = ServerSettings.of([index.snapshot.store.url], "0.0.0.0", {"VSEARCH_API_KEY": "k"}, writable=False)
    with serving(settings) as url:
        for path in ("/search", "/rows"):
            with connected(url, f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 6000000\r\n\r\n{{") as client:
                assert client.recv(100)[9:12] in (b"401", b"404")
