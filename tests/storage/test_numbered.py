"""Listings of numbered files in a folder: by trying names, they say the same as by reading all of them."""

from __future__ import annotations

import random
import threading

import pytest

from vsearch.errors import ConflictError
from vsearch.storage.files.naming import manifest_path, snapshot_number
from vsearch.storage.stores import folder, numbered
from vsearch.storage.stores.folder import FolderStore

MARKER = f"manifest/condemned-{'a' * 32}.json"
REQUEST = f"manifest/waiting-{'b' * 32}-250.json"


@pytest.fixture(autouse=True)
def from_the_first_on(monkeypatch):
    monkeypatch.setattr(numbered, "LEAST", 1)


@pytest.fixture
def read(monkeypatch):
    """The number of times that all names of the folder of manifests were read."""
    seen = []

    def list_files(place, below, after, given=folder._list_files):
        if below == "manifest/":
            seen.append(below)
        return given(place, below, after)

    monkeypatch.setattr(folder, "_list_files", list_files)
    return seen


def paths(infos):
    return [info.path for info in infos]


def put(store, *numbers):
    for number in numbers:
        store.put(manifest_path(number), b"%d" % number)


def numbers_of(infos):
    return [number for info in infos if (number := snapshot_number(info.path)) is not None]


def notes(store):
    place = f"{store.url}/manifest/beside"
    return sorted(name for name in numbered._names(numbered.Path(place)) if name.startswith("gaps"))


def test_later_files_are_found_without_reading_all_names(tmp_path, read):
    store = FolderStore(tmp_path)
    put(store, *range(1, 8))
    read.clear()
    assert paths(store.list("manifest", after=manifest_path(4))) == [manifest_path(n) for n in (5, 6, 7)]
    assert store.list("manifest", after=manifest_path(7)) == []
    assert not read
    found = store.list("manifest", after=manifest_path(6))[0]
    assert (found.bytes, found) == (1, store.head(manifest_path(7)))


def test_few_files_leave_no_notes(tmp_path, monkeypatch):
    monkeypatch.setattr(numbered, "LEAST", 64)
    store = FolderStore(tmp_path)
    put(store, *range(1, 12))
    store.delete([manifest_path(3)])
    assert {path.name for path in tmp_path.iterdir()} == {"manifest"}
    assert len(list((tmp_path / "manifest").iterdir())) == 10
    put(store, 64)
    assert notes(store) == [f"gaps-{64:020d}"]


def test_files_without_a_number_are_listed_too(tmp_path, read):
    store = FolderStore(tmp_path)
    put(store, 1, 2, 3)
    store.put(MARKER, b"[]")
    store.put(REQUEST, b"{}")
    with pytest.raises(ConflictError):
        store.put(MARKER, b"[]")
    assert bytes(store.get(MARKER)) == b"[]"
    read.clear()
    assert paths(store.list("manifest", after=manifest_path(2))) == [manifest_path(3), MARKER, REQUEST]
    assert not read
    whole = [*(manifest_path(n) for n in (1, 2, 3)), MARKER, REQUEST]
    assert paths(store.list("manifest")) == paths(store.list("")) == whole
    assert paths(store.list("manifest", after=MARKER)) == [REQUEST]
    assert paths(store.list("", after=MARKER)) == [REQUEST]
    assert paths(store.list("manifest", after="manifest/a")) == [MARKER, REQUEST]
    assert store.list("", after="manifest0") == []
    store.delete([MARKER, REQUEST])
    assert paths(store.list("manifest", after=manifest_path(2))) == [manifest_path(3)]


def test_a_folder_that_another_program_filled_is_read_until_it_is_known(tmp_path, read):
    """A copy may lack files without a note that says so."""
    (tmp_path / "manifest").mkdir()
    for number in (5, 20):
        (tmp_path / manifest_path(number)).write_bytes(b"1")
    store = FolderStore(tmp_path)
    assert paths(store.list("manifest", after=manifest_path(5))) == [manifest_path(20)]
    assert len(read) == 1
    put(store, 21)
    read.clear()
    assert paths(store.list("manifest", after=manifest_path(5))) == [manifest_path(20), manifest_path(21)]
    assert len(read) == 1
    assert paths(store.list("manifest", after=manifest_path(20))) == [manifest_path(21)]
    assert len(read) == 1


def test_who_removes_files_notes_it_first(tmp_path, monkeypatch):
    store, other = FolderStore(tmp_path), FolderStore(tmp_path)
    put(store, *range(1, 30))
    store.delete([manifest_path(number) for number in range(3, 20)])
    for start in (2, 10, 18):
        assert paths(other.list("manifest", after=manifest_path(start)))[0] == manifest_path(20)
    assert notes(store) == [f"gaps-{19:020d}"]
    store.delete([manifest_path(4)])
    assert notes(store) == [f"gaps-{19:020d}"]

    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(numbered.Path, "unlink", die)
    with pytest.raises(KeyboardInterrupt):
        store.delete([manifest_path(25)])
    assert f"gaps-{25:020d}" in notes(store)


def test_very_many_later_files_are_listed(tmp_path):
    store = FolderStore(tmp_path)
    put(store, *range(1, 2 * numbered.MOST_TRIED))
    assert len(store.list("manifest", after=manifest_path(5))) == 2 * numbered.MOST_TRIED - 6


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_against_all_names(tmp_path, seed):
    draw = random.Random(seed)
    stores = [FolderStore(tmp_path) for _ in range(2)]
    there, newest = set(), 0
    for _ in range(80):
        store = draw.choice(stores)
        if draw.random() < 0.6 or not there:
            newest += 1
            put(store, newest)
            there.add(newest)
        else:
            gone = set(draw.sample(sorted(there), draw.randint(1, min(4, len(there)))))
            if draw.random() < 0.8:
                gone.discard(newest)
            elif newest in gone:  # the newest was taken back: its number is used again
                newest -= 1
            store.delete([manifest_path(number) for number in gone])
            there -= gone
        for _ in range(3):
            start = draw.randint(1, newest + 3)
            found = paths(draw.choice(stores).list("manifest", after=manifest_path(start)))
            assert found == [manifest_path(number) for number in sorted(there) if number > start]


def test_writers_and_a_prune_at_once(tmp_path):
    """Each writer puts the number after the newest that it finds, from wherever it was; none is overlooked."""
    put(FolderStore(tmp_path), 1)
    wrong, pruned, end = [], set(), threading.Event()

    def write():
        store, newest = FolderStore(tmp_path), 1
        for _ in range(30):
            newest = max([newest, *numbers_of(store.list("manifest", after=manifest_path(newest)))])
            try:
                put(store, newest + 1)
            except ConflictError:
                continue
            later = numbers_of(store.list("manifest", after=manifest_path(newest)))
            if newest + 1 not in later:  # removed by the prune, so there are later ones
                if not later:
                    wrong.append(newest + 1)
            elif set(range(later[0], later[-1] + 1)) - set(later) - pruned:  # pruned while they were listed
                wrong.append(later)

    def prune():
        store = FolderStore(tmp_path)
        while not end.is_set():
            numbers = numbers_of(store.list("manifest"))[:-2]
            pruned.update(numbers)
            store.delete(map(manifest_path, numbers))

    writers, pruner = [threading.Thread(target=write) for _ in range(4)], threading.Thread(target=prune)
    for thread in (*writers, pruner):
        thread.start()
    for thread in writers:
        thread.join()
    end.set()
    pruner.join()
    assert not wrong
