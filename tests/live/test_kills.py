"""A process dies at any store call of any operation: the index is in the old or the new state, and stays usable."""

from __future__ import annotations

import numpy as np
import pytest

from bench.fuzzers.live import small_measures
from bench.fuzzers.live_model import Ask, Row, beginning, carry_out, outcome
from tests.live.troubles import Deadly, Killed, objects, on
from vsearch.storage import open_store, prune, read_manifest, verify
from vsearch.storage.snapshots.condemned import is_marker
from vsearch.storage.snapshots.manifest import manifest_files

NEW = [Row(vector, 3, "red") for vector in np.random.default_rng(5).standard_normal((3, 8)).astype(np.float32)]

#: What was there before, and the operation that is killed.
BEFORE = [
    Ask("append", [900, 901, 902], NEW),
    Ask("delete", [5, 901, *range(20, 40)]),
    Ask("upsert", [6, 903], NEW[:2]),
    Ask("update", where="s = 'blue' AND n >= 4", value=1),
]
OPERATIONS = {
    "append": Ask("append", [910, 911], NEW[:2], token="t"),
    "upsert": Ask("upsert", [7, 910], NEW[:2], token="t"),
    "delete by id": Ask("delete", [8, 900]),
    "delete by predicate": Ask("delete", where="n < 2", token="t"),
    "update by id": Ask("update", [1, 900], value=6),
    "update by predicate": Ask("update", where="n = 3", value=6),
    "fold": Ask("fold", force=True),
    "optimize": Ask("optimize"),
    "optimize all": Ask("optimize", force=True),
}


@pytest.fixture(scope="module")
def changed():
    """Objects of a changed index, and its contents."""
    begun = beginning("int", 2)
    store, state = begun.copy(open_store("memory://kills/index")), begun.state
    index = on(store)
    for ask in BEFORE:
        carry_out(index, ask)
        state = outcome(state, ask).state
    return objects(store), state


@pytest.fixture
def place(changed, tmp_path):
    """Make a store of that index."""

    def make(kind, number=0):
        store = open_store(tmp_path / f"index-{number}" if kind == "folder" else f"memory://{tmp_path.name}-{number}/i")
        for path, data in changed[0].items():
            store.put(path, data)
        return store

    return make


def calls_of(make, ask):
    """How many calls an operation makes, its opening included; and how many of these are the opening's."""
    deadly = Deadly(make)
    index = on(deadly)
    opened = deadly.calls
    carry_out(index, ask)
    return opened, deadly.calls


@pytest.mark.parametrize("kind", ["folder", "memory"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_at_every_call(place, changed, holds, kind, name):
    ask, before = OPERATIONS[name], changed[1]
    with small_measures():
        opened, calls = calls_of(place(kind), ask)
        assert calls - opened >= 3
        checked = False
        for number in range(opened, calls):
            store = place(kind, number + 1)
            deadly = Deadly(store, number, done=True)  # killed before a call is killed after the one before
            with pytest.raises(Killed):
                carry_out(on(deadly), ask)
            if deadly.writes or not checked:
                _check(store, before, ask, holds)
                checked = True
            elif not deadly.wrote:
                assert objects(store) == changed[0]
            else:
                assert verify(store).ok  # as after the last call that wrote


def _check(store, before, ask, holds):
    after = outcome(before, ask)
    manifest, start = read_manifest(store), len(BEFORE) + 1
    assert manifest.snapshot in (start, start + 1)
    committed = manifest.snapshot > start
    assert verify(store).ok
    index = holds(store, after.state if committed else before)
    if ask.token is not None:  # a new process says it again
        done = carry_out(index, ask)
        assert (done.added, done.replaced, done.deleted) == after.counts
        assert done.snapshot == start + 1
        committed = True
    state = after.state if committed else before
    following = Ask("upsert", [1, 950], NEW[:2])
    carry_out(index, following)
    state = outcome(state, following).state
    prune(store, 1, grace=0, older_than=0)
    holds(store, state)
    named = {entry.path for entry in manifest_files(read_manifest(store))}
    left = {info.path for info in store.list("") if not is_marker(info.path)}  # markers stay for their lifetime
    assert len(left - named) == 1, "files of the dead are left"
