"""Changes of threads that share commits, on a store that fails at every call: each is made completely or not at all, and once."""

from __future__ import annotations

import numpy as np
import pytest

from bench.fuzzers.live_model import Ask, Row, carry_out, outcome
from tests.live.troubles import (
    Counting,
    Deadly,
    Interrupted,
    Killed,
    nth,
    objects,
    on,
    raising,
    together,
)
from vsearch.errors import ConflictError, InputError, StoreError
from vsearch.live import grouping
from vsearch.live.commits import Commit
from vsearch.storage import open_store, prune, read_manifest, verify
from vsearch.storage.snapshots.condemned import is_marker
from vsearch.storage.snapshots.manifest import manifest_files

pytestmark = pytest.mark.usefixtures("quickly")

NEW = [Row(vector, 3, "red") for vector in np.random.default_rng(5).standard_normal((3, 8)).astype(np.float32)]

#: Changes of as many threads, of which two share a commit; the third commit has one alone.
ASKS = [
    Ask("append", [910, 911], NEW[:2], token="a"),
    Ask("upsert", [7, 911], NEW[1:], token="b"),
    Ask("delete", [8, 910], token="c"),
    Ask("append", [912], NEW[:1], token="d"),
    Ask("upsert", [912, 5, 913], NEW, token="e"),
]
SHARED = 2
CALLS = [lambda index, ask=ask: carry_out(index, ask) for ask in ASKS]
STARTED = 3
"""The snapshot before them."""


@pytest.fixture(autouse=True)
def pairs(monkeypatch):
    monkeypatch.setattr(grouping, "MOST_CHANGES", SHARED)


@pytest.fixture
def place(begin, tmp_path):
    """Make a store of an index that was changed twice; and what it holds after so many of the changes."""
    store, state = begin()
    for ask in (Ask("append", [900, 901], NEW[:2]), Ask("delete", [6, 900])):
        carry_out(on(store), ask)
        state = outcome(state, ask).state
    held, states = objects(store), [state]
    for ask in ASKS:
        states.append(outcome(states[-1], ask).state)

    def make(kind="memory", number=0):
        made = open_store(tmp_path / f"index-{number}" if kind == "folder" else f"memory://{tmp_path.name}-{number}/i")
        for path, data in held.items():
            made.put(path, data)
        return made

    return make, states


def calls_of(store):
    """The first call to a store that the changes make, and how many calls there are with theirs."""
    deadly = Deadly(store)
    index = on(deadly)
    opened = deadly.calls
    assert [commit.snapshot for commit in together(index, *CALLS)] == [4, 4, 5, 5, 6]
    return opened, deadly.calls


def committed(store):
    """How many of the changes a store holds."""
    return min(SHARED * (read_manifest(store).snapshot - STARTED), len(ASKS))


def check_after(store, states, told, holds):
    """Hold a store against what threads were told; then say all again, and prune."""
    count = committed(store)
    assert verify(store).ok
    holds(store, states[count])
    for position, answer in enumerate(told):
        if isinstance(answer, Commit):
            assert position < count, f"{ASKS[position]} was answered, and is not there"
    again = [carry_out(on(store), ask) for ask in ASKS]  # new processes, one after the other
    for position, (ask, answer) in enumerate(zip(ASKS, again, strict=True)):
        made = outcome(states[position], ask)
        assert (answer.added, answer.replaced, answer.deleted) == made.counts
        if position < count:
            assert answer.snapshot == STARTED + 1 + position // SHARED
    holds(store, states[-1])
    prune(store, 1, grace=0, older_than=0)
    named = {entry.path for entry in manifest_files(read_manifest(store))}
    left = {info.path for info in store.list("") if not is_marker(info.path)}  # markers stay for their lifetime
    assert len(left - named) == 1, "files of the dead are left"
    holds(store, states[-1])


