"""A cache of ranges on disk in front of a store: random reads, damage, kills, full disks, forks, and its budget."""

import fcntl
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from vsearch.errors import InputError
from vsearch.storage import open_store
from vsearch.storage.stores import cache_folder, cached, packs
from vsearch.storage.stores.cached import CachedStore
from vsearch.storage.stores.held import HeldBytes
from vsearch.storage.stores.metered import MeteredStore
from vsearch.testing.stores import StoreContract

MIB = 1 << 20
SIZES = {"segments/a": 300_001, "model/b": 40_000, "segments/c": 2_500_000, "segments/d": 1}
CONTENTS = {path: np.random.default_rng(size).integers(0, 256, size, np.uint8) for path, size in SIZES.items()}


class Remote(HeldBytes):
    def memory_map(self, path):
        return None


def remote():
    store = Remote("held://x")
    for path, data in CONTENTS.items():
        store.hold(path, data)
    return MeteredStore(store)


def read(store, path, *ranges):
    """Read ranges, compare them, and return requests and bytes."""
    out = np.zeros(SIZES[path], np.uint8)
    sent = store.read_into(path, [start for start, _ in ranges], [stop for _, stop in ranges], out)
    for start, stop in ranges:
        assert np.array_equal(out[start:stop], CONTENTS[path][start:stop])
    covered = np.zeros(SIZES[path], bool)
    for start, stop in ranges:
        covered[start:stop] = True
    assert not out[~covered].any()  # other threads may be using those bytes
    return sent


def pack_files(folder):
    return sorted(Path(folder).rglob("*.pack"))


def on_disk(folder):
    return sum(path.stat().st_blocks * 512 for path in pack_files(folder))


class TestContract(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return CachedStore(Remote(), str(tmp_path / "cache"), MIB)


class Reads(RuleBasedStateMachine):
    """Two caches on one folder return what the store holds, whatever happens to the files."""

    @initialize()
    def begin(self):
        import tempfile

        self.place = tempfile.TemporaryDirectory()
        self.caches = [CachedStore(remote(), self.place.name, MIB) for _ in range(2)]

    def teardown(self):
        if hasattr(self, "place"):
            self.place.cleanup()

    @rule(
        which=st.integers(0, 1),
        path=st.sampled_from(sorted(SIZES)),
        ends=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4),
    )
    def read_ranges(self, which, path, ends):
        points = sorted({round(end * SIZES[path]) for pair in ends for end in pair})
        ranges = list(zip(points[::2], points[1::2], strict=False)) or [(0, SIZES[path])]
        requests, size = read(self.caches[which], path, *ranges)
        assert requests <= len(ranges)
        assert size <= sum(stop - start for start, stop in ranges)
        assert on_disk(self.place.name) <= MIB

    @rule(where=st.floats(0, 1, exclude_max=True), which=st.integers(0, 99), bit=st.integers(0, 7))
    def damage(self, where, which, bit):
        files = pack_files(self.place.name)
        if files:
            data = bytearray(files[which % len(files)].read_bytes())
            if data:
                data[int(where * len(data))] ^= 1 << bit
                files[which % len(files)].write_bytes(data)

    @rule(where=st.floats(0, 1), which=st.integers(0, 99))
    def truncate(self, where, which):
        files = pack_files(self.place.name)
        if files:
            chosen = files[which % len(files)]
            os.truncate(chosen, int(where * chosen.stat().st_size))

    @rule(which=st.integers(0, 99))
    def remove(self, which):
        files = pack_files(self.place.name)
        if files:
            files[which % len(files)].unlink()

    @rule(which=st.integers(0, 99), length=st.integers(1, 100), kind=st.sampled_from(["zeros", "record"]))
    def a_killed_write(self, which, length, kind):
        files = pack_files(self.place.name)
        if files:
            chosen = files[which % len(files)]
            tail = bytes(length) if kind == "zeros" else chosen.read_bytes()[:length]
            with chosen.open("ab") as file:
                file.write(tail)

    @rule()
    def damage_the_total(self):
        path = Path(self.place.name) / "ranges-1" / "usage"
        if path.exists():
            path.write_bytes(b"\1" * 12)

    @rule(which=st.integers(0, 1))
    def open_again(self, which):
        self.caches[which] = CachedStore(remote(), self.place.name, MIB)


