"""Functions are called by their alias, need no permissions beyond their roles, and are billed for their own start."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import vsearch
from tests.fanout.conftest import make_sample
from vsearch.api.remote_index import RemoteIndex
from vsearch.api.remote_opening import open_remote
from vsearch.errors import StoreError
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.platforms.hosting import Host
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.platforms.network import LambdaInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire.envelope import Envelope, to_event
from vsearch.storage import open_store


@pytest.fixture
def server(monkeypatch):
    """The Invoke API, which notes the paths that it is asked for and echoes."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            paths.append(self.path)
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "a")
        listening.url, listening.paths = f"http://127.0.0.1:{listening.server_port}", paths
        yield listening
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(("alias", "target"), [("live", "words-allocator%3Alive"), (None, "words-allocator")])
def test_an_alias_is_part_of_the_name(server, alias, target):
    invoker = LambdaInvoker(endpoint=server.url, alias=alias)
    assert invoker.invoke("words-allocator", b"payload", 5) == b"payload"
    invoker.close()
    assert server.paths == [f"/2015-03-31/functions/{target}/invocations"]


def test_a_stack_is_opened_by_the_alias_that_deployment_moves(server):
    for options, target in (({}, "%3Alive"), ({"alias": "old"}, "%3Aold"), ({"alias": None}, "")):
        index = open_remote("lambda://words", endpoint=server.url, **options)
        with pytest.raises(vsearch.RemoteError):  # what is echoed is no answer
            index.search([1.0, 2.0], timeout=1)
        index.close()
        assert server.paths[-1] == f"/2015-03-31/functions/words-coordinator{target}/invocations"


class Unlisted:
    """A store as a role without s3:ListBucket sees it."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        if name.startswith("list"):
            raise StoreError("listing is denied")
        return getattr(self._store, name)


@pytest.mark.slow
def test_only_the_coordinator_lists(tmp_path):
    vectors, attributes, queries = make_sample(400, 16, 3)
    url = str(tmp_path / "index")
    index = vsearch.build(vectors, url, attributes, shards=2, partitions=6)
    names = Names("narrow")

    def make(function):
        role, store = names.role(function), open_store(url)
        given = store if role == "coordinator" else Unlisted(store)
        return Worker.open(role, given, function, invoker=local, names=names)

    local = LocalInvoker(make)
    remote = RemoteIndex("test://narrow", names, local, Envelope())
    assert remote.warm(2) > 0
    expected = index.search(queries, where="year > 2000").ids.tolist()
    for mode in ("flat", "tree"):
        assert remote.search(queries, where="year > 2000", mode=mode).ids.tolist() == expected


def test_waiting_for_the_first_call_is_not_billed(tmp_path, monkeypatch):
    monkeypatch.setenv("VSEARCH_INDEX", str(tmp_path))
    monkeypatch.setenv("VSEARCH_STACK", "s")
    host = Host("processor", time.perf_counter() - 0.125)
    time.sleep(0.3)  # as a platform does that starts functions ahead, or restores them from a snapshot
    assert 0.125 <= host.worker().init_seconds < 0.3
    assert json.dumps(host.answer_event(to_event(b"")))
