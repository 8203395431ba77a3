"""One suite for every invoker: in this process, through the Invoke API on the local FaaS, and over plain HTTP."""

from __future__ import annotations

import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import vsearch
from vsearch.faas.functions import FunctionSpec
from vsearch.faas.platform import Limits, Platform
from vsearch.faas.server import Server
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import ErrorKind
from vsearch.fanout.platforms.aws_lambda import LAMBDA, connect
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.platforms.network import HttpInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Options, SearchRequest
from vsearch.fanout.wire.replies import open_reply
from vsearch.storage import open_store
from vsearch.testing.invokers import Called, InvokerContract


def numbered(number):
    """A request of functions that give back what they are sent."""
    return b"request %03d" % number


def padded(size):
    return numbered(0).ljust(size, b".")


def number(reply):
    return int(reply[8:11])


class Slow:
    """A store in which looking for the newest snapshot takes a while."""

    def __init__(self, store, seconds):
        self._store, self._seconds = store, seconds

    def __getattr__(self, name):
        if name == "list":
            time.sleep(self._seconds)
        return getattr(self._store, name)


class TestInThisProcess(InvokerContract):
    """Its functions are workers, which answer with messages: a refusal is a reply, and only ABSENT is raised by itself."""

    @pytest.fixture(scope="class")
    @classmethod
    def called(cls, tmp_path_factory):
        vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
        url = str(tmp_path_factory.mktemp("invokers") / "index")  # a forked child may look for a newer snapshot
        vsearch.build(vectors, url, shards=2, partitions=4)
        names = Names("t")

        def make(function):
            role, store = names.role(function), open_store(url)
            if role == "allocator":  # stands for a coordinator that is slow
                return Worker.open("coordinator", Slow(store, 1.0), function, names=names)
            return Worker.open(role, store, function, names=names)

        def request(number):
            asked, options = vectors[number % len(vectors)].tobytes(), Options(k=3)
            return wire.encode(SearchRequest(id=str(number), count=1, dimensions=8, queries=asked, options=options))

        def number(reply):
            return int(open_reply(Envelope(), reply, "a function").id)

        failing = {ErrorKind.ABSENT: "nothing", ErrorKind.REFUSED: names.processor(0)}  # which takes no searches
        return Called(LocalInvoker(make), names.coordinator, request, number, failing, slow=names.allocator)


HANDLERS = """
    import os, sys, time

    def echo(event, context):
        return event

    def slow(event, context):
        time.sleep(1.0)
        return event

    def fail(event, context):
        raise ValueError("as asked")

    def leave(event, context):
        os._exit(3)

    def hog(event, context):
        data = bytearray(400 * 1024 * 1024)
        data[::4096] = b"x" * len(data[::4096])
        time.sleep(5.0)

    def large(event, context):
        return "x" * 7_000_000

    def malformed(event, context):
        return {"vsearch": "%"}
"""


@pytest.mark.slow
class TestOnTheLocalFaas(InvokerContract):
    """Real processes behind the Invoke API, called as AWS Lambda is."""

    @pytest.fixture(scope="class")
    @classmethod
    def called(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("package")
        (folder / "handlers.py").write_text(textwrap.dedent(HANDLERS))
        (folder / "broken.py").write_text("import nothing_of_that_name\n")
        platform = Platform(tmp_path_factory.mktemp("faas"), Limits(environments=24))
        server = Server(platform)
        server.start()

        def put(name, handler=None, **more):
            spec = {"name": name, "handler": handler or f"handlers.{name}", "package": str(folder), "timeout": 60}
            platform.put(FunctionSpec(**spec | more))
            return name

        for name in ("echo", "slow", "hog"):
            put(name)
        failing = {
            ErrorKind.ABSENT: "nothing",
            ErrorKind.THROTTLED: put("busy", "handlers.echo", concurrency=0),
            ErrorKind.TIMEOUT: put("late", "handlers.slow", timeout=0.3),
            ErrorKind.MEMORY: "hog",
            ErrorKind.CRASH: put("leave"),
            ErrorKind.INIT: put("broken", "broken.handler"),
            ErrorKind.TOO_LARGE: put("large"),
            ErrorKind.MALFORMED: put("malformed"),
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "any")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
            invoker = connect(endpoint=server.url)
        yield Called(invoker, "echo", numbered, number, failing, "slow", 1.0, padded, LAMBDA.message_bytes)
        invoker.close()
        server.stop()


STATUSES = {"absent": 404, "busy": 429, "denied": 403, "late": 504, "gone": 502, "large": 413}


class _Functions(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        name = self.path.strip("/")
        if name == "slow":
            time.sleep(1.0)
        self.send_response(STATUSES.get(name, 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        """Stay silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that goes away is no event."""


class TestOverPlainHttp(InvokerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def called(cls):
        server = _Server(("127.0.0.1", 0), _Functions)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        invoker = HttpInvoker(f"http://127.0.0.1:{server.server_address[1]}/{{function}}")
        failing = {
            ErrorKind.ABSENT: "absent",
            ErrorKind.THROTTLED: "busy",
            ErrorKind.DENIED: "denied",
            ErrorKind.TIMEOUT: "late",
            ErrorKind.CRASH: "gone",
            ErrorKind.TOO_LARGE: "large",
        }
        yield Called(invoker, "echo", numbered, number, failing, "slow", 1.0, padded)
        invoker.close()
        server.shutdown()
        server.server_close()
