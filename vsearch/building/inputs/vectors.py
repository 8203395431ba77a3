"""Vectors from any kind of input behind one small protocol, in bounded memory.

Arrays and files whose layout allows it are read in place (memory-mapped); Parquet, HDF5, compressed
Arrow files and iterables of batches are spooled once to a scratch file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vsearch.building.inputs.arrow_vectors import arrow_chunks, matrix, parquet_batches, table_chunks, vector_column
from vsearch.building.inputs.elements import block_rows, converted, stored_dtype
from vsearch.building.inputs.files import first_line, require_file, split_path
from vsearch.building.inputs.pandas_frames import is_series
from vsearch.building.inputs.readers import hdf5_batches, map_bin, map_npy, map_vecs
from vsearch.building.inputs.spool import as_batch, spool_vectors
from vsearch.building.inputs.tables import Table, is_table, named_column, open_table
from vsearch.building.inputs.unusable import Unusable
from vsearch.errors import InputError

SUFFIXES = (".npy", ".fvecs", ".bvecs", ".fbin", ".u8bin", ".parquet", ".arrow", ".feather", ".hdf5", ".h5")
"""Suffixes of the vector files that :func:`open_vectors` reads."""

OBJECT_ROWS = 4096
"""Vectors given as objects that are converted at a time."""


class VectorSource(Protocol):
    """Vectors that can be read in order and by row, repeatedly."""

    @property
    def rows(self) -> int:
        """Number of vectors, at least 1."""

    @property
    def dimensions(self) -> int:
        """Length of every vector, at least 1."""

    @property
    def dtype(self) -> np.dtype:
        """float32, float16 or uint8."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start:stop``, shape (stop - start, dimensions), C-contiguous, possibly read-only."""

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows in the given order, shape (len(rows), dimensions), C-contiguous."""


class ArrayVectors:
    """Vectors in one or more arrays, in memory or memory-mapped, in any layout.

    Parameters
    ----------
    chunks : sequence of ndarray, each of shape (n, d)
        Consecutive rows; all of the same width and element type.
    label : str
        Names the input in messages.
    finite : bool
        True if the elements have already been checked.
    declared : ndarray of int32, shape (rows,), optional
        The dimension that each row declares in its file; compared when the row is read.

    Raises
    ------
    InputError
        There are no rows, or chunks differ in width or type; later, from `read` and `take`: a row is not finite.
    """

    def __init__(
        self, chunks: Sequence[np.ndarray], label: str, *, finite: bool = False, declared: np.ndarray | None = None
    ) -> None:
        self._chunks = [_readonly(as_batch(chunk, label)) for chunk in chunks if len(chunk)]
        if not self._chunks:
            msg = f"{label}: no rows; there must be at least one vector"
            raise InputError(msg)
        first = self._chunks[0]
        for chunk in self._chunks:
            if chunk.shape[1] != first.shape[1] or chunk.dtype != first.dtype:
                msg = (
                    f"{label}: vectors of {chunk.shape[1]} x {chunk.dtype} after others of "
                    f"{first.shape[1]} x {first.dtype}; all must have the same width and type"
                )
                raise InputError(msg)
        self._label = label
        self._declared = declared
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._chunks)])
        self.rows = int(self._starts[-1])
        self.dimensions = int(first.shape[1])
        self.dtype = stored_dtype(first.dtype, label)
        # Rows below this one have been checked. A race between threads is harmless: rows are then checked twice.
        self._checked = self.rows if finite else 0

    def __repr__(self) -> str:
        return f"ArrayVectors({self._label}: {self.rows} x {self.dimensions} {self.dtype})"

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start:stop``; a view if the layout allows it."""
        if not 0 <= start <= stop <= self.rows:
            msg = f"rows {start}:{stop} are outside 0:{self.rows}"
            raise IndexError(msg)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left")) - 1
        if first == last and start < stop:
            result = self._piece(first, slice(start - self._starts[first], stop - self._starts[first]), start)
        else:
            result = np.empty((stop - start, self.dimensions), self.dtype)
            for number in range(first, last + 1):
                low, high = max(start, int(self._starts[number])), min(stop, int(self._starts[number + 1]))
                part = slice(low - self._starts[number], high - self._starts[number])
                result[low - start : high - start] = self._piece(number, part, low)
        if start <= self._checked < stop:
            self._checked = stop
        return result

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows in the given order, reading the source in ascending order."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < self.rows):
            msg = f"rows {rows.min()} to {rows.max()} are not all within 0:{self.rows}"
            raise IndexError(msg)
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        bounds = np.searchsorted(ascending, self._starts)
        result = np.empty((len(rows), self.dimensions), self.dtype)
        step = block_rows(self.dimensions, self._chunks[0].itemsize)
        for number in np.flatnonzero(np.diff(bounds)):
            for low in range(int(bounds[number]), int(bounds[number + 1]), step):
                high = min(low + step, int(bounds[number + 1]))
                chunk_rows = ascending[low:high]
                result[order[low:high]] = self._piece(int(number), chunk_rows - self._starts[number], chunk_rows)
        return result

    def read_unchecked(self, start: int, stop: int) -> np.ndarray:
        """Like `read`, without checking the elements."""
        checked, self._checked = self._checked, self.rows
        try:
            return self.read(start, stop)
        finally:
            self._checked = checked

    def _piece(self, number: int, part: slice | np.ndarray, rows: int | np.ndarray) -> np.ndarray:
        batch = self._chunks[number][part]
        end = rows + len(batch) if isinstance(rows, int) else int(rows[-1]) + 1
        unchecked = end > self._checked
        if unchecked and self._declared is not None:
            self._require_declared(self._declared, rows, end)
        return converted(batch, self.dtype, self._label, rows, check=unchecked)

    def _require_declared(self, declared: np.ndarray, rows: int | np.ndarray, end: int) -> None:
        stated = declared[rows:end] if isinstance(rows, int) else declared[rows]
        wrong = np.flatnonzero(stated != self.dimensions)
        if wrong.size:
            row = rows + int(wrong[0]) if isinstance(rows, int) else int(rows[wrong[0]])
            msg = (
                f"{self._label}: row {row} declares {stated[wrong[0]]} dimensions, the first row {self.dimensions}; "
                f"all vectors need the same width"
            )
            raise InputError(msg)


