"""Answers through coordinator, allocators and processors are those of the index opened directly."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fanout.test_pages import remote_of
from vsearch.errors import InputError
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire import messages
from vsearch.fanout.wire.messages import floats, int32s, int64s
from vsearch.fanout.wire.values import to_values
from vsearch.storage.files.plain_columns import to_arrow

#: The tree has three levels; one of many allocators has a test of its own, since each of them costs a search time.
PLANS = [{"mode": "alone"}, {"mode": "flat"}, {"allocators": 6, "branching": 2}, {"allocators": 3, "branching": 1}]
PREDICATES = [
    None,
    "price < 43.21 AND year >= 2001",
    "word = 'w3' OR word IS NULL",
    "tags @> ARRAY['t1'] AND ok",
    "price BETWEEN 1e6 AND 2e6",
    "year = 1995 AND price > 60",
]


def assert_same(answer, hits):
    found = int32s(answer.found)
    there = ~np.isnan(hits.scores)
    assert found.tolist() == there.sum(axis=1).tolist()
    assert floats(answer.scores).tobytes() == hits.scores[there].tobytes()
    ids = to_values(answer.ids) if answer.ids is not None else []
    assert ids == hits.ids[there].tolist()
    assert not answer.outcomes


@pytest.mark.parametrize("plan", PLANS, ids=["alone", "flat", "tree", "chain"])
@pytest.mark.parametrize("where", PREDICATES)
def test_identical_to_the_index(any_stack, plan, where):
    for options in ({}, {"nprobe": 2}, {"exact": True, "k": 37}):
        assert_same(any_stack.search(where=where, **plan, **options), any_stack.hits(where, **options))


def test_a_tree_of_many_allocators(any_stack):
    for where in PREDICATES:
        assert_same(any_stack.search(where=where, allocators=20, branching=4), any_stack.hits(where))


@pytest.mark.parametrize("plan", PLANS, ids=["alone", "flat", "tree", "chain"])
@pytest.mark.parametrize("k", [1, 10, 200])
def test_min_score_only_leaves_hits_out(any_stack, plan, k):
    for where in (None, "year > 2010"):
        free = any_stack.hits(where, k=k)
        for share in (0.1, 0.5, 0.99):
            bar = float(np.quantile(free.scores, share))
            hits = any_stack.hits(where, k=k, min_score=bar)
            good = free.scores <= bar if any_stack.index.info()["metric"] == "l2" else free.scores >= bar
            assert (hits.ids[good] == free.ids[good]).all()
            assert np.isnan(hits.scores[~good]).all()
            assert_same(any_stack.search(min_score=bar, k=k, where=where, **plan), hits)


def test_columns_come_along(any_stack):
    names = ("price", "year", "word", "tags", "day", "ok")
    where = "price < 43.21"
    hits = any_stack.index.search(any_stack.queries, columns=names, where=where)
    answer = any_stack.search(columns=names, where=where, allocators=5)
    there = ~np.isnan(hits.scores.reshape(-1))
    for name, column in zip(names, answer.columns, strict=True):
        expected = hits.columns.column(name).filter(there)
        assert to_arrow(column).to_pylist() == expected.to_pylist()
        assert to_arrow(column).type == expected.type


def test_rows_are_numbered_through_all_shards(stack):
    rows = int64s(stack.search(mode="flat").rows)
    assert rows.min() >= 0
    assert rows.max() < len(stack.index)


def test_few_partitions_wake_few_shards(stack):
    answer = stack.search(queries=stack.queries[:1], nprobe=1, mode="flat")
    assert answer.usages.processor.invocations == 1


@pytest.mark.parametrize("where", [None, "price < 60", "word = 'w3'"])
def test_shards_below_the_floor_sleep(any_stack, where):
    woken = []
    for query in any_stack.queries:
        answer = any_stack.search(queries=query[None, :], where=where, mode="flat")
        assert_same(answer, any_stack.index.search(query, where=where))
        woken.append(answer.usages.processor.invocations)
    if any_stack.index.info()["quantizer"] != "osq-lloyd":
        assert min(woken) < 3


def test_a_shard_gets_only_the_queries_that_visit_it(stack):
    asked = {}

    class Noting:
        def invoke(self, function, payload, timeout):
            message = wire.decode(payload)
            if isinstance(message, messages.ProcessRequest):
                asked[function] = message.count
                assert (int32s(message.visits) > 0).all()
            return stack.local.invoke(function, payload, timeout)

    stack.invoker = Noting()
    hits = stack.index.search(stack.queries, nprobe=2)
    assert_same(stack.search(nprobe=2, mode="flat"), hits)
    assert min(asked.values()) < len(stack.queries)


def test_a_predicate_that_matches_nothing_wakes_nobody(stack):
    answer = stack.search(where="price > 1e9", mode="flat")
    assert answer.usages.processor.invocations == 0
    assert int32s(answer.found).sum() == 0


def test_cold_loads_take_two_rounds_and_warm_ones_none(stack):
    cold = stack.search(mode="flat", where="year > 2000")
    warm = stack.search(mode="flat", where="year > 2000")
    assert cold.usages.total.cold_starts == 4
    assert cold.usages.processor.requests > 0
    assert warm.usages.total.cold_starts == 0
    assert warm.usages.processor.requests == 0
    assert warm.usages.allocator.requests == 0
    assert warm.rows == cold.rows


def test_time_is_billed_by_the_millisecond(stack):
    usage = stack.search(queries=stack.queries[:1], mode="alone").usages.coordinator
    milliseconds = usage.gigabyte_seconds * 1024 / 1769 * 1e3
    assert milliseconds == pytest.approx(np.ceil(1e3 * usage.seconds))


def test_the_plan_says_why(stack):
    assert stack.search().plan.startswith("alone: 24 queries on ")
    assert "requested" in stack.search(mode="flat").plan


def test_pipelined_batches(stack, monkeypatch):
    monkeypatch.setattr("vsearch.fanout.roles.allocator.LARGEST_BATCH", 5)
    hits = stack.index.search(stack.queries, where="year > 2000", exact=True)
    answer = stack.search(mode="flat", where="year > 2000", exact=True)
    assert_same(answer, hits)
    assert answer.usages.processor.invocations == 5 * 3


@pytest.mark.parametrize("plan", PLANS, ids=["alone", "flat", "tree", "chain"])
def test_ids_of_rows_in_predicates(any_stack, plan):
    seen = any_stack.index.search(any_stack.queries, k=20).ids[0].tolist()
    for where in ({"id": {"$nin": seen}}, {"id": {"$in": seen}}, {"id": {"$gt": seen[0]}}):
        hits = any_stack.index.search(any_stack.queries, where=where)
        assert_same(any_stack.search(where=where, **plan), hits)
    assert not set(seen) & set(
        any_stack.index.search(any_stack.queries, where={"id": {"$nin": seen}}).ids.ravel().tolist()
    )


def test_columns_fold_case(any_stack):
    for plan in PLANS:
        answer, same = (any_stack.search(columns=names, **plan) for names in (("PRICE", "Year"), ("price", "year")))
        assert [to_values(column) for column in answer.columns] == [to_values(column) for column in same.columns]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"k": 0}, "from 1 to 10000"),
        ({"k": "3"}, "from 1 to 10000"),
        ({"nprobe": 1.5}, "nprobe must be"),
        ({"min_score": "0.5"}, "finite number"),
        ({"min_score": float("nan")}, "finite number"),
        ({"timeout": "1"}, "seconds above 0"),
        ({"timeout": 0}, "seconds above 0"),
        ({"timeout": True}, "seconds above 0"),
    ],
)
def test_options_that_are_refused_before_they_are_sent(stack, option, message):
    with pytest.raises(InputError, match=message):
        remote_of(stack).search(stack.queries, **option)
