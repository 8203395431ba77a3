"""Functions of a changing index return the memory of replaced snapshots to the system."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import Stack, make_sample
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms.hosting import Host
from vsearch.fanout.roles import heap
from vsearch.fanout.roles.worker import serve
from vsearch.fanout.wire import codec as wire

pytestmark = pytest.mark.skipif(heap._libc() is None, reason="the C library is not glibc")

HOLES = """
import threading
from pathlib import Path
import numpy as np
from vsearch.fanout.roles.heap import release_freed, use_one_heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

assert use_one_heap()
kept, start = [], resident()

def work():
    arrays = [np.ones(20_000, np.uint8) for _ in range(1000)]
    kept.extend(arrays[::50])  # between what is freed

for _ in range(4):
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
full = resident() - start
assert release_freed()
print(full, resident() - start, sum(array.nbytes for array in kept))
"""


def test_freed_memory_between_kept_arrays_is_returned():
    lines = subprocess.run([sys.executable, "-c", HOLES], check=True, capture_output=True, text=True).stdout
    full, left, kept = map(int, lines.split())
    assert full > 12_000_000 > 3 * kept / 2  # otherwise there was nothing to return
    assert left < full / 2


@pytest.fixture
def stack():
    vectors, _, queries = make_sample(300, 32, 3)
    url = f"memory://fanout-heap-{uuid4().hex}/index"
    return Stack(url, vsearch.build(vectors, url, ids=np.arange(len(vectors)), partitions=6), queries)


def test_a_function_releases_after_it_replaced_a_snapshot(stack, monkeypatch):
    monkeypatch.setattr("vsearch.fanout.roles.worker.RELEASING", 0.0)
    worker = stack.make(stack.names.coordinator)
    worker.releases = True
    released = []

    def search():
        worker.loader.newest._known = None
        serve(worker, wire.encode(stack.request(mode="alone")), Deadline.after(60))
        released.append(worker.released[0])

    for number in range(12):
        search()
        stack.index.append(stack.queries[:1], ids=[1000 + number])
    search()
    search()
    evictions = worker.loader.retention.stats().evictions
    assert released[0] == 0 < evictions
    assert released[-1] == released[-2] == evictions


def test_only_processes_of_functions_release(stack, monkeypatch):
    assert not stack.make(stack.names.coordinator).releases
    monkeypatch.setenv("VSEARCH_INDEX", stack.url)
    monkeypatch.setenv("VSEARCH_STACK", "t")
    called = []
    monkeypatch.setattr("vsearch.fanout.platforms.hosting.use_one_heap", lambda: called.append(1))
    assert Host("processor", 0.0).worker().releases
    assert called


def test_processes_of_a_server_use_one_heap(tmp_path, monkeypatch):
    import msgspec

    from vsearch.serving import app
    from vsearch.serving.settings import VARIABLE, ServerSettings

    called = []
    monkeypatch.setattr(app, "use_one_heap", lambda: called.append(1))
    monkeypatch.setenv(VARIABLE, msgspec.json.encode(ServerSettings(indexes={"": str(tmp_path)})).decode())
    assert app.from_environment().routes
    assert called
