"""Commits of changes among other writers, and on stores that lose, refuse and fail."""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from datetime import timedelta

import numpy as np
import pytest

from bench.fuzzers.live_model import Ask, Row, carry_out, outcome
from tests.live.troubles import Counting, Interrupted, is_manifest, is_segment, on, raising, segments
from vsearch.errors import ConflictError, InputError, SnapshotNotFoundError, StoreError
from vsearch.live import commits, maintenance, plan
from vsearch.live.optimizing import optimize
from vsearch.storage import prune, read_manifest, verify
from vsearch.storage.snapshots import committing, pruning, turns
from vsearch.storage.snapshots.condemned import put_marker
from vsearch.storage.snapshots.manifest import manifest_files
from vsearch.storage.stores.retrying import no_later_than

pytestmark = pytest.mark.usefixtures("quickly")


def rows(n, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)


def named(store):
    return {entry.path for entry in manifest_files(read_manifest(store))}


@pytest.mark.parametrize("change", ["append", "update", "delete by predicate", "predicate"])
def test_an_older_handle_is_judged_by_the_newest_snapshot(begin, change):
    store, _ = begin()
    behind, ahead = on(store), on(store)
    ahead.delete(ids=[3])
    ahead.append(rows(1), {"n": [1000]}, ids=[900])
    if change == "append":  # was there, is not any more
        assert behind.append(rows(1), ids=[3]).added == 1
    elif change == "update":  # was not there, is by now
        assert behind.update({"n": 5}, ids=[900]).replaced == 1
    elif change == "delete by predicate":
        assert behind.delete(where="n = 1000").deleted == 1
    else:
        with pytest.raises(InputError, match="no_such_column"):
            behind.delete(where="no_such_column = 1")
        assert behind.snapshot.manifest.snapshot == 1


def test_a_refusal_names_what_the_newest_snapshot_says(begin):
    store, _ = begin()
    behind, ahead = on(store), on(store)
    ahead.append(rows(1), ids=[900])
    with pytest.raises(InputError, match="900"):
        behind.append(rows(2), ids=[899, 900])
    assert len(on(store)) == 61


def test_a_snapshot_that_this_handle_does_not_know_yet_can_be_asked_for(begin):
    store, _ = begin()
    behind, ahead = on(store), on(store)
    ahead.append(rows(1), ids=[900])
    assert behind.delete(ids=[900], if_snapshot=2).snapshot == 3
    with pytest.raises(ConflictError, match="newest snapshot is 3, not 2"):
        ahead.delete(ids=[1], if_snapshot=2)
    with pytest.raises(ConflictError, match="newest snapshot is 3, not 9"):
        ahead.delete(ids=[1], if_snapshot=9)
    assert read_manifest(store).snapshot == 3
    assert segments(store) == {path for path in named(store) if path.startswith("segments/")}


@pytest.mark.parametrize("moment", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), StoreError("the answer was lost")])
def test_what_is_raised_while_a_manifest_is_put_leaves_the_files_that_it_may_name(begin, holds, error, moment):
    store, state = begin()
    made = outcome(state, Ask("delete", [1, 2]))
    index = on(Interrupted(store, is_manifest, raising(error), after=moment))
    with suppress(type(error)):
        index.delete(ids=[1, 2])
    committed = read_manifest(store).snapshot == 2
    assert committed == moment
    assert verify(store).ok
    holds(store, made.state if committed else state)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreError("the connection was lost")])
def test_what_is_raised_after_a_commit_leaves_its_files(begin, holds, error):
    """The listing after the put, which looks whether the commit stands."""
    store, state = begin()
    index = on(store)
    seen = []

    def later(name, *_):
        seen.append(name)
        return name == "list" and "put" in seen

    index.snapshot.store = Interrupted(store, later, raising(error))
    with pytest.raises(type(error)) as raised:
        index.delete(ids=[1, 2], token="t")
    if isinstance(error, StoreError):
        assert "was committed" in str(raised.value)
    assert verify(store).ok
    assert index.delete(ids=[1, 2], token="t").deleted == 2
    assert read_manifest(store).snapshot == 2
    holds(store, outcome(state, Ask("delete", [1, 2])).state)


