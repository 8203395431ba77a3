"""Forked processes give right answers and never hang. Children are real forks; one that hangs is killed."""

from __future__ import annotations

import http.server
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import pytest

import vsearch
from tests.indexes import rows, same, table
from vsearch.api.remote_index import RemoteIndex
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.platforms.connections import Connections
from vsearch.fanout.wire.envelope import Envelope
from vsearch.forking import cached_property
from vsearch.search.where import masks_of
from vsearch.storage import open_store

SECONDS = 60


def in_child(work):
    """What `work` returns or raises in a child that is forked here; the child is killed where it takes too long."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on warns of threads
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            outcome = (True, work())
        except BaseException as error:
            outcome = (False, error)
        with os.fdopen(writing, "wb") as out:
            out.write(pickle.dumps(outcome))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as source:
        data = source.read()
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"the child ended with status {status}: it hung or crashed"
    fine, value = pickle.loads(data)
    if fine:
        return value
    raise value


def on_its_own(script):
    """Run a script in a process of its own: what it starts (OpenMP with threads) shall not be in this one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "3", "PYTHONWARNINGS": "ignore"}
    text = "import os, signal\nfrom tests.test_forking import in_child\n" + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=170, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return vsearch.build(rows(), tmp_path_factory.mktemp("fork") / "index", attributes=table())


@pytest.mark.slow
@pytest.mark.parametrize("options", ["quantizer='osq'", "quantizer='pq', bits=1"])
def test_a_build_after_a_build(options):
    """OpenMP's threads stay in the parent, where the child would wait for them."""
    printed = on_its_own(f"""
        import tempfile, numpy as np, vsearch
        vectors = np.random.default_rng(0).standard_normal((1500, 16)).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            first = vsearch.build(vectors, folder + "/a", {options})
            second = in_child(lambda: vsearch.build(vectors, folder + "/b", {options}))
            third = in_child(lambda: in_child(lambda: vsearch.build(vectors, folder + "/c", {options})))
            ids = [each.search(vectors[:50], k=5).ids.tolist() for each in (first, second, third)]
            print(ids[0] == ids[1] == ids[2])
    """)
    assert printed == "True\n"


@pytest.mark.slow
def test_documents_after_documents():
    printed = on_its_own("""
        import tempfile, numpy as np, vsearch
        vectors = np.random.default_rng(0).standard_normal((1200, 16)).astype(np.float32)
        options = dict(codebook=32, dimensions=64)
        with tempfile.TemporaryDirectory() as folder:
            build = lambda name: vsearch.build_documents(np.split(vectors, 120), None, folder + name, **options)
            first, second = build("/a"), in_child(lambda: build("/b"))
            ids = [each.search_documents(vectors[:4], k=5).ids.tolist() for each in (first, second)]
            print(ids[0] == ids[1])
    """)
    assert printed == "True\n"


