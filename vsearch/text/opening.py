"""Open the text columns of a snapshot: the postings of every run, and statistics of the live rows.

If a run has no stored postings of a column, as in the tail, they are made from its texts, so it does not matter how rows were added.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from vsearch.errors import InputError
from vsearch.search.state.shard import Addresses
from vsearch.storage.files.plain_columns import read_column
from vsearch.storage.files.segment_file import ensure_together
from vsearch.storage.snapshots.kinds import ATTRIBUTES, text_kind
from vsearch.storage.snapshots.text_entries import text_columns
from vsearch.text.columns import analyzer_of
from vsearch.text.encoding import encode_occurrences, make_postings
from vsearch.text.postings import ARRAYS, LAZY, Postings, files_of
from vsearch.text.reading import open_postings
from vsearch.text.tails import tail_occurrences

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import SegmentFile
    from vsearch.storage.files.plain_columns import Column
    from vsearch.storage.snapshots.text_entries import TextColumnEntry
    from vsearch.text.analyzer import QueryAnalyzer
    from vsearch.text.query import Term

READ_ROWS = 16384
"""Number of rows whose texts are read at a time."""

MOST_KNOWN = 16384
"""Maximum number of terms of a column whose places are cached."""


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
    _numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _weights: dict[str, float] = field(default_factory=dict)
    _lists: dict[str, tuple[tuple[int, int, int] | None, ...]] = field(default_factory=dict)
    _thread: threading.local = field(default_factory=threading.local)

    def numbers(self, term: str) -> tuple[int, ...]:
        """Return the number of a term in each run; -1 in runs without it."""
        numbers = self._numbers.get(term)
        if numbers is None:
            spelled = term.encode("utf-8", "surrogatepass")
            if len(self._numbers) >= MOST_KNOWN:
                self._numbers.clear()
            numbers = self._numbers[term] = tuple(postings.find(spelled) for postings in self.runs)
        return numbers

    def lists(self, term: str) -> tuple[tuple[int, int, int] | None, ...]:
        """Return the list of a term in each run, see `Postings.list`; None in runs without it."""
        lists = self._lists.get(term)
        if lists is None:
            if len(self._lists) >= MOST_KNOWN:
                self._lists.clear()
            lists = self._lists[term] = tuple(
                postings.list(number) if number >= 0 else None
                for postings, number in zip(self.runs, self.numbers(term), strict=True)
            )
        return lists

    def ranges(self, term: Term, place: int) -> list[range]:
        """Return the numbers of the terms of a run that a term, a prefix or a phrase refers to, as ranges that are not empty."""
        postings = self.runs[place]
        if term.prefix:
            terms = postings.beginning_with(term.text.encode("utf-8", "surrogatepass"))
            return [terms] if terms else []
        numbers = [self.numbers(text)[place] for text in term.texts]
        return [range(number, number + 1) for number in numbers if number >= 0]

    def count(self, term: str, runs: tuple[Shard, ...]) -> int:
        """Return the number of live rows that have a term."""
        count = self._counts.get(term)
        if count is None:
            count = sum(
                postings.count(number, run.live)
                for postings, number, run in zip(self.runs, self.numbers(term), runs, strict=True)
                if number >= 0
            )
            if len(self._counts) >= MOST_KNOWN:
                self._counts.clear()
            self._counts[term] = count
        return count

    def weight(self, term: str, runs: tuple[Shard, ...]) -> float:
        """Return the maximum score of a term; 0 if no live row has it."""
        weight = self._weights.get(term)
        if weight is None:
            count = self.count(term, runs)
            if len(self._weights) >= MOST_KNOWN:
                self._weights.clear()
            weight = self._weights[term] = self.weight_of(count) if count else 0.0
        return weight

    def weight_of(self, count: int) -> float:
        """Return the maximum score of a term of `count` live rows."""
        return self.entry.weight * math.log1p((self.texts - count + 0.5) / (count + 0.5))

    def counted(self, term: str) -> bool:
        """Whether `count` knows the rows of a term."""
        return term in self._counts

    def analyzer(self) -> QueryAnalyzer:
        """Return the analyzer of the column for this thread."""
        analyzer: QueryAnalyzer | None = getattr(self._thread, "analyzer", None)
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
        A file is missing or damaged.
    """
    columns = _opened.get(snapshot)
    if columns is None:
        entries = text_columns(snapshot.manifest.text)
        if not entries:
            raise InputError(
                "this index has no text columns: build it with text=, or call add_text, to search for words"
            )
        load_text(snapshot, lists=False)
        columns = _opened.setdefault(snapshot, tuple(_open_column(snapshot, entry) for entry in entries))
    return columns


