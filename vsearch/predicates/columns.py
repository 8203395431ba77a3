"""One attribute column of one segment, in the form that predicates are evaluated on.

`CellColumn` holds one byte per row, the number of the cell that the row's value falls in; cell 0 is NULL. It may be inexact:
a cell can hold several values. `PostingColumn` holds, for every distinct string, the rows that have it; it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from typing import Literal as OneOf

import msgspec
import numpy as np
import numpy.typing as npt

from vsearch.errors import CorruptIndexError
from vsearch.predicates.dictionary import Dictionary
from vsearch.predicates.types.record import ByteKeys, ElementKeys, OrderedKeys
from vsearch.predicates.types.table import TYPES

MAXIMUM_CELLS = 255
Array = npt.NDArray[Any]
Ensure = Callable[[str, npt.NDArray[np.int64], npt.NDArray[np.int64]], None]


class ColumnHeader(msgspec.Struct, frozen=True):
    """What has to be known of a column besides its arrays.

    Attributes
    ----------
    name, type
        The attribute.
    form : "cells" or "postings"
    rows : int
    values : int
        Cells without the one for NULL, or distinct strings.
    """

    name: str
    type: str
    form: OneOf["cells", "postings"]
    rows: int
    values: int


@dataclass(frozen=True)
class CellColumn:
    """One byte per row.

    Attributes
    ----------
    name, type
        The attribute; anything but a list.
    cells : uint8 (rows,)
        0 where NULL, otherwise 1 + the position of the row's cell in ``low``.
    low, high : int64 (values,)
        The least and greatest key that occurs in each cell; ascending and disjoint. For strings and decimals, positions.
    counts : int64 (values + 1,)
        Rows in each cell, the NULL cell first.
    dictionary : Dictionary or None
        The strings, or the keys of decimals; None for other types.
    """

    name: str
    type: str
    cells: npt.NDArray[np.uint8]
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    dictionary: Dictionary | None = None

    def header(self) -> ColumnHeader:
        """The header that `decode_column` needs."""
        return ColumnHeader(self.name, self.type, "cells", len(self.cells), len(self.low))

    def arrays(self) -> dict[str, Array]:
        """The arrays that `decode_column` needs."""
        arrays: dict[str, Array] = {"cells": self.cells, "low": self.low, "high": self.high, "counts": self.counts}
        return arrays | _dictionary_arrays(self.dictionary)


@dataclass(frozen=True)
class PostingColumn:
    """The rows of every distinct string.

    Attributes
    ----------
    name, type
        The attribute; strings, decimals or lists.
    rows_total : int
        The number of rows of the segment.
    dictionary : Dictionary
        The distinct strings, or keys of numbers; all said of strings here goes for these, too.
    offsets : int64 (strings + 1,)
        The rows of string i are ``rows[offsets[i]:offsets[i + 1]]``, ascending.
    rows : uint32 (listed,)
    valid : uint64 (ceil(rows_total / 64),)
        Bit mask of the rows that are not NULL.
    null_elements : uint32 (lists,)
        Rows whose list has a NULL element; empty for strings.
    ensure : callable, optional
        Called with the name of an array and the starts and stops of the ranges about to be read from it, for storage that
        fetches lazily. Asked for ``rows`` and ``null_elements``; the other arrays are read whole.
    """

    name: str
    type: str
    rows_total: int
    dictionary: Dictionary
    offsets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.uint32]
    valid: npt.NDArray[np.uint64]
    null_elements: npt.NDArray[np.uint32]
    ensure: Ensure | None = field(default=None, compare=False, repr=False)

    def header(self) -> ColumnHeader:
        """The header that `decode_column` needs."""
        return ColumnHeader(self.name, self.type, "postings", self.rows_total, len(self.dictionary))

    def arrays(self) -> dict[str, Array]:
        """The arrays that `decode_column` needs."""
        arrays: dict[str, Array] = {
            "offsets": self.offsets,
            "rows": self.rows,
            "valid": self.valid,
            "null_elements": self.null_elements,
        }
        return arrays | _dictionary_arrays(self.dictionary)


@dataclass(frozen=True)
class SortedColumn:
    """Whole numbers in ascending order and the rows that have them, made when it is first asked for: ids of rows.

    Attributes
    ----------
    name, type
        The column.
    keys : int64 (rows,)
        Ascending.
    rows : uint32 (rows,)
        The row that has each.
    """

    name: str
    type: str
    keys: npt.NDArray[np.int64]
    rows: npt.NDArray[np.uint32]

    @property
    def rows_total(self) -> int:
        """The number of rows of the segment."""
        return len(self.rows)


EncodedColumn = CellColumn | PostingColumn | SortedColumn


def decode_column(
    header: ColumnHeader, arrays: Mapping[str, Array], path: str = "", ensure: Ensure | None = None
) -> CellColumn | PostingColumn:
    """Put a column together again from what was stored.

    Parameters
    ----------
    header : ColumnHeader
    arrays : mapping of str to array
        As `CellColumn.arrays` or `PostingColumn.arrays` gave them; they are not copied. The contents of ``cells``, ``rows``
        and ``null_elements`` are not looked at here, so they may still be on their way.
    path : str
        The file to name when something is wrong.
    ensure : callable, optional
        See `PostingColumn`.

    Raises
    ------
    CorruptIndexError
        An array is missing, or its type, length or content cannot be.
    """
    reader = _Reader(header, arrays, path or f"attribute {header.name}")
    return reader.cells() if header.form == "cells" else reader.postings(ensure)


def word_count(rows: int) -> int:
    """The number of 64-bit words of a mask of rows."""
    return (rows + 63) >> 6


@dataclass(frozen=True)
class _Reader:
    header: ColumnHeader
    arrays: Mapping[str, Array]
    path: str

    def cells(self) -> CellColumn:
        rows, values = self.header.rows, self.header.values
        keys = self.keys()
        text = isinstance(keys, ByteKeys)
        self.require(not isinstance(keys, ElementKeys), "lists cannot be cells")
        self.require(0 <= values <= MAXIMUM_CELLS, f"{values} cells")
        cells = self.array("cells", np.uint8, rows)
        low, high = self.array("low", np.int64, values), self.array("high", np.int64, values)
        counts = self.array("counts", np.int64, values + 1)
        self.require(bool(np.all(low <= high)) and bool(np.all(high[:-1] < low[1:])), "the cells overlap")
        self.require(bool(np.all(counts >= 0)) and int(counts.sum()) == rows, "the cells do not count all rows")
        dictionary = self.dictionary(values) if text else None
        if text:
            self.require(
                bool(np.all(low == np.arange(values))) and bool(np.all(low == high)), "a cell holds several strings"
            )
        return CellColumn(self.header.name, self.header.type, cells, low, high, counts, dictionary)

    def postings(self, ensure: Ensure | None) -> PostingColumn:
        header = self.header
        self.require(isinstance(self.keys(), ByteKeys | ElementKeys), f"{header.type} has no postings")
        self.require(0 <= header.rows < 2**32 and header.values >= 0, f"{header.rows} rows")
        dictionary = self.dictionary(header.values)
        offsets = self.array("offsets", np.int64, header.values + 1)
        rows, null_elements = self.array("rows", np.uint32), self.array("null_elements", np.uint32)
        sound = offsets[0] == 0 and offsets[-1] == len(rows) and not np.any(offsets[1:] < offsets[:-1])
        self.require(bool(sound), "the offsets of the postings leave them")
        valid = self.array("valid", np.uint64, word_count(header.rows))
        if header.rows & 63:
            self.require(int(valid[-1]) >> (header.rows & 63) == 0, "rows beyond the last are marked")
        return PostingColumn(
            header.name, header.type, header.rows, dictionary, offsets, rows, valid, null_elements, ensure
        )

    def keys(self) -> OrderedKeys | ByteKeys | ElementKeys:
        found = TYPES.get(self.header.type)
        if found is None:
            raise CorruptIndexError(
                self.path,
                f"attribute {self.header.name!r} has the type {self.header.type!r}, which this version does not know",
            )
        return found.keys

    def dictionary(self, values: int) -> Dictionary:
        dictionary = Dictionary(
            self.array("dictionary_offsets", np.int64, values + 1), self.array("dictionary_data", np.uint8)
        )
        try:
            dictionary.check()
        except ValueError as error:
            raise CorruptIndexError(self.path, str(error)) from None
        return dictionary

    def array(self, name: str, dtype: Any, length: int | None = None) -> Array:
        array = self.arrays.get(name)
        if array is None:
            raise CorruptIndexError(self.path, f"the array {name!r} of the attribute {self.header.name!r} is missing")
        sound = array.dtype == dtype and array.ndim == 1 and (length is None or len(array) == length)
        self.require(sound, f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} ({length},)")
        return frozen(array)

    def require(self, sound: bool, reason: str) -> None:
        if not sound:
            raise CorruptIndexError(self.path, f"attribute {self.header.name!r}: {reason}")


def frozen(array: Array) -> Array:
    """A contiguous read-only view; kernels are compiled once, for that."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def _dictionary_arrays(dictionary: Dictionary | None) -> dict[str, Array]:
    if dictionary is None:
        return {}
    return {"dictionary_offsets": dictionary.offsets, "dictionary_data": dictionary.data}
