"""Tests for every store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vsearch.errors import ConflictError, InputError
from vsearch.storage.stores.base import Store


class StoreContract:
    """Tests of a fixture ``store``: an empty `Store`, a new one for each test."""

    def test_it_is_a_store(self, store: Store) -> None:
        assert isinstance(store, Store)
        assert isinstance(store.url, str)
        assert store.list("") == []

    def test_what_was_put_is_read(self, store: Store) -> None:
        store.put("segments/a.arrow", bytes(range(100)))
        assert bytes(store.get("segments/a.arrow")) == bytes(range(100))
        assert bytes(store.get("segments/a.arrow", start=98)) == b"bc"
        assert bytes(store.get("segments/a.arrow", stop=2)) == b"\0\1"
        assert bytes(store.get("segments/a.arrow", start=98, stop=200)) == b"bc"
        parts = store.get_ranges("segments/a.arrow", [1, 5, 7], [3, 5, 8])
        assert [bytes(part) for part in parts] == [b"\1\2", b"", b"\7"]

    def test_objects_are_listed_below_a_folder(self, store: Store) -> None:
        store.put("segments/a.arrow", bytes(100))
        store.put("segments/deep/b.arrow", b"b")
        store.put("segmentsx/c.arrow", b"c")
        below = [("segments/a.arrow", 100), ("segments/deep/b.arrow", 1)]
        assert [(info.path, info.bytes) for info in store.list("segments")] == below
        assert store.list("segments/") == store.list("segments")
        assert len(store.list("")) == 3
        assert store.head("segments/a.arrow") == store.list("segments")[0]
        assert store.head("segments/a.arrow").modified.tzinfo is not None

    def test_a_listing_begins_after_a_path(self, store: Store) -> None:
        paths = sorted(["m/1.json", "m/10.json", "m/2.json", "m/9.json"])
        for path in [*paths, "n/1"]:
            store.put(path, b"x")
        for after in [*paths, "m/11.json"]:
            below = [path for path in paths if path > after]
            assert [info.path for info in store.list("m", after=after)] == below, after

    def test_deleting_what_is_not_there_is_no_error(self, store: Store) -> None:
        store.put("segments/a.arrow", b"a")
        store.put("segments/b.arrow", b"b")
        store.delete(["segments/a.arrow", "segments/never.arrow"])
        assert [info.path for info in store.list("segments")] == ["segments/b.arrow"]

    def test_ranges_are_read_to_their_own_place(self, store: Store) -> None:
        store.put("a", bytes(range(100)))
        out = np.zeros(120, np.uint8)
        store.read_into("a", [10, 90], [12, 100], out)
        assert np.flatnonzero(out).tolist() == [10, 11, *range(90, 100)]
        for start, stop in ((99, 101), (110, 120)):
            with pytest.raises(EOFError):
                store.read_into("a", [0, start], [1, stop], out)

    def test_a_missing_object_is_file_not_found(self, store: Store) -> None:
        with pytest.raises(FileNotFoundError):
            store.get("manifest/none")
        with pytest.raises(FileNotFoundError):
            store.head("manifest/none")
        with pytest.raises(FileNotFoundError):
            store.get_ranges("manifest/none", [0], [1])
        with pytest.raises(FileNotFoundError):
            store.read_into("manifest/none", [0, 5], [1, 6], np.zeros(9, np.uint8))

    def test_create_refuses_what_is_there(self, store: Store) -> None:
        store.put("manifest/a", b"1")
        with pytest.raises(ConflictError):
            store.put("manifest/a", b"2")
        assert bytes(store.get("manifest/a")) == b"1"
        store.put("manifest/a", b"3", create=False)
        assert bytes(store.get("manifest/a")) == b"3"
        assert [info.path for info in store.list("")] == ["manifest/a"]

    def test_a_file_that_is_put_is_used_up(self, store: Store, tmp_path: Path) -> None:
        local = tmp_path / "local"
        local.write_bytes(b"data")
        store.put_file("segments/a", local)
        assert not local.exists()
        assert bytes(store.get("segments/a")) == b"data"

    @pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a/./b", "a\\..\\b", "", "a\nb"])
    def test_paths_outside_are_refused(self, store: Store, path: str) -> None:
        with pytest.raises(InputError):
            store.get(path)
        with pytest.raises(InputError):
            store.head(path)
        with pytest.raises(InputError):
            store.put(path, b"")
        with pytest.raises(InputError):
            store.delete([path])
        store.put("a", b"abc")
        if store.memory_map("a") is not None:
            with pytest.raises(InputError):
                store.memory_map(path)

    def test_what_is_mapped_is_read_only(self, store: Store) -> None:
        store.put("a", b"abc")
        mapped = store.memory_map("a")
        if mapped is not None:  # a remote store maps nothing
            assert bytes(mapped) == b"abc"
            assert not mapped.flags.writeable
