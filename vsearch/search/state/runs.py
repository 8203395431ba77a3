"""Runs: rows of a shard laid out by partition for the scan, in one bundle; the tail is a run in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.search.state.deltas import Delta, Gone, Removed, Rows, concatenate_rows, id_part, removed_parts
from vsearch.search.state.plain_rows import PlainTable, hold_parts
from vsearch.search.state.run_layout import lay_out_run
from vsearch.search.state.shard import Addresses
from vsearch.storage.files.bundle import open_bundle
from vsearch.storage.files.bundle_writing import write_bundle
from vsearch.storage.snapshots.kinds import ATTRIBUTES, IDS, column_kind
from vsearch.storage.snapshots.manifest import AttributeEntry, EncodingEntry, EncodingHeader, SegmentEntry
from vsearch.storage.stores.held import HeldBytes

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.search.state.model import Model
    from vsearch.storage import SegmentFile, Store
    from vsearch.storage.files.bundle import Bundle

TAIL = "segments/tail.arrow"


def write_run(
    store: Store,
    path: str,
    model: Model,
    rows: Rows,
    partitions: range,
    attributes: Sequence[AttributeEntry],
    number: int,
    removed: Removed | None = None,
    more: Mapping[str, Mapping[str, NDArray[Any]]] | None = None,
) -> SegmentEntry:
    """Write a run; return its manifest entry. Codes are copied, so scores do not change.

    Parameters
    ----------
    rows : Rows
        Sorted by partition.
    partitions : range
        The partitions of the run.
    attributes : sequence of AttributeEntry
        Those attributes of the index that are to be encoded for predicates.
    number : int
        Segment number.
    removed : Removed, optional
        Removed rows of older segments.
    more : mapping, optional
        Further parts, as arrays by name.
    """
    parts: dict[str, Any] = _parts(model, rows, partitions)
    columns: dict[str, EncodingEntry] = {}
    if rows.attributes is not None:
        for position, attribute in enumerate(attributes):
            if attribute.field_name in rows.attributes.column_names:
                arrays, entry = _encode(rows.attributes, attribute, position)
                parts[column_kind(position, 0)] = arrays
                columns[attribute.field_name] = entry
    parts |= removed_parts(removed) | dict(more or {})
    facts = {"rows": len(rows), "partitions": len(partitions), "columns": msgspec.to_builtins(columns)}
    bundle = write_bundle(store, path, parts, facts)
    ids = (int(rows.ids.min()), int(rows.ids.max())) if isinstance(rows.ids, np.ndarray) and len(rows) else None
    return SegmentEntry(number, bundle, len(rows), ids, 0, 0 if removed is None else len(removed))


def _parts(model: Model, rows: Rows, partitions: range) -> dict[str, Any]:
    parts: dict[str, Any] = dict(lay_out_run(model, rows.codes, partitions.start, len(partitions)))
    parts[IDS] = id_part(rows.ids)
    if rows.attributes is not None:
        parts[ATTRIBUTES] = rows.attributes.combine_chunks()
    if rows.documents is not None:
        parts |= rows.documents.parts()
    return parts


def _encode(table: pa.Table, attribute: AttributeEntry, position: int) -> tuple[dict[str, Any], EncodingEntry]:
    from vsearch.predicates import encode_column
    from vsearch.predicates.types.table import attribute_of_kind

    kind = attribute_of_kind(attribute.name, attribute.type).type
    encoded = encode_column(attribute.field_name, kind, table.column(attribute.field_name))
    header = msgspec.convert(msgspec.to_builtins(encoded.header()), EncodingHeader)
    return dict(encoded.arrays()), EncodingEntry(position, header)


def run_columns(bundle: Bundle, path: str) -> Mapping[str, EncodingEntry]:
    """Return the encodings of the attributes of a run, by field name.

    Raises
    ------
    CorruptIndexError
        The description of the attributes is damaged.
    """
    try:
        return msgspec.convert(bundle.facts.get("columns", {}), dict[str, EncodingEntry])
    except msgspec.ValidationError as error:
        raise CorruptIndexError(path, f"invalid description of its attributes ({error}); restore the file") from None


def live_rows(deltas: Sequence[Delta], gone: Gone) -> tuple[Rows | None, Addresses]:
    """Return the live rows of deltas, sorted by partition, and their addresses."""
    parts, kept, numbers = [], [np.empty(0, np.int64)], []
    for delta in deltas:
        rows, removed = delta.rows, gone.of(delta.number)
        inside = np.arange(len(rows)) if delta.inside is None else delta.inside
        if len(removed):
            live = ~np.isin(inside, removed)
            inside, rows = inside[live], rows.take(np.flatnonzero(live))
        if len(inside):
            parts.append(rows)
            kept.append(inside)
            numbers.append(delta.number)
    segments = np.repeat(np.array(numbers, np.uint32), [len(part) for part in parts])
    inside_of = np.concatenate(kept)
    if not parts:
        return None, Addresses(segments, inside_of)
    order = np.argsort(np.concatenate([part.codes.partitions for part in parts]), kind="stable")
    return concatenate_rows(parts, order), Addresses(segments[order], inside_of[order])


def rows_before(deltas: Sequence[Delta], gone: Gone) -> int:
    """Return the number of live rows of deltas in earlier partitions, which precede the rows of this tail."""
    return sum(len(np.setdiff1d(delta.earlier, gone.of(delta.number), assume_unique=True)) for delta in deltas)


def hold_tail(model: Model, rows: Rows, partitions: range, *, plain: bool) -> dict[str, SegmentFile]:
    """Lay out rows as a run in memory. Its attributes are encoded when a predicate first needs them.

    With `plain`, attributes are a `PlainTable`, and pyarrow is not used.
    """
    if plain:
        parts: dict[str, Any] = {**lay_out_run(model, rows.codes, partitions.start, len(partitions))}
        parts[IDS] = rows.ids if isinstance(rows.ids, PlainTable) else {"id": rows.ids}
        if rows.attributes is not None:
            parts[ATTRIBUTES] = rows.attributes
        return hold_parts(TAIL, parts, len(rows))
    store = HeldBytes()
    facts = {"rows": len(rows), "partitions": len(partitions)}
    entry = write_bundle(store, TAIL, _parts(model, rows, partitions), facts, checksums=False)
    return open_bundle(store, entry, verify=False).files