def open_vectors(
    embeddings: object, scratch: str | Path, column: str | None = None, unusable: Unusable | None = None
) -> ArrayVectors:
    """Open embeddings of any supported type.

    Parameters
    ----------
    embeddings : ndarray, memmap, path, table, series, list of vectors or iterable of batches
        Shape (rows, dimensions), of floats or integers. A path is ``.npy``, ``.fvecs``, ``.bvecs``, ``.fbin``, ``.u8bin``, or
        ``.hdf5`` (dataset ``train``, or ``path::dataset``). Tables, including files and folders of files, are opened by
        `tables.open_table`, and one column is read; CSV has no vector columns.
    scratch : path
        Folder for spooled data; created if needed, owned and removed by the caller.
    column : str, optional
        The vector column of a table; by default it is found by its type, or named as ``path::column``.
    unusable : Unusable, optional
        Collects rows without a vector (NULL or of another length), which are left out; without it they are errors.

    Returns
    -------
    ArrayVectors
        Elements are checked to be finite when they are first read.

    Raises
    ------
    InputError
        The input does not hold vectors; the message says why and what to do.
    MissingDependencyError
        An HDF5 file without h5py.
    StoreError
        The scratch folder is not writable.
    """
    scratch = Path(scratch)
    if is_table(embeddings):
        table_source, column_name = named_column(embeddings)
        table = open_table(table_source, "embeddings")
        return _open_table(table, column_name if column is None else column, scratch, unusable)
    if column is not None:
        msg = f"vectors={column!r} names a column, but embeddings of type {type(embeddings).__name__} have none"
        raise InputError(msg)
    if isinstance(embeddings, (str, os.PathLike)):
        return _open_path(str(embeddings), scratch)
    if is_series(embeddings):
        return _open_objects(embeddings, scratch, unusable)
    if isinstance(embeddings, np.ndarray) or hasattr(embeddings, "__array_interface__"):
        if isinstance(embeddings, np.ndarray) and embeddings.dtype == object and embeddings.ndim == 1:
            return _open_objects(embeddings, scratch, unusable)
        return ArrayVectors([as_batch(embeddings, "embeddings")], "embeddings")
    module = type(embeddings).__module__
    if module.startswith("pyarrow") or hasattr(embeddings, "__arrow_c_stream__"):
        return _open_arrow(embeddings, scratch, unusable)
    if hasattr(embeddings, "shape") and hasattr(embeddings, "__getitem__"):
        return _spooled(_slices(embeddings), scratch, "embeddings")
    if isinstance(embeddings, (bytes, bytearray, dict, set)) or not isinstance(embeddings, Iterable):
        msg = (
            f"embeddings of type {type(embeddings).__name__} are not supported; pass an array of shape "
            f"(rows, dimensions), a path, or an iterable of such arrays"
        )
        raise InputError(msg)
    if isinstance(embeddings, (list, tuple)) and embeddings:
        present = next((vector for vector in embeddings if vector is not None), None)
        if _is_vector(present):
            if unusable is not None and not _is_even(embeddings):
                return _open_objects(embeddings, scratch, unusable)
            return ArrayVectors([as_batch(embeddings, "embeddings")], "embeddings")
    if unusable is None:
        return _spooled(embeddings, scratch, "embeddings")
    return _unchecked(embeddings, scratch, "embeddings")


def _spooled(batches: Iterable[object], scratch: Path, label: str) -> ArrayVectors:
    return ArrayVectors([spool_vectors(batches, scratch, label)], label, finite=True)


def _unchecked(batches: Iterable[object], scratch: Path, label: str) -> ArrayVectors:
    """Spool batches whose elements are checked later, when rows can be skipped."""
    return ArrayVectors([spool_vectors(batches, scratch, label, check=False)], label)


