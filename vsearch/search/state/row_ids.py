"""The ids of a shard's rows as a column that predicates can ask for, sorted once, when one first does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.predicates.columns import EncodedColumn, PostingColumn, SortedColumn, frozen
from vsearch.predicates.dictionary import Dictionary
from vsearch.predicates.schema import ROW_ID, AttributeType, Schema
from vsearch.storage.snapshots.kinds import IDS

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard

_WORD = 8


def read_row_ids(shard: Shard, schema: Schema) -> EncodedColumn:
    """Read and sort the ids of a shard. O(rows log rows), and 12 bytes a row to keep, for strings their bytes besides.

    Raises
    ------
    CorruptIndexError
        The strings leave their data.
    """
    file = shard.files[IDS]
    if schema.row_id != AttributeType.STRING:
        file.ensure("id")
        ids = np.asarray(file.array("id"), np.int64)
        order = np.argsort(ids, kind="stable")
        return SortedColumn(ROW_ID, AttributeType.INT64, frozen(ids[order]), frozen(order.astype(np.uint32)))
    file.ensure_arrays([("id.offsets", None, None), ("id.data", None, None)])
    offsets = np.asarray(file.array("id.offsets"), np.int64) if shard.rows else np.zeros(1, np.int64)
    data: NDArray[np.uint8] = file.array("id.data")
    if len(offsets) != shard.rows + 1 or offsets[0] != 0 or offsets[-1] > len(data) or (np.diff(offsets) < 0).any():
        raise CorruptIndexError(file.path, "the offsets of the ids leave their text; restore the file")
    order = sort_texts(offsets, data)
    lengths = np.diff(offsets)[order]
    ends = np.cumsum(lengths)
    places = np.repeat(offsets[order] - ends + lengths, lengths) + np.arange(int(ends[-1]) if len(ends) else 0)
    dictionary = Dictionary(frozen(np.concatenate(([0], ends)).astype(np.int64)), frozen(data[places]))
    valid = np.zeros(-(-shard.rows // 64) * 8, np.uint8)
    valid[: -(-shard.rows // 8)] = np.packbits(np.ones(shard.rows, np.bool_), bitorder="little")
    return PostingColumn(
        ROW_ID,
        AttributeType.STRING,
        shard.rows,
        dictionary,
        frozen(np.arange(shard.rows + 1, dtype=np.int64)),
        frozen(order.astype(np.uint32)),
        frozen(valid.view("<u8")),
        frozen(np.empty(0, np.uint32)),
    )


def sort_texts(offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The order of texts by their bytes, without one object per text: eight bytes at a time, of those that are still alike.

    Parameters
    ----------
    offsets : int64 (texts + 1,)
    data : uint8 (bytes,)
        Text i is ``data[offsets[i]:offsets[i + 1]]``.

    Returns
    -------
    int64 (texts,)
    """
    count = len(offsets) - 1
    starts, lengths = offsets[:-1], np.diff(offsets)
    padded = np.concatenate((data, np.zeros(_WORD, np.uint8)))
    order = np.arange(count, dtype=np.int64)
    group = np.zeros(count, np.int64)  # of each place in the order; alike so far where equal
    open_places = order.copy()
    at = 0
    while len(open_places):
        texts = order[open_places]
        keys: list[Any] = [_words(padded, starts[texts], lengths[texts], at), group[open_places]]
        # a text that ends is less than one that goes on with zeros
        ends = np.minimum(np.maximum(lengths[texts] - at, 0), _WORD + 1)
        by = np.lexsort((ends, *keys))
        order[open_places] = texts[by]
        words, groups, ends = keys[0][by], group[open_places], ends[by]
        fresh = np.ones(len(by), np.bool_)
        fresh[1:] = (words[1:] != words[:-1]) | (groups[1:] != groups[:-1]) | (ends[1:] != ends[:-1])
        group[open_places] = open_places[np.maximum.accumulate(np.where(fresh, np.arange(len(by)), 0))]
        alone = fresh & np.append(fresh[1:], True)
        open_places = open_places[~alone & (ends > _WORD)]
        at += _WORD
    return order


def _words(
    padded: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], at: int
) -> NDArray[np.uint64]:
    """Eight bytes of each text from `at` on as a number that orders as they do, zeros behind its end."""
    words = np.zeros(len(starts), np.uint64)
    for place in range(at, at + _WORD):
        inside = place < lengths
        byte = np.where(inside, padded[np.where(inside, starts + place, 0)], 0)
        words = (words << np.uint64(8)) | byte.astype(np.uint64)
    return words
