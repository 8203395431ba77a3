"""Add, rename and drop attributes. Segments are not rewritten; the manifest maps attributes to their fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.building.inputs.attribute_types import kept_type
from vsearch.errors import InputError
from vsearch.legs.registry import all_legs_of
from vsearch.live.commits import Draft
from vsearch.live.inputs import read_attributes
from vsearch.live.operations import codes_of, column_of, distinct_ids, find_living, listed, remove, stored_ids
from vsearch.predicates.types.table import attribute_from_arrow, attribute_of_kind
from vsearch.search.engine.rows import matching_rows
from vsearch.search.state.deltas import Rows
from vsearch.search.state.document_fetching import documents_at
from vsearch.search.state.expiry import present, ttl_field
from vsearch.search.state.fetching import take_fields
from vsearch.search.state.field_types import arrow_of
from vsearch.search.state.given_ids import is_unicode
from vsearch.storage.snapshots.kinds import ATTRIBUTES
from vsearch.storage.snapshots.manifest import AttributeEntry
from vsearch.storage.snapshots.upgrading import upgraded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vsearch.predicates.schema import Attribute
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest

LONGEST_NAME = 1024

PLAIN_TYPES = {int: "int64", float: "float64", str: "string", bool: "bool"}


def attribute_of(name: str, kind: Any) -> Attribute:
    """Return the attribute with a name and a type.

    Parameters
    ----------
    kind : pyarrow.DataType, str or type
        An Arrow type, the name of a type as in `Index.info`, or int, float, str or bool.

    Raises
    ------
    InputError
        The type is not an attribute type.
    """
    check_name(name)
    if isinstance(kind, type) and kind in PLAIN_TYPES:
        kind = PLAIN_TYPES[kind]
    try:
        if isinstance(kind, str):
            return attribute_of_kind(name, kind)
        kept = kept_type(kind)
    except (ValueError, AttributeError, TypeError):
        kept = None
    if kept is None:
        raise InputError(f"the type of {name!r} must be an attribute type, such as int64 or string, got {kind!r:.100}")
    return attribute_from_arrow(name, kept)


def check_name(name: Any) -> None:
    """Check the name of an attribute."""
    if not (isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and is_unicode(name)):
        raise InputError(
            f"the name of an attribute must be a string of 1 to {LONGEST_NAME} characters, got {name!r:.100}"
        )


def is_type(value: Any) -> bool:
    """Whether a value denotes a type: an Arrow type, the name of one, or a Python type."""
    if isinstance(value, str):
        try:
            attribute_of_kind("x", value)
        except ValueError:
            return False
        return True
    if isinstance(value, type):
        return True
    import pyarrow as pa

    return isinstance(value, pa.DataType)


@dataclass(frozen=True, eq=False)
class AddColumn:
    """Add an attribute: NULL for all rows, or with values.

    Attributes
    ----------
    attribute : Attribute
    values : pyarrow.Array or None
        One value for all rows or, with `ids`, one per id; in the attribute's storage type.
    ids : sequence of int or str, optional
    """

    attribute: Attribute
    values: Any = None
    ids: Any = None
    kind: str = "add_column"

    def resolve(self, snapshot: Snapshot) -> Draft:
        _check_new(snapshot, self.attribute.name)
        field, number = _free_field(snapshot)
        entry = AttributeEntry(self.attribute.name, self.attribute.kind, field)

        def change(manifest: Manifest) -> Manifest:
            return _with_attributes(manifest, (*manifest.attributes, entry), number + 1)

        if self.values is None:
            return Draft(change=change)
        if self.ids is None:
            rows, places = matching_rows(present(snapshot), None), None
        else:
            ids = distinct_ids(snapshot, self.ids)
            rows, places = find_living(snapshot, ids), np.arange(len(ids))
            if (rows < 0).any():
                raise InputError(f"no row has the id {listed(ids, rows < 0)}")
            if len(self.values) != len(rows):
                raise InputError(f"there must be one value for each of the {len(rows)} ids, got {len(self.values)}")
        if not len(rows):
            return Draft(change=change)
        import pyarrow as pa

        codes, order = codes_of(snapshot, rows)
        rows = rows[order]
        column = self.values.take(pa.array(np.zeros(len(rows), np.int64) if places is None else order))
        names = snapshot.schema.names
        table = take_fields(snapshot, names, rows) if names else None
        table = pa.table({field: column}) if table is None else table.append_column(field, column)
        rows_of = Rows(codes, stored_ids(snapshot, rows), table, documents_at(snapshot, rows))
        return Draft(rows_of, remove(snapshot, rows), replaced=len(rows), change=change)


@dataclass(frozen=True)
class DropColumn:
    """Drop an attribute. Its values remain in segments until these are merged."""

    name: str
    kind: str = "drop_column"

    def resolve(self, snapshot: Snapshot) -> Draft:
        entry = _entry(snapshot, self.name)
        if entry.field_name == ttl_field(snapshot.manifest):
            raise InputError(
                f"cannot drop {self.name!r}: it is the ttl attribute, and without it rows would not expire"
            )
        for leg in all_legs_of(snapshot.manifest):
            if entry.field_name in leg.fields(leg.entry(snapshot.manifest)):
                raise InputError(f"cannot drop {self.name!r}: {leg.in_use}")
        return Draft(change=lambda manifest: _replaced(manifest, entry.name, ()))


@dataclass(frozen=True)
class RenameColumn:
    """Rename an attribute. The field in segments keeps its name."""

    name: str
    new: str
    kind: str = "rename_column"

    def resolve(self, snapshot: Snapshot) -> Draft:
        entry = _entry(snapshot, self.name)
        if entry.name == self.new:
            return Draft()
        _check_new(snapshot, self.new)
        renamed = AttributeEntry(self.new, entry.type, entry.field_name)
        return Draft(change=lambda manifest: _replaced(manifest, entry.name, (renamed,)))


def read_values(name: str, values: Any, *, per_row: bool) -> tuple[Attribute, Any]:
    """Read the values of a new attribute: one per row, or one for all rows.

    Returns
    -------
    attribute : Attribute
    values : pyarrow.Array
        In the attribute's storage type.

    Raises
    ------
    InputError
        The values are not of one attribute type, or all are NULL.
    """
    import pyarrow as pa

    check_name(name)
    array = column_of(name, values, per_row=per_row)
    if pa.types.is_null(array.type):
        raise InputError(f"all values of {name!r} are NULL; pass the type of the attribute instead")
    table = read_attributes(pa.table({name: array}), len(array))
    if table is None:
        raise InputError(f"the type of {name!r} must be an attribute type, such as int64 or string, got {array.type}")
    column = table.column(name).combine_chunks()
    attribute = attribute_from_arrow(name, column.type)
    return attribute, column.cast(arrow_of(attribute))


def with_ttl(manifest: Manifest, name: str) -> Manifest:
    """Return a manifest of format 2 with a ttl attribute."""
    manifest = upgraded(manifest)
    field = next(entry.field_name for entry in manifest.attributes if entry.name == name)
    live = manifest.live
    return msgspec.structs.replace(manifest, live=msgspec.structs.replace(live, ttl=field)) if live else manifest


def _check_new(snapshot: Snapshot, name: str) -> None:
    if name in snapshot.schema.names:
        raise InputError(f"the index already has an attribute {name!r}")


def _entry(snapshot: Snapshot, name: str) -> AttributeEntry:
    entry = next((entry for entry in snapshot.manifest.attributes if entry.name == name), None)
    if entry is None:
        names = ", ".join(snapshot.schema.names) or "none"
        raise InputError(f"this index has no attribute {name!r}; it has {names}")
    return entry


def _free_field(snapshot: Snapshot) -> tuple[str, int]:
    """Return a field name for a new column that no segment uses yet, and its number."""
    names = {entry.field_name for entry in snapshot.manifest.attributes}
    for run in snapshot.shards:
        file = run.files.get(ATTRIBUTES)
        names |= {*run.encodings, *(() if file is None else (column.name for column in file.entry.columns))}
    for delta in snapshot.deltas:
        names |= set() if delta.rows.attributes is None else set(delta.rows.attributes.column_names)
    live = snapshot.manifest.live
    number = live.next_field if live else 0
    while f"#{number}" in names:
        number += 1
    return f"#{number}", number


def _replaced(manifest: Manifest, name: str, by: Iterable[AttributeEntry]) -> Manifest:
    entries: list[AttributeEntry] = []
    for entry in manifest.attributes:
        entries += by if entry.name == name else (entry,)
    return _with_attributes(manifest, tuple(entries), 0)


def _with_attributes(manifest: Manifest, entries: tuple[AttributeEntry, ...], next_field: int) -> Manifest:
    manifest = upgraded(manifest)
    live = manifest.live
    if live:
        live = msgspec.structs.replace(live, next_field=max(live.next_field, next_field))
    return msgspec.structs.replace(manifest, attributes=entries, live=live)