def _open_table(table: Table, column: str | None, scratch: Path, unusable: Unusable | None) -> ArrayVectors:
    label = table.label
    spooled = _spooled if unusable is None else _unchecked
    if table.path is not None and table.path.suffix.lower() == ".parquet":
        return spooled(parquet_batches(table.path, column, unusable), scratch, label)
    if table.path is not None and table.path.suffix.lower() in (".arrow", ".feather"):
        chunks, mapped = arrow_chunks(table.path, column, unusable)
        return _noted([*chunks], label, unusable) if mapped else spooled(chunks, scratch, label)
    name = vector_column(table.schema, column, label)
    batches = table.read([name])
    chunks = table_chunks(_Batches(table.schema, batches), name, label, unusable)
    return _noted([*chunks], label, unusable) if table.mapped else spooled(chunks, scratch, label)


def _noted(chunks: list[np.ndarray], label: str, unusable: Unusable | None) -> ArrayVectors:
    if unusable is not None and unusable.rows and not any(len(chunk) for chunk in chunks):
        msg = f"{label}: no row has a vector"
        raise InputError(msg)
    return ArrayVectors(chunks, label)


def _open_objects(values: Any, scratch: Path, unusable: Unusable | None) -> ArrayVectors:
    """Open vectors that are objects in a series, an object array or a list, converting slice by slice."""

    def chunks() -> Iterator[np.ndarray]:
        import pyarrow as pa

        for start in range(0, len(values), OBJECT_ROWS):
            part = (
                values.iloc[start : start + OBJECT_ROWS]
                if hasattr(values, "iloc")
                else values[start : start + OBJECT_ROWS]
            )
            try:
                array = pa.array(list(part), from_pandas=True)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                msg = f"embeddings: rows from {start} on are not arrays of numbers ({first_line(error)})"
                raise InputError(msg) from error
            empty = pa.types.is_list(array.type) and pa.types.is_null(array.type.value_type)  # only NULL and NaN
            if empty or (pa.types.is_null(array.type) and unusable is None):
                array = array.cast(pa.list_(pa.float32()))
            if not pa.types.is_null(array.type):
                vector_column(pa.schema([pa.field("embeddings", array.type)]), "embeddings", "embeddings")
            yield matrix(array, "embeddings", start, unusable)

    return (_spooled if unusable is None else _unchecked)(chunks(), scratch, "embeddings")


def _is_even(vectors: Sequence[Any]) -> bool:
    """Whether all are vectors of the same length."""
    lengths = {-1 if vector is None else len(vector) for vector in vectors}
    return len(lengths) == 1 and -1 not in lengths


def _open_path(text: str, scratch: Path) -> ArrayVectors:
    path, name = split_path(text)
    label = str(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        msg = f"{path}: unsupported vector file format {suffix!r}; supported are {' '.join(SUFFIXES)}"
        raise InputError(msg)
    require_file(path)
    if suffix in (".hdf5", ".h5"):
        return _spooled(hdf5_batches(path, name), scratch, label)
    if name is not None:
        msg = f"{text}: a {suffix} file has no columns; remove ::{name}"
        raise InputError(msg)
    if suffix in (".fvecs", ".bvecs"):
        vectors, declared = map_vecs(path)
        return ArrayVectors([vectors], label, declared=declared)
    reader: Callable[[Path], np.ndarray] = map_npy if suffix == ".npy" else map_bin
    return ArrayVectors([as_batch(reader(path), label)], label)


def _open_arrow(embeddings: Any, scratch: Path, unusable: Unusable | None) -> ArrayVectors:
    """Open a single column: an Arrow array or a polars series."""
    import pyarrow as pa

    if not isinstance(embeddings, (pa.Array, pa.ChunkedArray)):
        if not hasattr(embeddings, "__arrow_c_stream__"):
            msg = (
                f"embeddings of type {type(embeddings).__name__} are not supported; pass a pyarrow table or list array"
            )
            raise InputError(msg)
        try:
            embeddings = pa.chunked_array(embeddings)
        except (pa.ArrowException, TypeError, ValueError) as error:
            msg = f"embeddings of type {type(embeddings).__name__} cannot be read as a column ({first_line(error)})"
            raise InputError(msg) from error
    table = pa.table({"embeddings": embeddings})
    column = "embeddings" if _is_list(embeddings.type) else None
    return _open_table(open_table(table, "embeddings"), column, scratch, unusable)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


class _Batches:
    """The part of a table that `table_chunks` reads."""

    def __init__(self, schema: Any, batches: Iterator[Any]) -> None:
        self.schema = schema
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self._batches


def _is_vector(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return bool(item) and not hasattr(item[0], "__len__")
    return getattr(item, "ndim", None) == 1


def _slices(sliceable: Any) -> Iterator[Any]:
    """Cut an array-like that is not a NumPy array (h5py, zarr, torch) into batches."""
    shape = tuple(sliceable.shape)
    if len(shape) != 2:
        msg = f"embeddings has shape {shape}, expected (rows, dimensions)"
        raise InputError(msg)
    step = block_rows(shape[1], 4)
    for start in range(0, shape[0], step):
        yield sliceable[start : min(start + step, shape[0])]


def _readonly(array: np.ndarray) -> np.ndarray:
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view
