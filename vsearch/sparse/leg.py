"""Weights of terms as a leg of search; see `vsearch.legs.protocol.Leg`.

The score of a row is the inner product of its weights, rounded to whole numbers of steps, and those of the query.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError
from vsearch.legs.protocol import Leg, LegRanking, PackedQueries
from vsearch.sparse.entries import NAME, name_of, read_entry
from vsearch.sparse.postings import FILES, PREFIX, load_lists, make_postings, named_arrays, open_sparse
from vsearch.sparse.queries import PlannedWeights, plan_query, read_queries
from vsearch.sparse.single import place_weights
from vsearch.text.matching import check_time
from vsearch.text.postings import LAZY
from vsearch.text.search import rank_words, score_words
from vsearch.text.terms import SingleTerms

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.building.plan import Forecast
    from vsearch.building.shards import PartWriter
    from vsearch.legs.masks import Allowed
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest


class SparseLeg(Leg[PlannedWeights]):
    """Weights of terms, by inner product. A query is a dict from terms to weights; see `vsearch.sparse.queries`."""

    name = NAME
    query = "dict of weights"
    probe = read_queries({"0": 1.0}, "probe")[0]
    absent = "this index has no sparse weights: build it with sparse=, or call add_sparse, to search by them"
    in_use = "rows are searched by its weights"

    def read(self, queries: Any, argument: str) -> list[bytes]:
        """Check weights; see `Leg.read`."""
        return read_queries(queries, argument)

    def plan(
        self,
        snapshot: Snapshot,
        queries: Sequence[bytes],
        stats: SearchStats,
        deadline: float | None = None,
    ) -> Iterator[PlannedWeights]:
        """Look up terms."""
        self.require(snapshot.manifest)
        column, entry = open_sparse(snapshot)
        for query in queries:
            check_time(deadline)
            with stats.level("prepare"):
                planned = plan_query(query, column, entry)
            yield planned

    def single(self, snapshot: Snapshot, query: Any) -> SingleTerms | None:
        """Look up the weights of a dict in postings in memory."""
        return place_weights(snapshot, query)

    def scan(
        self,
        snapshot: Snapshot,
        planned: PlannedWeights,
        k: int,
        allowed: Allowed,
        stats: SearchStats,
        deadline: float | None = None,
    ) -> LegRanking:
        """Rank rows by their weights."""
        return rank_words([open_sparse(snapshot)[0]], snapshot, planned.weighted, k, allowed, stats, deadline)

    def score(
        self,
        snapshot: Snapshot,
        planned: PlannedWeights,
        rows: NDArray[np.int64],
        stats: SearchStats,  # noqa: ARG002
        deadline: float | None = None,
    ) -> NDArray[np.float64]:
        """Return the scores of rows, by seeks in the postings."""
        return score_words([open_sparse(snapshot)[0]], snapshot, planned.weighted, rows, deadline)

    def pack(self, snapshot: Snapshot, planned: Sequence[PlannedWeights]) -> PackedQueries:  # noqa: ARG002
        """Return the queries unchanged: planning them needs no statistics."""
        return PackedQueries(tuple(query.encoded for query in planned))

    def unpack(self, snapshot: Snapshot, packed: PackedQueries) -> list[PlannedWeights]:
        """Plan the queries of a message."""
        if packed.shared:
            raise InputError("the message is inconsistent: sparse queries have no shared data")
        column, entry = open_sparse(snapshot)
        return [plan_query(query, column, entry) for query in packed.queries]

    def packed_bytes(self, longest: int) -> int:
        """Return the size of a query."""
        return longest

    def occurs(self, snapshot: Snapshot, planned: PlannedWeights, places: Sequence[int]) -> bool:
        """Whether a term of a query occurs in some runs."""
        column, _ = open_sparse(snapshot)
        return any(column.numbers(term.text)[place] >= 0 for term in planned.weighted.terms for place in places)

    def fields(self, entry: Any) -> Collection[str]:
        """Return the field of the weights."""
        return [read_entry(entry).field]

    def unencoded(self, entry: Any) -> Collection[str]:
        """Return the field of the weights."""
        return self.fields(entry)

    def kinds(self, manifest: Manifest, kinds: Iterable[str], *, ranked: bool) -> list[str]:  # noqa: ARG002
        """Return the kinds of files of postings, or only of dictionaries and block tables."""
        known = {f"{PREFIX}{name}" for name in FILES if ranked or name not in LAZY}
        return [kind for kind in kinds if kind in known]

    def load(self, snapshot: Snapshot, *, ranked: bool) -> dict[str, int]:
        """Read the postings of all runs, or make them from the attribute."""
        load_lists(snapshot, lists=ranked)
        sizes = super().load(snapshot, ranked=ranked)
        for run, postings in zip(snapshot.shards, open_sparse(snapshot)[0].runs, strict=True):
            if postings.file is None:
                sizes[f"weights of {id(run.read)}"] = postings.size
        return sizes

    def writer(self, argument: Any) -> PartWriter:
        """Return the writer of the weights in an attribute."""
        from vsearch.sparse.building import SparseWriter

        if not isinstance(argument, str):
            raise InputError(f"legs={{'{NAME}': ...}} must name an attribute of weights, got {argument!r:.100}")
        return SparseWriter(argument, None)

    def rewriter(self, entry: Any) -> PartWriter:
        """Return the writer of the weights of an index."""
        from vsearch.sparse.building import SparseWriter

        read = read_entry(entry)
        return SparseWriter(read.field, read.step)

    def parts(
        self, entry: Any, attributes: pa.Table | None, rows: int
    ) -> Iterable[tuple[str, Mapping[str, NDArray[Any]]]]:
        """Return the postings of merged rows."""
        from vsearch.sparse.building import weights_of

        read = read_entry(entry)
        return named_arrays(make_postings(weights_of(attributes, read.field, rows), rows, read.step, read.field))

    def check_rows(self, manifest: Manifest, attributes: pa.Table | None, rows: int) -> None:
        """Check the weights of new rows."""
        from vsearch.sparse.levels import steps_of
        from vsearch.sparse.weights import read_rows
        from vsearch.text.building import texts_of_table

        entry = read_entry(self.entry(manifest))
        name = name_of(manifest, entry)
        steps_of(read_rows(texts_of_table(attributes, entry.field, rows), name).weights, entry.step, name)

    def forecast(self, argument: Any) -> Forecast:
        """Return the forecast of postings."""
        from vsearch.sparse.building import SparseForecast

        return SparseForecast(argument)


LEG = SparseLeg()
