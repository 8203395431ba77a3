"""Rows of planned files, read by range: only the bytes of these rows, or of the row groups that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.arrow_vectors import element_type, matrix
from vsearch.building.inputs.elements import block_rows, converted, stored_dtype
from vsearch.building.inputs.files import reading
from vsearch.building.inputs.path_values import path_values
from vsearch.building.inputs.prefix_files import (
    FileHeader,
    FilesPlan,
    list_files,
    plan_files,
    read_header,
    schema_of,
    source_store,
)
from vsearch.building.inputs.store_file import open_file
from vsearch.building.inputs.tables import Table, fitted
from vsearch.errors import InputError
from vsearch.forking import cached_property

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from vsearch.storage.stores.base import Store

BATCH_ROWS = 4096
"""Rows of a table decoded at a time."""


@dataclass(frozen=True, eq=False)
class PrefixRows:
    """The rows of a plan.

    Attributes
    ----------
    store : Store
        Where the paths of the plan are.
    plan : FilesPlan
    column : str or None
        The vector column of tables.
    """

    store: Store
    plan: FilesPlan
    column: str | None = None

    @cached_property
    def schema(self) -> pa.Schema:
        """Common Arrow schema of tables."""
        return schema_of(self.plan.schema)

    @cached_property
    def shape(self) -> tuple[int, np.dtype[Any]]:
        """Dimensions and stored element type of the vectors: float32, float16 or uint8.

        Raises
        ------
        InputError
            The column does not hold vectors, or the first vector cannot be read.
        """
        if not self.plan.is_table:
            first = self.plan.files[0]
            return first.width, stored_dtype(np.dtype(first.dtype), self.plan.label)
        kind = self.schema.field(self.column).type
        element = element_type(kind, named=True)
        _, first_row = next(self._chunks(0, 1))
        return first_row.shape[1], stored_dtype(np.dtype(element.to_pandas_dtype()), self.plan.label)

    def vectors(self, start: int, stop: int) -> NDArray[Any]:
        """Vectors of rows ``start:stop``, shape (stop - start, d), of the stored element type; all elements are finite.

        Raises
        ------
        InputError
            A row has no vector of this width, or one that is not finite, or a file does not hold what its header declared.
        """
        width, dtype = self.shape
        result = np.empty((stop - start, width), dtype)
        filled = 0
        for file, chunk in self._chunks(start, stop):
            with self._naming(file):
                if len(chunk) and chunk.shape[1] != width:
                    raise InputError(
                        f"{self.plan.label}: row {start + filled} has {chunk.shape[1]} dimensions, the first row has {width}"
                    )
                result[filled : filled + len(chunk)] = converted(chunk, dtype, self.plan.label, start + filled)
            filled += len(chunk)
        return result

    def batches(self, names: Sequence[str], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """Columns of rows ``start:stop`` of tables, in the types of the common schema.

        Raises
        ------
        InputError
            A file cannot be read, or does not hold what its header declared.
        """
        for _, batch in self._batches_of_files(names, start, stop):
            yield batch

    def _batches_of_files(
        self, names: Sequence[str], start: int, stop: int
    ) -> Iterator[tuple[FileHeader, pa.RecordBatch]]:
        """`batches`, with the file of each."""
        import pyarrow as pa

        selected = pa.schema([self.schema.field(name) for name in names])
        for file, low, high in self._overlaps(start, stop):
            label = f"{self.store.url}/{file.path}"
            count = 0
            for batch in self._table_rows(file, names, low, high):
                count += batch.num_rows
                yield file, fitted(batch, selected, label, path_values(PurePosixPath(file.path)))
            if count != high - low:
                raise InputError(f"{label}: does not hold the rows that its header declares; write it again")

    def _chunks(self, start: int, stop: int) -> Iterator[tuple[FileHeader, NDArray[Any]]]:
        """Vectors as the files have them, in order, with the file of each part."""
        if not self.plan.is_table:
            for file, low, high in self._overlaps(start, stop):
                yield from ((file, chunk) for chunk in self._vector_rows(file, low, high))
            return
        name, first = str(self.column), start
        for file, batch in self._batches_of_files([name], start, stop):
            with self._naming(file):
                chunk = matrix(batch.column(0), f"{self.plan.label}: column {name!r}", first)
            yield file, chunk
            first += batch.num_rows

    @contextmanager
    def _naming(self, file: FileHeader) -> Iterator[None]:
        """Add the file to errors of its rows, which are numbered over all files."""
        try:
            yield
        except InputError as error:
            if len(self.plan.files) == 1:
                raise
            number = self.plan.files.index(file)
            place = f"{file.path} has the rows from {self.plan.firsts[number]} on"
            raise type(error)(f"{error}; {place}") from error

    def _overlaps(self, start: int, stop: int) -> Iterator[tuple[FileHeader, int, int]]:
        """The files that hold rows ``start:stop``, with the range of rows in each."""
        firsts = np.asarray(self.plan.firsts)
        if not 0 <= start <= stop <= firsts[-1]:
            raise IndexError(f"rows {start}:{stop} are outside 0:{firsts[-1]}")
        if start == stop:
            return
        for number in range(
            int(np.searchsorted(firsts, start, side="right")) - 1, int(np.searchsorted(firsts, stop, side="left"))
        ):
            file, first = self.plan.files[number], int(firsts[number])
            yield file, max(start - first, 0), min(stop - first, file.rows)

    def _vector_rows(self, file: FileHeader, low: int, high: int) -> Iterator[NDArray[Any]]:
        dtype = np.dtype(file.dtype)
        row_bytes, step = file.width * dtype.itemsize, block_rows(file.width, dtype.itemsize)
        mapped = self.store.memory_map(file.path)
        for first in range(low, high, step):
            last = min(first + step, high)
            begin, end = file.offset + first * row_bytes, file.offset + last * row_bytes
            data: Any = self.store.get(file.path, start=begin, stop=end) if mapped is None else mapped[begin:end]
            if len(data) != end - begin:
                raise InputError(f"{self.store.url}/{file.path}: is shorter than when it was planned; write it again")
            yield np.frombuffer(data, dtype).reshape(last - first, file.width)

    def _table_rows(self, file: FileHeader, names: Sequence[str], low: int, high: int) -> Iterator[pa.RecordBatch]:
        edges = np.concatenate([[0], np.cumsum(file.groups)])
        groups = [number for number in range(len(file.groups)) if edges[number] < high and edges[number + 1] > low]
        parquet = PurePosixPath(file.path).suffix.lower() == ".parquet"
        present = [name for name in names if name in schema_of(file.schema).names]
        with reading(f"{self.store.url}/{file.path}", "Parquet" if parquet else "Arrow IPC"):
            source = open_file(self.store, file.path, file.size)
            read = _parquet_groups if parquet else _arrow_batches
            at = int(edges[groups[0]])
            for batch in read(source, present, groups):
                begin, end = max(low - at, 0), min(high - at, batch.num_rows)
                at += batch.num_rows
                if end > begin:
                    yield batch.slice(begin, end - begin)
                if at >= high:
                    return


def open_prefix(url: str, storage: Mapping[str, Any]) -> PrefixRows:
    """List and plan the files under a prefix, or the single file of this URL; the vector column is not yet chosen.

    Raises
    ------
    InputError
        There are no files, or they cannot be read or do not fit together.
    """
    store, name = source_store(url, storage)
    files = list_files(store, name)
    return PrefixRows(store, plan_files(store.url, [read_header(store, file) for file in files]))


def as_source(url: str, storage: Mapping[str, Any]) -> Table | Iterator[NDArray[Any]]:
    """Files under a prefix as a build in one process takes them: a table, or batches of vectors."""
    rows = open_prefix(url, storage)
    if rows.plan.is_table:
        return Table(rows.schema, lambda names: rows.batches(names, 0, rows.plan.rows), rows.plan.label)
    step = block_rows(rows.shape[0], rows.shape[1].itemsize)
    return (rows.vectors(low, min(low + step, rows.plan.rows)) for low in range(0, rows.plan.rows, step))


def _parquet_groups(source: Any, names: list[str], groups: list[int]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(source, buffer_size=8 << 20, pre_buffer=False) as file:
        yield from _picked(file.iter_batches(BATCH_ROWS, row_groups=groups, columns=names), names)


def _arrow_batches(source: Any, names: list[str], groups: list[int]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    schema = pa.ipc.open_file(source).schema
    options = pa.ipc.IpcReadOptions(included_fields=sorted(schema.get_field_index(name) for name in names))
    file = pa.ipc.open_file(source, options=options)
    yield from _picked((file.get_batch(number) for number in groups), names)


def _picked(batches: Iterator[pa.RecordBatch], names: list[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch if batch.schema.names == names else batch.select(names)
