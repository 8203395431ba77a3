"""Open the text columns of a snapshot: the postings of every run, and statistics of the live rows.

If a run has no stored postings of a column, as in the tail, they are made from its texts, so it does not matter how rows were added.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from vsearch.errors import InputError
from vsearch.storage.snapshots.kinds import ATTRIBUTES, text_kind
from vsearch.storage.snapshots.text_entries import text_columns
from vsearch.text.columns import analyzer_of
from vsearch.text.postings import ARRAYS, Postings, make_postings, open_postings

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import SegmentFile
    from vsearch.storage.snapshots.text_entries import TextColumnEntry
    from vsearch.text.analyzer import Analyzer

READ_ROWS = 16384
"""Number of rows whose texts are read at a time."""

MOST_KNOWN = 16384
"""Maximum number of terms of a column whose places are cached."""


@dataclass(frozen=True)
class Place:
    """The numbers of a term in the dictionaries of the runs.

    Attributes
    ----------
    count : int
        Number of live rows with the term.
    numbers : tuple of int
        Number in each run; -1 in runs without the term.
    """

    count: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class OpenColumn:
    """A text column of a snapshot.

    Attributes
    ----------
    name : str
        Name of the attribute.
    runs : tuple of Postings
        Postings of the runs of the snapshot, in order.
    texts : int
        Number of live rows with at least one term.
    length : float
        Mean number of terms of these rows, at least 1.
    """

    name: str
    entry: TextColumnEntry
    runs: tuple[Postings, ...]
    texts: int
    length: float
    _known: dict[str, Place] = field(default_factory=dict)
    _thread: threading.local = field(default_factory=threading.local)

    def place(self, term: str, runs: tuple[Shard, ...]) -> Place:
        """Return the place of a term."""
        place = self._known.get(term)
        if place is None:
            spelled = term.encode("utf-8", "surrogatepass")
            numbers = tuple(postings.find(spelled) for postings in self.runs)
            count = sum(
                postings.count(number, run.live)
                for postings, number, run in zip(self.runs, numbers, runs, strict=True)
                if number >= 0
            )
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            place = self._known[term] = Place(count, numbers)
        return place

    def analyzer(self) -> Analyzer:
        """Return the analyzer of the column for this thread."""
        analyzer: Analyzer | None = getattr(self._thread, "analyzer", None)
        if analyzer is None:
            analyzer = self._thread.analyzer = analyzer_of(self.entry)
        return analyzer


_opened: WeakKeyDictionary[Snapshot, tuple[OpenColumn, ...]] = WeakKeyDictionary()


def open_text(snapshot: Snapshot) -> tuple[OpenColumn, ...]:
    """Open the text columns of a snapshot; the result is cached.

    Raises
    ------
    InputError
        The index has no text columns.
    CorruptIndexError
    """
    columns = _opened.get(snapshot)
    if columns is None:
        entries = text_columns(snapshot.manifest.text)
        if not entries:
            raise InputError(
                "this index has no text columns: build it with text=, or call add_text, to search for words"
            )
        columns = _opened.setdefault(snapshot, tuple(_open_column(snapshot, entry) for entry in entries))
    return columns


def _open_column(snapshot: Snapshot, entry: TextColumnEntry) -> OpenColumn:
    name = next(a.name for a in snapshot.manifest.attributes if a.field_name == entry.field)
    runs = tuple(_postings_of(run, entry) for run in snapshot.shards)
    texts = terms = 0
    for postings, run in zip(runs, snapshot.shards, strict=True):
        gone = postings.lengths[run.gone]
        texts += int(np.count_nonzero(postings.lengths)) - int(np.count_nonzero(gone))
        terms += int(postings.lengths.sum(dtype=np.int64)) - int(gone.sum(dtype=np.int64))
    return OpenColumn(name, entry, runs, texts, terms / texts if texts else 1.0)


def _postings_of(run: Shard, entry: TextColumnEntry) -> Postings:
    """Return the postings of a run, stored or made from its texts. They are cached with the run."""
    derived: dict[str, Any] = run.read.derived
    key = f"{__name__}:{entry.key}"
    postings = derived.get(key)
    if postings is None:
        files = stored_files(run.files, entry.key)
        if files:
            postings = open_postings(files, run.rows)
        else:
            postings = make_postings(texts_of(run, entry.field), run.rows, analyzer_of(entry))
        with run.read.lock:
            postings = derived.setdefault(key, postings)
    return postings


def stored_files(files: Mapping[str, SegmentFile], key: str) -> dict[str, SegmentFile]:
    """Return the files of the postings of a column, by name; empty if they are not stored."""
    return {name: files[kind] for name in ARRAYS if (kind := text_kind(key, name)) in files}


def texts_of(run: Shard, field_name: str) -> Iterator[str | None]:
    """Yield the texts of all rows of a run; None for NULL."""
    from vsearch.storage.files.columns import take

    file = run.files.get(ATTRIBUTES)
    if file is None or field_name not in {column.name for column in file.entry.columns}:
        for _ in range(run.rows):
            yield None
        return
    for start in range(0, run.rows, READ_ROWS):
        rows = np.arange(start, min(start + READ_ROWS, run.rows))
        yield from take(file, [field_name], rows).column(field_name).to_pylist()