TestReads = Reads.TestCase
TestReads.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_another_process_reads_what_was_read(tmp_path):
    first, second = (CachedStore(remote(), str(tmp_path), 64 * MIB) for _ in range(2))
    assert read(first, "segments/c", (10, 2_000_000)) == (1, 1_999_990)
    assert read(first, "segments/c", (10, 2_000_000)) == (0, 0)
    assert read(second, "segments/c", (10, 100), (70_000, 200_000)) == (0, 0)
    assert read(second, "segments/c", (0, 2_500_000)) == (1, 2_500_000)  # two gaps, one request
    assert read(first, "segments/c", (1_999_000, 2_500_000)) == (0, 0)
    assert first._store.bytes == 1_999_990


def test_a_meter_outside_counts_what_was_fetched(tmp_path):
    store = MeteredStore(CachedStore(remote(), str(tmp_path), 64 * MIB))
    read(store, "segments/a", (0, 1000), (5000, 6000))
    assert (store.requests, store.bytes) == (2, 2000)
    read(store, "segments/a", (0, 1500), (5000, 6000))
    assert (store.requests, store.bytes) == (3, 2500)


def test_only_data_files_are_kept(tmp_path):
    inner = remote()
    store = CachedStore(inner, str(tmp_path), 64 * MIB)
    store.put("manifest/1", b"abc")
    for _ in range(2):
        store.read_into("manifest/1", [0], [3], np.zeros(3, np.uint8))
        store.get("segments/a", start=0, stop=10)
        store.get_ranges("segments/a", [0], [10])
    assert not pack_files(tmp_path)
    assert inner.requests == 7


def test_another_url_or_length_is_another_object(tmp_path):
    read(CachedStore(remote(), str(tmp_path), 64 * MIB), "segments/a", (0, 1000))
    other = Remote("held://y")
    other.put("segments/a", bytes(SIZES["segments/a"]))
    out = np.ones(SIZES["segments/a"], np.uint8)
    assert CachedStore(other, str(tmp_path), 64 * MIB).read_into("segments/a", [0], [1000], out) == (1, 1000)
    assert not out[:1000].any()


def test_the_budget_holds_and_what_was_used_last_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "TOUCHED", 0.0)
    store = CachedStore(remote(), str(tmp_path), MIB)
    read(store, "model/b", (0, 40_000))
    for start in range(0, 2_500_000, 50_000):
        read(store, "segments/c", (start, start + 50_000))
        assert on_disk(tmp_path) <= MIB
        assert read(store, "model/b", (0, 40_000)) == (0, 0)
        time.sleep(0.005)  # file systems have coarse clocks
    assert on_disk(tmp_path) > MIB // 2
    assert read(store, "segments/c", (2_450_000, 2_500_000)) == (0, 0)
    assert read(store, "segments/c", (0, 50_000))[0] == 1
    assert read(store, "segments/c", (0, 2_500_000))[0] == 1  # larger than the budget
    assert on_disk(tmp_path) <= MIB


def test_nothing_else_in_the_folder_is_removed(tmp_path):
    kept = tmp_path / "mine.pack", tmp_path / "ranges-1" / "mine" / "x.pack"
    for path in kept:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(bytes(2 * MIB))
    read(CachedStore(remote(), str(tmp_path), MIB), "segments/c", (0, 2_500_000))
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize("partial", [0, 1000])
def test_a_full_disk_is_logged_once(tmp_path, monkeypatch, caplog, partial):
    store, other = (CachedStore(remote(), str(tmp_path), 64 * MIB) for _ in range(2))
    read(store, "segments/a", (0, 1000))
    writev = os.writev

    def full(descriptor, buffers):
        if partial:
            return writev(descriptor, [b"".join(bytes(buffer) for buffer in buffers)[:partial]])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with caplog.at_level(logging.WARNING):
        for start in range(0, 300_000, 50_000):
            read(store, "segments/a", (start, start + 50_000))
    assert len(caplog.records) == 1
    monkeypatch.undo()
    assert read(other, "segments/a", (0, 1000)) == (0, 0)
    read(other, "segments/a", (1000, 2000))
    assert len(pack_files(tmp_path)) == 1  # the torn record was taken back


