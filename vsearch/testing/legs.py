"""Tests for every leg of search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from vsearch.api.build_and_open import build
from vsearch.api.build_and_open import open as open_index
from vsearch.api.index import Index
from vsearch.api.remote_index import RemoteIndex
from vsearch.api.upkeep import verify
from vsearch.errors import InputError
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire.envelope import Envelope
from vsearch.legs.protocol import Leg, PackedQueries
from vsearch.legs.registry import find_leg
from vsearch.search.engine.stats import SearchStats
from vsearch.storage import open_store

DIMENSIONS = 8
PLANS: tuple[dict[str, Any], ...] = ({"mode": "alone"}, {"mode": "flat"}, {"allocators": 2})
RANK_CONSTANT = 60


@dataclass(frozen=True, eq=False)
class LegCase:
    """A registered leg, with data to search.

    Attributes
    ----------
    name : str
        Of the leg.
    argument : object
        Of a build: ``vsearch.build(..., legs={name: argument})``.
    attributes : pyarrow.Table
        At least 300 rows, some of which match no query. Scores should differ from row to row.
    queries : sequence of object
        Three or more; one of them matches at least 30 rows.
    scores : callable
        The plain definition: takes a table of all live rows and a query, and returns a score for each, float64 (n,); 0 if a row does
        not match.
    invalid : sequence of object
        Queries that are refused.
    """

    name: str
    argument: Any
    attributes: pa.Table
    queries: Sequence[Any]
    scores: Callable[[pa.Table, Any], npt.NDArray[np.float64]]
    invalid: Sequence[Any] = ()

    @property
    def leg(self) -> Leg[Any]:
        """The leg."""
        return find_leg(self.name)


@dataclass(frozen=True, eq=False)
class Indexed:
    """An index, and its live rows: ids and attributes, in the same order."""

    index: Index
    ids: npt.NDArray[np.int64]
    attributes: pa.Table

    def remote(self) -> RemoteIndex:
        """The same behind the roles of a stack in this process, cold."""
        url, names = self.index.snapshot.store.url, Names("legs")

        def make(function: str) -> Worker:
            return Worker.open(names.role(function), open_store(url), function, invoker=local, names=names)

        local = LocalInvoker(make)
        return RemoteIndex("test://legs", names, local, Envelope())

    def only(self, keep: npt.NDArray[np.bool_]) -> Indexed:
        """The same with some of the rows."""
        return Indexed(self.index, self.ids[keep], self.attributes.filter(pa.array(keep)))


class LegContract:
    """Tests of a fixture ``case``, a `LegCase`."""

    @pytest.fixture
    def built(self, case: LegCase) -> Indexed:
        rows = case.attributes.num_rows
        url = f"memory://testing-legs/{uuid4().hex}"
        index = build(
            _vectors(rows, 0), url, case.attributes, legs={case.name: case.argument}, metric="l2", rerank="float32",
            shards=2, partitions=6,
        )  # fmt: skip
        return Indexed(index, np.arange(rows), case.attributes)

    @pytest.fixture
    def changed(self, case: LegCase, built: Indexed) -> Indexed:
        """Rows were removed, merged and added again, so that there are several runs and a tail."""
        index, rows = built.index, case.attributes.num_rows
        index.delete(list(range(0, rows, 3)))
        kept = built.only(np.arange(rows) % 3 > 0)
        index.optimize(force=True)
        again = case.attributes.slice(0, rows // 2)
        index.append(_vectors(again.num_rows, 1), again)
        ids = np.concatenate([kept.ids, rows + np.arange(again.num_rows)])
        return Indexed(index, ids, pa.concat_tables([kept.attributes, again]))

    def test_it_is_a_leg(self, case: LegCase) -> None:
        assert case.leg.name == case.name
        assert case.leg.read(list(case.queries), "queries") == [
            query for single in case.queries for query in case.leg.read([single], "queries")
        ]

    def test_the_best_rows_are_found(self, case: LegCase, built: Indexed) -> None:
        for k in (1, 10, 1000):
            self.check(built.index.search_leg(case.name, list(case.queries), k), case, built, k)
        page = built.index.search_leg(case.name, list(case.queries), 5, offset=3)
        longer = built.index.search_leg(case.name, list(case.queries), 8)
        assert page.ids.tolist() == longer.ids[:, 3:].tolist()
        assert max(np.count_nonzero(case.scores(case.attributes, query)) for query in case.queries) >= 30
        assert min(np.count_nonzero(case.scores(case.attributes, query)) for query in case.queries) < len(built.ids)

    def test_filters_do_not_change_scores(self, case: LegCase, built: Indexed) -> None:
        table = case.attributes.append_column("row_", pa.array(np.arange(len(built.ids))))
        url = f"memory://testing-legs/{uuid4().hex}"
        index = build(
            _vectors(len(built.ids), 0), url, table, legs={case.name: case.argument}, metric="l2", partitions=6
        )
        hits = index.search_leg(case.name, list(case.queries), 20, "row_ >= 40 AND row_ < 200", ["row_"])
        passing = (built.ids >= 40) & (built.ids < 200)
        for query, scores in enumerate(self.all_scores(case, built)):
            _assert_same_ranking(hits.ids[query], hits.scores[query], np.where(passing, scores, 0), built.ids, 20)

    def test_changes_are_searched(self, case: LegCase, changed: Indexed) -> None:
        self.check(changed.index.search_leg(case.name, list(case.queries), 30), case, changed, 30)
        opened = open_index(changed.index.snapshot.store.url)
        self.check(opened.search_leg(case.name, list(case.queries), 30), case, changed, 30)
        changed.index.optimize(force=True)
        self.check(changed.index.search_leg(case.name, list(case.queries), 30), case, changed, 30)
        changed.index.retrain()
        self.check(changed.index.search_leg(case.name, list(case.queries), 30), case, changed, 30)
        assert verify(changed.index.snapshot.store.url).ok

    def test_some_rows_are_scored(self, case: LegCase, changed: Indexed) -> None:
        snapshot = changed.index.snapshot
        everywhere = {run.number: run.live for run in snapshot.shards}
        for planned in case.leg.plan(snapshot, case.leg.read(list(case.queries), "queries"), SearchStats()):
            best = case.leg.scan(snapshot, planned, 1000, everywhere, SearchStats())
            assert (best.scores > 0).all()
            assert (np.diff(best.keys) <= 0).all()
            order = np.lexsort((best.rows, -best.keys))
            assert order.tolist() == list(range(len(order)))
            live = np.concatenate([run.first_row + np.flatnonzero(_live(run)) for run in snapshot.shards])
            scores = case.leg.score(snapshot, planned, live, SearchStats())
            np.testing.assert_allclose(scores[np.searchsorted(live, best.rows)], best.scores, rtol=1e-6)
            assert np.count_nonzero(scores) == len(best.rows)

    def test_vectors_are_fused(self, case: LegCase, built: Indexed) -> None:
        points = _vectors(len(case.queries), 2)
        options: dict[str, Any] = {"query_vectors": points, "exact": True, "depth": 40}
        hits: Any = built.index.search_leg(case.name, list(case.queries), 10, **options)
        near = ((_vectors(len(built.ids), 0)[None] - points[:, None]) ** 2).sum(axis=2)
        for query, scores in enumerate(self.all_scores(case, built)):
            for place, row in enumerate(hits.ids[query].tolist()):
                assert hits.vector_scores[query, place] == pytest.approx(near[query, row], rel=1e-4)
                assert hits.leg_scores[query, place] == pytest.approx(scores[row], rel=1e-4)
                assert (hits.leg_ranks[query, place] > 0) == (scores[row] > 0)
                fused = 1 / (RANK_CONSTANT + hits.vector_ranks[query, place])
                fused += 1 / (RANK_CONSTANT + hits.leg_ranks[query, place]) if scores[row] > 0 else 0
                assert hits.scores[query, place] == pytest.approx(fused, rel=1e-5)
        only: Any = built.index.search_leg(
            case.name, list(case.queries), 5, fusion="weighted", weights=(0, 1), **options
        )
        unfused = built.index.search_leg(case.name, list(case.queries), 5)
        matching = unfused.ids >= 0
        np.testing.assert_allclose(only.leg_scores[matching], unfused.scores[matching], rtol=1e-5)
        assert {f"{case.name}_score", "vector_rank"} <= set(hits.to_arrow().column_names)

    @pytest.mark.parametrize("plan", PLANS)
    def test_functions_answer_as_one_process(self, case: LegCase, changed: Indexed, plan: dict[str, Any]) -> None:
        remote, queries = changed.remote(), list(case.queries)
        points = _vectors(len(queries), 2)
        for options in ({"k": 12}, {"k": 5, "offset": 4}, {"k": 7, "query_vectors": points, "exact": True}):
            expected: Any = changed.index.search_leg(case.name, queries, **options)
            hits: Any = remote.search_leg(case.name, queries, **options, **plan)
            assert hits.ids.tolist() == expected.ids.tolist()
            np.testing.assert_array_equal(hits.scores, expected.scores)
            if "query_vectors" in options:
                np.testing.assert_array_equal(hits.leg_scores, expected.leg_scores)
                np.testing.assert_array_equal(hits.leg_ranks, expected.leg_ranks)
        assert remote.search_leg(case.name, [], 3, **plan).ids.shape == (0, 3)

    def test_planned_queries_survive_a_message(self, case: LegCase, built: Indexed) -> None:
        snapshot, leg = built.index.snapshot, case.leg
        read = leg.read(list(case.queries), "queries")
        planned = list(leg.plan(snapshot, read, SearchStats()))
        packed = leg.pack(snapshot, planned)
        assert all(len(query) <= leg.packed_bytes(len(text)) for query, text in zip(packed.queries, read, strict=True))
        everywhere = {run.number: run.live for run in snapshot.shards}
        for local, unpacked in zip(planned, leg.unpack(snapshot, packed), strict=True):
            best, again = (leg.scan(snapshot, query, 50, everywhere, SearchStats()) for query in (local, unpacked))
            assert best.rows.tolist() == again.rows.tolist()
            assert best.keys.tolist() == again.keys.tolist()

    def test_forged_messages_are_refused(self, case: LegCase, built: Indexed) -> None:
        """Cut short, replaced or changed, a planned query is refused or is another one; never a crash."""
        snapshot, leg = built.index.snapshot, case.leg
        packed = leg.pack(snapshot, list(leg.plan(snapshot, leg.read(list(case.queries), "queries"), SearchStats())))
        everywhere = {run.number: run.live for run in snapshot.shards}
        refused = 0
        for forged in _forgeries(packed):
            try:
                for planned in leg.unpack(snapshot, forged):
                    leg.scan(snapshot, planned, 10, everywhere, SearchStats())
            except InputError:
                refused += 1
        assert refused

    def test_invalid_queries_are_refused(self, case: LegCase, built: Indexed) -> None:
        for query in case.invalid:
            with pytest.raises(InputError):
                built.index.search_leg(case.name, query)
        with pytest.raises(InputError, match="one"):
            built.index.search_leg(case.name, list(case.queries), query_vectors=_vectors(1, 2))
        with pytest.raises(InputError, match="requires query_vectors"):
            built.index.search_leg(case.name, list(case.queries), fusion="rrf")

    def test_an_index_without_the_leg_says_so(self, case: LegCase) -> None:
        rows = case.attributes.num_rows
        index = build(_vectors(rows, 0), f"memory://testing-legs/{uuid4().hex}", case.attributes, partitions=4)
        with pytest.raises(InputError, match=case.leg.absent[:20]):
            index.search_leg(case.name, list(case.queries))
        with pytest.raises(InputError, match=case.leg.absent[:20]):
            Indexed(index, np.arange(rows), case.attributes).remote().search_leg(case.name, list(case.queries))

    def test_attributes_in_use_stay(self, case: LegCase, built: Indexed) -> None:
        manifest = built.index.snapshot.manifest
        assert case.name in built.index.info()["legs"]
        for field in case.leg.fields(case.leg.entry(manifest)):
            with pytest.raises(InputError, match="cannot drop"):
                built.index.drop_column(field)

    def all_scores(self, case: LegCase, indexed: Indexed) -> Iterator[npt.NDArray[np.float64]]:
        """The plain scores of each query."""
        return (case.scores(indexed.attributes, query) for query in case.queries)

    def check(self, hits: Any, case: LegCase, indexed: Indexed, k: int) -> None:
        """Compare hits with the plain definition."""
        assert hits.ids.shape == (len(case.queries), k)
        for query, scores in enumerate(self.all_scores(case, indexed)):
            _assert_same_ranking(hits.ids[query], hits.scores[query], scores, indexed.ids, k)


def _assert_same_ranking(
    ids: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float64],
    all_ids: npt.NDArray[np.int64],
    k: int,
) -> None:
    count = min(k, np.count_nonzero(expected))
    assert np.count_nonzero(ids >= 0) == count
    assert np.isnan(scores[count:]).all()
    best = np.sort(expected)[::-1][:count]
    np.testing.assert_allclose(scores[:count], best, rtol=1e-4)
    of_id = dict(zip(all_ids.tolist(), expected.tolist(), strict=True))
    np.testing.assert_allclose(scores[:count], [of_id[row] for row in ids[:count].tolist()], rtol=1e-4)
    assert len(set(ids[:count].tolist())) == count


def _vectors(rows: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, DIMENSIONS)).astype(np.float32)


def _live(run: Any) -> npt.NDArray[np.bool_]:
    live = np.ones(run.rows, np.bool_)
    live[run.gone] = False
    return live


def _forgeries(packed: PackedQueries) -> Iterator[PackedQueries]:
    """Messages that differ from a proper one in a few bytes."""
    rng = np.random.default_rng(3)
    first, rest = packed.queries[0], packed.queries[1:]
    for data in (b"", b"\xff", first[:-1], first + b"\0", bytes(len(first)), b"\x94" * 1000):
        yield PackedQueries((data, *rest), packed.shared)
    for _ in range(200):
        changed = bytearray(first)
        for place in rng.integers(0, len(changed), 2):
            changed[place] = rng.integers(0, 256)
        yield PackedQueries((bytes(changed), *rest), packed.shared)
    for shared in (packed.shared[:-1], packed.shared + b"\0" * 8, b"\xff" * len(packed.shared)):
        yield PackedQueries(packed.queries, shared)
