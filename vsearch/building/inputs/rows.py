"""All inputs of a build combined: vectors, attributes and ids of the same rows, without the rows that are skipped."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.building.inputs.arrow_vectors import element_type, vector_column
from vsearch.building.inputs.attribute_types import check_names
from vsearch.building.inputs.attributes import AttributeSource, open_attributes, with_column
from vsearch.building.inputs.ids import IdSource, open_ids, some_ids
from vsearch.building.inputs.packed_bits import PackedVectors
from vsearch.building.inputs.tables import Table, is_table, named_column, open_table
from vsearch.building.inputs.unusable import NAMED, Unusable, check_policy, note_numbers
from vsearch.building.inputs.vectors import ArrayVectors, VectorSource, open_vectors
from vsearch.errors import InputError, VsearchWarning

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.metrics import Metric

LONG_LIST = 32
"""Lists of numbers, all of one length, are taken for vectors if they are at least this long."""

SHORT_VECTOR = 8
"""They are also taken for vectors if they are exactly as long as the embeddings, and at least this long."""

SKIP = "repair them, or leave them out with missing='skip'"


@dataclass(frozen=True, eq=False)
class InputArguments:
    """The arguments of a build that describe its rows, other than the embeddings; see `vsearch.build`.

    Attributes
    ----------
    attributes : table, names of columns of the embeddings' table, or None for all its other columns
    ids : ids, name of a column, or None
    vectors : str or None
        The vector column of the embeddings' table.
    id : str or None
        Another way to name the id column.
    missing : {"error", "skip"}
        How to handle rows without a usable vector.
    packed : bool
        Whether each byte of a vector holds eight of its bits.
    more : mapping of str to pyarrow.Array
        Further attributes, in their stored types, by name.
    """

    attributes: object | None = None
    ids: object | None = None
    vectors: str | None = None
    id: str | None = None
    missing: str = "error"
    packed: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_policy(self.missing)
        for name in ("vectors", "id"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                msg = f"{name} must be the name of a column, got {type(value).__name__}"
                raise InputError(msg)
        if self.id is not None and self.ids is not None:
            msg = "id names a column of ids, and ids holds ids; pass only one of them"
            raise InputError(msg)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Vectors with their attributes and ids, all with the same rows.

    Attributes
    ----------
    vectors : VectorSource
    columns : AttributeSource or None
    ids : IdSource
    skipped : dict
        Number of skipped rows by reason.
    """

    vectors: VectorSource
    columns: AttributeSource | None
    ids: IdSource
    skipped: dict[str, int]


@dataclass(frozen=True, eq=False)
class KeptVectors:
    """A subset of the rows of a source.

    Attributes
    ----------
    source : VectorSource
    kept : int64 (rows,), ascending
    """

    source: VectorSource
    kept: np.ndarray

    @property
    def rows(self) -> int:
        """Number of kept rows."""
        return len(self.kept)

    @property
    def dimensions(self) -> int:
        """Of the source."""
        return self.source.dimensions

    @property
    def dtype(self) -> np.dtype:
        """Of the source."""
        return self.source.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start:stop`` of the kept rows."""
        return self.source.take(self.kept[start:stop])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows of the kept rows."""
        return self.source.take(self.kept[np.asarray(rows, np.int64)])


def open_inputs(
    embeddings: object,
    arguments: InputArguments,
    metric: Metric,
    scratch: str | Path,
    noted: Unusable | None = None,
    known: Callable[[], Iterable[str]] | None = None,
) -> Inputs:
    """Open all inputs of a build.

    Parameters
    ----------
    embeddings : object
        See `inputs.vectors.open_vectors`. If it is a table and `arguments` names no attributes, its other columns are the
        attributes.
    metric : {"cosine", "ip", "l2"}
        Under cosine, ``missing="skip"`` also skips zero vectors; otherwise they are kept.
    scratch : path
        Owned and removed by the caller.
    noted : Unusable, optional
        Rows that the caller has already left out of the embeddings, but not of attributes and ids; no others are then skipped.
    known : callable, optional
        Returns the attributes of the index that the rows are added to; their lists of numbers are not taken for vectors.

    Raises
    ------
    InputError
        An input cannot be read or does not fit the others, or rows have no usable vector. NaN and infinite numbers raise only
        when they are read; see :func:`explained`.
    """
    scratch, unusable = Path(scratch), Unusable() if noted is None else noted
    table, column, attributes = split_table(embeddings, arguments.vectors, arguments.attributes, vector_column, scratch)
    source: ArrayVectors = open_vectors(embeddings if table is None else table, scratch, column, unusable)
    unusable_rows = unusable.sorted()
    rows = source.rows + len(unusable_rows)
    kept = np.setdiff1d(np.arange(rows), unusable_rows) if len(unusable_rows) or arguments.missing == "skip" else None
    vectors: VectorSource = source
    if kept is not None and arguments.missing == "skip" and not arguments.packed and noted is None:
        good = note_numbers(source, kept, metric, unusable)
        if len(good) < source.rows:
            vectors, kept = KeptVectors(source, good), kept[good]
    if attributes is not None:
        attributes = without_vectors(attributes, source.dimensions, known)
    columns = None if attributes is None else open_attributes(attributes, rows, scratch)
    for name, values in arguments.more.items():
        columns = with_column(columns, name, values, rows)
    ids = id_values(arguments.id if arguments.id is not None else arguments.ids, columns, table)
    dropped = unusable.sorted()
    if len(dropped):
        label = table.label if table is not None else "embeddings" if noted is None else "documents"
        described = f"{label}: {unusable.describe(some_ids(ids, columns, dropped[: NAMED + 1]))}"
        if arguments.missing == "error":
            msg = f"{described}; {SKIP}"
            raise InputError(msg)
        if not vectors.rows:
            msg = f"{described}; none are left"
            raise InputError(msg)
        warnings.warn(f"{described}; skipped", VsearchWarning, stacklevel=2)
        columns = None if columns is None else replace(columns, rows=vectors.rows, kept=kept)
    names = open_ids(ids, vectors.rows, columns, kept if len(dropped) else None)
    if columns is not None and not columns.schema.names:
        columns = None
    if arguments.packed:
        vectors = PackedVectors(vectors)
    return Inputs(vectors, columns, names, unusable.reasons)


