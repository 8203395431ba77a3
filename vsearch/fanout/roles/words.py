"""Text queries in the roles of a stack, alone or together with vectors.

The planner weighs words by the statistics of the whole snapshot, so that scores do not depend on shards; processors rank their rows
by these weights. With vectors, a shard returns two rankings per query, the nearest rows and those with the words, each row with the
scores of both; the planner merges each ranking over the shards and fuses both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.fanout.wire.messages import Answer, floats, int32s, int64s
from vsearch.fanout.wire.texts import text_bytes, text_of
from vsearch.fanout.wire.words import WeighedWords, Words, WordTerm
from vsearch.kernels.query.fields import COUNTERS, SCANNED
from vsearch.predicates.evaluation import full_words
from vsearch.search.engine.merge import ShardHits, as_seen
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.storage.files.plain_columns import Column, gather
from vsearch.storage.snapshots.text_entries import text_columns
from vsearch.text.fusing import Candidates, FusionOptions, fuse
from vsearch.text.hybrid import Ranking, score_both
from vsearch.text.opening import open_text
from vsearch.text.query import Term
from vsearch.text.search import rank_words
from vsearch.text.weighing import WeightedQuery, weigh_words

if TYPE_CHECKING:
    from vsearch.fanout.calls.retries import Deadline
    from vsearch.fanout.roles.leg import ShardSearch
    from vsearch.fanout.wire.messages import AllocateRequest, Options
    from vsearch.search.state.shard_runs import ShardRuns
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest

KEY = "float64"
"""Type of the column by which rankings of shards are merged: scores of words as whole numbers, which float32 would round."""

HYBRID_COLUMNS = ("float32", "int64", "float32", "int64")
"""Additional columns of answers by vectors and words: score and rank of each part."""

TERM_BYTES = 24
"""Of a weighed term of one character in a message."""


@dataclass(frozen=True)
class WordLeg:
    """Words as a leg; see `vsearch.fanout.roles.leg.Leg`."""

    asked: Words

    @property
    def fused(self) -> bool:
        """Whether there are vectors as well."""
        return self.asked.depth is not None

    @property
    def estimated(self) -> bool:
        """Scores are exact."""
        return False

    @property
    def ordered(self) -> bool:
        """A larger k only appends rows, since the number of candidates does not depend on it."""
        return True

    @property
    def rankings(self) -> int:
        """By vectors and by words, or by words only."""
        return 2 if self.fused else 1

    @property
    def column_types(self) -> tuple[str, ...]:
        """Scores and ranks of both parts, if there are two."""
        return HYBRID_COLUMNS if self.fused else ()

    @property
    def shard_column_types(self) -> tuple[str, ...]:
        """The key of the ranking, and the scores of both parts."""
        return (KEY, "float32", "float32") if self.fused else (KEY,)

    def check(self, manifest: Manifest) -> None:
        """Check that there are text columns."""
        columns = text_columns(manifest.text)
        if not columns:
            raise InputError(
                "this index has no text columns: build it with text=, or call add_text, to search for words"
            )
        if self.asked.weighed and len(self.asked.lengths) != 8 * len(columns):
            raise InputError(f"there must be a mean length for each of {len(columns)} text columns")

    def take(self, positions: NDArray[np.int64] | slice) -> dict[str, Any]:
        """Return selected queries."""
        chosen = np.arange(len(self.asked.texts))[positions].tolist()
        return {"words": msgspec.structs.replace(self.asked, texts=tuple(self.asked.texts[place] for place in chosen))}

    def without_columns(self) -> dict[str, Any]:
        """Return no fields: scores are needed to merge."""
        return {}

    def sizes(self, options: Options) -> tuple[int, int]:
        """Return sizes, where every query counts as the longest, with words of one character."""
        longest = max(map(len, self.asked.texts), default=0)
        asked = min(TERM_BYTES * longest, 1 << 19) + 2 * longest + 256
        returned = 8 * options.k
        if self.asked.depth is not None:
            returned = (2 * self.asked.depth - options.k) * (44 + 32 * len(options.columns)) + 8 * options.k
        return asked, returned

    def vectors(self, snapshot: Snapshot, request: AllocateRequest) -> NDArray[np.float32] | None:  # noqa: ARG002
        """Return the vectors of the request."""
        return floats(request.queries, request.count, request.dimensions) if self.fused else None

    def options(self, manifest: Manifest, options: Options) -> Options:  # noqa: ARG002
        """Return the options for the nearest candidates."""
        return self.shard_options(options)

    def shard_options(self, options: Options) -> Options:
        """Return the options for as many rows as there are candidates."""
        return options if self.asked.depth is None else msgspec.structs.replace(options, k=self.asked.depth)

    def key(self, options: Options) -> int:
        """Return the column of the key, after the requested ones."""
        return len(options.columns)

    def plan(self, snapshot: Snapshot, deadline: Deadline) -> WordPlan:
        """Weigh the words; raises InputError for invalid queries."""
        texts = [text_of(text) for text in self.asked.texts]
        return WordPlan(snapshot, self.asked, list(weigh_words(snapshot, texts, SearchStats(), deadline.at)))

    def scan(self, snapshot: Snapshot, options: Options) -> ShardWords:
        """Return the search of a shard."""
        self.check(snapshot.manifest)
        lengths = np.frombuffer(self.asked.lengths, "<f8").tolist()
        return ShardWords(snapshot, [unpack(query, lengths) for query in self.asked.weighed], options, self.asked.depth)

    def finish(self, snapshot: Snapshot, merged: Answer, options: Options) -> Answer:
        """Fuse the rankings of each query, or return the only ones."""
        requested = len(options.columns)
        if self.asked.depth is None:
            return msgspec.structs.replace(merged, columns=merged.columns[:requested])
        fusion = FusionOptions(self.asked.fusion, self.asked.weights, self.asked.depth)
        return fuse_answer(merged, fusion, options.k, requested, squared=snapshot.model.metric == "l2")


@dataclass(frozen=True, eq=False)
class WordPlan:
    """Weighed words in the plan of a batch; see `vsearch.fanout.roles.leg.LegPlan`."""

    snapshot: Snapshot
    asked: Words
    queries: list[WeightedQuery]

    def searches(self, shard: ShardRuns) -> NDArray[np.bool_]:
        """Return which queries have a term that occurs in a shard."""
        columns, places = open_text(self.snapshot), [run.number for run in shard.runs]

        def occurs(query: WeightedQuery) -> bool:
            terms = (columns[term.column].numbers(term.text) for term in query.terms)
            if any(numbers[place] >= 0 for numbers in terms for place in places):
                return True
            return any(query.marked[term, place].any() for term in query.prefixes for place in places)

        return np.array([occurs(query) for query in self.queries], np.bool_)

    def take(self, positions: NDArray[np.int64]) -> dict[str, Any]:
        """Return selected queries with their weights."""
        chosen = [self.queries[position] for position in positions.tolist()]
        lengths = np.array([column.length for column in open_text(self.snapshot)], "<f8").tobytes()
        weighed = tuple(map(pack, chosen))
        return {"words": msgspec.structs.replace(self.asked, texts=(), weighed=weighed, lengths=lengths)}


@dataclass(frozen=True, eq=False)
class ShardWords:
    """The search of a shard for words; see `vsearch.fanout.roles.leg.ShardScan`."""

    snapshot: Snapshot
    queries: list[WeightedQuery]
    asked: Options
    nearest: int | None
    found: dict[int, tuple[list[NDArray[np.float64]], Candidates | None]] = field(default_factory=dict)

    def rank(self, search: ShardSearch, position: int, hits: ShardHits | None) -> list[ShardHits]:
        """Return the rows with the words, after the nearest rows if there are vectors."""
        snapshot, query, stats = self.snapshot, self.queries[position], SearchStats()
        allowed = {run.number: _own(run, words) for run, words in zip(search.shard.runs, search.words, strict=True)}
        worded = rank_words(snapshot, query, self.asked.k, allowed, stats, search.deadline.at)
        counters = np.zeros(COUNTERS, np.int64)
        counters[SCANNED] = stats.rows_scanned
        first = search.shard.first_row
        by_words = ShardHits(worded.scores, worded.rows - first, counters)
        if hits is None:
            self.found[position] = [worded.keys], None
            return [by_words]
        count = int(np.count_nonzero(hits.rows >= 0))
        near = ShardHits(hits.scores[:count], hits.rows[:count], hits.counters)
        nearest = Ranking(near.rows + first, as_seen(near.scores, snapshot.model))
        request = SearchRequest(self.asked.k, snapshot.settings, deadline=search.deadline.at)
        point = search.queries[position : position + 1]
        both = score_both(snapshot, point, query, nearest, Ranking(worded.rows, worded.scores), request, prepared=True)
        self.found[position] = [near.scores.astype(np.float64), worded.keys], both
        return [near, by_words]

    def columns(self, rows: Sequence[NDArray[np.int64]]) -> tuple[Column, ...]:
        """Return the key of every row of the rankings, and the scores of both parts."""
        found = [self.found[position] for position in range(len(self.queries))]
        keys = _column(KEY, [key for of_query, _ in found for key in of_query])
        if self.nearest is None:
            return (keys,)
        by_vector, by_text = [], []
        for ranking, own in enumerate(rows):
            both = found[ranking // 2][1]
            assert both is not None  # noqa: S101  there are vectors
            places = np.searchsorted(both.rows, own)
            by_vector.append(both.by_vector[places])
            by_text.append(both.by_text[places])
        return keys, _column("float32", by_vector), _column("float32", by_text)


def pack(query: WeightedQuery) -> WeighedWords:
    """Pack a weighted query for a message."""
    weights = {**query.terms, **query.prefixes}

    def conditions(given: list[list[list[Term]]]) -> tuple[tuple[tuple[WordTerm, ...], ...], ...]:
        return tuple(tuple(tuple(map(_packed, option)) for option in options) for options in given)

    return WeighedWords(
        tuple(map(_packed, weights)),
        np.array(list(weights.values()), "<f8").tobytes(),
        conditions(query.must),
        conditions(query.must_not),
    )


def unpack(query: WeighedWords, lengths: Sequence[float]) -> WeightedQuery:
    """Return the weighted query of a message."""
    weights = dict(zip(map(_term, query.terms), np.frombuffer(query.weights, "<f8").tolist(), strict=True))

    def conditions(given: tuple[tuple[tuple[WordTerm, ...], ...], ...]) -> list[list[list[Term]]]:
        return [[list(map(_term, option)) for option in options] for options in given]

    return WeightedQuery(
        {term: weight for term, weight in weights.items() if not term.prefix},
        {term: weight for term, weight in weights.items() if term.prefix},
        conditions(query.must),
        conditions(query.must_not),
        lengths,
    )


def fuse_answer(merged: Answer, fusion: FusionOptions, k: int, requested: int, *, squared: bool) -> Answer:
    """Fuse the merged rankings of shards, two per query, into the answer.

    Parameters
    ----------
    requested : int
        Number of requested columns, before those of the leg.
    """
    found = int32s(merged.found)
    edges = np.concatenate(([0], np.cumsum(found[::2].astype(np.int64) + found[1::2])))
    rows = int64s(merged.rows)
    by_vector, by_text = (floats(column.values).astype(np.float64) for column in merged.columns[requested + 1 :])
    counts, places, scores, ranks = [], [], [], []
    for query, (start, stop) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        union, at = np.unique(rows[start:stop], return_index=True)
        at += start
        if not len(union):
            counts.append(0)
            continue
        fused = fuse(Candidates(union, by_vector[at], by_text[at]), fusion, k, query, squared=squared)
        counts.append(len(fused.best))
        places.append(at[fused.best])
        scores.append(fused.scores)
        ranks.append((fused.vector_ranks, fused.text_ranks))
    best = np.concatenate([np.empty(0, np.int64), *places])
    vector_ranks = [each for each, _ in ranks]
    text_ranks = [each for _, each in ranks]
    return msgspec.structs.replace(
        merged,
        count=len(counts),
        k=k,
        found=np.array(counts, "<i4").tobytes(),
        scores=np.concatenate([np.empty(0), *scores]).astype("<f4").tobytes(),
        rows=rows[best].astype("<i8").tobytes(),
        ids=None if merged.ids is None else gather(merged.ids, best),
        columns=(
            *(gather(column, best) for column in merged.columns[:requested]),
            _column("float32", [by_vector[best]]),
            _column("int64", vector_ranks),
            _column("float32", [by_text[best]]),
            _column("int64", text_ranks),
        ),
    )


def _own(run: Any, words: NDArray[np.uint64] | None) -> NDArray[np.uint64] | None:
    """Return the rows of a run of a shard that pass; the part of a tail has the row numbers of the whole tail."""
    table = run.table
    first, stop = int(table.row_starts[0]), int(table.row_starts[-1] + table.rows[-1])
    if first == 0 and stop == run.rows:
        return words
    own = full_words(stop)
    own[: first >> 6] = 0
    if first & 63:
        own[first >> 6] &= ~np.uint64((1 << (first & 63)) - 1)
    inside = np.zeros(-(-run.rows // 64), np.uint64)
    inside[: len(own)] = own
    return inside if words is None else inside & words


def _column(kind: str, parts: Sequence[NDArray[Any]]) -> Column:
    dtype = {"float64": "<f8", "float32": "<f4", "int64": "<i8"}[kind]
    values = np.concatenate([np.empty(0, dtype), *(part.astype(dtype) for part in parts)])
    return Column(kind, len(values), None, values.tobytes())


def _packed(term: Term) -> WordTerm:
    return WordTerm(term.column, text_bytes(term.text), term.prefix)


def _term(term: WordTerm) -> Term:
    return Term(term.column, text_of(term.text), term.prefix)
