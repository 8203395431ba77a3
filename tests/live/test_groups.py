"""Concurrent changes of threads: one commit for several, each with its own result, none lost."""

from __future__ import annotations

import random
import threading
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from bench.fuzzers.live_model import Ask, Row, carry_out, outcome
from tests.live.small import Twin, check, clustered, numbers
from tests.live.troubles import Interrupted, is_manifest, on, raising, segments, together
from vsearch.errors import ConflictError, InputError, StoreError
from vsearch.live.grouping import MOST_CHANGES
from vsearch.storage import open_store, read_manifest
from vsearch.storage.snapshots.manifest import manifest_files

pytestmark = pytest.mark.usefixtures("quickly")

D = 8


def rows(n, seed=1):
    return clustered(n, D, seed=seed)


def unnamed(store):
    return segments(store) - {entry.path for entry in manifest_files(read_manifest(store))}


def test_changes_of_one_commit_come_one_after_the_other(begin, any_store, holds):
    store, state = begin(store=any_store)
    index = on(store)
    asks = [
        Ask("append", [900, 901, 902], [Row(row, 1, None) for row in rows(3, 1)]),
        Ask("upsert", [901, 5], [Row(row, 2, None) for row in rows(2, 2)]),
        Ask("delete", [900, 6, 5000]),
        Ask("append", [900], [Row(row, 3, None) for row in rows(1, 3)]),
        Ask("delete", where="n = 3"),
        Ask("delete", [12345]),
        Ask("upsert", [5, 6, 7], [Row(row, 4, None) for row in rows(3, 4)]),
    ]
    done = together(index, *(lambda index, ask=ask: carry_out(index, ask) for ask in asks))
    for ask, commit in zip(asks, done, strict=True):
        made = outcome(state, ask)
        assert (commit.snapshot, commit.added, commit.replaced, commit.deleted) == (
            2, made.added, made.replaced, made.deleted
        )  # fmt: skip
        state = made.state
    manifest = read_manifest(store)
    assert len(manifest.live.deltas) == 1
    assert manifest.live.operation.kind == "changes"
    assert not unnamed(store)
    holds(store, state)
    holds(index.snapshot.store, state)


def test_one_that_is_refused_does_not_touch_the_others(begin, holds):
    store, state = begin()
    index = on(store)
    first, twice, other = together(
        index,
        lambda index: index.append(rows(2), {"n": [1, 2]}, [900, 901]),
        lambda index: index.append(rows(2), {"n": [1, 2]}, [901, 902]),
        lambda index: index.append(rows(1), {"n": [3]}, [902]),
    )
    assert (first.snapshot, first.added, other.snapshot, other.added) == (2, 2, 2, 1)
    assert isinstance(twice, InputError)
    assert "901" in str(twice)
    for ids, values, vectors in (([900, 901], [1, 2], rows(2)), ([902], [3], rows(1))):
        given = [Row(vector, value, None) for vector, value in zip(vectors, values, strict=True)]
        state = outcome(state, Ask("append", ids, given)).state
    assert index.get([902])["n"].to_pylist() == [3]
    assert len(on(store)) == len(state.rows)


def test_when_all_are_refused_nothing_is_written(begin):
    store, _ = begin()
    index = on(store)
    done = together(index, *[lambda index: index.append(rows(1), None, [3])] * 3)
    assert all(isinstance(error, InputError) for error in done)
    assert read_manifest(store).snapshot == 1
    assert not unnamed(store)


def test_tokens_of_a_group_count_once(begin):
    store, _ = begin()
    index = on(store)
    calls = [
        lambda index: index.append(rows(2), None, [900, 901], token="a"),
        lambda index: index.append(rows(1), None, [902], token="b"),
        lambda index: index.append(rows(2), None, [900, 901], token="a"),
        lambda index: index.delete([1, 902], token="c"),
    ]
    done = together(index, *calls)
    assert [(one.snapshot, one.added, one.deleted) for one in done] == [(2, 2, 0), (2, 1, 0), (2, 2, 0), (2, 0, 2)]
    assert together(index, *calls) == done
    assert together(on(store), *calls[::-1]) == done[::-1]
    assert read_manifest(store).snapshot == 2
    assert len(on(store)) == 61


def test_who_asks_for_a_snapshot_goes_alone(begin):
    store, _ = begin()
    index = on(store)
    done = together(
        index,
        lambda index: index.append(rows(1), None, [900]),
        lambda index: index.append(rows(1), None, [901]),
        lambda index: index.delete([900], if_snapshot=1),
    )
    kinds = [read_manifest(store, number).live.operation.kind for number in range(2, read_manifest(store).snapshot + 1)]
    assert kinds in (["append"], ["delete", "append"])
    assert isinstance(done[2], ConflictError) or done[2].deleted == 0
    assert len(on(store)) == 62


