"""Input that is not a set of vectors is refused with advice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.building.vector_files import (
    FLOATS,
    ROWS,
    binary,
    described,
    fixed,
    npy,
    table,
    variable,
    vecs,
    write_hdf5,
    write_ipc,
    write_parquet,
)
from vsearch.building.inputs.vectors import open_vectors
from vsearch.errors import InputError, StoreError


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
    "bools": (np.ones((3, 2), bool), "type bool are not supported.*astype"),
    "complex": (np.ones((3, 2), complex), "type complex128"),
    "strings": (np.array([["a"]]), "type <U1"),
    "objects": (np.array([[None]]), "not arrays of numbers|not an array of numbers"),
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
    "texts-as-objects": (np.array([["a"], ["b"]], object)[:, 0], "not arrays of numbers|not a list"),
    "lists-of-texts": (pd.Series([["a"], ["b"]]), "not a list of float32"),
    "null-object": (pd.Series([[1.0], None]), "row 1 is NULL"),
    "nulls-only": (pd.Series([None, None]), "row 0 is NULL"),
    "ragged": ([[[1.0, 2.0], [3.0]]], "batch 0 is not an array"),
    "ragged-rows": ([[1.0, 2.0], [3.0]], "embeddings is not an array"),
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
    "bool.npy": (npy(described("'|b1'", (2, 3)), bytes(6)), "type bool are not supported"),
    "empty.fvecs": (b"", "empty"),
    "short.fvecs": (b"\x01\x00", "declares 0 dimensions"),
    "huge.fvecs": (vecs(np.ones((2, 3), "<f4")).replace(b"\x03\0\0\0", b"\xff\xff\xff\x7f", 1), "declares 2147483647"),
    "negative.bvecs": (b"\xff\xff\xff\xffabcd", "declares -1 dimensions"),
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
    "a.npz": (b"PK", "unsupported vector file format '.npz'.*supported are .npy"),
    "noname": (b"", "unsupported vector file format ''"),
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
    with pytest.raises(InputError, match="row 77 declares 6 dimensions, the first row 7"):
        source.read(50, 100)
    with pytest.raises(InputError, match="row 77 declares 6 dimensions"):
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
    with pytest.raises(InputError, match="has no columns; remove ::v"):
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
