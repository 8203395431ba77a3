"""Add and remove text columns of an index. Only the manifest is written; postings follow when runs are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
from msgspec import UNSET

from vsearch.errors import InputError
from vsearch.live.commits import Draft
from vsearch.storage.snapshots.text_entries import TextEntry, text_columns
from vsearch.storage.snapshots.upgrading import upgraded
from vsearch.text.columns import MOST_COLUMNS, check_columns

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest
    from vsearch.text.columns import TextColumn


@dataclass(frozen=True)
class AddText:
    """Search the words of an attribute."""

    name: str
    column: TextColumn
    kind: str = "add_text"

    def resolve(self, snapshot: Snapshot) -> Draft:
        attributes = {attribute.name: attribute for attribute in snapshot.manifest.attributes}
        check_columns({self.name: self.column.tokens}, {name: attribute.type for name, attribute in attributes.items()})
        entry = self.column.entry(attributes[self.name].field_name, uuid4().hex[:12])
        present = text_columns(snapshot.manifest.text)
        if entry.field in {column.field for column in present}:
            raise InputError(f"the words of {self.name!r} are searched already; drop_text first to change its settings")
        if len(present) == MOST_COLUMNS:
            raise InputError(f"an index must have at most {MOST_COLUMNS} text columns; drop one with drop_text first")

        def change(manifest: Manifest) -> Manifest:
            columns = (*text_columns(manifest.text), entry)
            return msgspec.structs.replace(upgraded(manifest), text=TextEntry(columns))

        return Draft(change=change)


@dataclass(frozen=True)
class DropText:
    """Stop searching the words of an attribute. The attribute itself stays."""

    name: str
    kind: str = "drop_text"

    def resolve(self, snapshot: Snapshot) -> Draft:
        fields = {attribute.name: attribute.field_name for attribute in snapshot.manifest.attributes}
        if fields.get(self.name) not in {column.field for column in text_columns(snapshot.manifest.text)}:
            raise InputError(f"{self.name!r:.100} is not a text column of this index")

        def change(manifest: Manifest) -> Manifest:
            columns = tuple(column for column in text_columns(manifest.text) if column.field != fields[self.name])
            return msgspec.structs.replace(upgraded(manifest), text=TextEntry(columns) if columns else UNSET)

        return Draft(change=change)
