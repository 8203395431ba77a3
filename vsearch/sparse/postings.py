"""The postings of the weights of a segment: those of a text column, with numbers of steps in place of counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from vsearch.errors import CorruptIndexError, InputError
from vsearch.sparse.entries import NAME, SparseEntry, as_text, name_of, read_entry
from vsearch.sparse.levels import MOST_STEPS, steps_of
from vsearch.sparse.weights import RowWeights, read_rows
from vsearch.storage.files.segment_file import ensure_together
from vsearch.storage.snapshots.kinds import ATTRIBUTES, leg_prefix
from vsearch.storage.snapshots.leg_entries import leg_entries
from vsearch.text.encoding import encode_lists
from vsearch.text.opening import OpenColumn, stored_files, texts_of
from vsearch.text.postings import ARRAYS, LAZY, PACKED, Postings, files_of
from vsearch.text.reading import open_postings

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage.snapshots.text_entries import TextColumnEntry

PREFIX = leg_prefix(NAME)
"""Prefix of the kinds of the files of postings."""

FILES = tuple(files_of(as_text(SparseEntry("-", 1.0))))
"""Names of these files."""


def make_postings(weights: RowWeights, rows: int, step: float, name: str) -> Postings:
    """Make the postings of `rows` rows.

    Raises
    ------
    InputError
        A weight is too large, or there are too many for one segment.
    """
    counts = steps_of(weights.weights, step, name)
    present = np.unique(weights.numbers)
    spelled = [weights.terms[number].encode() for number in present.tolist()]
    order = sorted(range(len(spelled)), key=spelled.__getitem__)
    rank = np.zeros(len(weights.terms), np.int64)
    rank[present[order]] = np.arange(len(order))
    keys = rank[weights.numbers] * rows + weights.rows
    by_key = np.argsort(keys)
    lengths = np.bincount(weights.rows, minlength=rows).astype(np.uint32)
    return encode_lists([spelled[place] for place in order], keys[by_key], counts[by_key], lengths)


def named_arrays(postings: Postings) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield the file kinds and arrays of postings."""
    return ((f"{PREFIX}{name}", arrays) for name, arrays in postings.arrays().items())


_opened: WeakKeyDictionary[Snapshot, tuple[OpenColumn, SparseEntry]] = WeakKeyDictionary()


def open_sparse(snapshot: Snapshot) -> tuple[OpenColumn, SparseEntry]:
    """Open the weights of a snapshot as a text column; the result is cached.

    Raises
    ------
    CorruptIndexError
        A file is missing or damaged.
    """
    opened = _opened.get(snapshot)
    if opened is None:
        entry = read_entry(leg_entries(snapshot.manifest)[NAME])
        name, column = name_of(snapshot.manifest, entry), as_text(entry)
        load_lists(snapshot, lists=False)
        runs = tuple(_postings_of(run, entry, column, name) for run in snapshot.shards)
        opened = _opened.setdefault(snapshot, (OpenColumn(name, column, runs, 0, 1.0), entry))
    return opened


def load_lists(snapshot: Snapshot, *, lists: bool) -> None:
    """Read the stored postings of all runs in one round of requests; without `lists`, only what opening needs."""
    parts = []
    for run in snapshot.shards:
        for name, file in stored_files(run.files, PREFIX).items():
            if lists or name not in LAZY:
                parts += [(file, array, None, None) for array in ARRAYS[name] if array in file.arrays]
    if parts:
        ensure_together(parts)


def _postings_of(run: Shard, entry: SparseEntry, column: TextColumnEntry, name: str) -> Postings:
    """Return the postings of a run, stored or made from its attribute. They are cached with the run."""
    derived: dict[str, Any] = run.read.derived
    key = f"{__name__}:{entry.field}:{entry.step}"
    postings: Postings | None = derived.get(key)
    if postings is None:
        files = stored_files(run.files, PREFIX)
        if files:
            postings = open_postings(files, run.rows, column)
            if len(postings.largest_counts) and int(postings.largest_counts.max()) > MOST_STEPS:
                raise CorruptIndexError(files[PACKED].path, "its weights are too large; restore the file")
        else:
            try:
                weights = read_rows(texts_of(run, entry.field), name)
                postings = make_postings(weights, run.rows, entry.step, name)
            except InputError as error:  # changes check what they add
                path = run.files[ATTRIBUTES].path if ATTRIBUTES in run.files else "attributes"
                raise CorruptIndexError(path, str(error)) from None
        with run.read.lock:
            postings = derived.setdefault(key, postings)
    return postings
