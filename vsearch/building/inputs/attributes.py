"""Attributes from tables, files and frames behind one source, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.building.inputs.attribute_types import attribute_schema, base64_columns, normalize
from vsearch.building.inputs.files import first_line
from vsearch.building.inputs.spool import scratch_file
from vsearch.building.inputs.tables import open_table
from vsearch.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 16_384
"""Rows converted at a time."""

WRITE_BYTES = 32 << 20
"""Batches are joined to about this size in the scratch file, so that gathering rows touches few batches."""

TAKE_ROWS = 131_072
"""Rows gathered at a time; keeps the text of one step below the 2 GB limit of an Arrow string array."""


@dataclass(frozen=True)
class AttributeSource:
    """Attributes in row order, in memory or memory-mapped, in the types that predicates support.

    Attributes
    ----------
    table : pyarrow.Table
        All columns, possibly in many chunks; without columns when there are no attributes.
    rows : int
        Number of rows, equal to that of the embeddings.
    kept : ndarray of int64 (rows,) or None
        Rows of the table that make up this source; None for all.
    base64 : frozenset of str
        Columns of bytes, which are stored as base64. As ids, bytes are UUIDs.
    """

    table: pa.Table
    rows: int
    kept: np.ndarray | None = None
    base64: frozenset[str] = frozenset()

    @property
    def schema(self) -> pa.Schema:
        """Names and stored types, see :mod:`vsearch.building.inputs.attribute_types`."""
        return self.table.schema

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column in full, zero-copy unless rows were skipped."""
        if self.kept is not None:
            return take_rows(self.table.select([name]), self.kept).column(name)
        return self.table.column(name)

    def read(self, start: int, stop: int) -> pa.Table:
        """Return rows ``start:stop``, zero-copy unless rows were skipped."""
        if self.kept is not None:
            return take_rows(self.table, self.kept[start:stop])
        return self.table.slice(start, stop - start)

    def take(self, rows: np.ndarray) -> pa.Table:
        """Return the given rows in the given order, reading in ascending order."""
        return take_rows(self.table, rows if self.kept is None else self.kept[rows])


def open_attributes(attributes: object | None, rows: int, scratch: str | Path) -> AttributeSource:
    """Open the attributes of `rows` vectors.

    Parameters
    ----------
    attributes : object or None
        Any table that :func:`vsearch.building.inputs.tables.open_table` opens; None for no attributes.
    rows : int
        Number of vectors.
    scratch : path
        Folder for spooled data; created if needed, owned and removed by the caller.

    Returns
    -------
    AttributeSource
        Row `i` belongs to vector `i`.

    Raises
    ------
    InputError
        Not a table, or the number of rows differs. Columns of unsupported types are left out with a warning.
    StoreError
        The scratch folder is not writable.
    """
    import pyarrow as pa

    if attributes is None:
        return AttributeSource(pa.table({}), rows)
    label = str(attributes) if isinstance(attributes, (str, os.PathLike)) else "attributes"
    if isinstance(attributes, pa.Table):
        stored_schema = attribute_schema(attributes.schema, label)
        _require_rows(attributes.num_rows, rows, label)
        chosen = attributes.select(list(stored_schema.names))
        if all(field.type == current.type for field, current in zip(stored_schema, chosen.schema, strict=True)):
            return AttributeSource(_validated(chosen.cast(stored_schema), label), rows)
    table = open_table(attributes, label)
    label = table.label
    stored_schema = attribute_schema(table.schema, label)
    spooled = _spool(table.read(list(stored_schema.names)), stored_schema, Path(scratch), label)
    _require_rows(spooled.num_rows if stored_schema.names else rows, rows, label)
    return AttributeSource(spooled, rows, None, base64_columns(table.schema))


