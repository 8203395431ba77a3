"""Known failures of other systems, each as a named test."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

import vsearch
from bench.fuzzers.live_model import Ask, Row, carry_out, open_here, outcome
from tests.live.troubles import Interrupted, is_manifest, is_segment, on, segments
from vsearch.errors import InputError
from vsearch.live.optimizing import fold, optimize
from vsearch.storage import list_snapshots, prune, read_manifest, verify
from vsearch.storage.stores.metered import MeteredStore

pytestmark = pytest.mark.usefixtures("quickly")


def rows(n, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)


def made(vectors, n=3):
    return [Row(vector, n, "red") for vector in vectors]


def test_two_writers_insert_one_key(begin):
    store, _ = begin()
    second = on(store)
    index = on(Interrupted(store, is_manifest, lambda: second.append(rows(1, 2), {"n": [2]}, ids=[900])))
    with pytest.raises(InputError, match="900"):
        index.append(rows(1, 1), {"n": [1]}, ids=[900])
    assert on(store).get([900]).column("n").to_pylist() == [2]
    assert len(on(store)) == 61


def test_two_writers_upsert_one_key(begin, holds):
    store, state = begin()
    second = on(store)
    mine, theirs = (Ask("upsert", [900, 7], made(rows(2, seed), seed)) for seed in (1, 2))
    index = on(Interrupted(store, is_manifest, lambda: carry_out(second, theirs)))
    assert carry_out(index, mine).to_dict() == {"snapshot": 3, "added": 0, "replaced": 2, "deleted": 0}
    holds(store, outcome(outcome(state, theirs).state, mine).state)


def test_two_writers_of_one_key_in_threads(begin):
    """Real threads, and many more of them than keys."""
    store, _ = begin()
    added = []

    def write(number):
        index = open_here(store)
        for turn in range(4):
            try:
                added.append(index.append(rows(1, number), {"n": [number]}, ids=[900 + turn]).added)
            except InputError:
                index.upsert(rows(1, number), {"n": [number]}, ids=[900 + turn])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(added) == 4
    assert len(on(store)) == 64
    assert on(store).snapshot.manifest.snapshot == 17
    assert verify(store).ok


@pytest.mark.parametrize("force", [False, True])
def test_a_deletion_during_a_merge(begin, holds, force):
    store, state = begin()
    index = on(store)
    first, during = Ask("delete", list(range(30))), Ask("delete", [40, 41])
    carry_out(index, first)
    optimize(on(Interrupted(store, is_segment, lambda: carry_out(on(store), during), after=True)).snapshot, force=force)
    holds(store, outcome(outcome(state, first).state, during).state)


def test_deleted_rows_are_not_back_after_a_merge_or_a_reload(begin, holds):
    store, state = begin()
    index = on(store)
    for ask in (
        Ask("append", [900, 901], made(rows(2))),
        Ask("delete", [900, 1, 2]),
        Ask("upsert", [3, 901], made(rows(2, 2))),
        Ask("delete", [3]),
    ):
        carry_out(index, ask)
        state = outcome(state, ask).state
    for again in range(3):
        fold(on(store).snapshot, most=1)
        holds(store, state)
        optimize(on(store).snapshot, force=again > 0)
        holds(store, state)
        index.refresh()
        assert len(index) == len(state.rows)
        assert index.delete(ids=[900, 1, 2, 3]).deleted == 0


def test_a_merge_that_is_planned_twice(begin, holds):
    store, state = begin()
    ask = Ask("delete", list(range(30)))
    carry_out(on(store), ask)
    reports = []

    def other():
        reports.append(optimize(on(store).snapshot)[0])

    report, _ = optimize(on(Interrupted(store, is_manifest, other)).snapshot)
    assert (reports[0].merged, report.merged) == (2, 0)
    assert not report.changed
    holds(store, outcome(state, ask).state)
    prune(store, 1, grace=0, older_than=0)
    assert len(list_snapshots(store)) == 1
    named = {run.bundle.path for shard in read_manifest(store).shards for run in shard.runs}
    assert segments(store) == named, "the merge that was second left its files"


def test_a_handle_that_looks_sees_new_rows(begin):
    store, _ = begin()
    reader, writer = on(store), on(store)
    writer.append(rows(1), {"n": [1000]}, ids=[900])
    assert reader.search(rows(1), k=3, where="n = 1000").ids[0].tolist() == [-1, -1, -1]
    assert reader.refresh()
    assert reader.search(rows(1), k=3, where="n = 1000").ids[0].tolist() == [900, -1, -1]
    assert not reader.refresh()


def test_appends_do_not_slow_down_with_every_version(begin):
    """An append makes the same store requests after a hundred versions."""
    store, _ = begin()
    metered = MeteredStore(store)
    index = on(metered)
    calls = []
    for turn in range(60):
        before = metered.requests
        index.append(rows(1), ids=[900 + turn])
        calls.append(metered.requests - before)
        if turn % 20 == 19:
            fold(index.snapshot, most=1)
            index.refresh()
    assert max(calls[1:]) == min(calls[1:]), calls


def test_an_optimize_that_has_nothing_to_do_writes_nothing(begin):
    store, _ = begin()
    index = on(store)
    for force in (False, True):
        before = {info.path for info in store.list("")}
        assert not optimize(index.snapshot, force=force)[0].changed
        assert {info.path for info in store.list("")} == before
    index.append(rows(3), ids=[900, 901, 902])
    optimize(index.snapshot, force=True)
    before = {info.path for info in store.list("")}
    for force in (False, True):
        assert not optimize(on(store).snapshot, force=force)[0].changed
    assert {info.path for info in store.list("")} == before


def test_an_upsert_of_the_same_ids_again_and_again_does_not_grow(begin, holds):
    store, state = begin()
    index = on(store)
    sizes = []
    for turn in range(12):
        ask = Ask("upsert", list(range(30)), made(rows(30, turn)))
        carry_out(index, ask)
        state = outcome(state, ask).state
        if turn % 4 == 3:
            optimize(index.snapshot, force=True)
            index.refresh()
            prune(store, 1, grace=0, older_than=0)
            sizes.append(sum(info.bytes for info in store.list("segments")))
    holds(store, state)
    assert max(sizes) < 1.02 * min(sizes)


@pytest.mark.parametrize("shards", [1, 2])
def test_conditions_on_ids_of_an_index_of_which_everything_was_deleted(begin, shards):
    store, state = begin("string", shards)
    index = open_here(store)
    index.delete(list(state.rows))
    index.optimize(force=True)
    row = next(iter(state.rows.values())).vector
    for reader in (index, open_here(store)):
        for where in ("id = 'row 1'", "id IN ('row 1', 'a1')", "id <> 'row 1'", "id LIKE 'row%'"):
            for exact in (False, True):
                assert reader.search(row, k=3, where=where, exact=exact).ids.tolist() == [[None] * 3]
    index.append(row[None], ids=["row 1"])
    assert index.search(row, k=2, where="id = 'row 1'").ids.tolist() == [["row 1", None]]


def test_an_update_that_matches_nothing(begin):
    store, _ = begin()
    index = on(store)
    before = {info.path for info in store.list("")}
    assert index.update({"n": 4}, where="n = 1000").to_dict() == {
        "snapshot": 1, "added": 0, "replaced": 0, "deleted": 0
    }  # fmt: skip
    assert {info.path for info in store.list("")} == before
    for values in ({"no such": 4}, {"n": "text"}, {"n": 4, "id": 3}, {"n": [1, 2]}):
        with pytest.raises(InputError):
            index.update(values, where="n = 1000")


def test_a_predicate_of_very_many_ids(begin):
    store, _ = begin()
    index = on(store)
    many = ", ".join(map(str, range(30, 20_000)))
    assert index.update({"n": 5}, where=f"id IN ({many})").replaced == 30
    assert index.delete(where=f"id IN ({many})").deleted == 30
    assert len(index) == 30


@pytest.mark.parametrize("id_type", ["int", "string"])
def test_ids_that_come_twice(begin, id_type):
    store, _ = begin(id_type)
    index = on(store)
    one, two, new = (1, 2, 900) if id_type == "int" else ("row 1", "row 2", "row 900")
    assert index.delete(ids=[one, two, one]).deleted == 2
    for change in (index.append, index.upsert):
        with pytest.raises(InputError, match=str(new)):
            change(rows(2), ids=[new, new])
    three = 3 if id_type == "int" else "row 3"
    with pytest.raises(InputError, match=str(three)):
        index.update({"n": 1}, ids=[three, three])
    assert len(index) == 58


def test_the_memory_of_a_merge_does_not_grow_with_the_number_of_shards(tmp_path):
    """A merge holds the rows of one shard at a time."""
    peaks = {}
    for shards in (1, 4):
        vectors = np.random.default_rng(1).standard_normal((5000 * shards, 64)).astype(np.float32)
        index = vsearch.build(vectors, tmp_path / str(shards), ids=np.arange(len(vectors)), shards=shards)
        index.delete(ids=np.arange(0, len(vectors), 5))
        index = vsearch.open(tmp_path / str(shards))
        tracemalloc.start()
        try:
            assert optimize(index.snapshot, force=True)[0].rows_written == 4000 * shards
            peaks[shards] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peaks[4] < 1.5 * peaks[1], peaks
