"""A timeout bounds everything that a search does: texts, connections, and stores that stall or dribble."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from contextlib import closing, suppress
from urllib.parse import urlsplit

import numpy as np
import pytest

import vsearch
from tests.indexes import rows, same, table
from vsearch.api.remote_index import RemoteIndex
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import CallError, Deadline, ErrorKind
from vsearch.fanout.platforms import http_api as web
from vsearch.fanout.platforms.connections import Connections
from vsearch.fanout.platforms.http_searches import LARGEST_BODY
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire.envelope import Envelope
from vsearch.storage import open_store

SHORT = 0.4  # a timeout; without one a stall ends in another error, and a dribble in none


class Proxy:
    """Stands before a real server and, when told so, stalls or passes one byte at a time."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.mode = "pass"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if replies and self.mode == "dribble":
                    for byte in data:
                        sink.sendall(bytes([byte]))
                        time.sleep(0.05)
                        if self.mode != "dribble":
                            break
                while replies and self.mode == "stall":
                    time.sleep(0.02)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.mode = "pass"
        self._listener.close()
        for each in self._open:
            each.close()


def in_time(ask, *errors):
    """Ask, and see that it ends in the error of the timeout."""
    with pytest.raises(errors or vsearch.SearchTimeoutError) as ended:
        ask()
    return ended.value


@pytest.fixture(scope="module")
def stored(s3_server):
    url = "s3://vsearch/timeouts"
    vsearch.build(rows(), url, attributes=table(), overwrite=True, **s3_server.options())
    documents = "s3://vsearch/timeouts-documents"
    matrices = np.split(rows(200), 40)
    vsearch.build_documents(
        matrices,
        None,
        documents,
        dimensions=64,
        codebook=16,
        attributes=table(40),
        overwrite=True,
        **s3_server.options(),
    )
    return url, documents


@pytest.fixture
def proxy(s3_server):
    with closing(Proxy(s3_server.endpoint)) as made:
        yield made


@pytest.fixture
def options(s3_server, proxy):
    return s3_server.options() | {"endpoint": proxy.url}


@pytest.mark.parametrize("mode", ["stall", "dribble"])
def test_reads_of_a_search(stored, proxy, options, mode):
    index = vsearch.open(stored[0], **options)
    proxy.mode = mode
    for asked in ({}, {"where": "number < 90"}, {"exact": True}, {"columns": ["name"]}):
        in_time(lambda asked=asked: index.search(rows(2), timeout=SHORT, **asked))
    in_time(lambda: index.search(rows(60), timeout=SHORT))
    in_time(lambda: index.recall(sample=20, timeout=SHORT))
    in_time(lambda: index.explain(rows(1), timeout=SHORT))
    proxy.mode = "pass"
    same(index.search(rows(2), timeout=60), index.search(rows(2)))  # and it is as good as before


@pytest.mark.parametrize("mode", ["stall", "dribble"])
def test_reads_of_documents(stored, proxy, options, mode):
    index = vsearch.open(stored[1], **options)
    proxy.mode = mode
    in_time(lambda: index.search_documents(rows(4), timeout=SHORT, where="number < 20", matches=True))
    in_time(lambda: index.search_documents([rows(4), rows(3)], timeout=SHORT, candidates="all"))
    proxy.mode = "pass"
    same(index.search_documents(rows(4), timeout=60), index.search_documents(rows(4)))


def test_opening(stored, proxy, options):
    proxy.mode = "stall"
    in_time(lambda: vsearch.open(stored[0], timeout=SHORT, **options))
    proxy.mode = "pass"
    assert len(vsearch.open(stored[0], timeout=60, **options)) == 300
    with pytest.raises(vsearch.InputError, match="timeout"):
        vsearch.open(stored[0], timeout=0, **options)


