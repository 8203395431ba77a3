"""Attributes that an index is given later, renamed or dropped. Segments keep what they have: the manifest says what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.building.inputs.attribute_types import kept_type
from vsearch.errors import InputError
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
    """The attribute of a name and a type: an Arrow type, the name of one as `Index.info` says it, or int, float, str or bool.

    Raises
    ------
    InputError
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
        raise InputError(
            f"the type of {name!r} must be one that attributes have, such as int64 or string, got {kind!r:.100}"
        )
    return attribute_from_arrow(name, kept)


def check_name(name: Any) -> None:
    """Refuse what cannot be the name of an attribute."""
    if not (isinstance(name, str) and 0 < len(name) <= LONGEST_NAME):
        raise InputError(
            f"the name of an attribute must be a text of 1 to {LONGEST_NAME} characters, got {name!r:.100}"
        )


def is_type(value: Any) -> bool:
    """Whether a value is meant as a type: an Arrow type, the name of one, or a Python type."""
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
    name : str
    attribute : Attribute
    values : pyarrow.Array or None
        One for all rows or, with `ids`, one for each. In the type that the attribute is stored in.
    ids
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
            wanted = distinct_ids(snapshot, self.ids)
            rows, places = find_living(snapshot, wanted), np.arange(len(wanted))
            if (rows < 0).any():
                raise InputError(f"no row has the id {listed(wanted, rows < 0)}")
            if len(self.values) != len(rows):
                raise InputError(f"values must be one for each of the {len(rows)} ids, got {len(self.values)}")
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
    """Drop an attribute. What segments hold of it goes when they are merged."""

    name: str
    kind: str = "drop_column"

    def resolve(self, snapshot: Snapshot) -> Draft:
        entry = _entry(snapshot, self.name)
        if entry.field_name == ttl_field(snapshot.manifest):
            raise InputError(
                f"{self.name!r} says until when rows live (ttl), so it stays: without it none would expire"
            )
        return Draft(change=lambda manifest: _replaced(manifest, entry.name, ()))


@dataclass(frozen=True)
class RenameColumn:
    """Call an attribute otherwise. Segments go on calling it as they did."""

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


def read_values(name: str, values: Any, *, each: bool) -> tuple[Attribute, Any]:
    """Values of a new attribute, in the type that it is stored in: an Arrow array of one for all rows, or of one for each.

    Raises
    ------
    InputError
    """
    import pyarrow as pa

    check_name(name)
    array = column_of(name, values, each=each)
    if pa.types.is_null(array.type):
        raise InputError(f"{name!r} must have a type: give one instead of values that are all NULL")
    table = read_attributes(pa.table({name: array}), len(array))
    if table is None:
        raise InputError(f"{name!r} must be of a type that attributes have, got {array.type}")
    column = table.column(name).combine_chunks()
    attribute = attribute_from_arrow(name, column.type)
    return attribute, column.cast(arrow_of(attribute))


def with_ttl(manifest: Manifest, name: str) -> Manifest:
    """A manifest whose rows live until the time that an attribute says. Earlier versions refuse its format."""
    manifest = upgraded(manifest)
    field = next(entry.field_name for entry in manifest.attributes if entry.name == name)
    live = manifest.live
    return msgspec.structs.replace(manifest, live=msgspec.structs.replace(live, ttl=field)) if live else manifest


def _check_new(snapshot: Snapshot, name: str) -> None:
    if name in snapshot.schema.names:
        raise InputError(f"the index has an attribute that is called {name!r} already")


def _entry(snapshot: Snapshot, name: str) -> AttributeEntry:
    found = next((entry for entry in snapshot.manifest.attributes if entry.name == name), None)
    if found is None:
        listed_names = ", ".join(snapshot.schema.names) or "none"
        raise InputError(f"no attribute of this index is called {name!r}; it has {listed_names}")
    return found


def _free_field(snapshot: Snapshot) -> tuple[str, int]:
    """What segments are to call a new column: nothing that any of them calls one yet. Its number besides."""
    taken = {entry.field_name for entry in snapshot.manifest.attributes}
    for run in snapshot.shards:
        file = run.files.get(ATTRIBUTES)
        taken |= {*run.encodings, *(() if file is None else (column.name for column in file.entry.columns))}
    for delta in snapshot.deltas:
        taken |= set() if delta.rows.attributes is None else set(delta.rows.attributes.column_names)
    live = snapshot.manifest.live
    number = live.next_field if live else 0
    while f"#{number}" in taken:
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
