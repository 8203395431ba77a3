from __future__ import annotations

import numpy as np
import pytest

from vsearch.errors import ConflictError
from vsearch.storage import SegmentFile, write_arrays
from vsearch.storage.stores.held import HeldBytes
from vsearch.testing.stores import StoreContract


class TestHeldBytes(StoreContract):
    @pytest.fixture
    def store(self):
        return HeldBytes()


def test_what_is_held_is_not_copied():
    store, data = HeldBytes("held://tail"), np.arange(10, dtype=np.uint8)
    store.hold("a", data)
    mapped = store.memory_map("a")
    assert np.shares_memory(mapped, data)
    assert not mapped.flags.writeable
    assert np.shares_memory(np.frombuffer(store.get("a", start=2), np.uint8), data)
    with pytest.raises(ConflictError, match="a: already exists"):
        store.hold("a", data)
    store.hold("a", data[:3], create=False)
    assert store.head("a").bytes == 3
    assert store.url == "held://tail"
    assert len(mapped) == 10


def test_files_of_arrays_are_read_from_it():
    store = HeldBytes()
    file = SegmentFile(store, *write_arrays(store, "segments/a.arrow", {"a": np.arange(50)}))
    file.ensure("a")
    assert file.mapped
    assert np.array_equal(file.array("a"), np.arange(50))