@pytest.mark.parametrize("kind", [pytest.param("folder", marks=pytest.mark.slow), "memory"])
def test_a_kill_at_every_call(place, holds, kind):
    make, states = place
    opened, calls = calls_of(make(kind))
    assert calls - opened >= 3 * 3
    seen = set()
    for number in range(opened, calls):
        store = make(kind, number + 1)
        deadly = Deadly(store, number, done=True)  # killed before a call is killed after the one before
        told = together(on(deadly), *CALLS)
        assert any(isinstance(answer, Killed) for answer in told)
        assert all(isinstance(answer, Commit | Killed | StoreError) for answer in told)
        assert sum(isinstance(answer, Commit) for answer in told) in {committed(store), committed(store) - SHARED, 4}
        seen.add(committed(store))
        if deadly.writes:
            check_after(store, states, told, holds)
        else:
            assert verify(store).ok  # as after the last call that wrote
    assert seen == {0, 2, 4, 5}


@pytest.mark.parametrize("after", [False, True])
def test_a_store_that_fails_once_at_every_call(place, holds, after):
    """The failure is told to those who share the commit; what others ask goes on, and a retry by token counts once."""
    make, states = place
    opened, calls = calls_of(make())
    failed = 0
    for number in range(opened, calls):
        store = make(number=number + 1)
        failing = Interrupted(store, nth(number), raising(StoreError("the connection was lost")), after=after)
        index = on(failing)
        told = together(index, *CALLS)
        assert failing.done
        assert all(isinstance(answer, Commit | StoreError) for answer in told)
        failed += sum(isinstance(answer, StoreError) for answer in told)
        again = together(index, *CALLS)  # through the same handle, which knows what it read
        assert all(other == one for one, other in zip(told, again, strict=True) if isinstance(one, Commit))
        done = [
            (other.snapshot, ask, other) for ask, other in zip(ASKS, again, strict=True) if isinstance(other, Commit)
        ]
        state = states[0]
        for _, ask, other in sorted(done, key=lambda one: one[0]):
            made = outcome(state, ask)
            assert (other.added, other.replaced, other.deleted) == made.counts
            state = made.state
        for ask, other in zip(ASKS, again, strict=True):
            assert isinstance(other, Commit) or outcome(state, ask) is None, ask
        holds(store, state)
        assert len(index) == len(state.rows)
    assert failed


@pytest.mark.parametrize("number", range(6))
def test_puts_that_are_refused_with_nothing_written_are_put_again(place, holds, number):
    """As S3 does with 409."""
    make, states = place
    store = make()
    refusing = Interrupted(store, nth(number, {"put"}), raising(ConflictError("409 ConditionalRequestConflict")))
    told = together(on(refusing), *CALLS)
    assert refusing.done
    assert [answer.snapshot for answer in told] == [4, 4, 5, 5, 6]
    check_after(store, states, told, holds)


@pytest.mark.parametrize("number", range(3))
def test_another_writer_is_first(place, holds, number):
    """Its delete is one change more, before those of the group that it overtook."""
    make, _ = place
    store = make()
    ahead = on(store)

    def overtake():
        if counting.puts.count("manifest") == number + 1:
            ahead.upsert(np.ones((2, 8), np.float32), {"n": [77, 77]}, [950, 911])

    counting = Counting(store, overtake)
    told = together(on(counting), *CALLS)
    assert read_manifest(store).snapshot == 7
    if number == 0:  # the id of its append is taken
        assert isinstance(told[0], InputError)
        assert "911" in str(told[0])
        assert told[1].replaced == 2
    assert all(isinstance(answer, Commit) for answer in told[1:])
    kept = on(store).get([950, 911])["n"].to_pylist()
    assert kept == [77, 3 if number == 0 else 77]
    assert verify(store).ok
    prune(store, 1, grace=0, older_than=0)
    named = {entry.path for entry in manifest_files(read_manifest(store))}
    assert len({info.path for info in store.list("")} - named) == 1
