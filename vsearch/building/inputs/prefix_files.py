"""Files of vectors or tables under one prefix of a store, planned from their headers: which rows each file holds.

A plan is made of small parts that can be read independently of each other, so that thousands of files can be planned by many
processes; rows are then read by range (:mod:`vsearch.building.inputs.prefix_reading`).
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.building.inputs.elements import stored_dtype
from vsearch.building.inputs.files import first_line, reading
from vsearch.building.inputs.path_values import path_values, with_path_values
from vsearch.building.inputs.readers import BIN_TYPES, npy_header
from vsearch.building.inputs.store_file import open_file
from vsearch.building.inputs.table_files import COLUMNAR, check_shards, natural_key
from vsearch.errors import InputError, StoreError
from vsearch.storage.stores.opening import open_store

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.storage.stores.base import ObjectInfo, Store

VECTOR_FILES = (".npy", ".fbin", ".u8bin")
"""Suffixes of files that hold vectors and nothing else, whose rows can be read by range."""

HEADER_BYTES = 1 << 16
"""Bytes read of a file of vectors to find its header."""

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


class FoundFile(msgspec.Struct, frozen=True):
    """A listed file: path below the prefix, length in bytes, time of writing (ISO 8601)."""

    path: str
    bytes: int
    modified: str


class FileHeader(msgspec.Struct, frozen=True):
    """The declarations in the header of a file.

    Attributes
    ----------
    path : str
    size, rows : int
        Length in bytes, and number of rows.
    groups : tuple of int
        Rows of each row group (Parquet) or record batch (Arrow); empty for files of vectors.
    width : int
        Dimensions, for a file of vectors; 0 for a table.
    dtype : str
        Element type and byte order, for a file of vectors.
    offset : int
        Position of the first vector in a file of vectors.
    schema : bytes
        Arrow schema of a table, in Arrow's IPC format.
    """

    path: str
    size: int
    rows: int
    groups: tuple[int, ...] = ()
    width: int = 0
    dtype: str = ""
    offset: int = 0
    schema: bytes = b""


class FilesPlan(msgspec.Struct, frozen=True):
    """The rows of all files under a prefix, in the order of the files.

    Attributes
    ----------
    url : str
        The prefix.
    files : tuple of FileHeader
        Files with rows only.
    firsts : tuple of int
        Number of the first row of each file; the last entry is the number of all rows.
    schema : bytes
        Common Arrow schema of tables, in Arrow's IPC format; empty for files of vectors.
    """

    url: str
    files: tuple[FileHeader, ...]
    firsts: tuple[int, ...]
    schema: bytes = b""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.firsts[-1]

    @property
    def is_table(self) -> bool:
        """Whether the files are tables."""
        return bool(self.schema)

    @property
    def label(self) -> str:
        """Names the source in messages."""
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.url.rstrip('/')}/{self.files[0].path}{more}"


def is_url(source: object) -> bool:
    """Whether a source is given by a URL, and not by a path."""
    return isinstance(source, str) and _SCHEME.match(source) is not None


def source_store(url: str, storage: Mapping[str, Any]) -> tuple[Store, str | None]:
    """Open the store that a source is in.

    Returns
    -------
    store : Store
        At the prefix; or at the folder of the file, if the URL names a single file.
    name : str or None
        The file, if the URL names a single one.
    """
    head, _, name = url.rstrip("/").rpartition("/")
    if PurePosixPath(name).suffix.lower() in (*COLUMNAR, *VECTOR_FILES):
        store = open_store(head or ("/" if url.startswith("/") else "."), **storage)
        try:
            below = store.list(name)  # Spark writes folders with such names
        except StoreError:  # a file is not a folder
            below = []
        if not any(info.path.startswith(f"{name}/") for info in below):
            return store, name
    return open_store(url, **storage), None


def list_files(store: Store, name: str | None = None) -> tuple[FoundFile, ...]:
    """List the files of a source in order: numbers in their names are compared by value.

    Hidden files and those that begin with ``_`` are left out, also in folders of such names, as are files of other kinds.

    Parameters
    ----------
    store : Store
    name : str, optional
        Only this file.

    Raises
    ------
    InputError
        There are no files, files of vectors are mixed with tables, or shards are missing.
    """
    try:
        infos = store.list("") if name is None else [store.head(name)]
    except FileNotFoundError:
        raise InputError(f"{store.url}/{name}: no such file") from None
    readable = [
        _file_of(info)
        for info in infos
        if PurePosixPath(info.path).suffix.lower() in (*COLUMNAR, *VECTOR_FILES)
        and not any(part.startswith((".", "_")) for part in PurePosixPath(info.path).parts)
    ]
    if not readable:
        raise InputError(f"{store.url}: contains no {' or '.join((*COLUMNAR, *VECTOR_FILES))} file")
    tables = [file for file in readable if PurePosixPath(file.path).suffix.lower() in COLUMNAR]
    if tables and len(tables) < len(readable):
        strange = next(file for file in readable if file not in tables)
        raise InputError(f"{store.url}: contains both tables ({tables[0].path}) and files of vectors ({strange.path})")
    if name is None:
        check_shards([PurePosixPath(file.path) for file in readable], PurePosixPath(), complete=True)
    return tuple(sorted(readable, key=lambda file: natural_key(file.path)))


def changed_file(store: Store, files: Sequence[FoundFile]) -> str | None:
    """Path of the first file that changed or was removed since the listing; None if there is none."""
    if len(files) == 1:  # may be one of many in a folder
        with suppress(FileNotFoundError):
            if _file_of(store.head(files[0].path)) == files[0]:
                return None
    present = {info.path: _file_of(info) for info in store.list("")}
    return next((file.path for file in files if present.get(file.path) != file), None)


def read_header(store: Store, file: FoundFile) -> FileHeader:
    """Read the header of a file, and compare its declarations with the length of the file.

    Raises
    ------
    InputError
        The file is damaged, or its layout does not allow reading rows by range.
    """
    suffix, label = PurePosixPath(file.path).suffix.lower(), f"{store.url}/{file.path}"
    if suffix == ".npy":
        return _npy_file(store, file, label)
    if suffix in BIN_TYPES:
        return _bin_file(store, file, label)
    with reading(label, "Parquet" if suffix == ".parquet" else "Arrow IPC"):
        return (_parquet_file if suffix == ".parquet" else _arrow_file)(store, file)


def plan_files(url: str, headers: Sequence[FileHeader]) -> FilesPlan:
    """Combine the headers of all files, in order.

    Raises
    ------
    InputError
        There are no rows, vectors differ in width or element type, or tables have incompatible columns.
    """
    files = [header for header in headers if header.rows]
    if not files:
        raise InputError(f"{url}: no rows; there must be at least one vector")
    schema = b""
    if headers[0].schema:
        values = [path_values(PurePosixPath(header.path)) for header in headers]
        schema = with_path_values(_common_schema(headers), values).serialize().to_pybytes()
    else:
        kinds = {(header.width, stored_dtype(np.dtype(header.dtype), header.path).name): header for header in files}
        if len(kinds) > 1:
            (shape, first), (other_shape, second) = list(kinds.items())[:2]
            raise InputError(
                f"{url}: {second.path} has vectors of {other_shape[0]} x {other_shape[1]}, {first.path} of {shape[0]} x {shape[1]}; "
                "all must have the same width and type"
            )
    firsts = np.cumsum([0, *(header.rows for header in files)]).tolist()
    return FilesPlan(url, tuple(files), tuple(firsts), schema)


def schema_of(data: bytes) -> pa.Schema:
    """The Arrow schema of a header or a plan."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(data))