def test_rows_that_an_index_numbers(begin):
    store, _ = begin("row")
    index = on(store)
    done = together(
        index,
        lambda index: index.append(rows(2), {"n": [1, 2]}),
        lambda index: index.append(rows(3), {"n": [3, 4, 5]}),
        lambda index: index.delete([61, 0]),
        lambda index: index.append(rows(1), {"n": [6]}),
    )
    assert [one.snapshot for one in done] == [2] * 4
    assert on(store).get([60, 62, 63, 64, 65])["n"].to_pylist() == [1, 3, 4, 5, 6]
    assert index.append(rows(1), {"n": [7]}).snapshot == 3
    assert index.get([66])["n"].to_pylist() == [7]


def test_a_group_that_meets_another_writer_is_resolved_again(begin):
    store, _ = begin()
    ahead = on(store)
    done = together(
        on(Interrupted(store, is_manifest, lambda: ahead.append(rows(2), {"n": [77, 77]}, [901, 950]))),
        lambda index: index.append(rows(1), {"n": [1]}, [900]),
        lambda index: index.append(rows(1), {"n": [1]}, [901]),
        lambda index: index.upsert(rows(2), {"n": [2, 2]}, [950, 3]),
    )
    assert (done[0].snapshot, done[0].added) == (3, 1)
    assert isinstance(done[1], InputError)
    assert (done[2].snapshot, done[2].added, done[2].replaced) == (3, 0, 2)
    assert on(store).get([900, 901, 950, 3])["n"].to_pylist() == [1, 77, 2, 2]
    assert not unnamed(store)


def test_appends_that_meet_another_writer_write_their_rows_once(begin):
    store, _ = begin()
    ahead = on(store)
    index = on(Interrupted(store, is_manifest, lambda: ahead.append(rows(1), None, [950])))
    before = segments(store)
    done = together(index, *(lambda index, one=one: index.append(rows(1), None, [one]) for one in range(900, 904)))
    assert [one.snapshot for one in done] == [3] * 4
    assert len(segments(store) - before) == 2
    assert not unnamed(store)


@pytest.mark.parametrize("error", [StoreError("full"), KeyboardInterrupt()])
def test_an_error_of_the_store_is_told_to_all(begin, error):
    store, _ = begin()
    index = on(Interrupted(store, lambda name, path="", *_: name == "put", raising(error)))
    calls = [lambda index, one=one: index.append(rows(1), None, [one]) for one in range(900, 903)]
    done = together(index, *calls)
    kinds = sorted(type(one).__name__ for one in done)
    assert kinds == sorted([type(error).__name__, "StoreError", "StoreError"])
    assert read_manifest(store).snapshot == 1
    assert [one.snapshot for one in together(index, *calls)] == [2] * 3
    assert len(on(store)) == 63


def test_more_than_fit_in_one_commit(begin, monkeypatch):
    monkeypatch.setattr("vsearch.live.grouping.MOST_CHANGES", 4)
    store, _ = begin()
    done = together(on(store), *(lambda index, one=one: index.append(rows(1), None, [one]) for one in range(900, 910)))
    assert [one.snapshot for one in done] == [2] * 4 + [3] * 4 + [4] * 2
    assert MOST_CHANGES <= 256
    assert len(on(store)) == 70


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_threads_that_append_make_few_commits(place, tmp_path):
    twin = Twin(str(tmp_path / "index") if place == "folder" else f"memory://{uuid4().hex}")
    many, each = 16, 5

    def work(one):
        for step in range(each):
            ids = 1000 + 100 * one + 10 * step + np.arange(3)
            commit = twin.index.append(rows(3, one), numbers(ids), ids)
            assert commit.added == 3

    run(work, many)
    for one in range(many):
        for step in range(each):
            ids = 1000 + 100 * one + 10 * step + np.arange(3)
            twin.keep(ids, rows(3, one), ids)
    commits = read_manifest(twin.index.snapshot.store).snapshot - 1
    assert commits <= many * each / 2
    twin.check()
    twin.check(vsearch.open(twin.url))
    assert not unnamed(open_store(twin.url))


def test_threads_that_change_rows_of_their_own(tmp_path):
    """Each thread knows the outcome for its rows; together they are the contents of the index."""
    twin = Twin(str(tmp_path / "index"), n=160)
    kept = [{} for _ in range(8)]

    def work(one):
        own, draw = kept[one], random.Random(one)
        own |= {number: twin.rows[number] for number in range(one * 20, one * 20 + 20)}
        for step in range(8):
            ids = sorted(draw.sample(range(one * 20, one * 20 + 20), 5))
            vectors, values = rows(5, 50 * one + step), np.array(ids) + 1000 * step
            there = sum(number in own for number in ids)
            if draw.random() < 0.6:
                commit = twin.index.upsert(vectors, numbers(values), ids)
                assert (commit.added, commit.replaced) == (5 - there, there)
                own |= dict(zip(ids, zip(vectors, values.tolist(), strict=True), strict=True))
            else:
                assert twin.index.delete(ids).deleted == there
                for number in ids:
                    own.pop(number, None)

    run(work, len(kept))
    state = {number: row for own in kept for number, row in own.items()}
    check(twin.index, state)
    check(vsearch.open(twin.url), state)
    assert read_manifest(twin.index.snapshot.store).snapshot < 1 + 8 * 8


def run(work, many):
    errors = []

    def guarded(one):
        try:
            work(one)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
