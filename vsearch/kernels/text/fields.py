"""The argument blocks of the text kernels: int64 fields that Python packs and kernels read by name."""

from __future__ import annotations

from enum import IntEnum

BLOCK = 128
"""Postings per block; the last block of a list may have fewer."""

WINDOW = 2048
"""Rows whose scores are summed together."""

TOUCHED_WORDS = WINDOW // 64
"""uint64 words of a bitmap with one bit for each of them."""

LARGEST = 65535
"""Largest length and count in block tables; larger counts are stored as this, which stands for any count."""


class TextField(IntEnum):
    """The postings of one text column of a run: sizes and array addresses. Without positions, the last fields are 0."""

    ROWS = 0
    BLOCKS = 1
    WORDS = 2
    FIRST_ROWS = 3
    STARTS = 4
    GAP_BITS = 5
    COUNT_BITS = 6
    LARGEST_COUNTS = 7
    LEAST_LENGTHS = 8
    PACKED = 9
    LENGTHS = 10
    POSITION_STARTS = 11
    POSITION_BITS = 12
    POSITION_WORDS = 13
    POSITIONS = 14


class ListField(IntEnum):
    """Columns of the table of lists that a query scans."""

    COLUMN = 0
    FIRST_BLOCK = 1
    STOP_BLOCK = 2
    POSTINGS = 3


class CursorField(IntEnum):
    """Columns of the table of places in these lists: a block, the block that is unpacked, and the next posting in it.

    If only the rows of block b are unpacked, and not yet what they gain, the second is ``-2 - b``; -1 for none.
    """

    BLOCK = 0
    UNPACKED = 1
    PLACE = 2


class RankField(IntEnum):
    """One query on one run, for `ranking.rank_rows` and `rescoring.score_rows`."""

    COLUMNS = 0  # number of text columns
    ADDRESSES = 1  # int64 (COLUMNS,): blocks of TextField
    NORMS = 2  # float64 (COLUMNS, 2): a posting gains weight * count / (count + norms[c, 0] + norms[c, 1] * length)
    LISTS = 3  # number of lists
    TABLE = 4  # int64 (LISTS, 4), see ListField; best with descending weights
    WEIGHTS = 5  # float64 (LISTS,): what a posting gains at most
    BITMAPS = 6  # number of bitmaps
    WORDS = 7  # ceil(rows / 64)
    BITS = 8  # uint64 (BITMAPS, WORDS)
    CONSTANTS = 9  # int64 (BITMAPS,): what the rows of each bitmap gain
    MASK = 10  # uint64 (WORDS,): rows that may be returned; 0 for all
    CURSORS = 11  # int64 (LISTS, 3), see CursorField; scratch that is kept between the spans of a run
    BOUNDS = 12  # int64 (LISTS,), scratch
    BLOCK_ROWS = 13  # int64 (LISTS, 128), scratch, kept like CURSORS
    BLOCK_GAINS = 14  # int64 (LISTS, 128), likewise
    SUMS = 15  # int64 (2048,), initially 0
    CANDIDATES = 16  # int64 (2049,), scratch
    K = 17
    HEAP_SCORES = 18  # int64 (K,), the root is the worst
    HEAP_ROWS = 19  # int64 (K,)
    FIRST = 20  # first row of the span, a multiple of 64; at 0 the cursors are set
    STOP = 21  # end of the span
    BASE = 22  # what is added to rows in the heap and in LISTED_ROWS
    SIZE = 23  # of the heap, updated
    SCORED = 24  # number of postings scored, updated
    EXTRAS = 25  # number of further lists, unpacked: of phrases
    EXTRA_EDGES = 26  # int64 (EXTRAS,): first entry of each; it ends where the next begins
    EXTRA_POSTINGS = 27  # of all of them
    EXTRA_ROWS = 28  # int64 (EXTRA_POSTINGS,), ascending in each list
    EXTRA_GAINS = 29  # int64 (EXTRA_POSTINGS,)
    EXTRA_PLACES = 30  # int64 (EXTRAS,), kept like CURSORS
    LISTED = 31  # number of rows to score
    LISTED_ROWS = 32  # int64 (LISTED,), ascending, of the run, with BASE
    LISTED_SCORES = 33  # int64 (LISTED,), output
    DAMAGED = 34  # set to 1 if a list has rows that the run does not have; then the heap is invalid
    TOUCHED = 35  # uint64 (32,), initially 0
    OVERLAPS = 36  # int64 (LISTS,), scratch
    BEST_SCORES = 37  # float32 (K,), only for `runs.rank_runs`: output, the scores divided by their scale, then NaN
    BLOCK_LENGTHS = 38  # int64 (128,), scratch
    APPENDED = 39  # number of the rows of a window in CANDIDATES, scratch


class RunColumn(IntEnum):
    """Columns of the table of the runs that a query of terms searches."""

    ROWS = 0
    FIRST_ROW = 1
    ADDRESSES = 2  # address of int64 (columns,): the TextField blocks of its postings
    MASK = 3  # address of the mask of its live rows; 0 for all rows
    IDS = 4  # address of the ids of its rows, if IDS of TermsField is set
    ID_BYTES = 5  # 4: uint32, 8: int64


class TermColumn(IntEnum):
    """First columns of the table of terms; three more for each run: first block, block after the last, postings (0 for none)."""

    WEIGHT = 0  # float64: what a posting gains at most, not scaled
    COLUMN = 1


class TermsField(IntEnum):
    """One query of terms on all runs, for `runs.rank_runs` and `runs.score_runs`."""

    RANK = 0  # address of a block of RankField, whose fields of lists, runs and listed rows these kernels set
    RUNS = 1
    RUN_TABLE = 2  # int64 (RUNS, 6), see RunColumn
    TERMS = 3
    WIDTH = 4  # 2 + 3 * RUNS
    TABLE = 5  # int64 (TERMS, WIDTH), see TermColumn
    WEIGHTS = 6  # float64 (TERMS, WIDTH), the same table
    MASKS = 7  # int64 (RUNS,): addresses of the masks of the rows that may be returned; 0 for those of RUN_TABLE
    ORDER = 8  # int64 (TERMS,), scratch
    LARGEST = 9  # float64 (1,): largest sum of scaled weights
    SCALES = 10  # float64 (1,), output: what weights are multiplied by, a power of two
    ORDERED = 11  # whether to put the rows in order, best first
    DAMAGED = 12  # output: number of a run with damaged postings, from 1; 0 for none
    LISTED = 13  # number of rows to score
    LISTED_ROWS = 14  # int64 (LISTED,), ascending, over all runs
    SUMS = 15  # int64 (LISTED,), scratch
    SCORES = 16  # float32 (LISTED,), output
    ID_COUNT = 17  # as K of RANK
    IDS = 18  # int64 (ID_COUNT,), output: ids of the best rows, then -1; 0 if they are not needed
