"""The postings of one text column of a segment: a sorted dictionary, and a list of rows for each of its terms."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError, InputError
from vsearch.kernels.text.api import count_list, mark_list, measure_blocks, pack_blocks, unpack_list
from vsearch.kernels.text.fields import BLOCK, TextField
from vsearch.search.state.arguments import KernelArguments
from vsearch.text.analyzer import occurrences

if TYPE_CHECKING:
    from vsearch.storage import SegmentFile
    from vsearch.text.analyzer import Analyzer

TERMS, DICTIONARY, BLOCKS, PACKED, LENGTHS = "terms", "dictionary", "blocks", "packed", "lengths"

ARRAYS: dict[str, dict[str, Any]] = {
    TERMS: {"offset": np.uint32, "rows": np.uint32},
    DICTIONARY: {"text": np.uint8},
    BLOCKS: {
        "row": np.uint32,
        "start": np.uint32,
        "gap_bits": np.uint8,
        "count_bits": np.uint8,
        "largest_count": np.uint16,
        "least_length": np.uint16,
    },
    PACKED: {"word": np.uint32},
    LENGTHS: {"length": np.uint32},
}
"""The arrays of the postings of a column by file; those of a file have the same length."""

WHOLE = (TERMS, DICTIONARY, BLOCKS, LENGTHS)
"""Files that are read completely."""

SPARE = 2
"""Words after the bits of the last block, since kernels read two words for every number."""

WIDEST = 32
"""Bits of a number in a block."""

MOST = 2**32 - 64
"""Bytes of the dictionary and of the packed blocks of a segment."""


@dataclass(frozen=True, eq=False)
class Postings:
    """The postings of one text column of a segment. Arrays are validated and loaded, except `packed`.

    Attributes
    ----------
    offsets : uint32 (terms + 1,)
        Term t is ``dictionary[offsets[t]:offsets[t + 1]]`` as UTF-8; terms are sorted by bytes.
    list_rows : uint32 (terms + 1,)
        Number of postings of the list of each term; 0 at the end.
    dictionary : uint8 (bytes,)
    first_rows, starts, gap_bits, count_bits, largest_counts, least_lengths : (blocks + 1,)
        The block table, and an entry for the end of the last block.
    packed : uint32 (words,)
        The bits of the blocks, loaded by `ensure`.
    list_blocks : int64 (terms + 1,)
        The list of term t has the blocks ``list_blocks[t]:list_blocks[t + 1]``.
    lengths : uint32 (rows,)
        Number of terms of each row.
    file : SegmentFile or None
        Where the bits of the blocks are stored.
    """

    offsets: NDArray[np.uint32]
    list_rows: NDArray[np.uint32]
    dictionary: NDArray[np.uint8]
    first_rows: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    gap_bits: NDArray[np.uint8]
    count_bits: NDArray[np.uint8]
    largest_counts: NDArray[np.uint16]
    least_lengths: NDArray[np.uint16]
    packed: NDArray[np.uint32]
    lengths: NDArray[np.uint32]
    list_blocks: NDArray[np.int64]
    file: SegmentFile | None = None
    arguments: KernelArguments = field(init=False)
    _spelling: tuple[memoryview, memoryview] = field(init=False)  # faster than arrays for single terms

    def __post_init__(self) -> None:
        arguments = KernelArguments(len(TextField))
        arguments.values[TextField.ROWS] = len(self.lengths)
        arguments.values[TextField.BLOCKS] = len(self.first_rows)
        arguments.values[TextField.WORDS] = len(self.packed)
        arguments.point(TextField.FIRST_ROWS, self.first_rows, np.uint32)
        arguments.point(TextField.STARTS, self.starts, np.uint32)
        arguments.point(TextField.GAP_BITS, self.gap_bits, np.uint8)
        arguments.point(TextField.COUNT_BITS, self.count_bits, np.uint8)
        arguments.point(TextField.LARGEST_COUNTS, self.largest_counts, np.uint16)
        arguments.point(TextField.LEAST_LENGTHS, self.least_lengths, np.uint16)
        arguments.point(TextField.PACKED, self.packed, np.uint32)
        arguments.point(TextField.LENGTHS, self.lengths, np.uint32)
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "_spelling", (self.dictionary.data, self.offsets.data.cast("B").cast("I")))

    @property
    def terms(self) -> int:
        """Number of terms."""
        return len(self.list_blocks) - 1

    @property
    def address(self) -> int:
        """Address of the column, for kernels."""
        return self.arguments.address

    @property
    def size(self) -> int:
        """Number of bytes of all arrays."""
        return sum(array.nbytes for arrays in self.arrays().values() for array in arrays.values())

    def term(self, number: int) -> bytes:
        """Return a term of the dictionary as UTF-8."""
        dictionary, offsets = self._spelling
        return bytes(dictionary[offsets[number] : offsets[number + 1]])

    def find(self, term: bytes) -> int:
        """Return the number of a term; -1 if no row has it."""
        number = self._first_from(term)
        return number if number < self.terms and self.term(number) == term else -1

    def beginning_with(self, prefix: bytes) -> range:
        """Return the numbers of the terms that begin with a prefix of whole characters."""
        return range(self._first_from(prefix), self._first_from(prefix + b"\xff"))  # a byte that UTF-8 never contains

    def _first_from(self, term: bytes) -> int:
        return bisect_left(range(self.terms), term, key=self.term)

    def part(self, first: int, stop: int) -> tuple[SegmentFile, str, int, int] | None:
        """Return where the bits of a range of blocks are stored, for `ensure_together`; None if they are present."""
        if self.file is None:
            return None
        words = int(self.starts[first]) // 4, min(int(self.starts[stop]) // 4 + 1 + SPARE, len(self.packed))
        return None if self.file.has("word", *words) else (self.file, "word", *words)

    def ensure(self, first: int, stop: int) -> None:
        """Make the bits of a range of blocks present."""
        part = self.part(first, stop)
        if part is not None:
            part[0].ensure(*part[1:])

    def list(self, number: int) -> tuple[int, int, int]:
        """Return the first block of a list, the block after its last, and its number of postings."""
        return int(self.list_blocks[number]), int(self.list_blocks[number + 1]), int(self.list_rows[number])

    def unpack(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of a list and the counts, int64 (postings,)."""
        first, stop, postings = self.list(number)
        self.ensure(first, stop)
        rows, counts = np.empty(postings, np.int64), np.empty(postings, np.int64)
        if not unpack_list(self.address, first, stop, postings, rows, counts):
            raise self.damaged()
        return rows, counts

    def mark(self, numbers: range, words: NDArray[np.uint64]) -> None:
        """Set the bits of the rows of consecutive lists in a mask, uint64 (ceil(rows / 64),)."""
        if not numbers:
            return
        blocks = self.list_blocks[numbers.start : numbers.stop + 1].tolist()
        self.ensure(blocks[0], blocks[-1])
        scratch, address = np.empty(BLOCK, np.int64), self.address
        sizes = self.list_rows[numbers.start : numbers.stop].tolist()
        for first, stop, postings in zip(blocks, blocks[1:], sizes, strict=False):
            if not mark_list(address, first, stop, postings, scratch, words):
                raise self.damaged()

    def count(self, number: int, live: NDArray[np.uint64] | None) -> int:
        """Return the number of rows of a list that are in a mask, or of all if it is None."""
        first, stop, postings = self.list(number)
        if live is None:
            return postings
        self.ensure(first, stop)
        count = int(count_list(self.address, first, stop, postings, np.empty(BLOCK, np.int64), live))
        if count < 0:
            raise self.damaged()
        return count

    def damaged(self) -> CorruptIndexError:
        """Return the error of lists with rows that do not exist."""
        path = "" if self.file is None else self.file.path
        return CorruptIndexError(path, "postings of words name rows that do not exist; restore the file")

    def arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the arrays to store, by file."""
        return {
            TERMS: {"offset": self.offsets, "rows": self.list_rows},
            DICTIONARY: {"text": self.dictionary},
            BLOCKS: {
                "row": self.first_rows,
                "start": self.starts,
                "gap_bits": self.gap_bits,
                "count_bits": self.count_bits,
                "largest_count": self.largest_counts,
                "least_length": self.least_lengths,
            },
            PACKED: {"word": self.packed},
            LENGTHS: {"length": self.lengths},
        }


def make_postings(texts: Iterable[str | None], rows: int, analyzer: Analyzer) -> Postings:
    """Make the postings of the texts of a segment; `texts` has one per row.

    Raises
    ------
    InputError
        The texts are too large for one segment.
    """
    occurring = occurrences(texts, analyzer)
    spelled = [term.encode() for term in occurring.terms]
    order = sorted(range(len(spelled)), key=spelled.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    lengths = np.bincount(occurring.rows, minlength=rows).astype(np.uint32)
    keys = rank[occurring.numbers] * rows + occurring.rows
    keys.sort()
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(first, append=len(keys)).astype(np.uint32)
    terms, list_rows_of = np.divmod(keys[first], max(rows, 1))
    list_rows = np.bincount(terms, minlength=len(order)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(list_rows)])
    text = b"".join(spelled[number] for number in order)
    ends = np.concatenate([[0], np.cumsum([len(spelled[number]) for number in order], dtype=np.int64)])
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


def open_postings(files: Mapping[str, SegmentFile], rows: int) -> Postings:
    """Open the stored postings of a column. Everything except the bits of the blocks is read.

    Parameters
    ----------
    files : mapping of str to SegmentFile
        Files by name, as in `ARRAYS`.
    rows : int
        Number of rows of the segment.

    Raises
    ------
    CorruptIndexError
        Arrays are missing or inconsistent.
    """
    stored: dict[str, NDArray[Any]] = {}
    for name, kinds in ARRAYS.items():
        if name not in files:
            raise CorruptIndexError("manifest", f"a segment has postings without their file {name!r}; restore it")
        for array, kind in kinds.items():
            view = files[name].array(array)
            if view.dtype != np.dtype(kind) or view.ndim != 1:
                raise CorruptIndexError(
                    files[name].path, f"{array} is {view.dtype} {view.shape}, expected {kind.__name__}"
                )
            stored[array] = view
        if len({len(stored[array]) for array in kinds}) > 1:
            raise CorruptIndexError(files[name].path, "its arrays differ in length; restore the file")
    for name in WHOLE:
        files[name].ensure_all()
    blocks = _check(stored, rows, files[PACKED].path)
    return Postings(
        stored["offset"],
        stored["rows"],
        stored["text"],
        stored["row"],
        stored["start"],
        stored["gap_bits"],
        stored["count_bits"],
        stored["largest_count"],
        stored["least_length"],
        stored["word"],
        stored["length"],
        blocks,
        files[PACKED],
    )


def _check(stored: Mapping[str, NDArray[Any]], rows: int, path: str) -> NDArray[np.int64]:
    """Validate the arrays of a column, since kernels do not check bounds; return the first block of each list, and the end."""
    offsets, postings = stored["offset"].astype(np.int64), stored["rows"].astype(np.int64)
    counts = postings[:-1]
    blocks = np.concatenate([[0], np.cumsum(-(-counts // BLOCK))])
    starts, gaps, widths = (stored[name].astype(np.int64) for name in ("start", "gap_bits", "count_bits"))
    problem = None
    if len(stored["length"]) != rows:
        problem = f"{len(stored['length'])} rows instead of {rows}"
    elif (
        len(stored["word"]) < SPARE
        or not len(offsets)
        or (np.diff(offsets) < 0).any()
        or offsets[-1] > len(stored["text"])
    ):
        problem = "offsets that do not fit its dictionary"
    elif ((counts < 1) | (counts > rows)).any() or postings[-1] or blocks[-1] + 1 != len(starts):
        problem = "lists that do not fit its blocks"
    elif (np.diff(starts) < 0).any() or (gaps > WIDEST).any() or (widths > WIDEST).any():
        problem = "blocks that are out of order or too wide"
    else:
        sizes = np.full(len(starts) - 1, BLOCK)
        sizes[blocks[1:] - 1] = (counts - 1) % BLOCK + 1
        bits = (sizes - 1) * gaps[:-1] + sizes * widths[:-1]
        room = np.append(starts[1:] * 8, (len(stored["word"]) - SPARE) * 32)[:-1]
        if (starts[:-1] * 8 + bits > room).any() or starts[-1] > (len(stored["word"]) - SPARE) * 4:
            problem = "blocks that do not fit their bits"
    if problem is not None:
        raise CorruptIndexError(path, f"its postings have {problem}; restore the file")
    return blocks
