"""Read an attribute of a run in the form that predicates evaluate: cells or postings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.search.state.field_types import arrow_of, column_of
from vsearch.storage import ensure_together
from vsearch.storage.files.plain_columns import Column, null_column
from vsearch.storage.files.plain_columns import read_column as read_stored
from vsearch.storage.snapshots.kinds import ATTRIBUTES, CELLS, column_kinds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.predicates import EncodedColumn
    from vsearch.predicates.schema import Attribute
    from vsearch.search.state.shard import Shard


def read_column(shard: Shard, name: str, attribute: Attribute, *, plain: bool = False) -> EncodedColumn:
    """Return the stored encoding of an attribute, or encode the exact column of a tail, which has no stored encoding.

    Parameters
    ----------
    shard : Shard
    name : str
        Field name. A run without this field has NULLs.
    attribute : Attribute
    plain : bool
        Whether to avoid pyarrow.

    Raises
    ------
    CorruptIndexError
        The column or its encoding is damaged.
    """
    from vsearch.predicates import ColumnHeader, decode_column  # not needed without predicates

    encoding = shard.encodings.get(name)
    if encoding is None:
        return _encode_plainly(shard, name, attribute) if plain else _encode(shard, name, attribute)
    arrays: dict[str, NDArray[Any]] = {}
    files = [shard.files[kind] for kind in column_kinds(shard.files, encoding.position)]
    parts = [(file, key, None, None) for file in files for key in file.arrays]
    cells, key = shard.files.get(CELLS), str(encoding.position)
    if cells is not None and key in cells.arrays:
        ensure_together([*parts, (cells, key, None, None)])
        arrays["cells"] = cells.array(key)
    else:
        ensure_together(parts)
    arrays |= {key: file.array(key) for file, key, _, _ in parts}
    try:
        header = msgspec.convert(msgspec.to_builtins(encoding.header), ColumnHeader)
    except msgspec.ValidationError as error:
        raise CorruptIndexError("manifest", f"the attribute {name!r}: {error}") from None
    if header.type != attribute.type:
        path = files[0].path if files else "manifest"
        raise CorruptIndexError(path, f"the attribute {name!r} is {attribute.type}, its encoding {header.type}")
    return decode_column(header, arrays)


def _encode(shard: Shard, name: str, attribute: Attribute) -> EncodedColumn:
    import pyarrow as pa

    from vsearch.predicates import encode_column
    from vsearch.storage.files.columns import take

    file = shard.files.get(ATTRIBUTES)
    if file is None or name not in {column.name for column in file.entry.columns}:
        return encode_column(name, attribute.type, pa.nulls(shard.rows, arrow_of(attribute)))
    return encode_column(name, attribute.type, take(file, [name], np.arange(shard.rows)).column(name))


def _encode_plainly(shard: Shard, name: str, attribute: Attribute) -> EncodedColumn:
    from vsearch.predicates.plain_encoding import encode_plain

    column = read_exact(shard, name, attribute, np.arange(shard.rows))
    try:
        return encode_plain(name, attribute.type, column)
    except ValueError as error:
        raise CorruptIndexError(shard.files[ATTRIBUTES].path, str(error)) from None


def read_exact(shard: Shard, name: str, attribute: Attribute, rows: NDArray[np.int64]) -> Column:
    """Return exact values of an attribute at rows of a run; NULL if the run does not have the field."""
    file = shard.files.get(ATTRIBUTES)
    if file is None or name not in {column.name for column in file.entry.columns}:
        return null_column(column_of(attribute), len(rows))
    return read_stored(file, name, rows)
