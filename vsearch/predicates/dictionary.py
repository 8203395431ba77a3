"""The sorted distinct strings of one column of one segment; the key of a string is its position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from vsearch.errors import CorruptIndexError
from vsearch.predicates.bound import ByteIntervals

Element = TypeVar("Element", bound=np.generic)


@dataclass(frozen=True)
class Dictionary:
    """Strings in ascending byte order of their UTF-8.

    Attributes
    ----------
    offsets : int64 (strings + 1,)
        String i is ``data[offsets[i]:offsets[i + 1]]``.
    data : uint8 (bytes,)
    """

    offsets: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, position: int) -> bytes:
        return self.data[self.offsets[position] : self.offsets[position + 1]].tobytes()

    def search(self, texts: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return the first position whose string is >= each text; the number of strings if there is none."""
        from vsearch.kernels.filters.like import search

        positions = np.empty(len(texts), np.int64)
        offsets, data = join(texts)
        search(self.offsets, self.data, offsets, data, positions)
        return positions

    def find(self, texts: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return the position of each text; -1 if it is not in the dictionary."""
        positions = self.search(texts)
        return np.array(
            [
                at if at < len(self) and self[at] == text else -1
                for at, text in zip(positions.tolist(), texts, strict=True)
            ],
            np.int64,
        )

    def ranges(self, intervals: ByteIntervals) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the positions of the strings inside intervals.

        Returns
        -------
        starts, stops : int64 (ranges,)
            Half-open, ascending; none is empty.
        """
        starts = self.search([low for low, _ in intervals])
        stops = self.search([b"" if high is None else high for _, high in intervals])
        if intervals and intervals[-1][1] is None:
            stops[-1] = len(self)
        filled = starts < stops
        return starts[filled], stops[filled]

    def selected(self, intervals: ByteIntervals, fold: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """As `ranges`, with the strings folded to upper or lower case first if `fold` is set."""
        if not fold:
            return self.ranges(intervals)
        strings = self.folded(fold)
        edges = [low for low, _ in intervals] + [high for _, high in intervals if high is not None]
        edges.sort()
        # A string is inside where an odd number of edges are <= it; a trailing zero byte makes an equal edge count as
        # well.
        ends = strings.offsets[1:] + np.arange(1, len(strings) + 1)
        data = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
        keep = np.ones(len(data), np.bool_)
        keep[ends - 1] = False
        data[keep] = strings.data[: strings.offsets[-1]]
        from vsearch.kernels.filters.like import search

        passed = np.empty(len(strings), np.int64)
        search(*join(edges), _frozen(np.concatenate(([0], ends)).astype(np.int64)), _frozen(data), passed)
        return runs(passed % 2 == 1)

    def folded(self, fold: str) -> Dictionary:
        """Fold the strings to upper or lower case, keeping their positions; the result may not be sorted."""
        from vsearch.predicates.folding import fold_texts

        try:
            offsets, data = fold_texts(self.offsets, self.data, fold)
        except ValueError:
            raise CorruptIndexError("attribute", "a string of a dictionary is not UTF-8; restore the file") from None
        return Dictionary(_frozen(offsets), _frozen(data))

    def like(self, tokens: tuple[int, ...], fold: str = "") -> npt.NDArray[np.bool_]:
        """Return which strings match a compiled LIKE pattern, bool (strings,)."""
        from vsearch.kernels.filters.like import like

        if fold:
            return self.folded(fold).like(tokens)
        matches = np.empty(len(self), np.bool_)
        like(self.offsets, self.data, _frozen(np.array(tokens, np.int16)), matches)
        return matches

    def check(self) -> None:
        """Reject offsets that are out of range or decrease.

        Raises
        ------
        ValueError
            With a short description of the fault.
        """
        if self.offsets.ndim != 1 or len(self.offsets) < 1 or self.offsets[0] != 0:
            raise ValueError("the offsets of the dictionary do not start at 0")
        if self.offsets[-1] > len(self.data) or bool(np.any(self.offsets[1:] < self.offsets[:-1])):
            raise ValueError("the offsets of the dictionary are out of range")


def join(texts: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Concatenate texts; return their offsets and bytes."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return _frozen(offsets), np.frombuffer(b"".join(texts), np.uint8)


def runs(flags: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the starts and stops of the runs of True, int64 (runs,)."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False)).astype(np.int64)
    return edges[0::2], edges[1::2]


def _frozen(array: npt.NDArray[Element]) -> npt.NDArray[Element]:
    """Make an array read-only: kernels are compiled once, for the read-only arrays of memory-mapped segments."""
    array.setflags(write=False)
    return array
