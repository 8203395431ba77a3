"""Ids as stored in files, checked against the number of rows before any is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.storage.files.column_layout import check_layout
from vsearch.storage.files.column_types import column_type

if TYPE_CHECKING:
    from vsearch.storage import SegmentFile


def check_ids(file: SegmentFile, rows: int, *, text: bool) -> None:
    """Check that a file, or a part of one, contains an id for each of its rows.

    Parameters
    ----------
    text : bool
        Whether ids are strings, the only column of a table, or integers.

    Raises
    ------
    CorruptIndexError
        The ids are missing, or have another type or number.
    """
    columns = file.entry.columns
    if text:
        null_counts = [(column.name, column.nulls) for column in columns]
        kind = column_type(columns[0].type) if null_counts == [("id", 0)] else None
        if file.entry.rows != rows or kind is None or kind.layout != "text":
            raise CorruptIndexError(file.path, f"does not hold the ids of {rows} rows as strings; restore the file")
        check_layout(file, columns[0], kind)
        return
    array = file.array("id")
    if columns or array.shape != (rows,) or array.dtype not in (np.uint32, np.int64):
        raise CorruptIndexError(file.path, f"holds {array.dtype} {array.shape} for {rows} ids; restore the file")
