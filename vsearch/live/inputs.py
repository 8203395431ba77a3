"""What a change is given: rows in any container that a build takes, encoded as the index encodes, in its own types."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.building.encoding import decode_rows, encode_rows, original_vectors
from vsearch.building.inputs.attributes import open_attributes
from vsearch.building.inputs.elements import NotFiniteError, check_bounded
from vsearch.building.inputs.rows import Given, explained, open_inputs
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
    """Rows that a change was given, encoded.

    Attributes
    ----------
    codes : RowCodes
        Sorted by partition.
    order : int64 (n,)
        Which of the rows given each of them is.
    ids : int64 (n,), pyarrow.Array of strings, or None
        In the order of `codes`; None where the index is to number them.
    attributes : pyarrow.Table or None
        In the order of `codes`, as they were given.
    model : Model
        What they were encoded with.
    documents : DocumentCodes or None
        In the order of `codes`, where rows stand for documents of many vectors.
    given : int
        Vectors of these, before any was left out or merged.
    """

    codes: RowCodes
    order: NDArray[np.int64]
    ids: Any
    attributes: pa.Table | None
    model: Model
    documents: DocumentCodes | None = None
    given: int = 0

    def __len__(self) -> int:
        return len(self.order)

    def count_vectors(self, manifest: Manifest) -> Manifest:
        """A manifest that counts the vectors of the documents, too. Those of removed ones stay in its counts."""
        entry = manifest.documents
        if entry is None or self.documents is None:
            return manifest
        entry = msgspec.structs.replace(
            entry,
            vectors=entry.vectors + len(self.documents.codes),
            vectors_given=entry.vectors_given + self.given,
        )
        return msgspec.structs.replace(manifest, documents=entry)


def read_rows(
    snapshot: Snapshot,
    embeddings: object,
    given: Given,
    progress: Callable[[str, int, int], None] | None = None,
    noted: Unusable | None = None,
) -> NewRows:
    """Read and encode rows.

    Parameters
    ----------
    embeddings, given
        As `vsearch.build` takes them.
    progress : callable, optional
        Told ``(stage, done, total)``.
    noted : Unusable, optional
        See `open_inputs`.

    Raises
    ------
    InputError
        They cannot be read, or have other dimensions than the index; or some ids are the same.
    """
    model, dimensions = snapshot.model, snapshot.manifest.dimensions
    if is_empty(embeddings):
        return no_rows(snapshot)
    with scratch_folder() as scratch:
        inputs = open_inputs(embeddings, given, model.metric, scratch, noted)
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
    """Rows as another model encodes them: the index was trained anew since they were read.

    Raises
    ------
    ConflictError
        Their codes do not say exactly enough what they were.
    """
    if new.model is model or not len(new):
        return new
    if new.model.quantizer is model.quantizer:  # partitions were split since
        partitions = model.partitions_of(new.model.numbers_of(new.codes.partitions))
        if partitions.min() >= 0:  # else it was restored to before the split that the rows know of
            order = np.argsort(partitions, kind="stable")
            codes = row_codes.take(replace(new.codes, partitions=partitions), order)
            return _encoded(new, codes, order, model)
    if new.model.rerank is None:
        raise ConflictError("the index was trained anew meanwhile; open it again and retry")
    vectors = original_vectors(new.model, decode_rows(new.model, new.codes))
    codes, order = encode_rows(model, vectors)
    return _encoded(new, codes, order, model)


def _encoded(new: NewRows, codes: RowCodes, order: NDArray[np.int64], model: Model) -> NewRows:
    """Rows with other codes, in another order."""
    ids = new.ids if new.ids is None else take_ids(new.ids, order)
    attributes = None if new.attributes is None else new.attributes.take(order)
    documents = None if new.documents is None else new.documents.take(order)
    return NewRows(codes, new.order[order], ids, attributes, model, documents, new.given)


def no_rows(snapshot: Snapshot) -> NewRows:
    """No row at all."""
    model = snapshot.model
    return NewRows(row_codes.no_rows(model), np.empty(0, np.int64), None, None, model)


def is_empty(embeddings: object) -> bool:
    """Whether there is no row at all, which no input of a build may be."""
    shape = getattr(embeddings, "shape", None)
    return (isinstance(shape, tuple) and len(shape) == 2 and shape[0] == 0) or (
        isinstance(embeddings, list) and not embeddings
    )


def check_id_type(ids: Any, id_type: str) -> Any:
    """Ids in the type of the index; None where there are none.

    Raises
    ------
    InputError
        They are of another type.
    """
    if ids is None:
        return None
    text = not isinstance(ids, np.ndarray)
    if text != (id_type == "string"):
        wanted, got = ("strings", "integers") if not text else ("integers", "strings")
        raise InputError(f"ids of this index must be {wanted}, got {got}")
    return ids


def conform(table: pa.Table | None, snapshot: Snapshot) -> pa.Table | None:
    """Attributes as the index stores them, under the names of its fields; what is not given is NULL.

    Raises
    ------
    InputError
        A column is none of the index, or its values do not fit.
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


def _matched(given: list[str], schema: Schema) -> dict[str, str]:
    """Which of the given columns each attribute is; letter case counts only where two differ by nothing else."""
    matched: dict[str, str] = {}
    for name in given:
        alike = [name] if name in schema.names else [one for one in schema.names if one.lower() == name.lower()]
        if len(alike) != 1:
            listed = ", ".join(schema.names) or "none"
            raise InputError(f"no attribute of this index is called {name!r}; it has {listed}: add_column adds one")
        if alike[0] in matched:
            raise InputError(
                f"the attribute {alike[0]!r} is given twice, as {matched[alike[0]]!r} and {name!r}; give it once"
            )
        matched[alike[0]] = name
    return matched


def cast_column(column: Any, kind: pa.DataType, name: str) -> Any:
    """A column in the type of its attribute.

    Raises
    ------
    InputError
        Another kind of type, or a value that does not fit.
    """
    import pyarrow as pa

    if column.type == kind:
        return column
    if not (column.null_count == len(column) or _alike(column.type, kind)):
        raise InputError(f"the attribute {name!r} must be {kind}, got {column.type}")
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        raise InputError(f"the attribute {name!r} must be {kind}: {str(error).splitlines()[0]}") from None


def _alike(given: pa.DataType, kind: pa.DataType) -> bool:
    """Whether values of one type may become the other's where they fit."""
    from pyarrow import types

    def family(one: pa.DataType) -> str:
        if types.is_integer(one) or types.is_floating(one) or types.is_decimal(one):
            return "number"
        if types.is_string(one) or types.is_large_string(one):
            return "text"
        if types.is_list(one) or types.is_large_list(one):
            return f"list of {family(one.value_type)}"
        return "time" if types.is_timestamp(one) or types.is_date(one) else str(one)

    if types.is_list(kind) and (types.is_list(given) or types.is_large_list(given)) and types.is_null(given.value_type):
        return True  # lists that are all empty, or have only NULLs
    return family(given) == family(kind)


def read_attributes(attributes: object, count: int) -> pa.Table | None:
    """A table of attributes of so many rows, without vectors, in the types that indexes keep."""
    with scratch_folder() as scratch:
        source = open_attributes(attributes, count, scratch)
        return source.take(np.arange(count)) if source.schema.names else None
