"""Encoded attribute columns of one segment, on which predicates are evaluated.

`CellColumn` stores one byte per row: the number of the cell that contains the row's value, 0 for NULL. It may be
inexact, as a cell can cover several values. `PostingColumn` stores the rows of every distinct string; it is exact.
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
    """Description of a column, stored next to its arrays.

    Attributes
    ----------
    name, type
        The attribute.
    form : "cells" or "postings"
    rows : int
    values : int
        Number of cells without the NULL cell, or of distinct strings.
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
        The attribute, of any type but a list.
    cells : uint8 (rows,)
        0 where NULL, otherwise 1 + the position of the row's cell in ``low``.
    low, high : int64 (values,)
        Smallest and largest key that occurs in each cell; ascending and disjoint. Dictionary positions for strings and
        decimals.
    counts : int64 (values + 1,)
        Number of rows in each cell, the NULL cell first.
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
        """Return the header that `decode_column` takes."""
        return ColumnHeader(self.name, self.type, "cells", len(self.cells), len(self.low))

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that `decode_column` takes."""
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
        The distinct keys: strings, or the byte keys of decimals and list elements, which are treated as strings here as
        well.
    offsets : int64 (strings + 1,)
        The rows of string i are ``rows[offsets[i]:offsets[i + 1]]``, ascending.
    rows : uint32 (listed,)
    valid : uint64 (ceil(rows_total / 64),)
        Bit mask of the rows that are not NULL.
    null_elements : uint32 (lists,)
        Rows whose list has a NULL element; empty for strings.
    ensure : callable, optional
        For storage that fetches lazily: called with the name of an array and the starts and stops of the ranges about
        to be read from it. Called for ``rows`` and ``null_elements`` only; the other arrays are read in full.
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
        """Return the header that `decode_column` takes."""
        return ColumnHeader(self.name, self.type, "postings", self.rows_total, len(self.dictionary))

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that `decode_column` takes."""
        arrays: dict[str, Array] = {
            "offsets": self.offsets,
            "rows": self.rows,
            "valid": self.valid,
            "null_elements": self.null_elements,
        }
        return arrays | _dictionary_arrays(self.dictionary)


@dataclass(frozen=True)
class SortedColumn:
    """Integers in ascending order and their rows; built on first use, for row ids.

    Attributes
    ----------
    name, type
        The column.
    keys : int64 (rows,)
        Ascending.
    rows : uint32 (rows,)
        The row of each key.
    """

    name: str
    type: str
    keys: npt.NDArray[np.int64]
    rows: npt.NDArray[np.uint32]

    @property
    def rows_total(self) -> int:
        """Number of rows of the segment."""
        return len(self.rows)


EncodedColumn = CellColumn | PostingColumn | SortedColumn


def decode_column(
    header: ColumnHeader, arrays: Mapping[str, Array], path: str = "", ensure: Ensure | None = None
) -> CellColumn | PostingColumn:
    """Restore a column from its stored header and arrays.

    Parameters
    ----------
    header : ColumnHeader
    arrays : mapping of str to array
        As returned by `CellColumn.arrays` or `PostingColumn.arrays`; not copied. The contents of ``cells``, ``rows``
        and ``null_elements`` are not inspected here, so they may not have been fetched yet.
    path : str
        The file to name in errors.
    ensure : callable, optional
        See `PostingColumn`.

    Raises
    ------
    CorruptIndexError
        An array is missing, or its dtype, length or contents are invalid.
    """
    reader = _Reader(header, arrays, path or f"attribute {header.name}")
    return reader.cells() if header.form == "cells" else reader.postings(ensure)


def word_count(rows: int) -> int:
    """Return the number of 64-bit words of a row mask."""
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
        self.require(not isinstance(keys, ElementKeys), "lists cannot be stored as cells")
        self.require(0 <= values <= MAXIMUM_CELLS, f"{values} cells")
        cells = self.array("cells", np.uint8, rows)
        low, high = self.array("low", np.int64, values), self.array("high", np.int64, values)
        counts = self.array("counts", np.int64, values + 1)
        self.require(bool(np.all(low <= high)) and bool(np.all(high[:-1] < low[1:])), "the cells overlap")
        self.require(
            bool(np.all(counts >= 0)) and int(counts.sum()) == rows,
            "the counts of the cells do not sum to the number of rows",
        )
        dictionary = self.dictionary(values) if text else None
        if text:
            self.require(
                bool(np.all(low == np.arange(values))) and bool(np.all(low == high)), "a cell holds several strings"
            )
        return CellColumn(self.header.name, self.header.type, cells, low, high, counts, dictionary)

    def postings(self, ensure: Ensure | None) -> PostingColumn:
        header = self.header
        self.require(isinstance(self.keys(), ByteKeys | ElementKeys), f"{header.type} cannot be stored as postings")
        self.require(0 <= header.rows < 2**32 and header.values >= 0, f"{header.rows} rows")
        dictionary = self.dictionary(header.values)
        offsets = self.array("offsets", np.int64, header.values + 1)
        rows, null_elements = self.array("rows", np.uint32), self.array("null_elements", np.uint32)
        sound = offsets[0] == 0 and offsets[-1] == len(rows) and not np.any(offsets[1:] < offsets[:-1])
        self.require(bool(sound), "the offsets of the postings are out of range")
        valid = self.array("valid", np.uint64, word_count(header.rows))
        if header.rows & 63:
            self.require(int(valid[-1]) >> (header.rows & 63) == 0, "the mask has bits beyond the last row")
        return PostingColumn(
            header.name, header.type, header.rows, dictionary, offsets, rows, valid, null_elements, ensure
        )

    def keys(self) -> OrderedKeys | ByteKeys | ElementKeys:
        record = TYPES.get(self.header.type)
        if record is None:
            raise CorruptIndexError(
                self.path,
                f"attribute {self.header.name!r} has the type {self.header.type!r}, unsupported by this version",
            )
        return record.keys

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
    """Return a contiguous read-only view, the one layout that kernels are compiled for."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def _dictionary_arrays(dictionary: Dictionary | None) -> dict[str, Array]:
    if dictionary is None:
        return {}
    return {"dictionary_offsets": dictionary.offsets, "dictionary_data": dictionary.data}
