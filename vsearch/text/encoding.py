"""Make the postings of the texts of a segment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.kernels.text.api import measure_blocks, pack_blocks, pack_positions
from vsearch.kernels.text.fields import BLOCK
from vsearch.text.analyzer import Analyzer
from vsearch.text.occurrences import Occurrences, occurrences
from vsearch.text.postings import ARRAYS, BLOCKS, SPARE, Postings
from vsearch.text.tokens import TokenAnalyzer, token_occurrences

MOST = 2**32 - 64
"""Maximum number of bytes of the dictionary, of the packed blocks, and of the positions of a segment."""


def make_postings(
    texts: Iterable[Any], rows: int, analyzer: Analyzer | TokenAnalyzer, *, phrases: bool = False
) -> Postings:
    """Make the postings of the texts of a segment; `texts` has a string, a list of tokens, or None per row.

    Parameters
    ----------
    phrases : bool
        Whether to keep the positions of words.

    Raises
    ------
    InputError
        The texts are too large for one segment.
    """
    return encode_occurrences(read_occurrences(texts, analyzer, phrases=phrases), rows, phrases=phrases)


def read_occurrences(texts: Iterable[Any], analyzer: Analyzer | TokenAnalyzer, *, phrases: bool) -> Occurrences:
    """Return the terms of texts, or of lists of tokens, with their positions if there are `phrases`."""
    if isinstance(analyzer, Analyzer):
        return occurrences(texts, analyzer, positions=phrases)
    return token_occurrences(texts)


def encode_occurrences(occurring: Occurrences, rows: int, *, phrases: bool) -> Postings:
    """Make the postings of the terms of `rows` texts; each of them occurs.

    Raises
    ------
    InputError
        The texts are too large for one segment.
    """
    spelled = [term.encode() for term in occurring.terms]
    order = sorted(range(len(spelled)), key=spelled.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    lengths = np.bincount(occurring.rows, minlength=rows).astype(np.uint32)
    keys = rank[occurring.numbers] * rows + occurring.rows
    if phrases:
        by_key = np.argsort(keys, kind="stable")  # the positions of a term in a row ascend, and stay in order
        keys, positions = keys[by_key], occurring.positions[by_key]
    else:
        keys.sort()
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(first, append=len(keys)).astype(np.uint32)
    postings = encode_lists([spelled[number] for number in order], keys[first], counts, lengths)
    if not phrases:
        return postings
    offsets, blocks = np.concatenate([[0], np.cumsum(postings.list_rows[:-1], dtype=np.int64)]), postings.list_blocks
    firsts = np.repeat(offsets[:-1] - BLOCK * blocks[:-1], np.diff(blocks)) + BLOCK * np.arange(blocks[-1])
    position_starts, bits, packed_positions = _pack_positions(positions, first, first[firsts], rows)
    return replace(postings, position_starts=position_starts, position_bits=bits, positions=packed_positions)


def encode_lists(
    spelled: Sequence[bytes], keys: NDArray[np.int64], counts: NDArray[np.uint32], lengths: NDArray[np.uint32]
) -> Postings:
    """Make postings without positions.

    Parameters
    ----------
    spelled : sequence of bytes
        Distinct terms as UTF-8, sorted; each occurs in at least one row.
    keys : int64 (postings,)
        ``term number * rows + row``, ascending and distinct.
    counts : uint32 (postings,)
        How often the row has the term, from 1.
    lengths : uint32 (rows,)

    Raises
    ------
    InputError
        They are too large for one segment.
    """
    rows = len(lengths)
    terms, list_rows_of = np.divmod(keys, max(rows, 1))
    list_rows = np.bincount(terms, minlength=len(spelled)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(list_rows)])
    text = b"".join(spelled)
    ends = np.concatenate([[0], np.cumsum([len(term) for term in spelled], dtype=np.int64)])
    blocks = np.concatenate([[0], np.cumsum(-(-list_rows // BLOCK))])
    table = {name: np.zeros(int(blocks[-1]) + 1, kind) for name, kind in ARRAYS[BLOCKS].items() if name != "start"}
    starts = np.zeros(int(blocks[-1]) + 1, np.int64)
    parts = table["row"], starts, table["gap_bits"], table["count_bits"], table["largest_count"], table["least_length"]
    posted = list_rows_of.astype(np.uint32)
    size = int(measure_blocks(offsets, posted, counts, lengths, *parts))
    if max(size, len(text)) > MOST:
        raise InputError(f"the texts of {rows} rows are too large for one shard: build with more shards")
    starts[-1] = size
    packed = np.zeros(-(-size // 4) + SPARE, np.uint32)
    pack_blocks(offsets, posted, counts, starts, table["gap_bits"], table["count_bits"], packed)
    return Postings(
        ends.astype(np.uint32),
        np.append(list_rows, 0).astype(np.uint32),
        np.frombuffer(text + b"\0", np.uint8),
        table["row"],
        starts.astype(np.uint32),
        table["gap_bits"],
        table["count_bits"],
        table["largest_count"],
        table["least_length"],
        packed,
        lengths,
        blocks,
    )


def _pack_positions(
    positions: NDArray[np.int64], first: NDArray[np.int64], blocks: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint32]]:
    """Pack positions in the order of terms and rows.

    Parameters
    ----------
    first, blocks : int64 (postings,), int64 (blocks,)
        First occurrence of each posting and of each block.

    Returns
    -------
    starts, bits, packed
        See `Postings`.
    """
    gaps = np.diff(positions, prepend=0)
    gaps[first] = positions[first]
    edges = np.append(blocks, len(positions))
    bits = np.zeros(len(edges), np.uint8)
    if len(blocks):
        bits[:-1] = np.frexp(np.maximum.reduceat(gaps, blocks).astype(np.float64))[1]
    starts = np.zeros(len(edges), np.int64)
    np.cumsum((np.diff(edges) * bits[:-1] + 7) >> 3, out=starts[1:])
    if starts[-1] > MOST:
        raise InputError(f"the texts of {rows} rows are too large for one shard: build with more shards")
    packed = np.zeros(-(-int(starts[-1]) // 4) + SPARE, np.uint32)
    pack_positions(edges, gaps.astype(np.uint32), starts, bits, packed)
    return starts.astype(np.uint32), bits, packed
