"""The postings of one text column of a segment: a sorted dictionary, and a list of rows for each of its terms."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.kernels.text.api import count_list, mark_list, unpack_list
from vsearch.kernels.text.fields import BLOCK, TextField
from vsearch.search.state.arguments import KernelArguments

if TYPE_CHECKING:
    from vsearch.storage import SegmentFile
    from vsearch.storage.snapshots.text_entries import TextColumnEntry

TERMS, DICTIONARY, BLOCKS, PACKED, LENGTHS = "terms", "dictionary", "blocks", "packed", "lengths"
POSITION_BLOCKS, POSITIONS = "position-blocks", "positions"

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
    POSITION_BLOCKS: {"position_start": np.uint32, "position_bits": np.uint8},
    POSITIONS: {"position": np.uint32},
}
"""The arrays of the postings of a column by file; those of a file have the same length."""

LAZY = (PACKED, POSITIONS)
"""Files of which only parts are read; the others are read completely."""


def files_of(entry: TextColumnEntry) -> list[str]:
    """Return the names of the files of the postings of a column."""
    return [name for name in ARRAYS if entry.phrases or name not in (POSITION_BLOCKS, POSITIONS)]


SPARE = 2
"""Spare words after the bits of the last block, since kernels read two words for every number."""


@dataclass(frozen=True, eq=False)
class Postings:
    """The postings of one text column of a segment. Arrays are validated and loaded, except `packed` and `positions`.

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
    position_starts, position_bits, positions : uint32 (blocks + 1,), uint8 (blocks + 1,), uint32 (words,)
        The bits of the positions of each block, in the same way; empty without positions.
    file, position_file : SegmentFile or None
        Where the bits of the blocks and of the positions are stored.
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
    position_starts: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    position_bits: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    positions: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    file: SegmentFile | None = None
    position_file: SegmentFile | None = None
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
        arguments.point(TextField.POSITION_STARTS, self.position_starts, np.uint32)
        arguments.point(TextField.POSITION_BITS, self.position_bits, np.uint8)
        arguments.values[TextField.POSITION_WORDS] = len(self.positions)
        arguments.point(TextField.POSITIONS, self.positions, np.uint32)
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

    @property
    def present(self) -> bool:
        """Whether all bits of the blocks and of the positions are in memory, and verified."""
        file, position_file = self.file, self.position_file
        return (file is None or file.complete) and (position_file is None or position_file.complete)

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

    def position_part(self, first: int, stop: int) -> tuple[SegmentFile, str, int, int] | None:
        """Return where the positions of a range of blocks are stored, in the same way."""
        if self.position_file is None:
            return None
        start, end = int(self.position_starts[first]) // 4, int(self.position_starts[stop]) // 4 + 1 + SPARE
        words = start, min(end, len(self.positions))
        return None if self.position_file.has("position", *words) else (self.position_file, "position", *words)

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
        arrays: dict[str, dict[str, NDArray[Any]]] = {
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
        if len(self.positions):
            arrays[POSITION_BLOCKS] = {"position_start": self.position_starts, "position_bits": self.position_bits}
            arrays[POSITIONS] = {"position": self.positions}
        return arrays
