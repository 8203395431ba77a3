"""Vectors are read in place, or streamed through bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.building.vector_files import FLOATS, described, fixed, npy, table, write_ipc
from vsearch.building.inputs.arrow_vectors import PARQUET_ROWS, parquet_batches
from vsearch.building.inputs.vectors import open_vectors

MB = 1 << 20


def test_uncompressed_arrow_files_are_read_in_place(tmp_path: Path, scratch: Path) -> None:
    path = write_ipc(tmp_path / "a.arrow", table(fixed(FLOATS)))
    before = pa.total_allocated_bytes()
    source = open_vectors(path, scratch)
    assert source.read(0, 50).base is not None
    assert pa.total_allocated_bytes() == before
    assert not scratch.exists()


def test_iterables_are_spooled_one_batch_at_a_time(scratch: Path) -> None:
    batch = np.ones((1024, 256), np.float32)  # 1 MB
    tracemalloc.start()
    try:
        source = open_vectors((batch + number for number in range(64)), scratch)
        source.take(np.arange(0, source.rows, 1024))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert source.rows == 64 * 1024
    assert peak < 8 * MB
    np.testing.assert_array_equal(source.take(np.array([63 * 1024, 0]))[:, 0], [64, 1])


def test_files_are_mapped_not_loaded(tmp_path: Path, scratch: Path) -> None:
    rows = 1 << 20
    npy_path, bin_path = tmp_path / "x.npy", tmp_path / "x.fbin"
    npy_path.write_bytes(npy(described("'<f4'", (rows, 256))))
    bin_path.write_bytes(np.array([rows, 256], "<u4").tobytes())
    for path in (npy_path, bin_path):
        with path.open("r+b") as file:  # a sparse file of 1 GB
            file.truncate(path.stat().st_size + rows * 1024)
        tracemalloc.start()
        try:
            source = open_vectors(path, scratch)
            assert not source.read(rows - 1024, rows).any()
            assert not source.take(np.arange(0, rows, rows // 64)).any()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert source.rows == rows
        assert peak < 8 * MB


def test_parquet_is_decoded_in_small_batches(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(16 * PARQUET_ROWS, 64)).astype(np.float32)  # 16 MB
    pq.write_table(pa.table({"v": fixed(vectors)}), tmp_path / "x.parquet", row_group_size=len(vectors))
    before = pa.total_allocated_bytes()
    peak = rows = 0
    for batch in parquet_batches(tmp_path / "x.parquet", None):
        rows += len(batch)
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert rows == len(vectors)
    assert peak < vectors.nbytes / 2
