"""Every kind of input gives the same vectors."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.building.vector_files import (
    BYTES,
    DIMENSIONS,
    FLOATS,
    ROWS,
    binary,
    fixed,
    table,
    variable,
    vecs,
    write_hdf5,
    write_ipc,
    write_parquet,
)
from vsearch.building.inputs.vectors import VectorSource, open_vectors
from vsearch.errors import InputError, MissingDependencyError


def require_same(source: VectorSource, expected: np.ndarray) -> None:
    assert (source.rows, source.dimensions, source.dtype) == (*expected.shape, expected.dtype)
    rows = np.array([5, ROWS - 1, 0, 5, 49, 50, 130])
    for got, want in (
        (source.take(rows), expected[rows]),
        (source.read(0, ROWS), expected),
        (source.read(40, 160), expected[40:160]),
        (source.read(50, 100), expected[50:100]),
        (source.read(7, 7), expected[7:7]),
        (source.take(rows[:0]), expected[:0]),
    ):
        assert got.dtype == expected.dtype
        assert got.flags.c_contiguous
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, want)
    for start, stop in ((-1, 3), (0, ROWS + 1), (4, 3)):
        with pytest.raises(IndexError):
            source.read(start, stop)
    for row in (-1, ROWS):
        with pytest.raises(IndexError):
            source.take(np.array([0, row]))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize(
    "layout",
    ["array", "fortran", "strided", "big-endian", "npy", "npy-fortran", "memmap", "batches", "list-of-batches"],
)
def test_arrays_of_every_layout(layout: str, dtype: type, tmp_path: Path, scratch: Path) -> None:
    expected = BYTES if dtype is np.uint8 else FLOATS.astype(dtype)
    np.save(tmp_path / "x.npy", np.asfortranarray(expected) if layout == "npy-fortran" else expected)
    given = {
        "array": expected,
        "fortran": np.asfortranarray(expected),
        "strided": np.repeat(np.repeat(expected, 2, axis=0), 3, axis=1)[::2, ::3],
        "big-endian": expected.astype(expected.dtype.newbyteorder(">")),
        "npy": tmp_path / "x.npy",
        "npy-fortran": str(tmp_path / "x.npy"),
        "memmap": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "batches": (expected[low : low + 70] for low in range(0, ROWS, 70)),
        "list-of-batches": [expected[:0], expected[:100], expected[100:]],
    }[layout]
    require_same(open_vectors(given, scratch), expected)


@pytest.mark.parametrize("vectors", [FLOATS, BYTES], ids=["float32", "uint8"])
def test_raw_files(vectors: np.ndarray, tmp_path: Path, scratch: Path) -> None:
    letters = ("fvecs", "fbin") if vectors.dtype == np.float32 else ("bvecs", "u8bin")
    for suffix, content in zip(letters, (vecs(vectors), binary(vectors)), strict=True):
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(content)
        require_same(open_vectors(path, scratch), vectors)
    assert not scratch.exists()


@pytest.mark.parametrize("make", [fixed, variable, lambda x: variable(x, large=True)], ids=["fixed", "list", "large"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_arrow_columns(make: object, dtype: type, tmp_path: Path, scratch: Path) -> None:
    expected = BYTES if dtype is np.uint8 else FLOATS.astype(dtype)
    data = table(make(expected))
    sources = {
        "parquet": write_parquet(tmp_path / "a.parquet", data),
        "arrow": write_ipc(tmp_path / "a.arrow", data),
        "feather": write_ipc(tmp_path / "a.feather", data, "zstd"),
        "stream": write_ipc(tmp_path / "s.arrow", data, stream=True),
        "table": data,
        "reader": data.to_reader(),
        "column": data.column("vector"),
        "array": data.column("vector").combine_chunks(),
        "batch": data.combine_chunks().to_batches()[0],
    }
    for name, given in sources.items():
        require_same(open_vectors(given, scratch / name), expected)


def test_sliced_arrow_columns(scratch: Path) -> None:
    double = np.vstack([FLOATS, FLOATS])
    for make in (fixed, variable):
        require_same(open_vectors(make(double).slice(150, ROWS), scratch), double[150 : 150 + ROWS])


def test_tensor_columns(scratch: Path) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(FLOATS)
    require_same(open_vectors(pa.table({"v": tensors}), scratch), FLOATS)


def test_frames_with_a_vector_column(scratch: Path) -> None:
    frame = pl.DataFrame({"t": ["x"] * ROWS, "v": pl.Series(FLOATS, dtype=pl.Array(pl.Float32, DIMENSIONS))})
    require_same(open_vectors(frame, scratch), FLOATS)
    require_same(open_vectors(pd.DataFrame({"v": list(FLOATS)}), scratch), FLOATS)


def test_vector_column_by_name(tmp_path: Path, scratch: Path) -> None:
    data = pa.table({"a": fixed(FLOATS), "b": fixed(FLOATS + 1), "text": ["x"] * ROWS})
    for path in (write_parquet(tmp_path / "a.parquet", data), write_ipc(tmp_path / "a.arrow", data)):
        require_same(open_vectors(f"{path}::b", scratch), FLOATS + 1)
        with pytest.raises(InputError, match=r"several vector columns \(a, b\)"):
            open_vectors(path, scratch)
        with pytest.raises(InputError, match=r"no column 'c'.*a, b, text"):
            open_vectors(f"{path}::c", scratch)
        with pytest.raises(InputError, match="'text' is string"):
            open_vectors(f"{path}::text", scratch)


def test_hdf5(tmp_path: Path, scratch: Path) -> None:
    path = write_hdf5(tmp_path / "a.hdf5", FLOATS, chunks=(16, DIMENSIONS), compression="gzip")
    require_same(open_vectors(path, scratch), FLOATS)
    other = write_hdf5(tmp_path / "b.h5", BYTES, "base")
    require_same(open_vectors(f"{other}::base", scratch), BYTES)
    with h5py.File(path) as file:
        require_same(open_vectors(file["train"], scratch), FLOATS)
    with pytest.raises(InputError, match=r"no dataset 'train' .the file has: base"):
        open_vectors(other, scratch)


def test_hdf5_without_h5py(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_hdf5(tmp_path / "a.hdf5", FLOATS)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r"vsearch\[hdf5\]"):
        open_vectors(path, scratch)


def test_float64_becomes_float32(tmp_path: Path, scratch: Path) -> None:
    wide = FLOATS.astype(np.float64)
    np.save(tmp_path / "x.npy", wide)
    for given in (wide, tmp_path / "x.npy", [wide], wide.tolist(), list(wide), table(variable(wide))):
        require_same(open_vectors(given, scratch), FLOATS)


def test_views_cannot_change_the_input(scratch: Path) -> None:
    given = FLOATS.copy()
    source = open_vectors(given, scratch)
    with pytest.raises(ValueError, match="read-only"):
        source.read(0, 10)[0, 0] = 1
    given[0, 0] = 1  # the caller's own array stays writeable
