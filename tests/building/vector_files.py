"""Vector files in all formats, as written by other programs."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS, DIMENSIONS = 300, 7
FLOATS = np.random.default_rng(0).normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
BYTES = np.random.default_rng(1).integers(0, 256, (ROWS, DIMENSIONS), np.uint8)


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
    """The column next to another one, in several chunks."""
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


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    length = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + header.encode() + data


def described(descr: str, shape: object) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"