def test_a_commit_that_cannot_be_read_says_that_it_is_one(begin):
    store, _ = begin()
    index = on(store)
    index.append(rows(1), ids=[900])
    seen = []

    def later(name, path="", *_):
        seen.append((name, path))
        put = any(is_manifest(*call) for call in seen)
        return put and name in {"get_ranges", "read_into", "memory_map", "get"} and path.startswith("segments/")

    index.snapshot.store = Interrupted(store, later, raising(StoreError("the connection was lost")))
    with pytest.raises(StoreError, match="snapshot 3 was committed"):
        index.optimize(force=True)
    assert index.refresh()
    assert len(index) == 61


def test_segments_are_put_although_answers_are_lost_and_puts_refused(begin):
    store, _ = begin()

    class Twice:
        """A store that sends every put of a new file twice, and is told 409 before."""

        def __init__(self):
            self.refused = set()

        def __getattr__(self, name):
            return getattr(store, name)

        def put(self, path, data, *, create=True):
            if path not in self.refused:
                self.refused.add(path)
                raise ConflictError("409 ConditionalRequestConflict")
            store.put(path, data, create=create)
            store.put(path, data, create=create)

    index = on(Twice())
    assert index.append(rows(2), ids=[900, 901]).added == 2
    assert index.delete(ids=[900, 1]).deleted == 2
    assert len(on(store)) == 60


def test_a_change_that_meets_others_writes_its_rows_once(begin):
    store, _ = begin()
    ahead = on(store)

    def overtake():
        if counting.puts.count("manifest") < 3:
            ahead.append(rows(1), ids=[1000 + len(counting.puts)])

    counting = Counting(store, overtake)
    assert on(counting).append(rows(50), {"n": np.arange(50)}, ids=np.arange(2000, 2050)).snapshot == 4
    # The second put finds out whether the store refuses to overwrite.
    assert counting.puts == ["segments", "segments", "manifest", "manifest", "manifest"]
    assert segments(store) == {path for path in named(store) if path.startswith("segments/")}


def test_numbered_rows_go_on_from_the_others(begin):
    store, _ = begin("row")
    ahead = on(store)
    index = on(Interrupted(store, is_manifest, lambda: ahead.append(rows(2))))
    assert index.append(rows(3, 2), {"n": [91, 92, 93]}).snapshot == 3
    assert on(store).get([62, 63, 64]).column("n").to_pylist() == [91, 92, 93]
    assert segments(store) == {path for path in named(store) if path.startswith("segments/")}


def test_a_token_counts_once_whoever_says_it(begin):
    store, _ = begin()
    first, second = on(store), on(store)
    done = first.append(rows(2), ids=[900, 901], token="once")
    first.delete(ids=[900])
    assert second.append(rows(2), ids=[900, 901], token="once") == done
    assert first.append(rows(2), ids=[900, 901], token="once") == done
    assert len(on(store)) == 61
    assert segments(store) == {path for path in named(store) if path.startswith("segments/")}


def test_an_answer_that_is_lost_counts_once(begin):
    store, _ = begin()
    blind = {"deaf": False}

    class Deaf:
        """A store that is not heard any more, from the put of a manifest on."""

        def __getattr__(self, name):
            value = getattr(store, name)

            def call(*args, **named):
                result = value(*args, **named)
                blind["deaf"] = blind["deaf"] or is_manifest(name, *args)
                if blind["deaf"]:
                    raise StoreError("the answer was lost")
                return result

            return call if callable(value) else value

    index = on(Deaf())
    with pytest.raises(StoreError, match="unknown whether snapshot 2 was committed"):
        index.append(rows(2), ids=[900, 901], token="once")
    assert read_manifest(store).snapshot == 2
    assert verify(store).ok
    index.snapshot.store = store
    assert index.append(rows(2), ids=[900, 901], token="once").to_dict() == {
        "snapshot": 2, "added": 2, "replaced": 0, "deleted": 0
    }  # fmt: skip
    assert len(on(store)) == 62


def test_a_handle_whose_snapshot_was_pruned_writes_all_the_same(begin, any_store, holds):
    store, state = begin(store=any_store)
    behind, ahead = on(store), on(store)
    ahead.delete(ids=[5])
    optimize(ahead.snapshot, force=True)
    prune(store, 1, grace=0, older_than=0)
    assert behind.update({"n": 6}, where="n = 3").replaced > 0
    assert behind.delete(ids=[1, 5]).deleted == 1
    for ask in (Ask("delete", [5]), Ask("update", where="n = 3", value=6), Ask("delete", [1, 5])):
        state = outcome(state, ask).state
    holds(store, state)