def test_an_index_that_was_open_answers_in_children(index):
    queries = rows(40)
    expected = index.search(queries, where="number < 100")
    found = in_child(lambda: index.search(queries, where="number < 100"))
    same(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            asked = [pool.apply_async(index.search, (query,)) for query in queries[:6]]
            for query, each in zip(queries, asked, strict=False):
                same(each.get(SECONDS), index.search(query))


def test_locks_that_other_threads_held_are_free_in_the_child(index):
    masks, snapshot = masks_of(index.snapshot), index.snapshot
    file = snapshot.shards[0].files["attributes"]
    held = [masks._lock, index._lock, index._looking, snapshot.shards[0].read.lock, file.shared._changed]
    ready, end = threading.Event(), threading.Event()

    def hold():
        for lock in held:
            lock.acquire()
        ready.set()
        end.wait()
        for lock in held:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait()
    try:
        found = in_child(lambda: index.search(rows(3), where="number < 50", columns=["name"]))
    finally:
        end.set()
        thread.join()
    same(found, index.search(rows(3), where="number < 50"))


def test_what_a_thread_was_fetching_is_fetched_in_the_child(tmp_path):
    vsearch.build(rows(), tmp_path / "index", attributes=table())
    index = vsearch.open(tmp_path / "index")
    file = index.snapshot.shards[0].files["attributes"]
    file.shared._state[:] = 1  # claimed, by a thread that the child does not have
    found = in_child(lambda: index.search(rows(1), k=2, columns=["name"]))
    file.shared._state[:] = 0
    assert found.columns["name"].to_pylist() == index.search(rows(1), k=2, columns=["name"]).columns["name"].to_pylist()


@pytest.mark.slow
def test_an_object_store_says_spawn_in_a_child():
    """Its client's threads are not copied; every call would wait for them for ever, of a store opened there too."""
    printed = on_its_own("""
        import vsearch
        from vsearch.storage import open_store
        parent = open_store("memory://fork/a")
        first = in_child(lambda: (open_store("memory://x/y").put("a", b"1"), "fine before")[1])
        parent.put("x", b"1")
        asks = [lambda: parent.get("x"), lambda: open_store("memory://other").list(""),
                lambda: open_store("memory://o").put("y", b""), lambda: parent.head("x"), lambda: parent.delete(["x"]),
                lambda: parent.get_ranges("x", [0, 0], [1, 1]),
                lambda: vsearch.open("s3://b/p", endpoint="http://127.0.0.1:9", access_key_id="a", secret_access_key="b")]
        for ask in asks:
            try:
                in_child(ask)
            except vsearch.StoreError as error:
                print("spawn" in str(error) and "forked" in str(error))
        print(first, bytes(parent.get("x")))
    """)
    assert printed == "True\n" * 7 + "fine before b'1'\n"


class Echo(http.server.BaseHTTPRequestHandler):
    """Replies with what it was sent, a little later, over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        time.sleep(0.002)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def echo():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_connections_are_not_shared_with_children(echo):
    connections = Connections(echo)
    assert connections.post("/", {}, b"first", 10).body == b"first"
    kept = connections._idle[0].sock

    def ask(name):
        return sum(connections.post("/", {}, b"%s-%d" % (name, i), 10).body != b"%s-%d" % (name, i) for i in range(100))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(3) as pool:
            wrong = pool.map_async(_call, [(ask_in_child, (echo, n)) for n in range(3)])
            assert ask(b"parent") == 0
            assert wrong.get(SECONDS) == [0, 0, 0]
    assert in_child(lambda: ask(b"child")) == 0
    assert connections._idle[0].sock is kept
    assert ask(b"parent") == 0
    connections.close()


def _call(task):
    return task[0](*task[1])


def ask_in_child(url, number):
    connections = Connections(url)
    sent = [b"%d-%d" % (number, i) for i in range(50)]
    return sum(connections.post("/", {}, each, 10).body != each for each in sent)


def test_a_reply_to_another_request_is_refused():
    from tests.fanout.conftest import make_sample
    from vsearch.fanout.platforms.in_process import LocalInvoker
    from vsearch.fanout.roles.worker import Worker

    vectors, _, queries = make_sample(300, 8, 1)
    vsearch.build(vectors, "memory://fork/late", partitions=4)
    names = Names("t")
    local = LocalInvoker(lambda f: Worker.open(names.role(f), open_store("memory://fork/late"), f, names=names))

    class Late:
        """Gives every caller the reply to the call before."""

        last, closed, always = None, 0, True

        def invoke(self, function, payload, timeout):
            reply = local.invoke(function, payload, timeout)
            given, self.last = self.last or reply, reply
            return given if self.always else reply

        def close(self):
            self.closed += 1
            self.always = False

    invoker = Late()
    remote = RemoteIndex("test://t", names, invoker, Envelope())
    expected = [remote.search(query).ids.tolist() for query in queries[:1]]
    assert remote.search(queries[1]).ids.tolist() != expected[0]
    assert invoker.closed == 1  # out of step once; then connections of its own
    invoker.close = lambda: None
    invoker.always = True
    with pytest.raises(vsearch.RemoteError, match="another request"):
        remote.search(queries[2])


@pytest.mark.slow
def test_a_forked_process_knows_that_it_is_one():
    from vsearch.forking import is_forked

    printed = on_its_own("""
        from vsearch.forking import is_forked
        print(is_forked(), in_child(is_forked), in_child(lambda: in_child(is_forked)))
    """)
    assert printed == "False True True\n"
    assert in_child(is_forked)
    with pytest.raises(CallError) as refused:
        in_child(lambda: (_ for _ in ()).throw(CallError(ErrorKind.STORE, "as asked")))
    assert refused.value.kind is ErrorKind.STORE


def test_a_value_that_a_thread_was_computing_is_computed_in_the_child():
    """A lock for all instances, as that of Python's own property before 3.12, would never be free in the child."""
    begun, end = threading.Event(), threading.Event()

    class Slow:
        @cached_property
        def value(self):
            if threading.current_thread() is not threading.main_thread():
                begun.set()
                end.wait()
            return object()

    shared = Slow()
    thread = threading.Thread(target=lambda: shared.value)
    thread.start()
    begun.wait()
    try:
        assert in_child(lambda: isinstance(shared.value, object) and Slow().value is not None)
        mine = shared.value  # computed twice, and the first wins
    finally:
        end.set()
        thread.join()
    assert shared.value is mine


def test_what_a_thread_was_importing_is_imported_in_the_child(tmp_path):
    (tmp_path / "slow_import.py").write_text("import time\ntime.sleep(0.3)\nvalue = 7\n")
    printed = on_its_own(f"""
        import importlib, sys, threading, time
        import vsearch.forking
        sys.path.insert(0, {str(tmp_path)!r})
        thread = threading.Thread(target=lambda: importlib.import_module("slow_import"))
        thread.start()
        while "slow_import" not in sys.modules:
            time.sleep(0.001)
        print(in_child(lambda: importlib.import_module("slow_import").value))
        thread.join()
    """)
    assert printed == "7\n"
