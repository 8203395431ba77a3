"""The number of requests of changes and refreshes; data that is already known is not read again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from bench.fuzzers.live_model import remote
from tests.live.troubles import on
from vsearch.storage import read_manifest


class Counted:
    """A store that counts requests by kind, and remembers which files were read."""

    def __init__(self, store):
        self._store, self.calls, self.read = store, Counter(), []

    def __getattr__(self, name):
        value = getattr(self._store, name)
        if name not in {"put", "put_file", "list", "get", "get_ranges", "read_into", "head", "delete"}:
            return value

        def call(path, *args, **named):
            ranges = len(args[0]) if name in {"get_ranges", "read_into"} else 1
            kind = {"put": "write", "put_file": "write", "list": "list", "delete": "delete"}.get(name, "read")
            self.calls[kind] += ranges
            if kind == "read":
                self.read.append(path)
            return value(path, *args, **named)

        return call

    def of(self, work):
        """The requests of a piece of work: writes, lists and reads, and the files that it reads."""
        self.calls, self.read = Counter(), []
        work()
        assert not self.calls["delete"]
        return (self.calls["write"], self.calls["list"], self.calls["read"]), list(self.read)


def rows(n, seed=1):
    return np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)


def named(ids, text):
    return [f"id {one}" for one in ids] if text else list(ids)


@pytest.fixture(params=["int", "string"])
def counted(begin, request):
    """A store that counts, of an index of three shards that was merged once and has a delta."""
    store, _ = begin(request.param, shards=3, store=remote())
    text = request.param == "string"
    index = on(store)
    index.append(rows(5), {"n": np.arange(5)}, named(range(900, 905), text))
    index.optimize(force=True)
    index.append(rows(5), {"n": np.arange(5)}, named(range(910, 915), text))
    return Counted(store), text


def test_a_change_is_two_writes_and_a_list(counted):
    store, text = counted
    index = on(store)
    ids = [index.snapshot.manifest.rows + 1000 + one for one in range(200)]
    changes = {
        "append": lambda: index.append(rows(100), {"n": np.arange(100)}, named(ids[:100], text)),
        "upsert": lambda: index.upsert(rows(80), {"n": np.arange(80)}, named([*ids[:40], *range(910, 950)], text)),
        "delete": lambda: index.delete(named([*ids[:10], *range(900, 903), 910], text)),
        "update": lambda: index.update({"n": 7}, ids=named(ids[20:30], text)),
        "append later": lambda: index.append(rows(1), {"n": [5]}, named([99_999], text)),
    }
    store.of(lambda: index.get(named([900], text)))  # ids were read, as they are by the first lookup
    for name, change in changes.items():
        (writes, lists, reads), read = store.of(change)
        assert (name, writes, lists) == (name, 2, 1)
        limit = 20 if name == "update" else 0  # codes of rows that it copies
        assert reads <= limit, (name, read)


def test_the_first_lookup_reads_ids_once(counted):
    store, text = counted
    index = on(store)
    (writes, lists, reads), _ = store.of(lambda: index.delete(named([900, 901, 911], text)))
    assert (writes, lists) == (2, 1)
    assert reads <= 20
    counts, read = store.of(lambda: index.delete(named([902, 912], text)))
    assert (counts, read) == ((2, 1, 0), [])


def test_a_change_of_the_manifest_alone_is_one_write(counted):
    store, _ = counted
    index = on(store)
    assert store.of(lambda: index.rename_column("n", "m"))[0] == (1, 1, 0)
    assert store.of(lambda: index.add_column("more", "int64"))[0] == (1, 1, 0)
    assert store.of(lambda: index.drop_column("more"))[0] == (1, 1, 0)


def test_a_refresh_reads_the_manifest_and_what_is_new(counted):
    store, text = counted
    reader, writer = on(store), on(store)
    reader.search(rows(3), k=3)
    assert store.of(reader.refresh) == ((0, 1, 0), [])
    writer.append(rows(4), {"n": np.arange(4)}, named(range(2000, 2004), text))
    counts, read = store.of(reader.refresh)
    manifest = read_manifest(store)
    assert counts == (0, 1, 2)
    assert read[0].startswith("manifest/")
    assert read[1:] == [manifest.live.deltas[-1].bundle.path]
    counts, read = store.of(lambda: reader.search(rows(3), k=3))
    assert (counts, read) == ((0, 0, 0), [])
    for one in range(3):
        writer.upsert(rows(4, one), {"n": np.arange(4)}, named(range(2000 + one, 2004 + one), text))
    assert store.of(reader.refresh)[0] == (0, 1, 4)


def test_the_rows_that_a_change_was_given_stay_as_they_were(counted):
    """The snapshot after it holds them from memory: what is done to the arrays later changes nothing."""
    store, text = counted
    index = on(store)
    vectors, numbers, ids = rows(3, 5), np.arange(3), np.array([3000, 3001, 3002])
    given = named(ids.tolist(), text) if text else ids
    index.append(vectors, {"n": numbers}, given)
    query = vectors[1].copy()
    vectors[:], numbers[:], ids[:] = 0, 99, 1
    fresh = on(store)
    wanted = named([3000, 3001, 3002], text)
    for one in (index, fresh):
        assert one.get(wanted)["n"].to_pylist() == [0, 1, 2]
        assert one.search(query, k=1, exact=True).ids[0, 0] == wanted[1]
    np.testing.assert_array_equal(index.search(query, k=9).scores, fresh.search(query, k=9).scores)
