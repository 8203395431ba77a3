"""Vector files: ``.npy``, ``.fvecs``, ``.bvecs``, ``.fbin`` and ``.u8bin`` are memory-mapped, ``.hdf5`` is read in batches.

Headers are not trusted: their declarations are first compared with the size of the file.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from vsearch.building.inputs.elements import block_rows, stored_dtype
from vsearch.building.inputs.files import reading
from vsearch.errors import InputError, MissingDependencyError

BIN_TYPES = {".fbin": "<f4", ".u8bin": "u1"}
"""Element types of the files that begin with two counts."""

_VECS_TYPES = {".fvecs": "<f4", ".bvecs": "u1"}
_MAX_NPY_HEADER = 10_000


def map_npy(path: Path) -> np.ndarray:
    """Memory-map an ``.npy`` file; object arrays and pickles are refused.

    Returns
    -------
    ndarray, shape (rows, dimensions)
        Read-only, with the order, byte order and element type of the file.
    """
    with reading(path, ".npy"), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        shape, fortran, dtype = npy_header(file)
        offset = file.tell()
    stored_dtype(dtype, str(path))
    if len(shape) != 2 or min(shape) < 1:
        msg = f"{path}: the array has shape {shape}, expected (rows, dimensions), both at least 1"
        raise InputError(msg)
    _require_size(path, offset + math.prod(shape) * dtype.itemsize, f"shape {shape} of {dtype}")
    order: Literal["C", "F"] = "F" if fortran else "C"
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order))


def map_bin(path: Path) -> np.ndarray:
    """Memory-map ``.fbin`` or ``.u8bin``: uint32 rows, uint32 dimensions, then the elements.

    Returns
    -------
    ndarray, shape (rows, dimensions)
        Read-only float32 or uint8.
    """
    dtype = np.dtype(BIN_TYPES[path.suffix.lower()])
    with path.open("rb") as file:
        header = file.read(8)
    if len(header) < 8:
        msg = f"{path}: {len(header)} bytes are too few for the 8-byte header; the file is truncated"
        raise InputError(msg)
    rows, dimensions = (int(x) for x in np.frombuffer(header, "<u4"))
    _require_size(path, 8 + rows * dimensions * dtype.itemsize, f"{rows} rows of {dimensions} x {dtype}")
    if rows * dimensions == 0:
        msg = f"{path}: the header declares {rows} rows of {dimensions} dimensions; both must be at least 1"
        raise InputError(msg)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=8, shape=(rows, dimensions)))


def map_vecs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Memory-map ``.fvecs`` or ``.bvecs``: every row is its int32 dimension followed by its elements.

    Returns
    -------
    vectors : ndarray, shape (rows, dimensions)
        Read-only strided view, float32 or uint8.
    declared : ndarray of int32, shape (rows,)
        The dimension that each row declares. It is compared when a row is read, so that opening the file does not touch
        every page.
    """
    dtype = np.dtype(_VECS_TYPES[path.suffix.lower()])
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(4)
    if size == 0:
        msg = f"{path}: the file is empty; at least one vector is needed"
        raise InputError(msg)
    dimensions = int(np.frombuffer(header, "<i4")[0]) if len(header) == 4 else 0
    row_bytes = 4 + dimensions * dtype.itemsize
    if dimensions <= 0 or size < row_bytes:
        msg = f"{path}: the first row declares {dimensions} dimensions in a file of {size} bytes; not a {path.suffix} file"
        raise InputError(msg)
    if size % row_bytes:
        msg = (
            f"{path}: {size} bytes are not a multiple of a row of {dimensions} dimensions ({row_bytes} bytes); "
            f"the file is truncated or its rows differ in dimension"
        )
        raise InputError(msg)
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    rows = size // row_bytes
    vectors: np.ndarray = np.ndarray((rows, dimensions), dtype, raw, 4, (row_bytes, dtype.itemsize))
    declared: np.ndarray = np.ndarray((rows,), "<i4", raw, 0, (row_bytes,))
    return vectors, declared


def hdf5_batches(path: Path, name: str | None) -> Iterator[np.ndarray]:
    """Read an HDF5 dataset batch by batch.

    Parameters
    ----------
    path : Path
        For instance a file from ann-benchmarks.
    name : str or None
        The dataset; ``train`` if None.

    Raises
    ------
    MissingDependencyError
        h5py is not installed.
    InputError
        There is no such dataset, or the file is damaged.
    """
    try:
        import h5py
    except ImportError as error:
        msg = f"reading {path.name} needs h5py; install it with: pip install 'vsearch[hdf5]'"
        raise MissingDependencyError(msg) from error
    dataset_name = name or "train"
    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        dataset = file.get(dataset_name)
        if not isinstance(dataset, h5py.Dataset):
            available = ", ".join(sorted(file)) or "nothing"
            msg = f"{path}: no dataset {dataset_name!r} (the file has: {available}); name one as {path.name}::dataset"
            raise InputError(msg)
        if dataset.shape is None or len(dataset.shape) != 2:
            msg = f"{path}: dataset {dataset_name!r} has shape {dataset.shape}, expected (rows, dimensions)"
            raise InputError(msg)
        step = block_rows(dataset.shape[1], dataset.dtype.itemsize)
        for start in range(0, dataset.shape[0], step):
            yield dataset[start : start + step]


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an ``.npy`` file: shape, whether it is in Fortran order, element type."""
    lib = np.lib.format
    version = lib.read_magic(file)
    if version == (1, 0):
        return lib.read_array_header_1_0(file, max_header_size=_MAX_NPY_HEADER)
    if version == (2, 0):
        return lib.read_array_header_2_0(file, max_header_size=_MAX_NPY_HEADER)
    # 3.0 exists for field names beyond Latin-1, which arrays of vectors do not have
    msg = f"format version {version[0]}.{version[1]}"
    raise ValueError(msg)


def _require_size(path: Path, expected: int, claim: str) -> None:
    actual = path.stat().st_size
    if actual != expected:
        state = "truncated" if actual < expected else "longer than that"
        msg = f"{path}: the header declares {claim} ({expected} bytes), the file has {actual}: it is {state}; write it again"
        raise InputError(msg)
