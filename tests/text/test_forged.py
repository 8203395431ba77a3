"""Postings with valid checksums and impossible contents are refused before a kernel reads them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.text.conftest import make_rows
from vsearch import CorruptIndexError
from vsearch.text.analyzer import Analyzer, Settings
from vsearch.text.columns import TextColumn
from vsearch.text.encoding import make_postings
from vsearch.text.matching import _match
from vsearch.text.opening import OpenColumn
from vsearch.text.postings import ARRAYS
from vsearch.text.query import Term
from vsearch.text.reading import open_postings

ENTRY = TextColumn(phrases=True).entry("body", "0")


class File:
    """The parts of a `SegmentFile` that postings use."""

    def __init__(self, arrays):
        self.arrays, self.path, self.complete = arrays, "segments/x.arrow", True

    def array(self, name):
        return self.arrays[name]

    def ensure_all(self):
        pass

    def has(self, name, start, stop):
        assert 0 <= start <= stop <= len(self.arrays[name])
        return True


@pytest.fixture
def arrays():
    texts = [texts["body"] for texts in make_rows(400, 2).values()]
    postings = make_postings(texts, 400, Analyzer(Settings()), phrases=True)
    return {name: dict(of_file) for name, of_file in postings.arrays().items()}


def opened(arrays, rows=400):
    return open_postings({name: File(of_file) for name, of_file in arrays.items()}, rows, ENTRY)


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def test_what_was_written_opens(arrays):
    postings = opened(arrays)
    assert postings.unpack(postings.find(b"ak"))[0].size > 100


FORGED = {
    "terms out of order": ("terms", "offset", 1, 2**32 - 1),
    "terms beyond the dictionary": ("terms", "offset", -1, 10**6),
    "a list without rows": ("terms", "rows", 0, 0),
    "a list of too many rows": ("terms", "rows", 0, 2**32 - 1),
    "more postings": ("terms", "rows", 0, 399),
    "an end with rows": ("terms", "rows", -1, 1),
    "starts out of order": ("blocks", "start", 1, 2**31),
    "an end beyond the bits": ("blocks", "start", -1, 2**31),
    "wide gaps": ("blocks", "gap_bits", 0, 33),
    "wide counts": ("blocks", "count_bits", 0, 255),
    "positions out of order": ("position-blocks", "position_start", 1, 2**31),
    "an end beyond the positions": ("position-blocks", "position_start", -1, 2**31),
    "wide positions": ("position-blocks", "position_bits", 0, 33),
    "a block that overlaps the next": ("blocks", "gap_bits", 0, 32),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_arrays(arrays, name):
    file, array, place, value = FORGED[name]
    arrays[file][array] = changed(arrays[file][array], place, value)
    with pytest.raises(CorruptIndexError):
        opened(arrays)


def test_arrays_of_other_lengths_and_types(arrays):
    with pytest.raises(CorruptIndexError, match="rows instead of 401"):
        opened(arrays, 401)
    for file, of_file in ARRAYS.items():
        for array in of_file:
            kept = arrays[file][array]
            for wrong in (kept.astype(np.int64), kept[:-1], kept[:0]):
                if array in ("text", "word", "position") and len(wrong) == len(kept) - 1:
                    continue  # these may be longer than they need to be
                arrays[file][array] = wrong
                with pytest.raises((CorruptIndexError, IndexError, ValueError)) as raised:
                    opened(arrays)
                assert raised.type is CorruptIndexError, (file, array, len(wrong))
            arrays[file][array] = kept
    for file in ARRAYS:
        with pytest.raises(CorruptIndexError, match="without their file"):
            opened({name: of_file for name, of_file in arrays.items() if name != file})


def test_rows_that_do_not_exist_are_noticed(arrays):
    arrays["blocks"]["row"] = np.full_like(arrays["blocks"]["row"], 2**32 - 1)
    postings = opened(arrays)
    with pytest.raises(CorruptIndexError, match="rows that do not exist"):
        postings.unpack(0)


@pytest.mark.parametrize("forged", ["positions", "counts"])
def test_positions_that_do_not_fit_their_block_are_noticed(arrays, forged):
    """A block whose counts name more positions than it has is refused before its positions are read."""
    if forged == "positions":
        bits = arrays["position-blocks"]["position_bits"]
        arrays["position-blocks"]["position_bits"] = np.where(bits > 0, 32, bits).astype(np.uint8)
    else:
        arrays["packed"]["word"] = arrays["packed"]["word"] | np.uint32(0xFFFF0000)
    column, term = column_of(opened(arrays)), Term(0, "", phrase=(("ak", 0), ("bk", 1)))
    with pytest.raises(CorruptIndexError):
        _match(column, term, SimpleNamespace(number=0, rows=400))


def column_of(postings):
    return OpenColumn("body", ENTRY, (postings,), 400, 10.0)