def explained(error: InputError, inputs: Inputs, metric: Metric) -> InputError:
    """Extend the error for a vector that is not finite with the number of such vectors and the ids of some."""
    source = inputs.vectors
    if not isinstance(source, ArrayVectors):
        return error
    unusable = Unusable()
    note_numbers(source, np.arange(source.rows), metric, unusable, zeros=False)
    named = unusable.sorted()[: NAMED + 1]
    if not len(named):  # too small or too large for float32
        return error
    names = inputs.ids.take(named)
    return InputError(f"{error}. In all, {unusable.describe(names.tolist())}; {SKIP}")


def split_table(
    embeddings: object,
    column: str | None,
    attributes: object | None,
    find: Callable[[pa.Schema, str | None, str], str],
    scratch: Path,
) -> tuple[Table | None, str | None, object | None]:
    """Split a table into its vector column and its attributes.

    Parameters
    ----------
    find : callable
        Takes the schema, the requested name and a label; returns the name of the vector column.

    Returns
    -------
    table : Table or None
        None if the embeddings are not a table.
    column : str or None
        The vector column.
    attributes : object or None
        Those that were passed, or the table's other columns, or the selected ones of these.
    """
    if not is_table(embeddings):
        return None, column, attributes
    table_source, named = named_column(embeddings)
    table = open_table(table_source, "embeddings").reread(scratch)
    vector_name = find(table.schema, named if column is None else column, table.label)
    from_table = attributes is None or (
        isinstance(attributes, (list, tuple))
        and all(isinstance(column_name, str) for column_name in attributes)
        and not is_table(attributes)
    )
    if not from_table:
        return table, vector_name, attributes
    others = [name for name in table.schema.names if name != vector_name]
    if attributes is not None:
        requested: Any = attributes
        if absent := [column_name for column_name in requested if column_name not in others]:
            msg = f"{table.label}: no column {absent[0]!r} besides the vectors; the others are: {', '.join(others) or 'none'}"
            raise InputError(msg)
        others = list(requested)
    check_names(table.schema, table.label)
    return table, vector_name, table.select(others) if others else None


def without_vectors(attributes: object, dimensions: int, known: Callable[[], Iterable[str]] | None) -> object:
    """Leave out columns that hold vectors rather than attributes: long lists of numbers, all of one length (see `LONG_LIST`).

    Only the first batch is examined; a warning lists the columns that are left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = open_table(attributes, "attributes")
    lists = [field.name for field in table.schema if element_type(field.type, named=True) is not None]
    if not lists:
        return attributes if not table.once else table
    first, table = table.peek()
    long: list[str] = []
    columns = {} if first is None else {name: first.column(name) for name in lists}
    names = {name.lower() for name in known()} if columns and known is not None else set()
    columns = {name: column for name, column in columns.items() if name.lower() not in names}
    for name, column in columns.items():
        storage = column.storage if isinstance(column, pa.ExtensionArray) else column
        lengths = pc.unique(pc.list_value_length(storage).drop_null()).to_pylist()
        if len(lengths) == 1 and (lengths[0] >= LONG_LIST or lengths[0] == dimensions >= SHORT_VECTOR):
            long.append(f"{name} (lists of {lengths[0]} numbers)")
            table = table.select([kept for kept in table.schema.names if kept != name])
    if not long:
        return table if table.once else attributes
    msg = f"{table.label}: left out of the attributes as vectors: {', '.join(long)}"
    warnings.warn(msg, VsearchWarning, stacklevel=3)
    if isinstance(attributes, pa.Table):
        return attributes.select(list(table.schema.names))
    return table


def id_values(ids: object | None, columns: AttributeSource | None, table: Table | None) -> object | None:
    """The ids as passed; or, if they name no attribute, the column of that name in the embeddings' table."""
    if not isinstance(ids, str) or (columns is not None and ids in columns.schema.names):
        return ids
    if table is None or ids not in table.schema.names:
        return ids
    import pyarrow as pa

    return pa.chunked_array([batch.column(0) for batch in table.read([ids])], table.schema.field(ids).type)
