"""Functions answer for a changed index as the index does in this process: after any changes, by any plan."""

from __future__ import annotations

import random
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from bench.fuzzers.live import small_measures
from tests.fanout.conftest import Stack, make_sample
from tests.fanout.test_loading import Watched
from tests.fanout.test_pages import remote_of
from vsearch.api.remote_index import RemoteIndex
from vsearch.deploy.cost import measure_bill
from vsearch.errors import IncompleteAnswerError
from vsearch.fanout.calls.retries import CallError, ErrorKind
from vsearch.fanout.roles import processor
from vsearch.fanout.roles.planning import PlanSettings, choose_plan
from vsearch.fanout.wire.envelope import Envelope
from vsearch.search.state.id_lookup import find_ids
from vsearch.storage import open_store, read_manifest
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.snapshots.pruning import prune

D = 16
MODES = ("alone", "flat", "tree")
PREDICATES = (
    None,
    "price < 50",
    "price BETWEEN 20 AND 60 AND year > 2000",
    "word = 'w3' OR word IS NULL",
    "tags @> ARRAY['t1'] AND ok",
    "day < DATE '1980-01-01'",
    "price < -1e9",
)
OPTIONS = (
    {},
    {"k": 3, "nprobe": 2},
    {"k": 40, "exact": True},
    {"k": 5, "offset": 7},
    {"k": 20, "offset": 15, "exact": True},
    {"k": 400},
)
KINDS = {
    "one shard": {"metric": "cosine", "bits": 1.0, "shards": 1},
    "three shards": {"metric": "l2", "bits": 2.0, "shards": 3},
    "no rerank codes": {"metric": "l2", "rerank": None, "shards": 2},
    "cells": {"metric": "l2", "quantizer": "osq-lloyd", "bits": 4.0, "shards": 2},
    "trained centroids": {"metric": "cosine", "quantizer": vsearch.PQ(8), "shards": 2},
}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Look for the newest snapshot at every search, and fold and merge after a few rows."""
    monkeypatch.setattr("vsearch.fanout.roles.newest.FRESH", 0.0)
    with small_measures():
        yield


def begin(name, rows=300, ids=None, **options):
    """An index with a stack, and rows that are not in it yet."""
    vectors, attributes, queries = make_sample(rows + 400, D, 3)
    url = f"memory://changed-{name}-{uuid4().hex}/index"
    named = None if ids is None else ids(range(rows))
    index = vsearch.build(vectors[:rows], url, attributes[:rows], named, **{"partitions": 12, **options})
    return index, Stack(url, index, queries[:6]), vectors, attributes


def assert_same(index, remote, queries, where, options, mode):
    columns = index.snapshot.schema.names
    here = index.search(queries, where=where, columns=columns, **options)
    there = remote.search(queries, where=where, columns=columns, mode=mode, **options)
    assert there.ids.tolist() == here.ids.tolist()
    np.testing.assert_array_equal(there.scores, here.scores)
    assert there.columns.to_pylist() == here.columns.to_pylist()
    assert there.columns.schema.types == here.columns.schema.types
    assert there.snapshot == index.snapshot.manifest.snapshot


class Machine:
    """An index that is changed step by step, and the functions that follow it."""

    def __init__(self, kind, seed):
        self.draw, self.text = random.Random(seed), kind == "three shards"
        self.index, self.stack, self.vectors, self.attributes = begin(
            kind.replace(" ", "-"), ids=self.names if self.text else None, **KINDS[kind]
        )
        self.remote, self.next, self.columns = remote_of(self.stack), 300, 0

    def names(self, numbers):
        return [f"row {number}" if self.text else number for number in numbers]

    def some(self, most=12):
        held = self.index.search(self.stack.queries[0], k=len(self.index), exact=True).ids[0].tolist()
        return self.draw.sample(held, min(most, len(held)))

    def rows(self, many):
        at = slice(self.next, self.next + many)
        self.next += many
        return self.vectors[at], self.attributes[at]

    def append(self):
        first = self.next
        vectors, attributes = self.rows(self.draw.randrange(1, 30))
        self.index.append(vectors, attributes, self.names(range(first, self.next)) if self.text else None)

    def upsert(self):
        ids = self.some(8)
        self.index.upsert(*self.rows(len(ids)), ids)

    def update(self):
        if self.draw.random() < 0.5:
            self.index.update({"price": self.draw.choice([1.5, None]), "word": "new"}, ids=self.some())
        else:
            self.index.update({"year": 2024}, where="ok AND year < 2000")

    def delete(self):
        if self.draw.random() < 0.7:
            self.index.delete(self.some())
        else:
            self.index.delete(where=f"year = {self.draw.randrange(1990, 2025)}")

    def optimize(self):
        self.index.optimize(force=self.draw.random() < 0.5)

    def column(self):
        self.columns += 1
        name, ids = f"extra{self.columns}", self.some()
        self.index.add_column(name, "int64")
        self.index.update({name: 7}, ids=ids)
        if self.columns > 1:
            self.index.drop_column(f"extra{self.columns - 1}")
            self.index.rename_column(name, f"extra{self.columns - 1}")  # the name of another column by now
            self.columns -= 1

    def tag(self):
        self.index.tag(f"tag {self.draw.random()}")

    def step(self, name):
        getattr(self, name)()
        predicates = [*self.draw.sample(PREDICATES, 3), {"id": {"$in": self.some(3)}}]
        if self.columns:
            predicates.append("extra1 = 7 OR price > 80")
        for where in predicates:
            options, mode = self.draw.choice(OPTIONS), self.draw.choice(MODES)
            try:
                assert_same(self.index, self.remote, self.stack.queries, where, options, mode)
            except AssertionError as error:
                raise AssertionError(f"{name}, {where}, {options}, {mode}") from error

    def check_others(self):
        index, remote = self.index, self.remote
        ids = self.some(7)
        assert remote.get(ids).equals(index.get(ids))
        assert len(remote) == len(index)
        queries = self.stack.queries
        assert remote.recall(queries, k=5).recall == index.recall(queries, k=5).recall
        far = float(np.median(index.search(queries, k=20).scores))
        assert_same(index, remote, queries, None, {"k": 20, "min_score": far}, "flat")


STEPS = ("append", "delete", "update", "column", "optimize", "append", "upsert", "tag", "column", "delete", "append")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_answers_follow_any_changes(kind):
    machine = Machine(kind, 7)
    for name in STEPS:
        machine.step(name)
    machine.check_others()
    first = remote_of(machine.stack, snapshot=1)
    begun = vsearch.open(machine.stack.url, snapshot=1)
    assert_same(begun, first, machine.stack.queries, "price < 50", {}, "flat")
    machine.stack.reset()  # cold functions
    machine.remote = remote_of(machine.stack)
    machine.step("optimize")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_answers_follow_random_changes(kind, seed):
    machine = Machine(kind, seed)
    for _ in range(12):
        machine.step(machine.draw.choice(STEPS))
    machine.check_others()


def test_an_index_that_begins_without_rows():
    vectors, attributes, queries = make_sample(40, D, 3)
    url = f"memory://changed-empty-{uuid4().hex}/index"
    index = vsearch.create(url, D, attributes=attributes.schema)
    stack = Stack(url, index, queries)
    remote = remote_of(stack)
    for _ in range(2):
        for mode in MODES:
            assert_same(index, remote, queries, "year > 2000", {"k": 4}, mode)
        index.append(vectors, attributes)


def test_partitions_that_were_split():
    """Places of partitions change, also in later shards; older deltas refer to them by number."""
    index, stack, vectors, attributes = begin("split", shards=2, metric="l2")
    remote = remote_of(stack)
    assert_same(index, remote, stack.queries, None, {}, "flat")
    near = vectors[np.argmin(index.snapshot.partitions_of(np.arange(300)))]
    crowd = near + np.random.default_rng(0).normal(0, 0.3, (100, D)).astype(np.float32)
    for _ in range(3):
        index.append(crowd, attributes[300:400])
    index.optimize(force=True)
    assert index.snapshot.manifest.partitions > 12
    index.append(vectors[300:350], attributes[300:350])
    for where, mode in (("price < 50", "flat"), (None, "alone"), (None, "tree")):
        assert_same(index, remote, stack.queries, where, {}, mode)


@pytest.mark.parametrize("mode", ["flat", "tree"])
def test_a_part_of_the_answer_is_that_of_the_other_shards(mode):
    index, stack, vectors, attributes = begin("partial", shards=3)
    index.append(vectors[300:340], attributes[300:340])
    index.delete(list(range(20)))

    class Failing:
        def invoke(self, function, payload, timeout):
            if function == "t-processor-1":
                raise CallError(ErrorKind.CRASH, "it is gone")
            return stack.local.invoke(function, payload, timeout)

    stack.invoker, remote = Failing(), remote_of(stack)
    with pytest.raises(IncompleteAnswerError):
        remote.search(stack.queries, exact=True, mode=mode)
    part = remote.search(stack.queries, k=30, exact=True, mode=mode, allow_partial=True)
    assert [outcome.shard for outcome in part.failed] == [1]
    everything = index.search(stack.queries, k=len(index), exact=True)
    for query in range(len(stack.queries)):
        ids = everything.ids[query]
        rows = find_ids(index.snapshot, ids)
        kept = [one for one, row in zip(ids, rows, strict=True) if not index.snapshot.groups[1].holds(row[None])]
        assert part.ids[query].tolist() == kept[:30]


def test_a_commit_costs_a_manifest_and_a_delta(monkeypatch):
    """Unchanged files are neither read again nor counted twice."""
    index, stack, vectors, attributes = begin("requests", shards=2)
    where = "price < 50"
    reads = []

    class Noting(Watched):
        def __getattr__(self, name):
            found = getattr(self._store, name)
            if name not in ("get", "read_into", "head", "list"):
                return found

            def request(*given, **named):
                reads.append((name, given[0]))
                return found(*given, **named)

            return request

    monkeypatch.setattr("tests.fanout.conftest.open_store", lambda url: Noting(open_store(url)))
    stack.reset()
    remote = remote_of(stack)
    remote.search(stack.queries, where=where, mode="flat")
    workers = [stack.local.worker(f"t-{name}") for name in ("coordinator", "processor-0", "processor-1")]
    before = [worker.loader.retention.stats().bytes for worker in workers]
    for number in range(3):
        first = 300 + 10 * number
        index.append(vectors[first : first + 10], attributes[first : first + 10])
        manifest = read_manifest(open_store(stack.url))
        newest = manifest.live.deltas[-1].bundle.path
        reads.clear()
        assert remote.search(stack.queries, where=where, mode="flat").snapshot == manifest.snapshot
        paths = [path for name, path in reads if name != "list"]
        assert [name for name, _ in reads].count("list") == 1
        assert sorted(paths) == sorted([manifest_path(manifest.snapshot), newest] * 3)  # a coordinator, two processors
    assert_same(index, remote, stack.queries, where, {}, "flat")
    after = [worker.loader.retention.stats().bytes for worker in workers]
    for then, now in zip(before, after, strict=True):
        assert now < then + 1_000_000


def test_masks_stay_until_rows_are_removed(monkeypatch):
    index, stack, vectors, attributes = begin("masks", shards=2)
    evaluated = []
    mask_shard = processor.mask_shard

    def noting(snapshot, run, bound):
        evaluated.append(run.rows)
        return mask_shard(snapshot, run, bound)

    monkeypatch.setattr(processor, "mask_shard", noting)
    remote = remote_of(stack)

    def search():
        evaluated.clear()
        assert_same(index, remote, stack.queries, "price < 50", {}, "flat")
        return len(evaluated)

    assert search() == 2
    assert search() == 0
    index.append(vectors[300:330], attributes[300:330])
    assert search() == 2  # the tail of each shard; the bases' masks stay
    index.delete([0])
    assert search() == 3  # the tails, and the base that lost a row


def test_a_changed_index_is_as_large_as_its_bundles():
    index, _, vectors, attributes = begin("plan", shards=2)
    settings = PlanSettings(alone_bytes=100_000)
    assert choose_plan(index.snapshot.manifest, 1, settings).mode == "alone"
    index.append(vectors[300:], attributes[300:])
    index.optimize(force=True)
    assert choose_plan(index.snapshot.manifest, 1, settings).mode == "flat"


def test_a_bill_is_forecast_for_a_changed_index(tmp_path):
    vectors, attributes, _ = make_sample(300, D, 3)
    index = vsearch.build(vectors[:250], tmp_path / "index", attributes[:250], partitions=4)
    index.delete(list(range(100)))
    index.append(vectors[250:], attributes[250:])
    assert measure_bill(index.snapshot.store, queries=1)[0].total > 0


@pytest.mark.parametrize("mode", MODES)
def test_a_snapshot_that_was_pruned(mode):
    index, stack, vectors, attributes = begin(f"pruned-{mode}", shards=2)

    def search(**options):
        remote = RemoteIndex("test://t", stack.names, stack.local, Envelope(), 1)
        return remote.search(stack.queries, mode=mode, **options)

    before = search()
    index.append(vectors[300:], attributes[300:])
    index.retrain(vectors)
    prune(index.snapshot.store, 1, older_than=timedelta(0))
    np.testing.assert_array_equal(search().ids, before.ids)  # warm functions hold what they read
    stack.reset()
    for allow_partial in (False, True):
        with pytest.raises(vsearch.RemoteSnapshotNotFoundError, match="snapshot 1 does not exist"):
            search(allow_partial=allow_partial)


@pytest.mark.slow
def test_functions_forget_old_snapshots(monkeypatch):
    monkeypatch.setattr("vsearch.fanout.roles.worker.KEPT", 6)
    index, stack, vectors, attributes = begin("forgotten", shards=2)
    remote = remote_of(stack)
    for row in range(300, 312):
        index.append(vectors[row : row + 1], attributes[row : row + 1])
        assert_same(index, remote, stack.queries, None, {}, "flat")
    loaders = [worker.loader for worker in stack.local._workers.values()]
    assert loaders
    assert all(loader.retention.stats().entries <= 6 for loader in loaders)


def test_rows_expire(monkeypatch):
    """All roles use the coordinator's clock; a snapshot requested by number is seen as of its creation."""
    seconds = [1000]
    monkeypatch.setattr("vsearch.search.state.expiry.now", lambda: seconds[0] * 10**9)
    vectors, attributes, queries = make_sample(500, D, 3)
    ends = np.random.default_rng(2).permutation(500) + 1001
    attributes = attributes.append_column("expires", [[None if end % 10 == 0 else int(end) for end in ends]])
    url = f"memory://changed-ttl-{uuid4().hex}/index"
    index = vsearch.build(vectors[:300], url, attributes[:300], shards=3, partitions=12, ttl="expires")
    stack = Stack(url, index, queries[:6])
    remote = remote_of(stack)

    def check():
        for where, mode in zip((None, "price < 50", "price BETWEEN 20 AND 60 AND year > 2000"), MODES, strict=True):
            for options in ({"k": 12}, {"k": 40, "exact": True}, {"k": 5, "offset": 7}):
                assert_same(index, remote, stack.queries, where, options, mode)
        assert len(remote) == len(index)
        assert remote.info()["expired"] == index.info()["expired"]

    check()
    seconds[0] = 1150
    check()
    index.append(vectors[300:], attributes[300:])
    index.update({"expires": 9999}, where="price < 40")
    check()
    seconds[0] = 1300
    check()
    ids = index.search(queries[0], k=9).ids[0]
    assert remote.get(ids).equals(index.get(ids))
    first = vsearch.open(url, snapshot=1)
    assert_same(first, remote_of(stack, snapshot=1), stack.queries, "price < 50", {"k": 30}, "flat")
    index.optimize(force=True)
    seconds[0] = 1400
    check()
    assert measure_bill(index.snapshot.store, queries=1)[0].total > 0