def test_waiting_for_what_another_thread_fetches(stored, proxy, options):
    index = vsearch.open(stored[0], **options)
    proxy.mode = "stall"
    ended = []
    other = threading.Thread(target=lambda: ended.append(index.search(rows(1))))
    other.start()  # has no timeout, and holds what the next one wants
    time.sleep(0.3)
    in_time(lambda: index.search(rows(1), timeout=SHORT))
    proxy.mode = "pass"
    other.join(60)
    assert len(ended) == 1


def functions(url, options):
    names = Names("t")
    made = {}

    def make(function):
        made[function] = Worker.open(
            names.role(function), open_store(url, **options), function, invoker=local, names=names
        )
        return made[function]

    local = LocalInvoker(make)
    return local, names


@pytest.mark.parametrize("mode", ["stall", "dribble"])
def test_functions_over_a_slow_store(stored, proxy, options, mode):
    local, names = functions(stored[0], options)
    remote = RemoteIndex("test://t", names, local, Envelope())
    proxy.mode = mode
    for how in ("auto", "flat"):
        in_time(lambda how=how: remote.search(rows(2), timeout=SHORT, mode=how), vsearch.VsearchError)
    body = json.dumps({"vector": rows(1)[0].tolist(), "timeout": SHORT}).encode()
    key = hashlib.sha256(b"key").hexdigest()
    status, document = web.answer(
        local.worker("t-coordinator"), "POST", "/search", {"x-api-key": "key"}, body, web.KeyHashes(key), Deadline()
    )
    assert (status, document["error"]) == (504, "deadline")


def test_the_overflow_store_is_bounded_too(stored, proxy, options):
    local, names = functions("memory://timeouts/none", {})
    remote = RemoteIndex("test://t", names, local, Envelope(4096, open_store("s3://vsearch/spill", **options)))
    proxy.mode = "stall"
    in_time(lambda: remote.search(np.zeros((400, 8), np.float32), timeout=SHORT))


def test_time_counts_from_when_a_request_comes(monkeypatch):
    """Not from when it has been read."""
    read = web.read_search

    def slowly(body):
        time.sleep(0.3)
        return read(body)

    monkeypatch.setattr(web, "read_search", slowly)
    monkeypatch.setattr(web, "serve", lambda *_: pytest.fail("it was searched"))
    body = json.dumps({"vector": [1.0, 0.0], "timeout": 0.2}).encode()
    key = hashlib.sha256(b"key").hexdigest()
    status, document = web.answer(None, "POST", "/search", {"x-api-key": "key"}, body, web.KeyHashes(key), Deadline())
    assert (status, document["error"]) == (504, "deadline")


def test_a_long_text_over_http_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr("vsearch.predicates.sql._read", lambda _: pytest.fail("it was parsed"))
    where = "a IN (" + ",".join(map(str, range(800_000))) + ")"
    body = json.dumps({"vector": [1.0, 0.0], "timeout": 3, "where": where}).encode()
    assert 5_000_000 < len(body) < LARGEST_BODY
    key = hashlib.sha256(b"key").hexdigest()
    status, document = web.answer(None, "POST", "/search", {"x-api-key": "key"}, body, web.KeyHashes(key), Deadline())
    assert (status, document["error"]) == (400, "refused")
    assert len(document["message"]) < 300


@pytest.mark.parametrize("mode", ["never", "status", "headers", "body"])
def test_replies_that_dribble(mode):
    """A byte now and then keeps a socket's own timeout from ever running out."""
    begin = {"never": b"", "status": b"HTTP/1.1 2", "headers": b"HTTP/1.1 200 OK\r\nx-a: "}
    start = begin.get(mode, b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    listener = socket.create_server(("127.0.0.1", 0))
    held = []

    def serve():
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                held.append(client)
                client.sendall(start)
                while mode != "never":
                    client.sendall(b"1")
                    time.sleep(0.05)

    threading.Thread(target=serve, daemon=True).start()
    connections = Connections(f"http://127.0.0.1:{listener.getsockname()[1]}")
    refused = in_time(lambda: connections.post("/", {}, b"x", SHORT), CallError)
    assert refused.kind is ErrorKind.TIMEOUT
    listener.close()
    for each in held:
        each.close()
