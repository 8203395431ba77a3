"""Entries of legs in manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from msgspec import UnsetType

if TYPE_CHECKING:
    from vsearch.storage.snapshots.text_entries import TextEntry

LEG_NAME = "^[a-z][a-z0-9_]{0,31}$"

RESERVED = frozenset({"documents", "encoder", "text", "vectors"})
"""Names with separate fields in manifests, model files or messages."""

LegName = Annotated[str, msgspec.Meta(pattern=LEG_NAME)]

LegEntries = dict[LegName, dict[str, Any]]
"""Entries of legs by name, as each leg defines them; text columns have an older, separate field."""


class HasLegs(Protocol):
    """The fields of a manifest that describe legs."""

    @property
    def text(self) -> TextEntry | UnsetType:
        """The text columns."""

    @property
    def legs(self) -> LegEntries | UnsetType:
        """The other legs."""


def leg_entries(manifest: HasLegs) -> dict[str, Any]:
    """Return the entries of all legs of an index by name."""
    entries: dict[str, Any] = {}
    if manifest.text and manifest.text.columns:
        entries["text"] = manifest.text
    return entries | manifest.legs if manifest.legs else entries


def legs_problem(legs: LegEntries | UnsetType) -> str | None:
    """Return a problem if legs have reserved names."""
    reserved = sorted(RESERVED.intersection(legs or ()))
    return f"its leg {reserved[0]!r} has a reserved name" if reserved else None
