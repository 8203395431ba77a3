"""The part of a manifest that describes text columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UnsetType

from vsearch.storage.files.entries import Count, Text

if TYPE_CHECKING:
    from collections.abc import Mapping


class AnalyzerEntry(msgspec.Struct, frozen=True):
    """The rules that split texts of a column into terms: their version and settings (`vsearch.text.analyzer`).

    `stemmer` is the version of the package snowballstemmer, if there is a language.
    """

    version: Count
    language: Text | None = None
    stop_words: tuple[str, ...] = ()
    fold: bool = True
    stemmer: Text | None = None


class TextColumnEntry(msgspec.Struct, frozen=True):
    """A text column: its field in segments, how its scores count, and the key in the names of its postings.

    With `phrases`, the postings have the positions of words; with `tokens`, the attribute has lists of words.
    """

    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{1,32}$")]
    field: Text
    weight: Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
    k1: Annotated[float, msgspec.Meta(ge=0, le=1e3)]
    b: Annotated[float, msgspec.Meta(ge=0, le=1)]
    analyzer: AnalyzerEntry
    phrases: bool = False
    tokens: bool = False


class TextEntry(msgspec.Struct, frozen=True):
    """The text columns of an index, whose words are searched."""

    columns: tuple[TextColumnEntry, ...]


def text_columns(text: TextEntry | UnsetType) -> tuple[TextColumnEntry, ...]:
    """Return the text columns of an index."""
    return text.columns if text else ()


def text_problem(text: TextEntry | UnsetType, kinds: Mapping[str, str]) -> str | None:
    """Return a problem if text columns are ambiguous or not attributes of strings; `kinds` has the types of all fields."""
    columns = text_columns(text)
    for column in columns:
        if kinds.get(column.field) != ("list<string>" if column.tokens else "string"):
            holds = "lists of strings" if column.tokens else "strings"
            return f"its text column {column.field!r} is not an attribute of {holds}"
    if any(len({getattr(column, name) for column in columns}) != len(columns) for name in ("key", "field")):
        return "two of its text columns have the same field"
    return None
