"""Encode columns in plain buffers without an Arrow library, with the same result as `encoding.encode_column`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.predicates.columns import CellColumn, PostingColumn, frozen
from vsearch.predicates.dictionary import Dictionary
from vsearch.predicates.encoding import encode_keys, encode_postings, encode_texts
from vsearch.predicates.keys import keys_from_values
from vsearch.predicates.text_order import sort_texts
from vsearch.predicates.types.record import ByteKeys, ElementKeys, OrderedKeys
from vsearch.predicates.types.table import find_type
from vsearch.storage.files.column_types import column_type
from vsearch.storage.files.plain_columns import Column, gather

_WORD = 8
_DECIMAL = 16


def encode_plain(name: str, kind: str, column: Column) -> CellColumn | PostingColumn:
    """Encode one attribute column of one segment.

    Parameters
    ----------
    name : str
    kind : str
        An attribute type.
    column : Column
    """
    keys = find_type(kind).keys
    valid = _valid(column)
    if isinstance(keys, OrderedKeys):
        return encode_keys(name, kind, keys.from_values(_numbers(column)), valid)
    if isinstance(keys, ByteKeys):
        dictionary, positions = _distinct(*_texts(column), valid)
        return encode_texts(name, kind, dictionary, positions, valid)
    return _encode_lists(name, kind, keys, column, valid)


def plain_keys(kind: str, column: Column) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The int64 keys of a column, and its validity.

    Raises
    ------
    ValueError
        The type has no int64 keys.
    """
    return keys_from_values(kind, _numbers(column)), _valid(column)


def _encode_lists(name: str, kind: str, keys: ElementKeys, column: Column, valid: NDArray[np.bool_]) -> PostingColumn:
    items = column.items
    if items is None or column.offsets is None:
        raise ValueError(f"the column {name!r} holds no lists")
    offsets = np.frombuffer(column.offsets, np.int64)
    lengths: NDArray[np.int64] = offsets[1:] - offsets[:-1]
    rows = np.repeat(np.arange(column.rows, dtype=np.uint32), lengths)
    if not valid.all():  # items of a NULL list are not elements
        places = np.flatnonzero(valid[rows])
        rows, items = rows[places], gather(items, places)
    present = _valid(items)
    if isinstance(keys.item.keys, OrderedKeys):
        unsigned = (keys.item.keys.from_values(_numbers(items)).view(np.uint64) ^ np.uint64(2**63)).astype(">u8")
        texts = np.arange(len(unsigned) + 1) * _WORD, unsigned.view(np.uint8)
    else:
        texts = _texts(items)
    dictionary, positions = _distinct(*texts, present)
    null_elements = np.unique(rows[~present])
    return encode_postings(name, kind, valid, dictionary, positions[present], rows[present], null_elements)


def _valid(column: Column) -> NDArray[np.bool_]:
    if column.valid is None:
        return np.ones(column.rows, np.bool_)
    return np.frombuffer(column.valid, np.uint8) != 0


def _numbers(column: Column) -> NDArray[Any]:
    kind = column_type(column.type)
    if kind is None or kind.layout not in ("fixed", "bits"):
        raise ValueError(f"a column of the type {column.type!r} holds no numbers")
    return np.frombuffer(column.values, kind.dtype)


def _texts(column: Column) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets and bytes of the keys of strings or decimals."""
    data = np.frombuffer(column.values, np.uint8)
    if column.offsets is not None:
        return np.frombuffer(column.offsets, np.int64), data
    flipped = data.reshape(-1, _DECIMAL)[:, ::-1].copy()
    flipped[:, 0] ^= 0x80
    return np.arange(column.rows + 1) * _DECIMAL, flipped.reshape(-1)


def _distinct(
    offsets: NDArray[np.int64], data: NDArray[np.uint8], valid: NDArray[np.bool_]
) -> tuple[Dictionary, NDArray[np.int64]]:
    """Distinct texts in byte order, and for each row the position of its text, 0 if it is NULL."""
    positions = np.zeros(len(valid), np.int64)
    rows = np.flatnonzero(valid)
    if not len(rows):
        return Dictionary(frozen(np.zeros(1, np.int64)), frozen(np.empty(0, np.uint8))), positions
    starts, lengths = offsets[:-1][rows], np.diff(offsets)[rows]
    edges, texts = _gather(starts, lengths, data)
    order = sort_texts(edges, texts)
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = ~_equal(edges[:-1][order], lengths[order], texts)
    positions[rows[order]] = np.cumsum(fresh) - 1
    first = order[fresh]
    distinct, values = _gather(edges[:-1][first], lengths[first], texts)
    return Dictionary(frozen(distinct), frozen(values)), positions


def _gather(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], data: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Concatenate a selection of texts: return their offsets and bytes."""
    edges = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return edges, data[np.repeat(starts - edges[:-1], lengths) + np.arange(int(edges[-1]))]


def _equal(starts: NDArray[np.int64], lengths: NDArray[np.int64], data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each text, except the first, equals the one before it."""
    equal = lengths[1:] == lengths[:-1]
    pairs = np.flatnonzero(equal)
    left, right, next_lengths = starts[:-1][pairs], starts[1:][pairs], lengths[1:][pairs]
    ends = np.cumsum(next_lengths)
    offsets = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - next_lengths, next_lengths)
    differs = data[np.repeat(left, next_lengths) + offsets] != data[np.repeat(right, next_lengths) + offsets]
    equal[pairs[np.repeat(np.arange(len(pairs)), next_lengths)[differs]]] = False
    return equal
