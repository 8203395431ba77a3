"""Every kind of input gives the same vectors; what is no set of vectors is refused with what to do."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vsearch.building.arrow_vectors import PARQUET_ROWS, parquet_batches
from vsearch.building.sources import VectorSource, open_vectors
from vsearch.errors import InputError, MissingDependencyError, StoreError

ROWS, DIMENSIONS = 300, 7
FLOATS = np.random.default_rng(0).normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
BYTES = np.random.default_rng(1).integers(0, 256, (ROWS, DIMENSIONS), np.uint8)
MB = 1 << 20


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


def vecs(vectors: np.ndarray) -> bytes:
    lengths = np.full((len(vectors), 1), vectors.shape[1], "<i4").view(np.uint8)
    return np.hstack([lengths, np.ascontiguousarray(vectors).view(np.uint8)]).tobytes()


def binary(vectors: np.ndarray) -> bytes:
    return np.array(vectors.shape, "<u4").tobytes() + vectors.tobytes()


def fixed(vectors: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def variable(vectors: np.ndarray, large: bool = False) -> pa.Array:
    offsets = np.arange(len(vectors) + 1) * vectors.shape[1]
    kind = pa.LargeListArray if large else pa.ListArray
    return kind.from_arrays(pa.array(offsets, pa.int64() if large else pa.int32()), pa.array(vectors.ravel()))


def table(column: pa.Array, rows: int = 50) -> pa.Table:
    """The column beside another, in several chunks."""
    whole = pa.table({"title": pa.array(["x"] * len(column)), "vector": column})
    return pa.concat_tables([whole.slice(low, rows) for low in range(0, len(column), rows)])


def write_ipc(path: Path, data: pa.Table, compression: str | None = None, stream: bool = False) -> Path:
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(path, data.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(data, max_chunksize=50)
    return path


def write_parquet(path: Path, data: pa.Table, **options: object) -> Path:
    pq.write_table(data, path, row_group_size=80, **options)
    return path


def write_hdf5(path: Path, vectors: np.ndarray, name: str = "train", **options: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=vectors, **options)
    return path


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


def test_uncompressed_arrow_files_are_read_in_place(tmp_path: Path, scratch: Path) -> None:
    path = write_ipc(tmp_path / "a.arrow", table(fixed(FLOATS)))
    before = pa.total_allocated_bytes()
    source = open_vectors(path, scratch)
    assert source.read(0, 50).base is not None
    assert pa.total_allocated_bytes() == before
    assert not scratch.exists()


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
    with pytest.raises(InputError, match=r"no data set 'train' .it holds: base"):
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


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_first_row_that_is_not_finite_is_named(bad: float, dtype: type, tmp_path: Path, scratch: Path) -> None:
    vectors = FLOATS.astype(dtype)
    vectors[123, 4] = vectors[200, 0] = bad
    name = "NaN" if np.isnan(bad) else "infinity"
    np.save(tmp_path / "x.npy", vectors)
    for given in (vectors, tmp_path / "x.npy", table(fixed(vectors))):
        source = open_vectors(given, scratch)
        source.read(0, 123)
        source.take(np.array([299, 5]))
        with pytest.raises(InputError, match=f"row 123 holds {name} .dimension 4"):
            source.read(100, ROWS)
        with pytest.raises(InputError, match=f"row 123 holds {name}"):
            source.take(np.array([299, 200, 123, 0]))
    for given in ((vectors[low : low + 50] for low in range(0, ROWS, 50)), [vectors]):
        with pytest.raises(InputError, match=f"row 123 holds {name}"):
            open_vectors(given, scratch)
    assert not list(scratch.iterdir())


def test_float64_beyond_float32_is_refused(scratch: Path) -> None:
    vectors = FLOATS.astype(np.float64)
    vectors[9, 1] = 1e39
    with pytest.raises(InputError, match=r"row 9 holds 1e.39 .dimension 1.*does not fit float32"):
        open_vectors(vectors, scratch).read(0, ROWS)
    with pytest.raises(InputError, match=r"row 9 holds 1e.39"):
        open_vectors(iter([vectors]), scratch)


NOT_VECTORS = {
    "integers": (np.ones((3, 2), np.int64), "type int64 are not supported.*astype"),
    "int8": (np.ones((3, 2), np.int8), "type int8"),
    "bools": (np.ones((3, 2), bool), "type bool"),
    "complex": (np.ones((3, 2), complex), "type complex128"),
    "strings": (np.array([["a"]]), "type <U1"),
    "objects": (np.array([[None]]), "no array of numbers"),
    "one-axis": (np.ones(3), r"shape \(3,\).*vector\[None, :\]"),
    "three-axes": (np.ones((2, 2, 2)), r"shape \(2, 2, 2\)"),
    "no-rows": (np.ones((0, 4), np.float32), "no rows"),
    "no-dimensions": (np.ones((4, 0), np.float32), r"shape \(4, 0\)"),
    "masked": (np.ma.masked_array(np.ones((2, 2)), mask=True), "masked"),
    "number": (3.5, "type float are not supported"),
    "none": (None, "type NoneType are not supported"),
    "mapping": ({"a": 1}, "type dict are not supported"),
    "empty-iterable": (iter([]), "no rows"),
    "empty-list": ([], "no rows"),
    "empty-batches": ([np.ones((0, 3))], "no rows"),
    "rows-as-batches": (iter([np.ones(3)]), r"batch 0 has shape \(3,\).*vector\[None, :\]"),
    "strings-as-batches": (["a.npy"], "batch 0 is a str"),
    "none-as-batch": ([np.ones((1, 2)), None], "batch 1 is a NoneType"),
    "integers-as-batch": ([[[1, 2]]], "batch 0: elements of type int64"),
    "ragged": ([[[1.0, 2.0], [3.0]]], "batch 0 is no array"),
    "ragged-rows": ([[1.0, 2.0], [3.0]], "embeddings is no array"),
    "widths-differ": ([np.ones((2, 3)), np.ones((2, 4))], "batch 1 has 4 dimensions, earlier batches have 3"),
    "types-differ": ([np.ones((2, 3), "f4"), np.ones((2, 3), "f2")], "batch 1 has elements of type float16"),
    "table-without-vectors": (pa.table({"a": [1], "b": ["x"]}), "the columns are: a int64, b string"),
    "null-vector": (pa.table({"v": pa.array([[1.0], None])}), "row 1 is NULL"),
    "null-element": (pa.table({"v": pa.array([[1.0, 2.0], [1.0, None]])}), "row 1 has a NULL in dimension 1"),
    "lists-differ": (pa.table({"v": pa.array([[1.0], [1.0, 2.0]])}), "row 1 has 2 dimensions"),
    "chunks-differ": (
        pa.table({"v": pa.chunked_array([[[1.0]], [[1.0, 2.0]]])}),
        "vectors of 2 x float64 after others of 1",
    ),
    "empty-lists": (pa.table({"v": pa.array([[], []], pa.list_(pa.float32()))}), "row 0 has no dimensions"),
    "plain-column": (pa.array([1.0, 2.0]), "no column is a list"),
    "schema": (pa.schema([]), "Schema are not supported"),
    "wide-frame": (pd.DataFrame(np.ones((3, 20))), "and others; one number per column"),
}


@pytest.mark.parametrize("name", NOT_VECTORS)
def test_what_is_no_set_of_vectors(name: str, scratch: Path) -> None:
    given, message = NOT_VECTORS[name]
    with pytest.raises(InputError, match=message):
        open_vectors(given, scratch)


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    length = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + header.encode() + data


def described(descr: str, shape: object) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


PLAIN = described("'<f4'", (2, 3))
BAD_FILES = {
    "empty.npy": (b"", "not a readable .npy"),
    "text.npy": (b"hello world, this is no array", "not a readable .npy"),
    "pickle.npy": (b"\x80\x04]\x94.", "not a readable .npy"),
    "object.npy": (npy(described("'|O'", (2, 3)), b"\x80\x04]\x94."), "type object are not supported"),
    "record.npy": (npy(described("[('a', '<f4')]", (2, 3)), bytes(24)), "not supported"),
    "void.npy": (npy(described("'|V0'", (2, 3))), "not supported"),
    "code.npy": (npy("__import__('os').abort()\n"), "not a readable .npy"),
    "deep.npy": (npy("(" * 5000 + ")" * 5000), "not a readable .npy"),
    "version.npy": (npy(PLAIN, bytes(24), (9, 0)), "not a readable .npy"),
    "truncated.npy": (npy(PLAIN, bytes(23)), r"shape \(2, 3\) of float32 .*it is truncated"),
    "longer.npy": (npy(PLAIN, bytes(25)), "it is longer than that"),
    "huge.npy": (npy(described("'<f4'", (2**62, 2**62)), bytes(8)), "it is truncated"),
    "negative.npy": (npy(described("'<f4'", (-2, -3)), bytes(24)), r"shape \(-2, -3\)"),
    "zero.npy": (npy(described("'<f4'", (0, 2**70))), r"shape \(0, \d+\), expected"),
    "vector.npy": (npy(described("'<f4'", (6,)), bytes(24)), r"shape \(6,\)"),
    "int.npy": (npy(described("'<i4'", (2, 3)), bytes(24)), "type int32 are not supported"),
    "empty.fvecs": (b"", "empty"),
    "short.fvecs": (b"\x01\x00", "claims 0 dimensions"),
    "huge.fvecs": (vecs(np.ones((2, 3), "<f4")).replace(b"\x03\0\0\0", b"\xff\xff\xff\x7f", 1), "claims 2147483647"),
    "negative.bvecs": (b"\xff\xff\xff\xffabcd", "claims -1 dimensions"),
    "truncated.fvecs": (vecs(np.ones((2, 3), "<f4"))[:-1], "truncated or its rows differ"),
    "truncated.bvecs": (vecs(np.ones((2, 3), "u1"))[:-2], "truncated or its rows differ"),
    "empty.fbin": (b"", "0 bytes are too few"),
    "norows.fbin": (bytes(8), "0 rows of 0 dimensions"),
    "nodimensions.u8bin": (b"\x09\0\0\0\0\0\0\0", "9 rows of 0 dimensions"),
    "truncated.fbin": (binary(np.ones((2, 3), "<f4"))[:-1], "truncated"),
    "longer.u8bin": (binary(np.ones((2, 3), "u1")) + b"x", "longer than that"),
    "huge.fbin": (b"\xff" * 8 + bytes(32), "truncated"),
    "text.parquet": (b"PAR1 no parquet PAR1", "not a readable Parquet file"),
    "text.arrow": (b"ARROW1\0\0 no arrow ARROW1", "not a readable Arrow IPC file"),
    "empty.arrow": (b"", "not a readable Arrow IPC file"),
    "text.feather": (b"FEA1 very old", "not a readable Arrow IPC file"),
    "text.hdf5": (b"\x89HDF\r\n\x1a\n no hdf5", "not a readable HDF5 file"),
    "text.h5": (b"hello", "not a readable HDF5 file"),
    "a.npz": (b"PK", "unknown kind of vector file '.npz'.*supported are .npy"),
    "noname": (b"", "unknown kind of vector file ''"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str, tmp_path: Path, scratch: Path) -> None:
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_vectors(tmp_path / name, scratch)
    assert name in str(caught.value)
    assert not scratch.exists() or not list(scratch.iterdir())


def test_rows_of_vecs_that_state_another_dimension(tmp_path: Path, scratch: Path) -> None:
    content = bytearray(vecs(FLOATS))
    content[32 * 77] = 6
    (tmp_path / "x.fvecs").write_bytes(content)
    source = open_vectors(tmp_path / "x.fvecs", scratch)
    source.read(0, 77)
    source.take(np.array([299]))
    with pytest.raises(InputError, match="row 77 states 6 dimensions, the first row 7"):
        source.read(50, 100)
    with pytest.raises(InputError, match="row 77 states 6 dimensions"):
        source.take(np.array([299, 77, 0]))


def test_truncated_containers(tmp_path: Path, scratch: Path) -> None:
    data = table(fixed(FLOATS))
    for path in (
        write_parquet(tmp_path / "a.parquet", data),
        write_ipc(tmp_path / "a.arrow", data),
        write_ipc(tmp_path / "z.arrow", data, "zstd"),
        write_ipc(tmp_path / "s.arrow", data, stream=True),
        write_hdf5(tmp_path / "a.hdf5", FLOATS),
    ):
        whole = path.read_bytes()
        for part in (0.3, 0.6, 0.9):
            path.write_bytes(whole[: int(len(whole) * part)])
            with pytest.raises(InputError, match="not a readable"):
                open_vectors(path, scratch)
    assert not list(scratch.iterdir())


def test_altered_files_are_refused_or_read_but_never_crash(tmp_path: Path, scratch: Path) -> None:
    rng = np.random.default_rng(3)
    data = table(variable(FLOATS[:60]))
    for path in (write_parquet(tmp_path / "a.parquet", data), write_ipc(tmp_path / "a.arrow", data)):
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(150):
            altered = whole.copy()
            altered[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(altered.tobytes())
            try:
                source = open_vectors(path, scratch)
                source.read(0, source.rows)
            except InputError:
                pass


def test_paths_that_are_no_files(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    for path, message in (
        (tmp_path / "absent.npy", "no such file"),
        ("s3://bucket/x.npy", "no such file; only local files"),
        (tmp_path / "folder.npy", "is a folder"),
        (f"{tmp_path / 'absent.parquet'}::v", "absent.parquet: no such file"),
    ):
        with pytest.raises(InputError, match=message):
            open_vectors(path, scratch)
    np.save(tmp_path / "x.npy", FLOATS)
    with pytest.raises(InputError, match="has no columns; leave out ::v"):
        open_vectors(f"{tmp_path / 'x.npy'}::v", scratch)


def test_a_scratch_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write to the scratch folder"):
        open_vectors(iter([FLOATS]), tmp_path / "file" / "scratch")


def test_an_error_of_the_iterable_is_passed_on(scratch: Path) -> None:
    def batches() -> object:
        yield FLOATS
        msg = "the caller's own"
        raise KeyError(msg)

    with pytest.raises(KeyError, match="the caller's own"):
        open_vectors(batches(), scratch)
    assert not list(scratch.iterdir())


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
        with path.open("r+b") as file:  # sparse: 1 GB that takes no room
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
