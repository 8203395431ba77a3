"""Open the stored postings of a text column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.kernels.text.fields import BLOCK
from vsearch.text.postings import ARRAYS, LAZY, PACKED, POSITIONS, SPARE, Postings, files_of

if TYPE_CHECKING:
    from vsearch.storage import SegmentFile
    from vsearch.storage.snapshots.text_entries import TextColumnEntry

WIDEST = 32
"""Bits of a number in a block."""


def open_postings(files: Mapping[str, SegmentFile], rows: int, entry: TextColumnEntry) -> Postings:
    """Open the stored postings of a column. Everything except the bits of blocks and positions is read.

    Parameters
    ----------
    files : mapping of str to SegmentFile
        Files by name, as in `ARRAYS`.
    rows : int
        Number of rows of the segment.
    entry : TextColumnEntry
        The column.

    Raises
    ------
    CorruptIndexError
        Arrays are missing or inconsistent.
    """
    stored: dict[str, NDArray[Any]] = {}
    for name in files_of(entry):
        kinds = ARRAYS[name]
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
    for name in files_of(entry):
        if name not in LAZY:
            files[name].ensure_all()
    blocks = _check(stored, rows, files[PACKED].path)
    postings = Postings(
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
        file=files[PACKED],
    )
    if not entry.phrases:
        return postings
    return replace(
        postings,
        position_starts=stored["position_start"],
        position_bits=stored["position_bits"],
        positions=stored["position"],
        position_file=files[POSITIONS],
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
        elif "position" in stored:
            problem = _position_problem(stored)
    if problem is not None:
        raise CorruptIndexError(path, f"its postings have {problem}; restore the file")
    return blocks


def _position_problem(stored: Mapping[str, NDArray[Any]]) -> str | None:
    """Return a problem of the positions; kernels check that the positions of a block fit when they unpack its counts."""
    starts, words = stored["position_start"].astype(np.int64), len(stored["position"])
    if len(starts) != len(stored["start"]):
        return "positions for another number of blocks"
    if words < SPARE or (np.diff(starts) < 0).any() or starts[-1] > (words - SPARE) * 4:
        return "positions that do not fit their bits"
    if (stored["position_bits"] > WIDEST).any():
        return "positions that are too wide"
    return None
