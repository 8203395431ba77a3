"""Checks that a file has the buffers of an exact column, before any offset is followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch.errors import CorruptIndexError

if TYPE_CHECKING:
    from vsearch.storage.files.column_types import ColumnType
    from vsearch.storage.files.entries import ColumnEntry
    from vsearch.storage.files.segment_file import SegmentFile


def check_layout(file: SegmentFile, column: ColumnEntry, kind: ColumnType) -> int:
    """Check that every buffer of a column exists, has the right element type and is long enough for the rows.

    Returns
    -------
    int
        Number of items that the lists of the column can refer to; 0 for other columns.

    Raises
    ------
    CorruptIndexError
        A buffer is missing, too short or of another type.
    """
    rows, item = file.entry.rows, kind.item
    if column.nulls:
        _expect(file, column, "validity", "uint8", -(-rows // 8))
    if item is None:
        _expect_values(file, column, kind, "", rows)
        return 0
    _expect(file, column, "offsets", kind.dtype, rows + 1 if rows else 0)
    items = _count_items(file, column, item)
    if f"{column.name}.item_validity" in file.arrays:
        _expect(file, column, "item_validity", "uint8", -(-items // 8))
    _expect_values(file, column, item, "item_", items)
    return items


def damaged(file: SegmentFile, column: ColumnEntry, reason: str) -> CorruptIndexError:
    """The error to raise for a column."""
    return CorruptIndexError(file.path, f"column {column.name!r}: {reason}; restore the file or rebuild the index")


def _count_items(file: SegmentFile, column: ColumnEntry, item: ColumnType) -> int:
    part = "item_offsets" if item.layout == "text" else "item_values"
    entry = file.arrays.get(f"{column.name}.{part}")
    if entry is None:
        raise damaged(file, column, f"its buffer {part} is missing")
    count = entry.shape[0]
    if item.layout == "text":
        return max(count - 1, 0)
    return 8 * count if item.layout == "bits" else count // item.form.numbers


def _expect_values(file: SegmentFile, column: ColumnEntry, kind: ColumnType, prefix: str, rows: int) -> None:
    if kind.layout == "text":
        _expect(file, column, f"{prefix}offsets", kind.dtype, rows + 1 if rows else 0)
        _expect(file, column, f"{prefix}data", "uint8", 0)
    elif kind.layout == "bits":
        _expect(file, column, f"{prefix}values", "uint8", -(-rows // 8))
    else:
        _expect(file, column, f"{prefix}values", kind.dtype, kind.form.numbers * rows)


def _expect(file: SegmentFile, column: ColumnEntry, part: str, dtype: str, least: int) -> None:
    entry = file.arrays.get(f"{column.name}.{part}")
    if entry is None:
        raise damaged(file, column, f"its buffer {part} is missing")
    if entry.dtype != dtype or len(entry.shape) != 1 or entry.shape[0] < least:
        raise damaged(
            file,
            column,
            f"its buffer {part} must be {dtype} with at least {least} elements, got {entry.dtype} {entry.shape}",
        )
