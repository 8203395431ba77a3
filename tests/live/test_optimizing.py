"""Folds and merges concurrent with writers and each other: no row is lost, duplicated or resurrected."""

from __future__ import annotations

import numpy as np
import pytest

from bench.fuzzers.live import small_measures
from bench.fuzzers.live_model import Ask, Row, carry_out, outcome
from tests.live.troubles import Interrupted, is_manifest, is_segment, on, segments
from vsearch.live.optimizing import Rewrite, ShardOutput, fold, optimize
from vsearch.live.plan import RunCounts, ShardPlan, plan_shards
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import read_manifest
from vsearch.storage.snapshots.manifest import manifest_files

pytestmark = pytest.mark.usefixtures("quickly")

NOTHING, YOUNG, BASE = ShardPlan(), ShardPlan(young=True), ShardPlan(base=True)


@pytest.fixture
def small():
    with small_measures():
        yield


def rows(n, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)


def shards_of(index):
    """Ids of each shard's base."""
    runs = index.snapshot.shards
    return [run.files["ids"].array("id").tolist() for run in runs[: len(index.snapshot.manifest.shards)]]


def files(store):
    return {entry.path for entry in manifest_files(read_manifest(store)) if entry.path.startswith("segments/")}


@pytest.mark.parametrize(
    ("shards", "tails", "force", "expected"),
    [
        ([[RunCounts(100, 0)], [RunCounts(100, 0)]], [0, 0], False, [NOTHING, NOTHING]),
        ([[RunCounts(100, 0)], [RunCounts(100, 0)]], [0, 0], True, [NOTHING, NOTHING]),
        ([[RunCounts(100, 30, 30)], [RunCounts(100, 1, 1)]], [0, 0], False, [BASE, YOUNG]),
        ([[RunCounts(100, 30, 30)], [RunCounts(100, 1, 0)]], [0, 0], False, [BASE, NOTHING]),
        ([[RunCounts(100, 0)], [RunCounts(100, 1, 1)]], [0, 0], False, [NOTHING, NOTHING]),
        ([[RunCounts(100, 0)], [RunCounts(100, 1, 1)]], [0, 0], True, [NOTHING, BASE]),
        ([[RunCounts(200_000, 0)], [RunCounts(100, 1, 1)]], [30_000, 0], False, [YOUNG, YOUNG]),
        ([[RunCounts(200_000, 0)], [RunCounts(100, 0)]], [30_000, 0], False, [YOUNG, NOTHING]),
        ([[RunCounts(100, 0)], [RunCounts(100, 1, 1)]], [30_000, 0], False, [BASE, YOUNG]),
        ([[RunCounts(100, 0), RunCounts(20, 0)], [RunCounts(100, 0)]], [5, 30_000], False, [BASE, BASE]),
        ([[RunCounts(100, 0), RunCounts(30, 0)], [RunCounts(100, 0), RunCounts(9, 1, 1)]], [0, 0], False, [BASE, YOUNG]),
        ([[RunCounts(0, 0)], [RunCounts(0, 0)]], [3, 0], False, [NOTHING, NOTHING]),
        ([[RunCounts(0, 0)], [RunCounts(0, 0)]], [3, 0], True, [BASE, NOTHING]),
    ],
)  # fmt: skip
def test_whoever_has_something_in_the_deltas_takes_part(shards, tails, force, expected):
    assert plan_shards(shards, tails, force=force) == expected


