"""The ids of a shard's rows as a column for predicates, sorted on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.predicates.columns import EncodedColumn, PostingColumn, SortedColumn, frozen
from vsearch.predicates.dictionary import Dictionary
from vsearch.predicates.schema import ROW_ID, AttributeType, Schema
from vsearch.predicates.text_order import sort_texts
from vsearch.storage.snapshots.kinds import IDS

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard


def read_row_ids(shard: Shard, schema: Schema) -> EncodedColumn:
    """Read and sort the ids of a shard. O(rows log rows); keeps 12 bytes per row, plus the bytes of strings.

    Raises
    ------
    CorruptIndexError
        The offsets of strings are invalid.
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
        raise CorruptIndexError(file.path, "the offsets of its ids are invalid; restore the file")
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
