"""Deltas: the rows that a commit adds, and the older rows that it removes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.forking import cached_property
from vsearch.search.state import row_codes
from vsearch.search.state.document_codes import DocumentCodes, concatenate_documents, read_documents
from vsearch.search.state.field_types import as_type
from vsearch.search.state.plain_rows import PlainTable, read_table, stack_tables
from vsearch.search.state.row_codes import RowCodes
from vsearch.search.state.stored_ids import check_ids
from vsearch.storage.files.bundle import open_bundle
from vsearch.storage.files.bundle_writing import write_bundle
from vsearch.storage.snapshots.kinds import ATTRIBUTES, DELTA, IDS, REMOVED, REMOVED_IDS
from vsearch.storage.snapshots.manifest import SegmentEntry

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.search.state.model import Model
    from vsearch.storage import Manifest, SegmentFile, Store
    from vsearch.storage.files.bundle import BundleEntry


Ids = Any
"""Ids of n rows: int64 (n,), or an Arrow array of strings, which keeps NUL characters."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows with all of their stored data.

    Attributes
    ----------
    codes : RowCodes
        Sorted by partition.
    ids : int64 (n,), or pyarrow.Array of strings
    attributes : pyarrow.Table or None
        Exact columns by field name (`AttributeEntry.field_name`); a missing field is NULL.
    documents : DocumentCodes or None
        For an index of multi-vector documents.

    Notes
    -----
    In functions, `ids` and `attributes` are a `PlainTable` instead of Arrow data.
    """

    codes: RowCodes
    ids: Ids
    attributes: pa.Table | None
    documents: DocumentCodes | None = None

    def __len__(self) -> int:
        return len(self.codes.partitions)

    @cached_property
    def id_bounds(self) -> tuple[int, int] | None:
        """The least and the greatest id; None for strings and for no rows."""
        ids = self.ids
        return (int(ids.min()), int(ids.max())) if isinstance(ids, np.ndarray) and len(ids) else None

    def take(self, order: NDArray[np.int64]) -> Rows:
        """Return selected rows, in the given order."""
        return Rows(
            row_codes.take(self.codes, order),
            take_ids(self.ids, order),
            None if self.attributes is None else _take_table(self.attributes, order),
            None if self.documents is None else self.documents.take(order),
        )


def _take_table(table: Any, order: NDArray[np.int64]) -> Any:
    """Return rows of a table, whose chunks are combined first because that is much faster in Arrow."""
    return table.take(order) if isinstance(table, PlainTable) else table.combine_chunks().take(order)


@dataclass(frozen=True, eq=False)
class Removed:
    """Rows of older segments that a commit removes, by segment, then row.

    Attributes
    ----------
    segments, rows : uint32 (m,), int64 (m,)
    ids : int64 (m,), or pyarrow.Array of strings
        For the change feed.
    """

    segments: NDArray[np.uint32]
    rows: NDArray[np.int64]
    ids: Ids

    def __len__(self) -> int:
        return len(self.segments)

    def take(self, order: NDArray[np.int64]) -> Removed:
        """Return selected removals, in the given order."""
        return Removed(self.segments[order], self.rows[order], take_ids(self.ids, order))


@dataclass(frozen=True, eq=False)
class Delta:
    """The rows that a commit adds and removes.

    Attributes
    ----------
    number : int
        Segment number.
    rows : Rows
        All added rows, or those of a range of partitions.
    removed : Removed
    inside : int64 (n,) or None
        Positions of `rows` among all added rows, ascending; None for all rows.
    earlier : int64 (m,)
        Positions of the added rows in partitions before that range.
    """

    number: int
    rows: Rows
    removed: Removed
    inside: NDArray[np.int64] | None = None
    earlier: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class Gone:
    """Removed rows by segment, without duplicates."""

    def __init__(self, removed: Sequence[Removed]) -> None:
        segments = np.concatenate([np.empty(0, np.uint32), *(part.segments for part in removed)])
        rows = np.concatenate([np.empty(0, np.int64), *(part.rows for part in removed)])
        order = np.lexsort((rows, segments))
        segments, rows = segments[order], rows[order]
        first = np.ones(len(rows), np.bool_)
        first[1:] = (segments[1:] != segments[:-1]) | (rows[1:] != rows[:-1])
        self._segments, self._rows = segments[first], rows[first]

    def of(self, segment: int) -> NDArray[np.int64]:
        """Return the removed rows of a segment, ascending."""
        low, high = np.searchsorted(self._segments, [segment, segment + 1])
        return self._rows[low:high]

    def holds(self, removed: Removed) -> NDArray[np.bool_]:
        """Return which of these rows are removed, bool (m,)."""
        return np.isin(_keys(removed.segments, removed.rows), _keys(self._segments, self._rows))

    def check(self, segment: int, rows: int, path: str) -> NDArray[np.int64]:
        """Return the removed rows of a segment with `rows` rows.

        Raises
        ------
        CorruptIndexError
            A row is out of range.
        """
        removed = self.of(segment)
        if len(removed) and not 0 <= removed[0] <= removed[-1] < rows:
            raise CorruptIndexError(
                path, f"removed row {removed[-1]} is not one of its {rows} rows; restore the manifest"
            )
        return removed


def _keys(segments: NDArray[np.uint32], rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a unique key per address."""
    return (segments.astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint64)