def test_deletions_of_a_shard_outlast_the_merge_of_another(begin, holds):
    store, state = begin()
    index = on(store)
    one, other = shards_of(index)
    ask = Ask("delete", [*one[: len(one) // 2], *other[:1]])
    carry_out(index, ask)
    optimize(index.snapshot)
    holds(store, outcome(state, ask).state)
    assert not read_manifest(store).live.deltas


def merged_meanwhile(store, event, *, force=True, when=is_segment):
    """Merge, while something else happens after the first segment was written."""
    index = on(Interrupted(store, when, event, after=True))
    return optimize(index.snapshot, force=force)[0]


@pytest.mark.parametrize("when", [is_segment, is_manifest])
@pytest.mark.parametrize(
    "asks",
    [
        [Ask("delete", [1, 2, 900])],
        [Ask("delete", where="n IS NULL OR n IS NOT NULL")],
        [Ask("update", [1, 901], value=6)],
        [Ask("update", where="n = 3", value=1000), Ask("delete", where="n = 1000")],
        [Ask("delete", [1]), Ask("fold", force=True), Ask("delete", [3])],
        [Ask("optimize", force=True)],
        [Ask("delete", [1]), Ask("optimize", force=True), Ask("delete", [3, 901])],
    ],
    ids=repr,
)
def test_what_happens_during_a_merge_counts_afterwards(begin, holds, small, asks, when):
    store, state = begin()
    index = on(store)
    index.append(rows(2), {"n": [3, 3]}, ids=[900, 901])
    index.delete(ids=[5, 6, 7])
    state = outcome(outcome(state, Ask("append", [900, 901], two(rows(2)))).state, Ask("delete", [5, 6, 7])).state

    def event():
        other = on(store)
        for ask in asks:
            carry_out(other, ask)

    report = merged_meanwhile(store, event, when=when)
    for ask in asks:
        state = outcome(state, ask).state
    holds(store, state)
    if when is is_segment:
        assert (report.merged == 0) == any(ask.kind == "optimize" or ask.force for ask in asks)
    optimize(on(store).snapshot, force=True)
    holds(store, state)
    assert read_manifest(store).rows == len(state.rows)


def two(vectors):
    return [Row(vector, 3, None) for vector in vectors]


def test_a_young_run_that_came_meanwhile_is_not_written_over(begin, small):
    store, _ = begin(shards=1)
    index = on(store)
    index.upsert(rows(1), ids=[1])
    optimize(index.snapshot, force=True)
    start = on(store)
    assert not start.snapshot.manifest.live.deltas
    start.append(rows(7), ids=list(range(900, 907)))
    optimize(start.snapshot)
    after = on(store).snapshot
    assert after.manifest.shards[0].young
    before = on(store).snapshot.manifest.snapshot - 2
    old = open_snapshot(store, read_manifest(store, before))
    assert Rewrite(old, {0: ShardOutput(None, None)}).resolve(after).empty


def test_a_handle_that_is_behind_optimizes_the_newest_snapshot(begin, holds, small):
    store, state = begin()
    behind, ahead = on(store), on(store)
    ask = Ask("delete", list(range(30)))
    carry_out(ahead, ask)
    report = behind.optimize(retune=False)
    assert report.merged == 2
    assert report.snapshot == behind.snapshot.manifest.snapshot == 3
    assert not ahead.optimize(retune=False).changed
    holds(store, outcome(state, ask).state)


def test_what_was_dropped_once_is_never_committed(begin, small):
    store, _ = begin()
    index = on(store)
    index.delete(ids=[1])
    before = index.snapshot
    rewrite = Rewrite(before, clear=True)
    index.append(rows(9), ids=list(range(900, 909)))
    optimize(index.snapshot, force=True)
    assert rewrite.resolve(on(store).snapshot).empty
    assert rewrite.dropped
    assert rewrite.resolve(before).empty, "its files may be gone by now"


def test_deltas_of_removed_rows_alone_go_without_a_file(begin, holds):
    store, state = begin()
    index = on(store)
    index.append(rows(30), ids=list(range(900, 930)))
    index.delete(where="id >= 900")
    before = segments(store)
    optimize(index.snapshot)
    assert read_manifest(store).live.deltas == ()
    assert segments(store) == before
    holds(store, state)
    newest = read_manifest(store).snapshot
    optimize(on(store).snapshot)
    optimize(on(store).snapshot, force=True)
    assert read_manifest(store).snapshot == newest, "there was nothing to do"


@pytest.mark.parametrize("id_type", ["int", "string", "row"])
@pytest.mark.parametrize("merged", [False, True])
def test_an_index_of_which_everything_was_deleted(begin, holds, id_type, merged):
    store, state = begin(id_type)
    everything = Ask("delete", where="n IS NULL OR n IS NOT NULL")
    index = on(store)
    assert index.delete(where=everything.where).deleted == 60
    state = outcome(state, everything).state
    holds(store, state)
    if merged:
        optimize(index.snapshot, force=True)
        holds(store, state)
        assert optimize(on(store).snapshot, force=True)[0].changed is False
    assert index.delete(where="n = 3").deleted == 0
    again = Ask("append", None if id_type == "row" else list(state_ids(id_type)), two(rows(3)))
    carry_out(index, again)
    state = outcome(state, again).state
    holds(store, state)
    optimize(on(store).snapshot, force=True)
    holds(store, state)
    fold(on(store).snapshot, most=1)


def state_ids(id_type):
    return [0, 1, 900] if id_type == "int" else ["row 0", "row 1", "row 900"]


def test_ids_that_were_deleted_come_again_and_again(begin, holds, small):
    store, state = begin()
    index = on(store)
    for turn in range(6):
        for ask in (
            Ask("delete", [1, 2, 3]),
            Ask("append", [2, 3, 1], two(rows(3, turn))),
            Ask("upsert", [3], two(rows(1, turn))),
            Ask("fold", force=turn % 2 == 0),
        ):
            carry_out(index, ask)
            state = outcome(state, ask).state
        if turn % 3 == 2:
            carry_out(index, Ask("optimize", force=turn > 3))
        holds(store, state)
