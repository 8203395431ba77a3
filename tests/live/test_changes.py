"""Changes since a snapshot, compared with dicts of the contents of each snapshot."""

from __future__ import annotations

import dataclasses
import pickle
import random

import numpy as np
import pytest

import vsearch
from bench.fuzzers.live_model import ID_TYPES, begin, carry_out, check, draw_ask, open_here, outcome, remote
from tests.indexes import clustered
from tests.live.small import D, Twin
from vsearch.api.index import Index
from vsearch.errors import InputError
from vsearch.live import feed, lineage
from vsearch.live.attaching import Attach
from vsearch.live.commits import commit_change
from vsearch.search.state import deltas
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import prune, read_manifest, snapshot_numbers, verify, write_arrays
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.snapshots.kinds import ModelPart


@pytest.fixture
def twin(tmp_path):
    return Twin(tmp_path / "index")


def told(changes):
    return changes.added.tolist(), changes.replaced.tolist(), changes.deleted.tolist()


def difference(before, after):
    """The difference of two dicts: rewritten rows are different objects."""
    added, deleted = set(after) - set(before), set(before) - set(after)
    replaced = {one for one in set(before) & set(after) if before[one] is not after[one]}
    return sorted(added), sorted(replaced), sorted(deleted)


def asked(index, since):
    """The changes, None if they are no longer available; and the oldest snapshot that changes can be computed from."""
    try:
        return told(index.changes(since)), since
    except vsearch.ChangesNotFoundError as lost:
        return None, lost.oldest


def forget(index, snapshots):
    """Remove manifests, as a prune does first."""
    index.snapshot.store.delete([manifest_path(number) for number in snapshots])


def test_added_replaced_and_deleted(twin):
    twin.append(3)
    twin.upsert([5, 121, 7])
    twin.delete([5, 122, 9])
    changes = twin.index.changes(since=1)
    assert told(changes) == ([120, 121], [7], [5, 9])
    assert (changes.from_snapshot, changes.to_snapshot, len(changes)) == (1, 4, 5)
    assert changes.added.dtype == np.int64
    assert told(twin.index.changes(3)) == ([], [], [5, 9, 122])
    assert told(twin.index.changes(np.int64(4))) == ([], [], [])
    assert "2 added, 1 replaced, 2 deleted" in repr(changes)
    with pytest.raises(dataclasses.FrozenInstanceError):
        changes.added = None
    assert told(pickle.loads(pickle.dumps(changes))) == told(changes)


def test_what_comes_and_goes_is_not_told_and_what_goes_and_comes_is_replaced(twin):
    twin.append(1)
    twin.delete([120])
    twin.delete([4])
    twin.upsert([4])
    assert told(twin.index.changes(1)) == ([], [4], [])
    twin.index.optimize(force=True)
    assert told(twin.index.changes(1)) == ([], [4], [])
    assert told(twin.index.changes(4)) == ([4], [], [])


def test_updates_and_new_columns_with_values_replace_rows_other_columns_do_not(twin):
    twin.index.update({"number": 7}, ids=[3, 1])
    assert told(twin.index.changes(1)) == ([], [1, 3], [])
    twin.index.add_column("empty", "int64")
    twin.index.rename_column("empty", "void")
    twin.index.drop_column("void")
    twin.index.tag("here")
    twin.index.tune(recall=0.9)
    assert told(twin.index.changes(2)) == ([], [], [])
    twin.index.add_column("score", [0.5], ids=[9])
    assert told(twin.index.changes(2)) == ([], [9], [])


@pytest.mark.parametrize("since", [0, -1, 3, True, 1.0, "1", None])
def test_since_is_the_number_of_an_older_snapshot(twin, since):
    twin.append(1)
    with pytest.raises(InputError, match="since must be a snapshot number from 1 to 2"):
        twin.index.changes(since)


def test_an_older_snapshot_tells_what_it_can_see(twin):
    twin.append(1)
    twin.append(1)
    old = vsearch.open(twin.url, snapshot=2)
    assert told(old.changes(1)) == ([120], [], [])
    with pytest.raises(InputError, match="from 1 to 2"):
        old.changes(3)


def test_an_index_that_was_only_built_or_only_tuned_has_no_changes(twin):
    assert told(twin.index.changes(1)) == ([], [], [])
    twin.index.tune(recall=0.9)
    assert twin.index.info()["format"] == 1
    assert told(twin.index.changes(1)) == ([], [], [])