def _open_column(snapshot: Snapshot, entry: TextColumnEntry) -> OpenColumn:
    name = next(a.name for a in snapshot.manifest.attributes if a.field_name == entry.field)
    runs = tuple(_postings_of(run, entry, snapshot) for run in snapshot.shards)
    texts = terms = 0
    for postings, run in zip(runs, snapshot.shards, strict=True):
        removed_lengths = postings.lengths[run.gone]
        texts += int(np.count_nonzero(postings.lengths)) - int(np.count_nonzero(removed_lengths))
        terms += int(postings.lengths.sum(dtype=np.int64)) - int(removed_lengths.sum(dtype=np.int64))
    return OpenColumn(name, entry, runs, texts, terms / texts if texts else 1.0)


def _postings_of(run: Shard, entry: TextColumnEntry, snapshot: Snapshot) -> Postings:
    """Return the postings of a run, stored or made from its texts. They are cached with the run."""
    derived: dict[str, Any] = run.read.derived
    key = _key(entry)
    postings = derived.get(key)
    if postings is None:
        files = stored_files(run.files, text_kind(entry.key, ""))
        if files:
            postings = open_postings(files, run.rows, entry)
        else:
            texts, analyzer = texts_of(run, entry.field), analyzer_of(entry)
            if isinstance(run.segment, Addresses):  # a tail
                made = tail_occurrences(snapshot.model, entry.key, texts, analyzer, phrases=entry.phrases)
                postings = encode_occurrences(made, run.rows, phrases=entry.phrases)
            else:
                postings = make_postings(texts, run.rows, analyzer, phrases=entry.phrases)
        with run.read.lock:
            postings = derived.setdefault(key, postings)
    return postings


def _key(entry: TextColumnEntry) -> str:
    """Return the name under which a run keeps the postings of a column."""
    return f"{__name__}:{entry.key}"


def stored_files(files: Mapping[str, SegmentFile], prefix: str) -> dict[str, SegmentFile]:
    """Return the files of postings whose kinds begin with a prefix, by name; empty if they are not stored."""
    return {name: files[kind] for name in ARRAYS if (kind := f"{prefix}{name}") in files}


def fetch_lists(
    columns: Sequence[OpenColumn] | Mapping[int, OpenColumn],
    terms: Iterable[Term],
    places: Collection[int],
    *,
    uncounted: bool = False,
) -> None:
    """Read the postings of terms in some runs in one round of requests.

    Parameters
    ----------
    uncounted : bool
        Only those of terms that are not counted yet; of phrases, those of their terms.
    """
    parts, absent = [], {}
    for term in terms:
        column = columns[term.column]
        if term.column not in absent:
            absent[term.column] = [place for place in places if not column.runs[place].present]
        if not absent[term.column]:
            continue
        if uncounted and not term.prefix and all(map(column.counted, term.texts)):
            continue
        for place in absent[term.column]:
            postings = column.runs[place]
            for numbers in column.ranges(term, place):
                first, stop = int(postings.list_blocks[numbers.start]), int(postings.list_blocks[numbers.stop])
                parts.append(postings.part(first, stop))
                if term.phrase:
                    parts.append(postings.position_part(first, stop))
    missing = [part for part in parts if part is not None]
    if missing:
        ensure_together(missing)


def load_text(snapshot: Snapshot, *, lists: bool) -> None:
    """Read the stored postings of all runs, in one round of requests; without `lists`, only their dictionaries and lengths."""
    parts: list[tuple[SegmentFile, str, None, None]] = []
    for entry in text_columns(snapshot.manifest.text):
        for run in snapshot.shards:
            files = stored_files(run.files, text_kind(entry.key, ""))
            if not lists and _key(entry) in run.read.derived:
                continue
            for name in files_of(entry) if files else ():
                if name in LAZY and not lists:
                    continue
                parts += [(files[name], array, None, None) for array in ARRAYS[name] if array in files[name].arrays]
    if parts:
        ensure_together(parts)


def texts_of(run: Shard, field_name: str) -> Iterator[Any]:
    """Yield the texts, or lists of tokens, of all rows of a run; None for a row without one. Arrow is not needed."""
    file = run.files.get(ATTRIBUTES)
    if file is None or field_name not in {column.name for column in file.entry.columns}:
        for _ in range(run.rows):
            yield None
        return
    arrays = [name for name in file.arrays if name.startswith(f"{field_name}.")]
    ensure_together([(file, name, None, None) for name in arrays])
    for start in range(0, run.rows, READ_ROWS):
        column = read_column(file, field_name, np.arange(start, min(start + READ_ROWS, run.rows)))
        if column.items is None:
            yield from _strings(column)
            continue
        tokens = list(_strings(column.items))
        for row, (first, stop) in enumerate(pairwise(_edges(column))):
            yield None if column.valid is not None and not column.valid[row] else tokens[first:stop]


def _strings(column: Column) -> Iterator[str | None]:
    for row, (first, stop) in enumerate(pairwise(_edges(column))):
        missing = column.valid is not None and not column.valid[row]
        yield None if missing else str(column.values[first:stop], "utf-8")


def _edges(column: Column) -> list[int]:
    edges: list[int] = np.frombuffer(column.offsets or bytes(8), np.int64).tolist()
    return edges
