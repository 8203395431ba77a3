"""The manifest entry of the weights of an index: their attribute and their step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from vsearch.errors import CorruptIndexError
from vsearch.sparse.levels import LARGEST_STEP, LEAST_STEP, SATURATION
from vsearch.storage.snapshots.text_entries import AnalyzerEntry, TextColumnEntry

if TYPE_CHECKING:
    from vsearch.storage import Manifest

NAME = "sparse"


class SparseEntry(msgspec.Struct, frozen=True):
    """The field of the attribute with the weights, and their step (`vsearch.sparse.levels`)."""

    field: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    step: Annotated[float, msgspec.Meta(ge=LEAST_STEP, le=LARGEST_STEP)]


def read_entry(entry: Any) -> SparseEntry:
    """Return the entry of a manifest.

    Raises
    ------
    CorruptIndexError
        The entry is damaged.
    """
    try:
        return msgspec.convert(entry, SparseEntry)
    except msgspec.ValidationError as error:
        raise CorruptIndexError("manifest", f"its entry of sparse weights is invalid: {error}") from None


def name_of(manifest: Manifest, entry: SparseEntry) -> str:
    """Return the name of the attribute with the weights.

    Raises
    ------
    CorruptIndexError
        There is no such attribute, or it does not hold strings.
    """
    for attribute in manifest.attributes:
        if attribute.field_name == entry.field and attribute.type == "string":
            return attribute.name
    raise CorruptIndexError("manifest", f"its sparse weights {entry.field!r:.100} are not an attribute of strings")


def as_text(entry: SparseEntry) -> TextColumnEntry:
    """Return a text column with which postings of weights are opened: its BM25 sums products of weights and numbers of steps."""
    return TextColumnEntry("0", entry.field, 1.0, SATURATION, 0.0, AnalyzerEntry(0))