def test_a_change_that_took_long_sees_whether_a_prune_took_its_files(begin, monkeypatch):
    store, _ = begin()
    monkeypatch.setattr(commits, "UNCHECKED", 0.0)
    index = on(Interrupted(store, is_manifest, lambda: prune(store, 1, grace=0, older_than=0)))
    with pytest.raises(ConflictError, match="a prune removed files"):
        index.append(rows(2), ids=[900, 901])
    assert read_manifest(store).snapshot == 1
    assert verify(store).ok


@pytest.mark.parametrize("merge", [False, True])
def test_a_manifest_where_a_prune_made_room_leaves_its_files_to_the_prune(begin, holds, merge):
    """A prune that saw it takes its files for those of an old snapshot; a change is written anew, a merge is given up."""
    store, state = begin()
    asks = [
        Ask("delete", [4]),
        Ask("upsert", [1], [Row(rows(1)[0], 1, None)]),
        Ask("upsert", [2], [Row(rows(1)[0], 1, None)]),
    ]
    carry_out(on(store), asks[0])
    behind = on(store)
    carry_out(on(store), asks[1])
    carry_out(on(store), asks[2])
    prune(store, 1, grace=0, older_than=0)
    plans = []

    class Pruned:
        """A prune looks when the first manifest was put, and removes before the second one is."""

        def __getattr__(self, name):
            return getattr(store, name)

        def put(self, path, data, *, create=True):
            if is_manifest("put", path) and len(plans) == 1:
                assert pruning._carry_out(store, plans[0])
                plans.append(None)
            store.put(path, data, create=create)
            if is_manifest("put", path) and not plans:
                plans.append(pruning._plan(store, 1, timedelta(days=1), timedelta(0), clock=True))
                assert plans[0].old == (3,)

    behind.snapshot.store = Pruned()
    if merge:
        with pytest.raises(ConflictError, match="a prune removed files"):
            optimize(behind.snapshot, force=True)
    else:
        asks.append(Ask("upsert", [900, 5], [Row(row, 1, None) for row in rows(2)]))
        assert carry_out(behind, asks[3]).snapshot == 5
    assert plans
    for ask in asks:
        state = outcome(state, ask).state
    assert verify(store).ok
    holds(store, state)


def test_a_newer_snapshot_that_comes_while_one_is_read(begin, holds):
    """The one that was read is pruned meanwhile."""
    store, _ = begin()
    behind, ahead = on(store), on(store)
    ahead.append(rows(1), ids=[900])

    def event():
        ahead.append(rows(1), ids=[901])
        optimize(ahead.snapshot, force=True)
        prune(store, 1, grace=0, older_than=0)

    def reads(name, path="", *_):
        return name in {"get_ranges", "read_into", "memory_map"} and path.endswith("-delta.arrow")

    behind.snapshot.store = Interrupted(store, reads, event)
    assert behind.refresh()
    assert behind.snapshot.store.done
    assert len(behind) == 62
    assert behind.snapshot.manifest.snapshot == 4


def test_files_of_a_snapshot_that_was_taken_back_may_be_others(begin, monkeypatch):
    """Who went on from it names them, too."""
    store, _ = begin()
    index, ahead = on(store), on(store)

    def follow():
        ahead.append(rows(1), ids=[950])
        store.delete(["manifest/00000000000000000002.json"])
        put_marker(store, [read_manifest(store).live.deltas[0].bundle.path])
        monkeypatch.setattr("vsearch.storage.snapshots.committing.PATIENCE", 0.01)

    index.snapshot.store = Interrupted(store, is_manifest, follow, after=True)
    with pytest.raises(ConflictError):
        index.append(rows(1), ids=[900])
    assert verify(store).ok
    assert len(on(store)) == 62


@pytest.mark.parametrize("error", [StoreError("full"), SnapshotNotFoundError("pruned")])
def test_an_append_counts_whatever_becomes_of_the_fold_after_it(begin, monkeypatch, caplog, error):
    store, _ = begin()
    monkeypatch.setattr(maintenance, "MOST_DELTAS", 2)
    monkeypatch.setattr(plan, "FANOUT", 3)
    index = on(store)
    for one in (900, 901):
        index.append(rows(1), ids=[one])

    def folds(name, path="", *_):
        return name == "put" and path.endswith("-00000-delta.arrow")

    index.snapshot.store = Interrupted(store, folds, raising(error))
    assert index.append(rows(1), ids=[902]).to_dict() == {"snapshot": 4, "added": 1, "replaced": 0, "deleted": 0}
    assert "optimize will retry it" in caplog.text
    assert len(read_manifest(store).live.deltas) == 3
    assert index.append(rows(1), ids=[903]).snapshot == 5
    assert read_manifest(store).snapshot == 6
    assert len(read_manifest(store).live.deltas) == 2
    assert len(index) == len(on(store)) == 64


