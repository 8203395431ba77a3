from __future__ import annotations

import random

import pytest

from bench.fuzzers.live_model import beginning, check, mapped, open_here, remote
from vsearch.storage.snapshots import committing


@pytest.fixture(params=["mapped", "remote"])
def any_store(request):
    """An empty store: one whose files are mapped, then one that is read like a bucket."""
    return {"mapped": mapped, "remote": remote}[request.param]()


@pytest.fixture
def quickly(monkeypatch):
    """Make pauses between retries short."""
    monkeypatch.setattr(committing, "FIRST_WAIT", 0.0001)
    monkeypatch.setattr(committing, "LONGEST_WAIT", 0.0002)


@pytest.fixture
def begin():
    """Put a small index of 60 rows into a store, by default a new one; return the store and its contents."""

    def put(id_type="int", shards=2, store=None, rerank="float32"):
        begun = beginning(id_type, shards, rerank)
        return begun.copy(mapped() if store is None else store), begun.state

    return put


@pytest.fixture
def holds():
    """Compare the newest snapshot of a store with a state."""

    def hold(store, state):
        index = open_here(store)
        check(index, state, random.Random(3))
        return index

    return hold
