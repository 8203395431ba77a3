from __future__ import annotations

import mmap
import time

import numpy as np

from bench import report
from bench.measure import PeakMemory, anonymous_bytes, fastest_reaching, front, interleave
from bench.peers import SETS
from bench.peers.protocol import Task, lists, sweep
from bench.peers.scan import Scan


def test_every_task_runs_once_per_repetition():
    seen = []
    results = interleave([lambda i=i: seen.append(i) or i for i in range(5)], 3)
    assert results == [[i] * 3 for i in range(5)]
    assert [sorted(seen[i : i + 5]) for i in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3


def test_the_fastest_settings_at_or_above_a_level_are_kept():
    recalls, speeds = [0.5, 0.9, 0.91, 0.99], [900, 500, 600, 100]
    assert fastest_reaching(recalls, speeds, [0.9], keep=1) == [2]
    assert fastest_reaching(recalls, speeds, [0.9, 0.95]) == [1, 2, 3]
    assert fastest_reaching(recalls, speeds, [0.999]) == [3]


def test_the_front_leaves_out_what_another_point_beats():
    assert front([0.9, 0.95, 0.95, 0.99, 0.8], [5, 4, 6, 1, 5]) == [2, 3]
    assert front([], []) == []


def test_peak_memory_sees_what_was_freed_again():
    with PeakMemory() as memory:
        # an array could lie in memory that was freed before and counts already
        block = mmap.mmap(-1, 64_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        np.frombuffer(block, np.uint8)[:] = 1
        deadline = time.monotonic() + 10  # on a busy machine the sampler may have to wait for its turn
        while memory.rise < 30_000_000 and anonymous_bytes() and time.monotonic() < deadline:
            time.sleep(0.01)
        block.close()
    assert memory.peak == 0 or memory.rise > 30_000_000


def test_a_section_takes_the_place_of_its_predecessor(tmp_path):
    path = tmp_path / "RESULTS.md"
    for key, text in (("a", "one"), ("b", "two"), ("a", "three \\1")):
        report.replace(path, key, text)
    written = path.read_text()
    assert written.startswith("# Results")
    assert "one" not in written
    assert written.index("three \\1") < written.index("two")


def test_tables_escape_bars_and_show_nothing_as_a_dash():
    text = report.table(["a", "b"], [["x|y", None], ["z", 12345.6]])
    assert text.splitlines()[2:] == ["| x\\|y | - |", "| z | 12,346 |"]


def test_names_of_contestants_are_unique():
    for members in SETS.values():
        names = [contestant.name for contestant in members()]
        assert len(names) == len(set(names))


def test_lists_and_sweeps_stay_in_bounds():
    assert [lists(n) for n in (1, 100, 2048, 115_659, 1_000_000)] == [1, 2, 32, 1024, 4096]
    assert sweep(1) == [1]
    assert sweep(10) == [1, 2, 3, 4, 6, 8, 10]


def test_the_float_scan_finds_exactly_the_filtered_truth(tmp_path):
    from bench.peers.protocol import Predicate

    base = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    index = Scan().build(Task(base, "ip", 1, tmp_path))
    rows = np.arange(0, 300, 50)
    search = index.configure(index.settings()[0], Predicate("some", "x", rows))
    ids = search(base[:3], 10)
    expected = rows[np.argsort(-(base[:3] @ base[rows].T), axis=1)]
    np.testing.assert_array_equal(ids[:, :6], expected)
    assert (ids[:, 6:] == -1).all()