def test_a_lock_that_is_not_released_is_not_waited_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_folder, "PATIENCE", 0.05)
    store = CachedStore(remote(), str(tmp_path), 64 * MIB)
    store._folder.prepare()
    with (tmp_path / "ranges-1" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        read(store, "segments/a", (0, 1000))
        assert store._writes_from > 0
        assert not pack_files(tmp_path)
        monkeypatch.setattr(CachedStore, "_give_up", None)
        read(store, "segments/a", (0, 1000))
    store._writes_from = 0.0
    read(store, "segments/a", (0, 1000))
    assert pack_files(tmp_path)


def test_threads_share_a_cache(tmp_path):
    store = CachedStore(remote(), str(tmp_path), MIB)

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(30):
            start = int(rng.integers(0, 2_400_000))
            read(store, "segments/c", (start, start + int(rng.integers(1, 100_000))))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert on_disk(tmp_path) <= MIB


def _work(store, seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        start = int(rng.integers(0, 2_400_000))
        read(store, "segments/c", (start, start + int(rng.integers(1, 100_000))))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_processes_share_a_cache(tmp_path):
    store = CachedStore(remote(), str(tmp_path), MIB)
    read(store, "segments/c", (0, 1000))
    store._lock.acquire()  # as if another thread of the parent held it
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_work, args=(store, seed)) for seed in range(2)]
    for child in children:
        child.start()
    store._lock.release()
    _work(store, 9)
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert on_disk(tmp_path) <= MIB


KILLED = """
import sys, numpy as np
sys.path.insert(0, {tests!r})
from tests.storage.test_cached import CachedStore, remote, read
store = CachedStore(remote(), {folder!r}, 1 << 20)
rng = np.random.default_rng()
print("ready", flush=True)
while True:
    start = int(rng.integers(0, 2_400_000))
    read(store, "segments/c", (start, start + int(rng.integers(1, 100_000))))
"""


def test_killed_processes_leave_a_usable_cache(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parents[2]), folder=str(tmp_path))
    for wait in (0.05, 0.13, 0.2):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert on_disk(tmp_path) <= MIB
    assert pack_files(tmp_path)
    _work(CachedStore(remote(), str(tmp_path), MIB), 1)


def test_a_pickled_store_keeps_its_cache(tmp_path):
    store = open_store("memory://cached-pickle/x", cache=tmp_path / "a" / "b", cache_bytes=np.int64(2 * MIB))
    again = pickle.loads(pickle.dumps(store))
    assert repr(again) == repr(store)
    assert (again._folder.folder, again._folder.budget) == (str(tmp_path / "a" / "b"), 2 * MIB)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("memory://c/x", {"cache_bytes": MIB}, "requires cache"),
        ("memory://c/x", {"cache": "c", "cache_bytes": 0}, "at least 1048576, got 0"),
        ("memory://c/x", {"cache": "c", "cache_bytes": -1}, "at least"),
        ("memory://c/x", {"cache": "c", "cache_bytes": True}, "got True"),
        ("memory://c/x", {"cache": "c", "cache_bytes": "2GB"}, "got '2GB'"),
        ("memory://c/x", {"cache": 5}, "path of a folder"),
        ("memory://c/x", {"cache": ""}, "path of a folder"),
        ("memory://c/x", {"cache": "file/below"}, "written to"),
        ("folder", {"cache": "c"}, "is a folder"),
        ("file:///tmp/x", {"cache": "c"}, "is a folder"),
    ],
)
def test_options_are_refused(tmp_path, monkeypatch, url, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        open_store(url, **options)
    assert not (tmp_path / "c").exists()


def test_many_objects_are_known_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "MOST_OBJECTS", 2)
    store = CachedStore(remote(), str(tmp_path), 64 * MIB)
    for path in SIZES:
        read(store, path, (0, 1))
    assert len(store._objects) == 2
    assert read(store, "segments/a", (0, 1)) == (0, 0)
