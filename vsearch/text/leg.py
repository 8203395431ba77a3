"""The words of text columns as a leg of search; see `vsearch.legs.protocol.Leg`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.legs.protocol import Leg, LegRanking, PackedQueries
from vsearch.storage.snapshots.kinds import text_kind
from vsearch.storage.snapshots.text_entries import text_columns
from vsearch.text.opening import load_text, open_text
from vsearch.text.packing import pack_query, unpack_lengths, unpack_query
from vsearch.text.postings import LAZY, files_of
from vsearch.text.query import unknown_columns
from vsearch.text.search import rank_words, score_words
from vsearch.text.single import place_words
from vsearch.text.structured import MARK, decode_query, read_queries
from vsearch.text.terms import SingleTerms
from vsearch.text.weighing import weigh_words
from vsearch.text.weighted import WeightedQuery

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.building.plan import Forecast
    from vsearch.building.shards import PartWriter
    from vsearch.legs.masks import Allowed
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest
    from vsearch.storage.snapshots.text_entries import TextEntry

TERM_BYTES = 24
"""Bytes of a weighed term of one character in a message."""


class TextLeg(Leg[WeightedQuery]):
    """Words of text columns, by BM25. A query is a string or a dict; see `vsearch.text.query` and `vsearch.text.structured`."""

    name = "text"
    query = "text"
    absent = "this index has no text columns: build it with text=, or call add_text, to search for words"
    in_use = "its words are searched; call drop_text first"

    def read(self, queries: Any, argument: str) -> list[bytes]:
        """Check texts; see `Leg.read`."""
        return read_queries(queries, argument)

    def plan(
        self, snapshot: Snapshot, queries: Sequence[bytes], stats: SearchStats, deadline: float | None = None
    ) -> Iterator[WeightedQuery]:
        """Weigh words by the statistics of the whole snapshot."""
        return weigh_words(snapshot, [decode_query(query) for query in queries], stats, deadline)

    def single(self, snapshot: Snapshot, query: Any) -> SingleTerms | None:
        """Look up plain words in postings in memory."""
        return place_words(snapshot, query) if type(query) is str else None

    def warnings(self, manifest: Manifest, queries: Sequence[bytes]) -> list[str]:
        """Return warnings about words that resemble the names of text columns."""
        strings = [query for query in queries if b":" in query and query[:1] != MARK]
        if not strings:
            return []
        fields = {column.field for column in text_columns(manifest.text)}
        names = [attribute.name for attribute in manifest.attributes if attribute.field_name in fields]
        others = [attribute.name for attribute in manifest.attributes]
        texts = (query.decode("utf-8", "replace") for query in strings)
        return list(dict.fromkeys(warning for text in texts for warning in unknown_columns(text, names, others)))

    def scan(
        self,
        snapshot: Snapshot,
        planned: WeightedQuery,
        k: int,
        allowed: Allowed,
        stats: SearchStats,
        deadline: float | None = None,
    ) -> LegRanking:
        """Rank rows by the words of a query."""
        return rank_words(open_text(snapshot), snapshot, planned, k, allowed, stats, deadline)

    def score(
        self,
        snapshot: Snapshot,
        planned: WeightedQuery,
        rows: NDArray[np.int64],
        stats: SearchStats,  # noqa: ARG002
        deadline: float | None = None,
    ) -> NDArray[np.float64]:
        """Return the scores of rows, by seeks in the postings."""
        return score_words(open_text(snapshot), snapshot, planned, rows, deadline)

    def pack(self, snapshot: Snapshot, planned: Sequence[WeightedQuery]) -> PackedQueries:
        """Pack weighed queries, and the mean lengths of the texts of each column."""
        lengths = np.array([column.length for column in open_text(snapshot)], "<f8").tobytes()
        return PackedQueries(tuple(map(pack_query, planned)), lengths)

    def unpack(self, snapshot: Snapshot, packed: PackedQueries) -> list[WeightedQuery]:
        """Return the weighed queries of a message."""
        lengths = unpack_lengths(packed.shared, len(text_columns(snapshot.manifest.text)))
        return [unpack_query(query, lengths) for query in packed.queries]

    def packed_bytes(self, longest: int) -> int:
        """Return the size of a query with words of one character."""
        return min(TERM_BYTES * longest, 1 << 19) + longest + 256

    def occurs(self, snapshot: Snapshot, planned: WeightedQuery, places: Sequence[int]) -> bool:
        """Whether a term of a query occurs in some runs."""
        columns = open_text(snapshot)
        terms = (columns[term.column].numbers(term.text) for term in planned.terms)
        if any(numbers[place] >= 0 for numbers in terms for place in places):
            return True
        for phrase in planned.phrases:
            numbers_of = [columns[phrase.column].numbers(text) for text in phrase.texts]
            if any(all(numbers[place] >= 0 for numbers in numbers_of) for place in places):
                return True
        return any(planned.marked[term, place].any() for term in planned.prefixes for place in places)

    def fields(self, entry: TextEntry) -> Collection[str]:
        """Return the fields of the text columns."""
        return [column.field for column in entry.columns]

    def kinds(self, manifest: Manifest, kinds: Iterable[str], *, ranked: bool) -> list[str]:
        """Return the kinds of files of postings, or only of dictionaries and lengths."""
        known = {
            text_kind(column.key, name)
            for column in text_columns(manifest.text)
            for name in files_of(column)
            if ranked or name not in LAZY
        }
        return [kind for kind in kinds if kind in known]

    def load(self, snapshot: Snapshot, *, ranked: bool) -> dict[str, int]:
        """Read the postings of all runs, or make them from texts."""
        load_text(snapshot, lists=ranked)
        sizes: dict[str, int] = {}
        for column in open_text(snapshot):
            for run, postings in zip(snapshot.shards, column.runs, strict=True):
                if postings.file is None:
                    sizes[f"words of {id(run.read)} {column.entry.key}"] = postings.size
                    continue
                for name, arrays in postings.arrays().items():
                    if ranked or name not in LAZY:
                        file = run.files[text_kind(column.entry.key, name)]
                        size = sum(array.nbytes for array in arrays.values())
                        bundled = file.path == postings.file.path  # all parts of a bundle
                        sizes[f"{file.path} {column.entry.key} {name}" if bundled else file.path] = size
        return sizes

    def writer(self, argument: Any) -> PartWriter:
        """Return the writer of new text columns."""
        from vsearch.text.building import TextWriter
        from vsearch.text.columns import read_columns

        return TextWriter.of(read_columns(argument))

    def rewriter(self, entry: TextEntry) -> PartWriter:
        """Return the writer of the text columns of an index."""
        from vsearch.text.building import TextWriter

        return TextWriter(entry)

    def parts(
        self, entry: TextEntry, attributes: pa.Table | None, rows: int
    ) -> Iterable[tuple[str, Mapping[str, NDArray[Any]]]]:
        """Return the postings of merged rows."""
        from vsearch.text.building import postings_parts

        return postings_parts(entry, attributes, rows)

    def forecast(self, argument: Any) -> Forecast:
        """Return the forecast of postings."""
        from vsearch.text.forecast import TextForecast

        return TextForecast.of(argument)


LEG = TextLeg()
