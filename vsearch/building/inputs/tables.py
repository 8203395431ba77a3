"""Input tables: frames, files, folders of files and streams, read as record batches of selected columns."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

from vsearch.building.inputs.arrow_vectors import open_ipc, open_stream
from vsearch.building.inputs.csv_columns import csv_batches
from vsearch.building.inputs.files import first_line, reading, require_file, split_path
from vsearch.building.inputs.hugging_face import (
    checked_dataset,
    dataset_batches,
    dataset_schema,
    is_dataset,
    is_streamed,
)
from vsearch.building.inputs.pandas_frames import frame_batches, frame_columns, is_frame, mapping_table, series_type
from vsearch.building.inputs.path_values import path_values, repeated_value, with_path_values
from vsearch.building.inputs.spool import scratch_file
from vsearch.building.inputs.table_files import COLUMNAR, expand
from vsearch.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 4096
"""Rows of a frame or a file decoded at a time."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table that is read batch by batch.

    Attributes
    ----------
    schema : pyarrow.Schema
        Its columns, or the selected ones.
    read : callable
        Takes column names; yields record batches with these columns, in that order.
    label : str
        Names the table in messages.
    once : bool
        Whether it is a stream, which can be read only once.
    mapped : bool
        Whether its batches are in memory, or in a mapped file, and may all be held.
    path : Path or None
        The file, if the table is a single one.
    """

    schema: pa.Schema
    read: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    label: str
    once: bool = False
    mapped: bool = False
    path: Path | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches with all columns of the schema."""
        return self.read(list(self.schema.names))

    def select(self, names: Sequence[str]) -> Table:
        """Keep only some columns."""
        import pyarrow as pa

        return replace(self, schema=pa.schema([self.schema.field(name) for name in names]))

    def peek(self) -> tuple[pa.RecordBatch | None, Table]:
        """Return the first batch, and a table that can still be read from the beginning."""
        batches = self.batches()
        first = next(batches, None)
        if not self.once:
            return first, self
        all_batches = batches if first is None else itertools.chain([first], batches)
        return first, replace(self, read=lambda names: _picked(all_batches, names))

    def reread(self, scratch: Path) -> Table:
        """Return a table that can be read again: itself, or a spooled copy of a stream."""
        if not self.once:
            return self
        import pyarrow as pa

        with scratch_file(scratch, ".arrow") as path:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.schema) as writer:
                for batch in self.batches():
                    writer.write_batch(batch)
            return replace(_open_file(path, self.label), path=None, mapped=True)


def is_table(source: object) -> bool:
    """Whether `source` has named columns: a frame, a table, a stream of batches, or files that hold tables."""
    if isinstance(source, Table) or is_frame(source) or is_dataset(source) or _is_list_of_rows(source):
        return True
    if isinstance(source, (str, os.PathLike)) or _is_list_of_paths(source):
        return expand(source) is not None
    if isinstance(source, Mapping):
        return bool(source) and all(
            hasattr(column, "__len__") and not isinstance(column, (str, bytes)) for column in source.values()
        )
    module = type(source).__module__.partition(".")[0]
    if module == "pyarrow":
        return hasattr(source, "schema")
    return hasattr(source, "__arrow_c_stream__") and type(source).__name__ != "Series"


def open_table(source: object, label: str) -> Table:
    """Open a table of any kind.

    Parameters
    ----------
    source : object
        A pyarrow Table, RecordBatch or RecordBatchReader; a pandas or polars frame or anything else with an Arrow stream; a dataset of
        Hugging Face; a mapping of columns; a list of mappings, one per row, where a missing key is NULL; a file
        (``.parquet .arrow .feather .csv .tsv``), a folder or glob of files, or a list of these.
    label : str
        Names the input in error messages; a path is its own label.

    Raises
    ------
    InputError
        The input is none of these or cannot be read.
    """
    import pyarrow as pa

    if isinstance(source, Table):
        return source
    if isinstance(source, (str, os.PathLike)) or _is_list_of_paths(source):
        return _open_paths(source)
    if is_frame(source):
        columns = frame_columns(source, label)
        schema = pa.schema([pa.field(name, series_type(series, name, label)) for name, series in columns.items()])
        return Table(schema, lambda names: frame_batches(columns, _chosen(schema, names), BATCH_ROWS, label), label)
    if is_dataset(source):
        return _open_dataset(checked_dataset(source, label), label)
    if _is_list_of_rows(source):
        source = {
            name: [row.get(name) for row in source] for name in dict.fromkeys(name for row in source for name in row)
        }
    if isinstance(source, Mapping):
        source = mapping_table(source, label)
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    if isinstance(source, pa.Table):
        table = source
        return Table(table.schema, lambda names: iter(_columns(table, names, label).to_batches()), label, mapped=True)
    if hasattr(source, "__arrow_c_stream__"):
        reader = open_stream(source, label)
        if type(source).__module__.startswith("polars"):
            return Table(reader.schema, lambda names: _picked(open_stream(source, label), names), label)
        return Table(reader.schema, lambda names: _picked(reader, names), label, once=True)
    hint = "; collect() it first" if hasattr(source, "collect") else ""
    msg = (
        f"{label} of type {type(source).__name__} are not supported; pass a pyarrow Table, a Parquet or CSV "
        f"path, or a pandas or polars frame{hint}"
    )
    raise InputError(msg)