def _file_of(info: ObjectInfo) -> FoundFile:
    return FoundFile(info.path, info.bytes, info.modified.isoformat())


def _npy_file(store: Store, file: FoundFile, label: str) -> FileHeader:
    start = io.BytesIO(bytes(store.get(file.path, start=0, stop=min(file.bytes, HEADER_BYTES))))
    with reading(label, ".npy"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        shape, fortran, dtype = npy_header(start)
    if len(shape) != 2 or shape[1] < 1:
        raise InputError(f"{label}: the array has shape {shape}, expected (rows, dimensions)")
    if fortran and 1 not in shape:
        raise InputError(f"{label}: is in Fortran order, in which rows cannot be read by range; save it in C order")
    return _vector_file(file, label, shape, dtype, start.tell())


def _bin_file(store: Store, file: FoundFile, label: str) -> FileHeader:
    if file.bytes < 8:
        raise InputError(f"{label}: {file.bytes} bytes are too few for the 8-byte header; the file is truncated")
    rows, width = np.frombuffer(store.get(file.path, start=0, stop=8), "<u4").tolist()
    if width < 1:
        raise InputError(f"{label}: the header declares {rows} rows of {width} dimensions; both must be at least 1")
    return _vector_file(file, label, (rows, width), np.dtype(BIN_TYPES[PurePosixPath(file.path).suffix.lower()]), 8)


def _vector_file(file: FoundFile, label: str, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> FileHeader:
    stored_dtype(dtype, label)
    expected = offset + math.prod(shape) * dtype.itemsize
    if expected != file.bytes:
        state = "truncated" if file.bytes < expected else "longer than that"
        raise InputError(
            f"{label}: the header declares shape {tuple(shape)} of {dtype} ({expected} bytes), the file has {file.bytes}: "
            f"it is {state}; write it again"
        )
    return FileHeader(file.path, file.bytes, shape[0], width=shape[1], dtype=dtype.str, offset=offset)


def _parquet_file(store: Store, file: FoundFile) -> FileHeader:
    import pyarrow.parquet as pq

    with pq.ParquetFile(open_file(store, file.path, file.bytes)) as opened:
        metadata = opened.metadata
        groups = tuple(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
        schema = opened.schema_arrow
    return _table_file(file, groups, schema)


def _arrow_file(store: Store, file: FoundFile) -> FileHeader:
    import pyarrow as pa

    source = open_file(store, file.path, file.bytes)
    if file.bytes < 8 or source.read(6) != b"ARROW1":
        raise InputError(
            f"{store.url}/{file.path}: is an Arrow stream, of which rows cannot be read by range; write it with pa.ipc.new_file"
        )
    schema = pa.ipc.open_file(source).schema
    # the narrowest column is enough to count rows
    widths = [field.type.bit_width if pa.types.is_primitive(field.type) else 1 << 30 for field in schema]
    options = pa.ipc.IpcReadOptions(included_fields=[int(np.argmin(widths))] if widths else [])
    opened = pa.ipc.open_file(source, options=options)
    groups = tuple(opened.get_batch(number).num_rows for number in range(opened.num_record_batches))
    return _table_file(file, groups, schema)


def _table_file(file: FoundFile, groups: Iterable[int], schema: pa.Schema) -> FileHeader:
    list(schema.names)  # fails here if a name is not valid UTF-8
    counts = tuple(groups)
    if any(count < 0 for count in counts):
        raise ValueError("a negative number of rows")
    data = schema.remove_metadata().serialize().to_pybytes()
    return FileHeader(file.path, file.bytes, sum(counts), counts, schema=data)


def _common_schema(headers: Sequence[FileHeader]) -> pa.Schema:
    import pyarrow as pa

    schema = schema_of(headers[0].schema)
    known = {headers[0].schema}
    for header in headers[1:]:
        if header.schema in known:
            continue
        known.add(header.schema)
        try:
            schema = pa.unify_schemas([schema, schema_of(header.schema)], promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(
                f"{header.path}: its columns are not compatible with those of {headers[0].path} ({first_line(error)})"
            ) from error
    return schema.remove_metadata()
