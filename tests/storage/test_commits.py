from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.storage.samples import manifest, write_shard
from vsearch.errors import ConflictError, CorruptIndexError, IndexNotFoundError
from vsearch.storage import SettingsEntry, commit, list_snapshots, open_store, read_manifest, snapshot_numbers
from vsearch.storage.files.naming import manifest_path


def test_snapshots_count_up_from_one(store):
    assert [commit(store, manifest()).snapshot for _ in range(3)] == [1, 2, 3]
    assert snapshot_numbers(store) == [1, 2, 3]
    assert read_manifest(store).snapshot == 3
    assert read_manifest(store, 1).snapshot == 1


def test_what_is_committed_is_what_is_read(store):
    committed = commit(store, manifest(shards=(write_shard(store, 0),), settings=SettingsEntry(k=3)))
    assert read_manifest(store) == committed


def test_a_commit_on_an_old_snapshot_is_refused(store):
    commit(store, manifest(), base=0)
    commit(store, manifest(), base=1)
    for base in (0, 1, 3):
        with pytest.raises(ConflictError, match=r"snapshot 2 was committed since .*; open the index again"):
            commit(store, manifest(), base=base)
    assert snapshot_numbers(store) == [1, 2]


class Repeating:
    """A store whose puts are sent twice, as when the answer to the first is lost."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put(self, path, data, *, create=True):
        self._store.put(path, data, create=create)
        self._store.put(path, data, create=create)


def test_a_retry_that_meets_its_own_success(store):
    committed = commit(Repeating(store), manifest(writer="me"))
    assert committed.snapshot == 1
    assert read_manifest(store).writer == "me"


class Late(Repeating):
    """A store in which another writer commits just before each put."""

    def put(self, path, data, *, create=True):
        commit(self._store, manifest(writer="the other"))
        self._store.put(path, data, create=create)


def test_another_writer_in_between(store):
    with pytest.raises(ConflictError, match="another writer committed snapshot 1 first; open the index again"):
        commit(Late(store), manifest(writer="me"))
    assert read_manifest(store).writer == "the other"


def race(stores) -> list[tuple[int, str]]:
    won: list[tuple[int, str]] = []
    barrier = threading.Barrier(len(stores))

    def writer(number):
        for attempt in range(20):
            name = f"{number}-{attempt}"
            barrier.wait()
            try:
                won.append((commit(stores[number], manifest(writer=name)).snapshot, name))
            except ConflictError:
                continue

    threads = [threading.Thread(target=writer, args=(i,)) for i in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_a_race_has_one_winner_each(place):
    won = race([open_store(place) for _ in range(8)])
    store = open_store(place)
    assert sorted(number for number, _ in won) == snapshot_numbers(store) == list(range(1, len(won) + 1))
    assert len(won) >= 20
    for number, name in won:
        assert read_manifest(store, number).writer == name


def test_a_race_without_hard_links(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    won = race([open_store(tmp_path) for _ in range(8)])
    store = open_store(tmp_path)
    assert sorted(number for number, _ in won) == snapshot_numbers(store)
    for number, name in won:
        assert read_manifest(store, number).writer == name


def test_no_index(store):
    for ask in (read_manifest, list_snapshots):
        with pytest.raises(IndexNotFoundError, match="contains no index; build one"):
            ask(store)


@pytest.mark.parametrize("number", [0, 3, -1, 10**20])
def test_no_such_snapshot(store, number):
    commit(store, manifest())
    with pytest.raises(IndexNotFoundError, match=f"snapshot {number} does not exist"):
        read_manifest(store, number)


def test_other_files_are_no_snapshots(store):
    commit(store, manifest())
    for name in ("manifest/9.json", "manifest/.vsearch-1.tmp", "manifest/00000000000000000009.json.bak", "README"):
        store.put(name, b"?")
    assert snapshot_numbers(store) == [1]


def test_a_damaged_newest_manifest_does_not_hide_the_others(store):
    commit(store, manifest(shards=(write_shard(store, 0),)))
    commit(store, manifest())
    store.put(manifest_path(2), bytes(store.get(manifest_path(2)))[:-20], create=False)
    with pytest.raises(
        CorruptIndexError, match=r"manifest/0+2\.json: is not a complete manifest; .* open another snapshot"
    ):
        read_manifest(store)
    first, second = list_snapshots(store)
    assert (first.snapshot, first.rows, first.error) == (1, 100, None)
    assert first.bytes > 0
    assert "manifest" in second.error
    assert read_manifest(store, 1).rows == 100


def test_a_snapshot_that_is_pruned_while_it_is_read(store):
    commit(store, manifest())

    class Pruned:
        done = False

        def __getattr__(self, name):
            return getattr(store, name)

        def get(self, path, **limits):
            if not self.done:
                self.done = True
                commit(store, manifest(writer="newer"))
                store.delete([path])
            return store.get(path, **limits)

    assert read_manifest(Pruned()).writer == "newer"


def test_a_manifest_of_endless_bytes(store, monkeypatch):
    monkeypatch.setattr("vsearch.storage.snapshots.commits.LARGEST_MANIFEST", 100)
    commit(store, manifest())
    with pytest.raises(CorruptIndexError, match="is larger than 100 bytes"):
        read_manifest(store)


def test_a_refused_put_that_nobody_won(store):
    """S3 may refuse both of two puts at the same moment."""

    class Refusing:
        def __getattr__(self, name):
            return getattr(store, name)

        def put(self, path, data, *, create=True):
            raise ConflictError(path)

    with pytest.raises(ConflictError, match="times as existing, but it does not exist"):
        commit(Refusing(), manifest())
