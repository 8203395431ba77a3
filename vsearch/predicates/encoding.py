"""Encode Arrow columns when an index is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vsearch.errors import InputError
from vsearch.predicates.columns import MAXIMUM_CELLS, CellColumn, PostingColumn, frozen, word_count
from vsearch.predicates.dictionary import Dictionary
from vsearch.predicates.types.arrays import ordered_keys
from vsearch.predicates.types.record import ByteKeys, ElementKeys
from vsearch.predicates.types.table import find_type

if TYPE_CHECKING:
    import pyarrow as pa

# At most this many cells go to single frequent values; each may split a run of rare values, which takes one more cell.
_HEAVY_CELLS = 100


def encode_column(name: str, type: str, array: pa.Array | pa.ChunkedArray) -> CellColumn | PostingColumn:
    """Encode one attribute column of one segment.

    Parameters
    ----------
    name : str
    type : str
        The result of `vsearch.predicates.types.table.attribute_type` for the array's type.
    array : Arrow array (rows,)

    Returns
    -------
    CellColumn or PostingColumn
        Postings for lists, and for strings and decimals with more than 255 distinct values; otherwise cells.

    Raises
    ------
    InputError
        The array has 2**32 rows or more.
    """
    import pyarrow as pa

    keys = find_type(type).keys
    if len(array) >= 2**32:
        raise InputError(f"the attribute column {name!r} has {len(array)} rows; a shard must have fewer than 2**32")
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if isinstance(keys, ByteKeys):
        return encode_texts(name, type, *_dictionary_encode(keys.from_arrow(array)))
    if isinstance(keys, ElementKeys):
        return _encode_lists(name, type, keys, array)
    return encode_keys(name, type, *ordered_keys(keys, array))


def encode_keys(
    name: str, kind: str, keys: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_]
) -> CellColumn | PostingColumn:
    """Encode keys as cells; ``valid`` marks the rows that are not NULL."""
    low, high = _boundaries(keys[valid])
    cells = (np.searchsorted(high, keys) + 1).astype(np.uint8)
    cells[~valid] = 0
    return _cell_column(name, kind, cells, low, high, None)


def _boundaries(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first and last key of each cell, at most 255.

    If there are more distinct values than cells, the most frequent values get one cell each and the others are divided
    into cells of about equal numbers of rows.
    """
    ordered = np.sort(keys)
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1) != 0) if len(ordered) else np.empty(0, np.int64)
    values = ordered[first]
    if len(values) <= MAXIMUM_CELLS:
        return values, values
    counts = np.diff(first, append=len(ordered))
    heaviest = np.argpartition(counts, -_HEAVY_CELLS)[-_HEAVY_CELLS:]
    heavy = np.zeros(len(values), np.bool_)
    heavy[heaviest] = counts[heaviest] * MAXIMUM_CELLS > len(ordered)
    gap = np.cumsum(heavy)
    light = np.where(heavy, 0, counts)
    # A cell that straddles a heavy value is split; the number of shares leaves room for one split per heavy value.
    shares = MAXIMUM_CELLS - 2 * int(gap[-1]) - 1
    share = (np.cumsum(light) - light) * shares // max(int(light.sum()), 1)
    starts = np.ones(len(values), np.bool_)
    starts[1:] = heavy[1:] | heavy[:-1] | (gap[1:] != gap[:-1]) | (share[1:] != share[:-1])
    begin = np.flatnonzero(starts)
    return values[begin], values[np.append(begin[1:], len(values)) - 1]


def _cell_column(
    name: str,
    kind: str,
    cells: npt.NDArray[np.uint8],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    dictionary: Dictionary | None,
) -> CellColumn:
    counts = np.bincount(cells, minlength=len(low) + 1).astype(np.int64)
    return CellColumn(name, kind, frozen(cells), frozen(low), frozen(high), frozen(counts), dictionary)


def encode_texts(
    name: str, kind: str, dictionary: Dictionary, positions: npt.NDArray[np.int64], valid: npt.NDArray[np.bool_]
) -> CellColumn | PostingColumn:
    """Encode a column of strings, given by their dictionary positions, as cells, or as postings if there are too many."""
    if len(dictionary) > MAXIMUM_CELLS:
        rows = np.flatnonzero(valid).astype(np.uint32)
        return encode_postings(name, kind, valid, dictionary, positions[valid], rows, np.empty(0, np.uint32))
    cells = (positions + 1).astype(np.uint8)
    cells[~valid] = 0
    keys = np.arange(len(dictionary), dtype=np.int64)
    return _cell_column(name, kind, cells, keys, keys, dictionary)


def _encode_lists(name: str, kind: str, keys: ElementKeys, array: Any) -> PostingColumn:
    import pyarrow as pa
    import pyarrow.compute as pc

    valid = array.is_valid().to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(array), dtype=np.uint32), lengths)
    elements = pc.list_flatten(array)
    if isinstance(elements, pa.ChunkedArray):
        elements = elements.combine_chunks()
    dictionary, positions, present = _dictionary_encode(keys.from_arrow(elements))
    null_elements = np.unique(rows[~present])
    return encode_postings(name, kind, valid, dictionary, positions[present], rows[present], null_elements)


def encode_postings(
    name: str,
    kind: str,
    valid: npt.NDArray[np.bool_],
    dictionary: Dictionary,
    positions: npt.NDArray[np.int64],
    rows: npt.NDArray[np.uint32],
    null_elements: npt.NDArray[np.uint32],
) -> PostingColumn:
    """Group ascending rows by the position of their string; a string repeated within a list counts once."""
    order = np.argsort(positions, kind="stable")
    positions, rows = positions[order], rows[order]
    fresh = np.ones(len(rows), np.bool_)
    fresh[1:] = (rows[1:] != rows[:-1]) | (positions[1:] != positions[:-1])
    offsets = np.zeros(len(dictionary) + 1, np.int64)
    np.cumsum(np.bincount(positions[fresh], minlength=len(dictionary)), out=offsets[1:])
    words = np.zeros(word_count(len(valid)) * 8, np.uint8)
    words[: (len(valid) + 7) // 8] = np.packbits(valid, bitorder="little")
    return PostingColumn(
        name,
        kind,
        len(valid),
        dictionary,
        frozen(offsets),
        frozen(rows[fresh]),
        frozen(words.view("<u8")),
        frozen(null_elements),
    )


def _dictionary_encode(array: Any) -> tuple[Dictionary, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the distinct strings in byte order, the position of each row's string (0 where NULL) and the validity."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        # The dictionary of a caller's array may contain duplicates or NULLs.
        array = array.dictionary_decode()
    encoded = array.cast(pa.large_binary()).dictionary_encode()
    valid = encoded.indices.is_valid().to_numpy(zero_copy_only=False)
    order = pc.sort_indices(encoded.dictionary)
    texts = encoded.dictionary.take(order)
    rank = np.empty(len(texts), np.int64)
    rank[order.to_numpy(zero_copy_only=False)] = np.arange(len(texts), dtype=np.int64)
    indices = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
    positions = rank[indices] if len(texts) else np.zeros(len(valid), np.int64)
    return _to_dictionary(texts), positions, valid


def _to_dictionary(texts: Any) -> Dictionary:
    """Copy the buffers of a large_binary array."""
    if len(texts) == 0:
        return Dictionary(frozen(np.zeros(1, np.int64)), frozen(np.empty(0, np.uint8)))
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
    return Dictionary(frozen(offsets - offsets[0]), frozen(data[offsets[0] : offsets[-1]].copy()))