def _open_dataset(dataset: Any, label: str) -> Table:
    schema = dataset_schema(dataset)
    if not is_streamed(dataset) and schema is not None:
        return Table(schema, lambda names: dataset_batches(dataset, names), label)
    batches = dataset_batches(dataset, None)
    first = None if schema is not None else next(batches, None)
    if first is None:
        return Table(_named(schema, label), lambda names: _picked(batches, names), label, once=True)
    inferred = first.schema
    fitting = (fitted(batch, inferred, label) for batch in itertools.chain([first], batches))
    return Table(inferred, lambda names: _picked(fitting, names), label, once=True)


def _named(schema: pa.Schema | None, label: str) -> pa.Schema:
    if schema is None:
        raise InputError(f"{label}: the dataset has no rows, and its columns are unknown")
    return schema


def _is_list_of_paths(source: object) -> bool:
    return (
        isinstance(source, (list, tuple))
        and bool(source)
        and all(isinstance(path, (str, os.PathLike)) and Path(path).suffix.lower() in COLUMNAR for path in source)
    )


def _is_list_of_rows(source: object) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(source, (list, tuple)) and bool(source) and all(isinstance(row, Mapping) for row in source)


def _open_paths(source: Any) -> Table:
    files = expand(source)
    if files is None:
        return _open_file(Path(source).expanduser())
    folder = Path(source).expanduser() if isinstance(source, (str, os.PathLike)) else None
    root = folder if folder is not None and folder.is_dir() else None
    values = [{} if root is None else path_values(path.relative_to(root)) for path in files]
    if len(files) == 1 and not values[0]:
        return _open_file(files[0])
    import pyarrow as pa

    parts = [_open_file(path) for path in files]
    label = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    schema = parts[0].schema
    for part in parts[1:]:
        try:
            schema = pa.unify_schemas([schema, part.schema], promote_options="permissive")
        except pa.ArrowException as error:
            msg = f"{part.path}: its columns are not compatible with those of {files[0]} ({first_line(error)})"
            raise InputError(msg) from error
    schema = with_path_values(schema, values)

    def read(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        requested = _chosen(schema, names)
        for part, of_path in zip(parts, values, strict=True):
            available = [name for name in names if name in part.schema.names]
            for batch in part.read(available):
                yield fitted(batch, requested, str(part.path), of_path)

    return Table(schema.remove_metadata(), read, label)


def fitted(
    batch: pa.RecordBatch, schema: pa.Schema, label: str, values: Mapping[str, str | None] = MappingProxyType({})
) -> pa.RecordBatch:
    """Cast a batch of one file to the common schema; columns that the file lacks have its `path_values`, or are NULL."""
    import pyarrow as pa

    columns = []
    for field in schema:
        if field.name not in batch.schema.names:
            columns.append(repeated_value(values.get(field.name), field.type, batch.num_rows))
            continue
        column = batch.column(field.name)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowException as error:
            msg = f"{label}: column {field.name!r} is {column.type}, in other files {field.type} ({first_line(error)})"
            raise InputError(msg) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _open_file(path: Path, label: str | None = None) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    label = label or str(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    if kind not in (".csv", ".tsv", *COLUMNAR):
        msg = f"{path}: unsupported table format {kind!r}; supported are .parquet .csv .tsv .arrow .feather"
        raise InputError(msg)
    require_file(path)
    if kind in (".csv", ".tsv"):
        schema, batches = csv_batches(path)
        return Table(schema, lambda names: _picked(batches, names), label, once=True, path=path)
    name = "Parquet" if kind == ".parquet" else "Arrow IPC"
    with reading(path, name):
        if kind == ".parquet":
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
        else:
            schema = open_ipc(pa.memory_map(str(path)).read_buffer())[0]
        list(schema.names)  # fail here if a name is not valid UTF-8

    def read(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with reading(path, name):
            if kind == ".parquet":
                with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
                    yield from _picked(file.iter_batches(BATCH_ROWS, columns=list(names)), names)
            else:
                yield from _picked(open_ipc(pa.memory_map(str(path)).read_buffer())[1], names)

    return Table(schema, read, label, path=path)


def _picked(batches: Any, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch if list(batch.schema.names) == list(names) else batch.select(list(names))


def _columns(table: pa.Table, names: Sequence[str], label: str) -> pa.Table:
    import pyarrow as pa

    chosen = table if table.column_names == list(names) else table.select(list(names))
    try:
        chosen.validate()
    except pa.ArrowInvalid as error:
        msg = f"{label}: damaged table ({first_line(error)})"
        raise InputError(msg) from error
    return chosen


def _chosen(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in names])


def named_column(source: object) -> tuple[object, str | None]:
    """Split ``path::column`` into the table's path and the column; anything else is returned unchanged."""
    if isinstance(source, (str, os.PathLike)):
        path, column = split_path(str(source))
        return (str(path) if column is not None else source), column
    return source, None