def test_what_is_refused_leaves_nothing(begin):
    store, _ = begin()
    before = segments(store)
    ahead = on(store)
    index = on(Interrupted(store, is_manifest, lambda: ahead.append(rows(1), ids=[900])))
    with pytest.raises(InputError, match="900"):
        index.append(rows(2), ids=[899, 900])
    with pytest.raises(StoreError):
        on(Interrupted(store, is_segment, raising(StoreError("full")))).append(rows(1), ids=[901])
    assert len(segments(store) - before) == 1
    assert len(on(store)) == 61


def test_others_that_are_always_first(begin, monkeypatch):
    store, _ = begin()
    monkeypatch.setattr("vsearch.storage.snapshots.committing.PATIENCE", 0.2)
    ahead = on(store)

    def overtake():
        ahead.update({"n": int(time.monotonic_ns() % 1000)}, ids=[7])

    with pytest.raises(ConflictError, match="other writers committed first"):
        on(Counting(store, overtake)).append(rows(1), ids=[900])
    assert len(on(store)) == 60
    assert segments(store) == {path for path in named(store) if path.startswith("segments/")}


class Slow:
    """A store at which a writer is always late: another one commits before each of its manifests, until it pauses."""

    def __init__(self, store, ahead, pauses):
        self._store, self._ahead, self._pauses = store, ahead, pauses

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put(self, path, data, *, create=True):
        if is_manifest("put", path) and not self._pauses:
            self._ahead()
        self._store.put(path, data, create=create)


def requests(store):
    return [info.path for info in store.list("manifest") if turns.is_request(info.path)]


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that writers make after a commit; none of them takes time."""
    seen = []

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def sleep(seconds):
            if seconds:
                seen.append(seconds)

    monkeypatch.setattr(committing, "time", Clock)
    monkeypatch.setattr(turns, "YIELD", 0.0)
    return seen


def test_a_writer_that_is_always_late_gets_its_turn(begin, pauses):
    store, _ = begin()
    ahead, tries = on(store), []

    def overtake():
        tries.append(len(requests(store)))
        ahead.update({"n": len(tries)}, ids=[7])

    assert on(Slow(store, overtake, pauses)).append(rows(1), ids=[900]).added == 1
    assert tries == [0] * turns.STARVED + [1], "it asks when it was late often enough, and then the other one pauses"
    assert len(pauses) == 1
    assert turns.SHORTEST <= pauses[0] <= turns.LONGEST
    assert not requests(store)
    assert len(on(store)) == 61


def test_a_writer_that_gives_up_leaves_no_request(begin, monkeypatch, pauses):
    store, _ = begin()
    # Time passes by looks at the clock, some at each try: it asks for its turn before it gives up, on slow machines as well.
    monkeypatch.setattr(committing, "PATIENCE", 20 * turns.STARVED)
    monkeypatch.setattr(committing.time, "monotonic", itertools.count().__next__)
    ahead = on(store)
    with pytest.raises(ConflictError, match="other writers committed first"):
        on(Slow(store, lambda: ahead.update({"n": 1}, ids=[7]), ())).append(rows(1), ids=[900])
    assert pauses
    assert not requests(store)


def test_requests_count_for_a_while_and_are_pruned(begin, pauses):
    store, _ = begin()
    index = on(store)
    path = f"manifest/waiting-{'0' * 32}-99999.json"
    store.put(path, b"{}")
    index.append(rows(1), ids=[900])
    assert pauses == [turns.LONGEST]
    now = store.head(path).modified
    infos = store.list("manifest")
    assert turns.pause_asked(infos, now, None) == turns.LONGEST
    assert turns.pause_asked(infos, now, path) == 0
    assert turns.pause_asked(infos, now + turns.LIFETIME, None) == 0
    with no_later_than(time.monotonic() + 1):
        assert turns.pause_asked(infos, now, None) <= 0.25
    assert verify(store).ok
    prune(store, 1, grace=0, older_than=0)
    assert not requests(store)
