"""The memory of a task does not grow with the source, only with a chunk and a shard."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.indexes import clustered
from vsearch.building import members as of_rows
from vsearch.building.members import count_rows, rows_of
from vsearch.building.partitioning import Partitioning, split_once
from vsearch.cluster.context import _contexts
from vsearch.cluster.engines import SerialEngine
from vsearch.cluster.job import Columns, JobOptions
from vsearch.cluster.running import build_job, describe_job
from vsearch.storage import open_store

WIDTH = 8
CHUNK = 16_384
SLACK = 1 << 20


class Measuring(SerialEngine):
    """Runs tasks in this process, and notes the largest number of bytes that those of each stage allocate."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}

    def run(self, task, stage, numbers):
        for number in numbers:
            _contexts.cache_clear()
            tracemalloc.start()
            try:
                yield task(number)
            finally:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            self.peaks[stage] = max(self.peaks.get(stage, 0), peak)


def peaks(folder, rows, shards, monkeypatch):
    monkeypatch.setattr(of_rows, "COUNTED_ROWS", CHUNK)
    monkeypatch.setattr("vsearch.search.defaults.TUNING_QUERIES", 16)
    (folder / str(rows)).mkdir()
    vectors = clustered(rows, WIDTH)
    vectors[:3000] = vectors[0]  # of a partition that is split
    for number in range(0, rows, 100_000):
        np.save(folder / str(rows) / f"{number}.npy", vectors[number : number + 100_000])
    options = JobOptions("l2", "osq", 1.0, "int8", 60, shards, 3)
    job = describe_job(str(folder / str(rows)), {}, options, columns=Columns(), chunk_bytes=1)
    engine, store = Measuring(), open_store(folder / f"index-{rows}")
    build_job(store, job, engine, storage={}, source_storage={}, overwrite=False, progress=lambda *_: None)
    return engine.peaks


@pytest.mark.slow
def test_tasks_need_as_much_for_a_source_four_times_as_large(tmp_path, monkeypatch) -> None:
    small, large = (peaks(tmp_path, rows, shards, monkeypatch) for rows, shards in ((100_000, 3), (400_000, 12)))
    assert small.keys() == large.keys()
    grown = {stage: (small[stage], large[stage]) for stage in small if large[stage] > 1.25 * small[stage] + SLACK}
    assert not grown, "bytes of a task for 100,000 and for 400,000 rows"


def test_members_in_a_file_are_not_copied(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(of_rows, "COUNTED_ROWS", CHUNK)
    rows = 1_500_000
    members = np.memmap(tmp_path / "members", np.int32, "w+", shape=(rows,))
    members[:] = np.random.default_rng(0).integers(0, 500, rows)
    members[::300] = 7
    centroids = np.random.default_rng(1).standard_normal((500, 4)).astype(np.float32)
    tracemalloc.start()
    counts = count_rows(members, 500)
    seventh, eighth = rows_of(members, np.array([7, 8]))
    divided = split_once(
        Partitioning(centroids, members), np.array([7]), lambda chosen: np.ones((len(chosen), 4), np.float32), 0
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6 < members.nbytes / 2
    assert divided.members is members
    np.testing.assert_array_equal(eighth, np.flatnonzero(members == 8))
    assert len(seventh) == counts[7]
    assert len(divided.centroids) > 500


@pytest.mark.parametrize("members", [[], [0], [3, 1, 3, 0, 1], [2] * 50])
def test_rows_of_some_partitions(members, monkeypatch) -> None:
    monkeypatch.setattr(of_rows, "COUNTED_ROWS", 2)
    array = np.array(members, np.int32)
    np.testing.assert_array_equal(count_rows(array, 4), np.bincount(array, minlength=4))
    for found, partition in zip(rows_of(array, np.array([3, 1])), (3, 1), strict=True):
        np.testing.assert_array_equal(found, np.flatnonzero(array == partition))
