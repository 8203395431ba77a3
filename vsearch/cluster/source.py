"""Read the rows of a job's source: vectors, attributes and ids of a chunk, as in a build in one process."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.arrow_vectors import vector_column
from vsearch.building.inputs.attribute_types import attribute_schema
from vsearch.building.inputs.attributes import normalized
from vsearch.building.inputs.embedding import check_text_column, selected_columns
from vsearch.building.inputs.ids import hashed_strings, id_array
from vsearch.building.inputs.prefix_files import FilesPlan
from vsearch.building.inputs.prefix_reading import PrefixRows
from vsearch.building.inputs.rows import split_table, without_vectors
from vsearch.building.inputs.tables import Table
from vsearch.building.steps import BATCH_ROWS, training_rows
from vsearch.cluster.job import Job, Plan
from vsearch.cluster.leg_parts import check_legs
from vsearch.errors import InputError
from vsearch.forking import cached_property
from vsearch.search.state.expiry import check_ttl

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.cluster.encoding_results import Texts
    from vsearch.storage import Store

ID = "id"
"""Name of the column of ids in files that tasks exchange; names of attributes get another first letter."""

ATTRIBUTE = "a:"


@dataclass(frozen=True, eq=False)
class SourceRows:
    """The rows of a plan.

    Attributes
    ----------
    store : Store
        Store of the source.
    plan : Plan
    """

    store: Store
    plan: Plan

    @cached_property
    def files(self) -> PrefixRows:
        """The files, by rows."""
        return PrefixRows(self.store, self.plan.files, self.plan.vectors)

    @cached_property
    def attributes(self) -> pa.Schema | None:
        """Names and stored types of the attributes; None if there are none."""
        if self.plan.attributes is None:
            return None
        import pyarrow as pa

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the plan already warned about them
            schema = pa.schema([self.files.schema.field(name) for name in self.plan.attributes])
            return attribute_schema(schema, self.plan.files.label)

    def ids(self, start: int, stop: int, kept: NDArray[np.int64] | None = None) -> Any:
        """Ids of rows ``start:stop``, or of these rows among them: int64, or a chunked array of strings; None if ids are row numbers."""
        name = self.plan.id
        if name is None:
            return None
        label = f"ids (column {name!r}, rows from {start} on)"
        schema = self.attributes
        if schema is not None and name in schema.names:
            column = self._attribute_table([name], start, stop).column(0)
        else:
            column = self.column(name, start, stop)
        return id_array(_selected(column, start, stop, kept), label)

    def column(self, name: str, start: int, stop: int) -> pa.ChunkedArray:
        """A column of rows ``start:stop``, as the files have it."""
        import pyarrow as pa

        arrays = [batch.column(0) for batch in self.files.batches([name], start, stop)]
        return pa.chunked_array(arrays, self.files.schema.field(name).type)

    def table(self, start: int, stop: int, kept: NDArray[np.int64] | None = None) -> pa.Table | None:
        """Attributes and ids of rows ``start:stop``, or of these rows among them, in one chunk per column; None if there are neither."""
        import pyarrow as pa

        columns: dict[str, Any] = {}
        if self.attributes is not None:
            stored = self._attribute_table(list(self.attributes.names), start, stop)
            stored = _selected(stored, start, stop, kept)
            columns |= {f"{ATTRIBUTE}{name}": stored.column(name) for name in stored.column_names}
        if self.plan.id is not None:
            columns[ID] = self.ids(start, stop, kept)
        return pa.table(columns).combine_chunks() if columns else None

    def _attribute_table(self, names: list[str], start: int, stop: int) -> pa.Table:
        import pyarrow as pa

        schema = pa.schema([self.attributes.field(name) for name in names])  # type: ignore[union-attr]
        batches = normalized(self.files.batches(names, start, stop), schema, self.plan.files.label)
        return pa.Table.from_batches(batches, schema)


def _selected(values: Any, start: int, stop: int, kept: NDArray[np.int64] | None) -> Any:
    """The chosen rows, ascending, of what was read of rows ``start:stop``."""
    if kept is None or len(kept) == stop - start:
        return values
    import pyarrow as pa

    mask = np.zeros(stop - start, np.bool_)
    mask[kept - start] = True
    return values.filter(pa.array(mask))


def attribute_names(table: pa.Table) -> dict[str, str]:
    """Columns of attributes in what `SourceRows.table` returns, each with its name in the source."""
    return {name: name.removeprefix(ATTRIBUTE) for name in table.column_names if name.startswith(ATTRIBUTE)}


def plan_rows(job: Job, store: Store, files: FilesPlan) -> Plan:
    """Choose columns and chunks, and check everything that can be checked before rows are read.

    Raises
    ------
    InputError
        A column does not exist or has an unsuitable type, or an option does not fit the rows.
    """
    options = job.options.build_options()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chosen = (_choose_columns if job.texts is None else _choose_text_columns)(job, store, files)
        column, width, dtype, attributes, id_name, id_kind = chosen
    messages = tuple(str(warning.message) for warning in caught)
    if job.kind == "build":
        training_rows(files.rows, width, options)
    if job.options.ttl is not None:
        _check_ttl(job.options.ttl, files, attributes, store, column)
    if job.legs is not None:
        check_legs(job.legs, _attributes_of(files, attributes, store, column))
    buckets = 0 if id_name is None else max(1, -(-files.rows // job.bucket_rows))
    chunk = chunk_rows(job, width, dtype)
    return Plan(files, column, id_name, attributes, id_kind, width, dtype, chunk, buckets, messages)


def chunk_rows(job: Job, width: int, dtype: str) -> int:
    """Rows of a chunk: as many batches of rows that are assigned at a time as a chunk can hold, at least one."""
    return max(1, job.chunk_bytes // (width * np.dtype(dtype).itemsize) // BATCH_ROWS) * BATCH_ROWS


def id_keys(ids: Any) -> NDArray[np.int64]:
    """Return integer keys: equal ids have equal keys, and different strings almost always have different ones."""
    if isinstance(ids, np.ndarray):
        return ids
    return np.concatenate([np.empty(0, np.int64), *(hashed_strings(chunk) for chunk in ids.chunks)])


Chosen = tuple[str | None, int, str, tuple[str, ...] | None, str | None, str]
"""Column of the vectors or texts, dimensions, element type, attributes, column of the ids, and their kind."""


def _choose_columns(job: Job, store: Store, files: FilesPlan) -> Chosen:
    columns = job.columns
    if not files.is_table:
        named = {"vectors": columns.vectors, "id": columns.id, "attributes": columns.attributes}
        for option, value in named.items():
            if value is not None:
                raise InputError(f"{option} names columns of a table, but {files.label} has none")
        width, dtype = PrefixRows(store, files).shape
        return None, width, dtype.name, None, None, "row"
    rows = PrefixRows(store, files)
    source = Table(rows.schema, lambda names: rows.batches(names, 0, files.rows), files.label)
    requested = None if columns.attributes is None else list(columns.attributes)
    _, column, others = split_table(source, columns.vectors, requested, vector_column, Path())
    width, dtype = PrefixRows(store, files, column).shape
    attributes = _attributes(job, others, width, files.label)
    check_id_column(columns.id, rows.schema)
    plan = Plan(files, column, columns.id, attributes, "row", width, dtype.name, 1, 1, ())
    return column, width, dtype.name, attributes, columns.id, id_kind(store, plan)


def id_kind(store: Store, plan: Plan) -> str:
    """The kind of the ids of a plan, from the first one."""
    if plan.id is None:
        return "row"
    return "int64" if isinstance(SourceRows(store, plan).ids(0, 1), np.ndarray) else "string"


def _choose_text_columns(job: Job, store: Store, files: FilesPlan) -> Chosen:
    """Choose the columns of a build from texts; the kind of the ids is known once their rows are."""
    columns, texts = job.columns, cast("Texts", job.texts)
    if not files.is_table:
        raise InputError(f"text_column={texts.column!r} requires tables, but {files.label} has no columns")
    rows = PrefixRows(store, files)
    source = Table(rows.schema, lambda names: rows.batches(names, 0, files.rows), files.label)
    check_text_column(source, texts.column)
    chosen = source if columns.attributes is None else selected_columns(source, columns.attributes)
    check_id_column(columns.id, rows.schema)
    attributes = _attributes(job, chosen, texts.dimensions, files.label)
    return None, texts.dimensions, "float32", attributes, columns.id, "row"


def _attributes(job: Job, others: object | None, width: int, label: str) -> tuple[str, ...] | None:
    """Names of the columns that become attributes; None if there are none."""
    if others is None:
        return None
    known = (lambda: job.known) if job.kind == "append" else None
    kept: Any = without_vectors(others, width, known)
    return tuple(attribute_schema(kept.schema, label).names) or None


def kept_attributes(
    job: Job, others: object | None, width: int, label: str
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Names of the columns that become attributes, None if there are none, and warnings of those that do not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = _attributes(job, others, width, label)
    return names, tuple(str(warning.message) for warning in caught)


def check_id_column(name: str | None, schema: pa.Schema) -> None:
    """Refuse a column of ids that does not exist.

    Raises
    ------
    InputError
        The schema has no such column.
    """
    if name is not None and name not in schema.names:
        raise InputError(f"ids: no column {name!r}; the columns are: {', '.join(schema.names)}")


def _check_ttl(
    ttl: str, files: FilesPlan, attributes: tuple[str, ...] | None, store: Store, column: str | None
) -> None:
    from vsearch.predicates import schema_from_arrow

    schema = _attributes_of(files, attributes, store, column)
    check_ttl(ttl, () if schema is None else schema_from_arrow(schema).attributes)


def _attributes_of(
    files: FilesPlan, attributes: tuple[str, ...] | None, store: Store, column: str | None
) -> pa.Schema | None:
    """Names and stored types of the attributes, before the plan is made."""
    return SourceRows(store, Plan(files, column, None, attributes, "row", 1, "float32", 1, 0, ())).attributes


def open_source(job: Job, storage: Mapping[str, Any]) -> Store:
    """Return the store of the source of a job."""
    from vsearch.storage import open_store

    return open_store(job.source, **storage)
