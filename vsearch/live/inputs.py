"""Read the rows of a change, from the same inputs as a build, and encode them with the model of the index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.building.encoding import decode_rows, encode_rows, original_vectors
from vsearch.building.inputs.attribute_types import kept_type, normalize
from vsearch.building.inputs.attributes import open_attributes
from vsearch.building.inputs.elements import NotFiniteError, check_bounded
from vsearch.building.inputs.packed_bits import bit_source, plain_bits
from vsearch.building.inputs.rows import InputArguments, explained, open_inputs
from vsearch.errors import ConflictError, InputError
from vsearch.search.state import row_codes
from vsearch.search.state.deltas import take_ids
from vsearch.search.state.field_types import arrow_of
from vsearch.search.state.row_codes import RowCodes
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from vsearch.building.inputs.unusable import Unusable
    from vsearch.predicates.schema import Schema
    from vsearch.search.state.document_codes import DocumentCodes
    from vsearch.search.state.model import Model
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest

BATCH_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class NewRows:
    """The encoded rows of a change.

    Attributes
    ----------
    codes : RowCodes
        Sorted by partition.
    order : int64 (n,)
        The position of each row in the input.
    ids : int64 (n,), pyarrow.Array of strings, or None
        In the order of `codes`; None if the input has none.
    attributes : pyarrow.Table or None
        In the order of `codes`, with the types of the input.
    model : Model
        The model that encoded the rows.
    documents : DocumentCodes or None
        In the order of `codes`, for multi-vector documents.
    input_vectors : int
        Number of vectors of the documents before they were reduced.
    """

    codes: RowCodes
    order: NDArray[np.int64]
    ids: Any
    attributes: pa.Table | None
    model: Model
    documents: DocumentCodes | None = None
    input_vectors: int = 0

    def __len__(self) -> int:
        return len(self.order)

    def count_vectors(self, manifest: Manifest) -> Manifest:
        """Return a manifest whose counts include the vectors of the documents. Vectors of removed ones stay counted."""
        entry = manifest.documents
        if entry is None or self.documents is None:
            return manifest
        entry = msgspec.structs.replace(
            entry,
            vectors=entry.vectors + len(self.documents.codes),
            vectors_given=entry.vectors_given + self.input_vectors,
        )
        return msgspec.structs.replace(manifest, documents=entry)


def read_rows(
    snapshot: Snapshot,
    embeddings: object,
    arguments: InputArguments,
    progress: Callable[[str, int, int], None] | None = None,
    noted: Unusable | None = None,
) -> NewRows:
    """Read and encode rows.

    Parameters
    ----------
    embeddings, arguments
        As in `vsearch.build`.
    progress : callable, optional
        Called with ``(stage, done, total)``.
    noted : Unusable, optional
        See `open_inputs`.

    Raises
    ------
    InputError
        The rows cannot be read, their dimensions do not match the index, or ids are duplicated.
    """
    model, dimensions = snapshot.model, snapshot.manifest.dimensions
    if is_empty(embeddings):
        return no_rows(snapshot)
    embeddings = plain_bits(embeddings) if model.bitwise else embeddings
    with scratch_folder() as scratch:
        inputs = open_inputs(embeddings, arguments, model.metric, scratch, noted, lambda: snapshot.schema.names)
        if model.bitwise:
            inputs = replace(inputs, vectors=bit_source(inputs.vectors, dimensions))
        if inputs.vectors.dimensions != dimensions:
            raise InputError(f"vectors must have the index's {dimensions} dimensions, got {inputs.vectors.dimensions}")
        parts, orders = [], []
        try:
            for start in range(0, inputs.vectors.rows, BATCH_ROWS):
                stop = min(start + BATCH_ROWS, inputs.vectors.rows)
                batch = inputs.vectors.read(start, stop)
                check_bounded(batch, model.metric, start)
                codes, order = encode_rows(model, batch)
                parts.append(codes)
                orders.append(start + order)
                if progress is not None:
                    progress("encode", stop, inputs.vectors.rows)
        except NotFiniteError as error:
            raise explained(error, inputs, model.metric) from error
        codes, order = row_codes.concatenate(parts), np.concatenate(orders)
        if len(parts) > 1:
            by_partition = np.argsort(codes.partitions, kind="stable")
            codes, order = row_codes.take(codes, by_partition), order[by_partition]
        ids = None if inputs.ids.kind == "row" else inputs.ids.take(order)
        attributes = None if inputs.columns is None else inputs.columns.take(order)
        return NewRows(codes, order, ids, attributes, model)


def fit_model(new: NewRows, model: Model) -> NewRows:
    """Return the rows as encoded by another model, if the index was retrained or split since they were read.

    Raises
    ------
    ConflictError
        The rows have no rerank codes to decode.
    """
    if new.model is model or not len(new):
        return new
    if new.model.quantizer is model.quantizer:  # partitions were split
        partitions = model.partitions_of(new.model.numbers_of(new.codes.partitions))
        if partitions.min() >= 0:  # otherwise a restore undid the split
            order = np.argsort(partitions, kind="stable")
            codes = row_codes.take(replace(new.codes, partitions=partitions), order)
            return _encoded(new, codes, order, model)
    if new.model.rerank is None:
        raise ConflictError("the index was retrained in the meantime; open it again and retry")
    vectors = original_vectors(new.model, decode_rows(new.model, new.codes))
    codes, order = encode_rows(model, vectors)
    return _encoded(new, codes, order, model)


def _encoded(new: NewRows, codes: RowCodes, order: NDArray[np.int64], model: Model) -> NewRows:
    """Return rows with other codes, in another order."""
    ids = new.ids if new.ids is None else take_ids(new.ids, order)
    attributes = None if new.attributes is None else new.attributes.take(order)
    documents = None if new.documents is None else new.documents.take(order)
    return NewRows(codes, new.order[order], ids, attributes, model, documents, new.input_vectors)


def no_rows(snapshot: Snapshot) -> NewRows:
    """Return an empty set of rows."""
    model = snapshot.model
    return NewRows(row_codes.no_rows(model), np.empty(0, np.int64), None, None, model)


def is_empty(embeddings: object) -> bool:
    """Whether an input has no rows; unlike builds, changes accept this."""
    shape = getattr(embeddings, "shape", None)
    return (isinstance(shape, tuple) and len(shape) == 2 and shape[0] == 0) or (
        isinstance(embeddings, list) and not embeddings
    )


def check_id_type(ids: Any, id_type: str) -> Any:
    """Return ids, or None, if they have the id type of the index.

    Raises
    ------
    InputError
        They have another type.
    """
    if ids is None:
        return None
    text = not isinstance(ids, np.ndarray)
    if text != (id_type == "string"):
        expected, received = ("integers", "strings") if text else ("strings", "integers")
        raise InputError(f"ids of this index must be {expected}, got {received}")
    return ids


def conform(table: pa.Table | None, snapshot: Snapshot) -> pa.Table | None:
    """Return attributes with the field names and types of the index; missing attributes are NULL.

    Raises
    ------
    InputError
        A column is not an attribute of the index, or its values do not fit.
    """
    entries, schema = snapshot.manifest.attributes, snapshot.schema
    if table is None:
        return None
    names = _matched(table.column_names, schema)
    columns = {}
    for entry in entries:
        if entry.name in names:
            column = table.column(names[entry.name])
            columns[entry.field_name] = cast_column(column, arrow_of(schema.find(entry.name)), entry.name)
    import pyarrow as pa

    return pa.table(columns) if columns else None


def _matched(columns: list[str], schema: Schema) -> dict[str, str]:
    """Return the column of each attribute; the match ignores case unless that is ambiguous."""
    matched: dict[str, str] = {}
    for column in columns:
        alike = [column] if column in schema.names else [n for n in schema.names if n.lower() == column.lower()]
        if len(alike) != 1:
            names = ", ".join(schema.names) or "none"
            raise InputError(f"this index has no attribute {column!r}; it has {names}: add it with add_column")
        if alike[0] in matched:
            raise InputError(
                f"each attribute must occur once, got {alike[0]!r} as {matched[alike[0]]!r} and {column!r}"
            )
        matched[alike[0]] = column
    return matched


def cast_column(column: Any, kind: pa.DataType, name: str) -> Any:
    """Cast a column to the type of its attribute.

    Raises
    ------
    InputError
        The types are not related, or a value does not fit.
    """
    import pyarrow as pa

    if column.type == kind:
        return column
    if not (column.null_count == len(column) or is_alike(column.type, kind)):
        raise InputError(f"the attribute {name!r} must be {kind}, got {column.type}")
    try:
        cast = column.cast(kind)
    except pa.ArrowException as error:
        raise InputError(f"the attribute {name!r} must be {kind}: {str(error).splitlines()[0]}") from None
    if _overflows(column, cast):
        raise InputError(f"the attribute {name!r} must be {kind}: a number is too large")
    return cast


def as_stored(column: Any, name: str) -> Any:
    """Return a column in the type in which a build stores its values; unchanged if a build would leave it out.

    Raises
    ------
    InputError
        The type accepts the column, but not all values.
    """
    import pyarrow as pa

    kind = kept_type(column.type)
    if kind is None or column.type == kind or column.null_count == len(column):
        return column
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return normalize(array, kind, name, "attributes")


def _overflows(column: Any, cast: Any) -> bool:
    """Whether a finite number became infinite."""
    import pyarrow.compute as pc
    from pyarrow import types

    while types.is_list(cast.type) or types.is_large_list(cast.type):
        column, cast = pc.list_flatten(column), pc.list_flatten(cast)
    if not types.is_floating(cast.type):
        return False
    infinite = pc.is_inf(cast)
    if not pc.any(infinite).as_py():
        return False
    return not (types.is_floating(column.type) and pc.all(pc.is_inf(column.filter(infinite))).as_py())


def is_alike(column_type: pa.DataType, kind: pa.DataType) -> bool:
    """Whether values of one type may be cast to the other."""
    from pyarrow import types

    def family(kind: pa.DataType) -> str:
        if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
            return "number"
        if types.is_string(kind) or types.is_large_string(kind):
            return "text"
        if types.is_list(kind) or types.is_large_list(kind):
            return f"list of {family(kind.value_type)}"
        return "time" if types.is_timestamp(kind) or types.is_date(kind) else str(kind)

    is_list = types.is_list(column_type) or types.is_large_list(column_type)
    if types.is_list(kind) and is_list and types.is_null(column_type.value_type):
        return True  # lists that are all empty, or have only NULLs
    return family(column_type) == family(kind)


def read_attributes(attributes: object, count: int) -> pa.Table | None:
    """Read the attributes of `count` rows, in the types that indexes store; None if there are none."""
    with scratch_folder() as scratch:
        source = open_attributes(attributes, count, scratch)
        return source.take(np.arange(count)) if source.schema.names else None