def no_ids(like: Ids) -> Ids:
    """Return an empty array of ids of the same type."""
    return take_ids(like, np.empty(0, np.int64))


def take_ids(ids: Ids, order: NDArray[np.int64]) -> Ids:
    """Return selected ids, in the given order."""
    return ids[order] if isinstance(ids, np.ndarray) else ids.take(order)


def concatenate_ids(parts: Sequence[Ids]) -> Ids:
    """Concatenate ids."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    if isinstance(parts[0], PlainTable):
        return stack_tables("ids", parts, [part.rows for part in parts])
    import pyarrow as pa

    return pa.concat_arrays(parts)


def concatenate_rows(parts: Sequence[Rows], order: NDArray[np.int64]) -> Rows:
    """Concatenate rows, then select them in the given order."""
    codes = row_codes.concatenate([part.codes for part in parts])
    tables = [part.attributes for part in parts]
    joined = Rows(
        codes,
        concatenate_ids([part.ids for part in parts]),
        _stack(tables, [len(part) for part in parts]),
        concatenate_documents([part.documents for part in parts]),
    )
    return joined.take(order)


def _stack(tables: Sequence[Any], counts: Sequence[int]) -> Any:
    """Concatenate tables; missing columns are NULL."""
    if all(table is None for table in tables):
        return None
    if any(isinstance(table, PlainTable) for table in tables):
        return stack_tables("attributes", tables, counts)
    import pyarrow as pa

    first = tables[0]
    if first is not None and all(table is not None and table.schema.equals(first.schema) for table in tables):
        return pa.concat_tables(tables)
    types = {field.name: field.type for table in tables if table is not None for field in table.schema}
    stacked = []
    for table, count in zip(tables, counts, strict=True):
        columns = {
            name: pa.nulls(count, kind) if table is None or name not in table.column_names else table.column(name)
            for name, kind in types.items()
        }
        stacked.append(pa.table({name: as_type(column, types[name], "attributes") for name, column in columns.items()}))
    return pa.concat_tables(stacked)


def write_delta(
    store: Store, path: str, model: Model, rows: Rows | None, removed: Removed | None, level: int = 0
) -> SegmentEntry:
    """Write a delta; return its manifest entry, with the number 0."""
    parts: dict[str, Mapping[str, Any] | pa.Table] = {}
    if rows is not None and len(rows):
        parts[DELTA] = rows.codes.to_arrays() | {"partitions": model.numbers_of(rows.codes.partitions)}
        parts[IDS] = id_part(rows.ids)
        if rows.attributes is not None:
            parts[ATTRIBUTES] = rows.attributes.combine_chunks()
        if rows.documents is not None:
            parts |= rows.documents.parts()
    parts |= removed_parts(removed)
    facts = {"rows": 0 if rows is None else len(rows), "removed": 0 if removed is None else len(removed)}
    return delta_entry(write_bundle(store, path, parts, facts), rows, removed, level)


def delta_entry(bundle: BundleEntry, rows: Rows | None, removed: Removed | None, level: int = 0) -> SegmentEntry:
    """Return the manifest entry of a delta, with the number 0."""
    ids = None if rows is None else rows.id_bounds
    count = 0 if rows is None else len(rows)
    return SegmentEntry(0, bundle, count, ids, level, 0 if removed is None else len(removed))


def removed_parts(removed: Removed | None) -> dict[str, Any]:
    """Return the parts of a bundle that hold the removed rows."""
    if removed is None or not len(removed):
        return {}
    return {
        REMOVED: {"segment": removed.segments, "row": removed.rows.astype(np.uint32)},
        REMOVED_IDS: id_part(removed.ids),
    }


def id_part(ids: Ids) -> Any:
    """Return the part of a bundle that holds ids."""
    if isinstance(ids, np.ndarray):
        return {"id": ids}
    import pyarrow as pa

    return pa.table({"id": ids})


def read_delta(
    store: Store, entry: SegmentEntry, model: Model, manifest: Manifest, *, only: range | None = None
) -> Delta:
    """Read a delta.

    Parameters
    ----------
    only : range, optional
        Keep only rows of these partitions, without Arrow arrays, and skip the ids of removed rows.

    Raises
    ------
    CorruptIndexError
        The file does not match its entry or the model.
    """
    id_type = manifest.id_type
    bundle, path = open_bundle(store, entry.bundle, manifest.snapshot), entry.bundle.path
    files = bundle.files
    for kind, file in files.items():
        if only is None or kind != REMOVED_IDS:
            file.ensure_all()
    codes_of = {name: files[DELTA].array(name) for name in files[DELTA].arrays} if DELTA in files else None
    if (codes_of is None) != (entry.rows == 0) or (REMOVED in files) != (entry.removed > 0):
        raise CorruptIndexError(path, "its parts do not match the manifest")
    codes = row_codes.no_rows(model) if codes_of is None else RowCodes.from_arrays(path, model, codes_of)
    if len(codes.partitions) != entry.rows:
        raise CorruptIndexError(path, f"holds {len(codes.partitions)} rows, the manifest says {entry.rows}")
    if ATTRIBUTES in files and files[ATTRIBUTES].entry.rows != entry.rows:
        raise CorruptIndexError(
            path, f"holds attributes of {files[ATTRIBUTES].entry.rows} rows instead of {entry.rows}"
        )
    if only is not None:
        removed = read_removed(files, entry.removed, None, path)
        return _read_plainly(entry, files, codes, removed, id_type, only)
    from vsearch.storage.files.columns import take

    table = None
    if ATTRIBUTES in files:
        file = files[ATTRIBUTES]
        table = take(file, [column.name for column in file.entry.columns], np.arange(entry.rows))
    documents = None
    if manifest.documents is not None and entry.rows:
        documents = read_documents(files, entry.rows, manifest.documents)
    rows = Rows(codes, read_ids(files, IDS, entry.rows, id_type, path), table, documents)
    removed = read_removed(files, entry.removed, id_type, path)
    return Delta(entry.number, rows, removed)


def read_delta_ids(store: Store, entry: SegmentEntry, id_type: str, snapshot: int = 0) -> tuple[Ids, Removed]:
    """Read the ids and the removals of a delta, without its codes.

    Raises
    ------
    CorruptIndexError
        The file does not match its entry.
    """
    files, path = open_bundle(store, entry.bundle, snapshot).files, entry.bundle.path
    return read_ids(files, IDS, entry.rows, id_type, path), read_removed(files, entry.removed, id_type, path)


def _read_plainly(
    entry: SegmentEntry,
    files: Mapping[str, SegmentFile],
    codes: RowCodes,
    removed: Removed,
    id_type: str,
    only: range,
) -> Delta:
    """Copy the rows of some partitions out of a bundle, which can then be freed."""
    path, partitions = entry.bundle.path, codes.partitions
    selected = np.flatnonzero((partitions >= only.start) & (partitions < only.stop))
    ids: Ids = np.empty(0, np.int64)
    if id_type != "string":
        ids = read_ids(files, IDS, entry.rows, id_type, path)[selected]
    elif entry.rows:
        if IDS not in files:
            raise CorruptIndexError(path, f"does not contain the {entry.rows} ids listed in the manifest")
        check_ids(files[IDS], entry.rows, text=True)
        ids = read_table(files[IDS], selected)
    table = read_table(files[ATTRIBUTES], selected) if ATTRIBUTES in files else None
    rows = Rows(row_codes.take(codes, selected), ids, table)
    return Delta(entry.number, rows, removed, selected, np.flatnonzero(partitions < only.start))


def read_removed(files: Mapping[str, Any], count: int, id_type: str | None, path: str) -> Removed:
    """Read the removals in a bundle; without their ids if `id_type` is None.

    Raises
    ------
    CorruptIndexError
        Their number is not `count`.
    """
    segments = removed_rows = np.empty(0, np.uint32)
    if REMOVED in files:
        files[REMOVED].ensure_all()
        segments, removed_rows = files[REMOVED].array("segment"), files[REMOVED].array("row")
    if any(array.dtype != np.uint32 or array.shape != (count,) for array in (segments, removed_rows)):
        raise CorruptIndexError(path, f"does not contain the {count} removed rows listed in the manifest")
    ids = np.empty(0, np.int64) if id_type is None else read_ids(files, REMOVED_IDS, count, id_type, path)
    return Removed(segments, removed_rows.astype(np.int64), ids)


def read_ids(files: Mapping[str, Any], kind: str, count: int, id_type: str, path: str) -> Ids:
    """Read all ids in a part of a bundle.

    Raises
    ------
    CorruptIndexError
        Their number is not `count`, or they have another type.
    """
    text = id_type == "string"
    if kind in files:
        check_ids(files[kind], count, text=text)
        files[kind].ensure_all()
    elif count:
        raise CorruptIndexError(path, f"does not contain the {count} ids listed in the manifest")
    if not text:
        return files[kind].array("id").astype(np.int64) if kind in files else np.empty(0, np.int64)
    import pyarrow as pa

    from vsearch.storage.files.columns import take

    if not count:
        return pa.array([], pa.string())
    ids = take(files[kind], ["id"], np.arange(count)).column("id").combine_chunks()
    return as_type(ids, pa.string(), path)