@pytest.mark.parametrize("name", ["model/0.arrow", "model/z.arrow"])
def test_an_encoder_is_no_change_of_rows(twin, name):
    """Its files are in the model, under whatever names; the index goes back to the same build."""
    store, other = twin.index.snapshot.store, vsearch.open(twin.url)
    files = {ModelPart.ENCODER.kind("x"): write_arrays(store, name, {"x": np.zeros(3)})[0]}
    commit_change(twin.index.snapshot, Attach(files))
    twin.index.refresh()
    assert twin.index.info()["format"] == 1
    assert told(twin.index.changes(1)) == ([], [], [])
    twin.delete([3], other)
    assert told(other.changes(1)) == ([], [], [3])


def test_ids_that_are_texts(tmp_path):
    names = ["b", "a\0", "é", "a", "z"]
    index = vsearch.build(clustered(5, D), tmp_path / "index", ids=names, metric="l2")
    assert index.changes(1).added.dtype == object
    index.upsert(clustered(4, D, seed=1), ids=["é", "a\0", "new", "A"])
    index.delete(["z", "new", "a"])
    assert told(index.changes(1)) == (["A"], ["a\0", "é"], ["a", "z"])
    index.optimize(force=True)
    assert told(index.changes(1)) == (["A"], ["a\0", "é"], ["a", "z"])


def test_a_restore_is_told_by_what_it_undoes(twin):
    twin.append(2)
    twin.upsert([3])
    twin.index.optimize(force=True)
    twin.delete([1])
    twin.index.restore(snapshot=2)
    assert told(twin.index.changes(2)) == ([], [], [])
    assert told(twin.index.changes(1)) == ([120, 121], [], [])
    assert told(twin.index.changes(3)) == ([], [3], [])
    assert told(twin.index.changes(5)) == ([1], [3], [])


def test_a_split_of_partitions_changes_no_row(tmp_path):
    vectors = clustered(160, D)
    index = vsearch.build(vectors, tmp_path / "index", partitions=16, metric="l2", rerank="float32")
    index.append(np.repeat(vectors[:1], 700, axis=0) + clustered(700, D, seed=2) / 50)
    index.delete([3])
    assert index.optimize(retune=False, force=True).split
    assert told(index.changes(2)) == ([], [], [3])
    index.delete([4, 160])
    assert told(index.changes(1)) == (list(range(161, 860)), [], [3, 4])


def test_pruned_snapshots_in_between_are_not_needed_where_no_row_moved(twin):
    twin.append(2)
    twin.delete([1, 120])
    twin.append(1)
    forget(twin.index, [2, 3])
    assert told(vsearch.open(twin.url).changes(1)) == ([121, 122], [], [1])


def test_changes_that_are_lost_are_refused(twin):
    twin.append(2)
    twin.index.optimize(force=True)
    twin.append(1)
    forget(twin.index, [2])
    index = vsearch.open(twin.url)
    for since in (1, 2):
        with pytest.raises(
            vsearch.ChangesNotFoundError, match=r"read the whole index.*available since snapshot 3"
        ) as lost:
            index.changes(since)
        assert lost.value.oldest == 3
        assert pickle.loads(pickle.dumps(lost.value)).oldest == 3
    assert told(index.changes(3)) == ([122], [], [])


def test_an_index_that_was_built_or_trained_anew_is_read_whole(twin):
    twin.append(2)
    twin.index.retrain()
    with pytest.raises(vsearch.ChangesNotFoundError, match="available since snapshot 3"):
        twin.index.changes(2)
    twin.append(1)
    assert told(twin.index.changes(3)) == ([122], [], [])
    index = vsearch.build(clustered(9, D), twin.url, metric="l2", overwrite=True)
    with pytest.raises(vsearch.ChangesNotFoundError, match="available since snapshot 5"):
        index.changes(4)
    index.restore(snapshot=4)
    assert told(index.changes(3)) == ([122], [], [])


def test_of_a_large_delta_only_ids_are_read(tmp_path):
    """And none at all where the index has the deltas open."""
    store = remote()
    vsearch.build(clustered(20, 64), store.url, ids=np.arange(20), metric="l2", rerank="float32")
    index = vsearch.open(store.url)
    index.append(clustered(8000, 64, seed=1), ids=np.arange(20, 8020))
    assert index.snapshot.manifest.live.deltas[0].bundle.bytes > 2 << 20
    read, open_bundle = [], deltas.open_bundle

    def opened(*arguments, **options):
        read.append(open_bundle(*arguments, **options))
        return read[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deltas, "open_bundle", opened)
        assert len(index.changes(1).added) == 8000
        assert not read
        index.optimize(force=True)
        assert len(index.changes(1).added) == 8000
    files = read[0].files.values()
    assert len(read) == 1
    assert read[0].opened.bytes + sum(file.bytes_read for file in files) < 400_000


