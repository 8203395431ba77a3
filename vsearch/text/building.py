"""Write the postings of text columns, for the shards of a build and for merged runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError
from vsearch.storage.snapshots.kinds import text_kind
from vsearch.storage.snapshots.text_entries import TextEntry
from vsearch.text.columns import TextColumn, analyzer_of, check_columns, new_entry
from vsearch.text.encoding import make_postings
from vsearch.text.opening import READ_ROWS
from vsearch.text.postings import files_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.building.shards import WriteArrays


class TextWriter:
    """Writes the postings of text columns with the shards of a build, as a `PartWriter`.

    Parameters
    ----------
    entry : TextEntry
        The text columns; fields are column names of the input.
    """

    name = "text"

    def __init__(self, entry: TextEntry) -> None:
        self._entry = entry
        self.kinds = frozenset(text_kind(column.key, name) for column in entry.columns for name in files_of(column))

    @classmethod
    def of(cls, columns: Mapping[str, TextColumn]) -> TextWriter:
        """Return the writer of new text columns."""
        return cls(new_entry(columns, {name: name for name in columns}))

    def check(self, attributes: pa.Schema | None) -> None:
        """Check that the attributes of the input have the text columns."""
        from vsearch.predicates import schema_from_arrow

        schema = () if attributes is None else schema_from_arrow(attributes)
        check_columns({column.field: column.tokens for column in self._entry.columns}, {a.name: a.kind for a in schema})

    def model(self) -> dict[str, NDArray[Any]]:
        """Return no arrays: everything is stored per shard."""
        return {}

    def entry(self) -> TextEntry:
        """Return the entry in the manifest."""
        return self._entry

    def write_shard(self, rows: NDArray[np.int64], arrays: WriteArrays, attributes: pa.Table | None) -> None:
        """Write the postings of the texts of a shard."""
        if attributes is None:
            raise InputError("text columns must be attributes, but the input has no attributes")
        for kind, of_kind in postings_parts(self._entry, attributes, len(rows)):
            arrays(kind, of_kind)


def postings_parts(
    entry: TextEntry, attributes: pa.Table | None, rows: int
) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Yield the file kinds and arrays of the postings of a segment, from its attributes by field."""
    for column in entry.columns:
        texts = texts_of_table(attributes, column.field, rows)
        postings = make_postings(texts, rows, analyzer_of(column), phrases=column.phrases)
        for name, arrays in postings.arrays().items():
            yield text_kind(column.key, name), arrays


def texts_of_table(attributes: pa.Table | None, name: str, rows: int) -> Iterable[Any]:
    """Return the texts, or lists of tokens, of the first rows of a column; None for missing ones."""
    if attributes is None or name not in attributes.column_names:
        return [None] * rows
    column = attributes.column(name)
    return (text for start in range(0, rows, READ_ROWS) for text in column.slice(start, READ_ROWS).to_pylist())