def with_column(source: AttributeSource | None, name: str, values: pa.Array, rows: int) -> AttributeSource:
    """Return the attributes of `rows` rows with a further one, in its stored type.

    Raises
    ------
    InputError
        There is an attribute with this name, or the number of values is another.
    """
    import pyarrow as pa

    table = pa.table({}) if source is None else source.table
    if name in table.column_names:
        raise InputError(
            f"{name} must not be an attribute as well as an argument; rename the attribute, or pass its name"
        )
    if len(values) != rows:
        raise InputError(
            f"{name} must have one row for each of the {rows} embeddings, in the same order, got {len(values)}"
        )
    if source is None:
        return AttributeSource(pa.table({name: values}), rows)
    return replace(source, table=table.append_column(name, values))


def take_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Gather rows of a table with many chunks without joining the chunks first.

    Parameters
    ----------
    table : pyarrow.Table
    rows : ndarray of int64, shape (n,)
        In any order; may repeat.

    Returns
    -------
    pyarrow.Table
        n rows, in one chunk per column unless the column's type cannot hold that much.
    """
    import pyarrow as pa

    rows = np.asarray(rows, dtype=np.int64)
    if rows.size and not (rows.min() >= 0 and rows.max() < table.num_rows) and table.num_columns:
        msg = f"rows {rows.min()} to {rows.max()} are not all within 0:{table.num_rows}"
        raise IndexError(msg)
    if not rows.size or not table.num_columns:
        return table.slice(0, 0)
    batches = table.to_batches()
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    parts = [_gather(batches, starts, rows[low : low + TAKE_ROWS]) for low in range(0, len(rows), TAKE_ROWS)]
    return parts[0] if len(parts) == 1 else pa.concat_tables(parts).combine_chunks()


def _gather(batches: list[Any], starts: np.ndarray, rows: np.ndarray) -> pa.Table:
    import pyarrow as pa

    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    bounds = np.searchsorted(ascending, starts)
    gathered = [
        batches[i].take(pa.array(ascending[bounds[i] : bounds[i + 1]] - starts[i]))
        for i in np.flatnonzero(np.diff(bounds))
    ]
    place = np.empty(len(rows), np.int64)
    place[order] = np.arange(len(rows))
    return pa.Table.from_batches(gathered).combine_chunks().take(pa.array(place))


def _spool(batches: Iterator[Any], schema: pa.Schema, scratch: Path, label: str) -> pa.Table:
    """Write converted batches to a scratch Arrow file and return it as a memory-mapped table."""
    import pyarrow as pa

    with scratch_file(scratch, ".attributes") as path:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            pending: list[Any] = []
            held_bytes = 0
            for batch in normalized(batches, schema, label):
                pending.append(batch)
                held_bytes += batch.nbytes
                if held_bytes >= WRITE_BYTES:
                    writer.write_table(pa.Table.from_batches(pending, schema).combine_chunks())
                    pending, held_bytes = [], 0
            if pending:
                writer.write_table(pa.Table.from_batches(pending, schema).combine_chunks())
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def normalized(batches: Iterator[Any], schema: pa.Schema, label: str) -> Iterator[Any]:
    """Convert batches to the types that predicates support, `BATCH_ROWS` rows at a time."""
    import pyarrow as pa

    for large_batch in batches:
        for start in range(0, large_batch.num_rows, BATCH_ROWS):
            batch = large_batch.slice(start, BATCH_ROWS)
            columns = [
                normalize(column, field.type, field.name, label)
                for column, field in zip(batch.columns, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _validated(table: pa.Table, label: str) -> pa.Table:
    import pyarrow as pa

    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        msg = f"{label}: damaged table ({first_line(error)})"
        raise InputError(msg) from error
    return table


def _require_rows(attribute_rows: int, rows: int, label: str) -> None:
    if attribute_rows != rows:
        msg = (
            f"{label}: {attribute_rows} rows of attributes for {rows} embeddings; "
            "pass one row for each vector, in the same order"
        )
        raise InputError(msg)