@pytest.mark.parametrize("id_type", ID_TYPES)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_any_history(id_type, seed):
    """Several writers, each with a handle that may be behind; optimize, tags and restores in between."""
    draw = random.Random(f"{id_type} {seed}")
    store, state = begin(draw, id_type)
    handles, states = [open_here(store) for _ in range(3)], {1: state}
    for _ in range(25):
        index, newest = draw.choice(handles), max(states)
        state, chance = states[newest], draw.random()
        if chance < 0.08:
            number = draw.choice(sorted(states))
            index.restore(snapshot=number)
            state = dataclasses.replace(states[number], next_row=state.next_row)
        elif chance < 0.15:
            index.tag(f"tag {draw.randrange(3)}", draw.choice(sorted(states)))
            index.refresh()
        else:
            ask = draw_ask(draw, id_type)
            made = outcome(state, ask)
            try:
                carry_out(index, ask)
            except InputError:
                assert made is None
                continue
            state = made.state
        after = index.snapshot.manifest.snapshot
        states |= dict.fromkeys(range(newest + 1, after + 1), state)
    fresh, newest = open_here(store), max(states)
    for since, state in states.items():
        assert told(fresh.changes(since)) == difference(state.rows, states[newest].rows), (since, newest)
    for handle in handles:
        own = handle.snapshot.manifest.snapshot
        since = draw.randint(1, own)
        assert told(handle.changes(since)) == difference(states[since].rows, states[own].rows)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
def test_a_history_that_is_pruned(seed):
    """Tagged snapshots stay complete, kept ones can be restored, and changes are reported correctly or refused."""
    draw = random.Random(seed)
    id_type = draw.choice(ID_TYPES)
    store, state = begin(draw, id_type)
    index, states, tags = open_here(store), {1: state}, {}
    for _ in range(30):
        newest, kept, chance = max(states), snapshot_numbers(store), draw.random()
        state = states[newest]
        number, name = draw.choice(sorted(states)), f"tag {draw.randrange(3)}"
        if chance < 0.3 and number not in kept:
            for ask in (lambda: index.restore(snapshot=number), lambda: index.tag(name, number)):  # noqa: B023
                with pytest.raises(vsearch.SnapshotNotFoundError):
                    ask()
        elif chance < 0.15:
            index.restore(snapshot=number)
            state = dataclasses.replace(states[number], next_row=state.next_row)
        elif chance < 0.3:
            tags[name] = number
            index.tag(name, number)
        elif chance < 0.45:
            prune(store, draw.choice((1, 2)), older_than=0, grace=0)
            left = snapshot_numbers(store)
            assert {newest, *tags.values()} <= set(left) <= set(kept)
            assert all(verify(store, number).ok for number in left)
        else:
            ask = draw_ask(draw, id_type)
            made = outcome(state, ask)
            if made is not None:
                carry_out(index, ask)
                state = made.state
        index.refresh()
        after = index.snapshot.manifest.snapshot
        states |= dict.fromkeys(range(newest + 1, after + 1), state)
    assert index.tags() == tags
    for since in snapshot_numbers(store):
        holds = Index(open_snapshot(store, read_manifest(store, since)))
        check(holds, states[since], draw)
        changes, oldest = asked(index, since)
        assert changes in (None, difference(states[since].rows, states[max(states)].rows))
        assert asked(index, oldest)[0] is not None


def test_a_follower_that_only_ever_asks_for_changes_has_all_ids(twin):
    """Like a cache: refresh, compute the changes, remember the snapshot."""
    follower, known, held = vsearch.open(twin.url), 1, set(range(120))
    for seed in range(8):
        twin.append(3, seed)
        twin.upsert([seed, seed + 1], seed)
        twin.delete([120 + seed, seed])
        if seed % 3 == 0:
            twin.index.optimize(force=seed % 2 == 0)
        if seed % 2:
            follower.refresh()
            changes = follower.changes(known)
            assert set(changes.deleted.tolist()) <= held
            assert set(changes.replaced.tolist()) <= held
            assert not set(changes.added.tolist()) & held
            held = (held | set(changes.added.tolist())) - set(changes.deleted.tolist())
            known = changes.to_snapshot
    assert held == set(twin.rows)


def test_changes_over_very_many_snapshots_are_refused(twin, monkeypatch):
    for _ in range(3):
        twin.append(1)
        twin.index.optimize(force=True)
    newest = twin.index.snapshot.manifest.snapshot
    whole = told(twin.index.changes(1))
    monkeypatch.setattr(lineage, "MOST_READ", newest - 2)
    assert told(twin.index.changes(1)) == whole
    for module in (lineage, feed):
        monkeypatch.setattr(module, "MOST_READ", 3)
    with pytest.raises(vsearch.ChangesNotFoundError, match=rf"commits apart.*since snapshot {newest - 3}") as lost:
        twin.index.changes(1)
    assert lost.value.oldest == newest - 3
    assert told(twin.index.changes(newest - 3))[0]
