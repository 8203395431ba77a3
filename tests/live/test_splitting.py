"""Oversized partitions are split when their base is rewritten; rows encoded before remain valid."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
import pytest

import vsearch
from bench.fuzzers.live_model import mapped, open_here, remote
from tests.live.small import numbers
from tests.live.troubles import Deadly, Interrupted, Killed, is_manifest, is_segment
from vsearch.errors import CorruptIndexError
from vsearch.live.merging import live_counts
from vsearch.live.operations import codes_of
from vsearch.live.optimizing import optimize
from vsearch.search.state.fetching import find_ids, take_ids
from vsearch.search.state.snapshot import open_shard, open_snapshot
from vsearch.storage import open_store, prune, read_manifest, verify, write_arrays
from vsearch.storage.snapshots.kinds import SPLITS

pytestmark = [pytest.mark.usefixtures("quickly"), pytest.mark.filterwarnings("ignore:.*far from all partitions")]

D, FIRST, LATER = 8, 160, 600


def cluster(n, seed, spread=1.0, far=3.0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(D) * far + spread * rng.standard_normal((n, D))).astype(np.float32)


def first_vectors():
    return np.concatenate([cluster(FIRST // 8, seed) for seed in range(8)])


@cache
def objects(shards, metric, rerank, quantizer):
    url = f"memory://splits-{shards}-{metric}-{rerank}-{quantizer}/index"
    options = {"metric": metric, "rerank": rerank, "quantizer": quantizer, "shards": shards, "partitions": 16}
    vsearch.build(first_vectors(), url, numbers(np.arange(FIRST)), np.arange(FIRST), seed=1, **options)
    store = open_store(url)
    return {info.path: bytes(store.get(info.path)) for info in store.list("")}


class Held:
    """An index of 16 partitions in a store of its own, and a dict of its vectors."""

    def __init__(self, shards=2, metric="l2", rerank="float32", quantizer="osq", store=None):
        self.store = mapped() if store is None else store
        for path, data in objects(shards, metric, rerank, quantizer).items():
            self.store.put(path, data)
        self.rows = dict(enumerate(first_vectors()))

    def open(self, store=None):
        return open_here(self.store if store is None else store)

    def append(self, index, vectors, ids=None):
        first = max(self.rows, default=0) + 1
        ids = np.arange(first, first + len(vectors)) if ids is None else ids
        index.upsert(vectors, numbers(ids), ids)
        self.rows |= dict(zip(ids.tolist(), vectors, strict=True))

    def delete(self, index, ids):
        index.delete(list(ids))
        for one in ids:
            self.rows.pop(one, None)

    def outgrown(self, later=LATER):
        """Rows of one cluster, in two commits, some of which and some older ones are deleted again."""
        index = self.open()
        self.append(index, cluster(later // 2, 50))
        self.delete(index, [*range(0, FIRST, 7), *range(200, 240)])
        self.append(index, cluster(later // 2, 50))
        self.append(index, cluster(30, 51), np.arange(30))
        return index

    def check(self, index=None, rtol=1e-3):
        """Ids, attributes, exact scores and filters are those of the dict, and partitions bounded where there is no delta."""
        index = self.open() if index is None else index
        assert verify(self.store).ok
        assert len(index) == len(self.rows)
        ids = np.array(sorted(self.rows))
        assert index.get(ids)["number"].to_pylist() == ids.tolist()
        vectors, queries = np.stack([self.rows[one] for one in ids.tolist()]), cluster(3, 50)
        hits = index.search(queries, k=len(ids) + 1, exact=True)
        assert sorted(hits.ids[0].tolist()) == [-1, *ids.tolist()]
        squares = np.square(queries[:, None] - vectors).sum(axis=2)
        np.testing.assert_allclose(hits.scores[:, :-1], np.sort(squares, axis=1), rtol=rtol, atol=rtol)
        for where, passing in (("number < 40", ids[ids < 40]), ("number > 500", ids[ids > 500])):
            assert sorted(index.search(queries[0], k=len(passing), where=where).ids[0]) == passing.tolist()
        return index


def largest_over_mean(index):
    counts = live_counts(index.snapshot)
    return counts.max() / (counts.sum() / np.count_nonzero(counts))


def coded(index, ids):
    """Numbers of the partitions of rows, and their codes, in the order of ids."""
    snapshot = index.snapshot
    codes, order = codes_of(snapshot, find_ids(snapshot, np.asarray(ids)))
    back = np.argsort(order)
    arrays = {name: array[back] for name, array in codes.to_arrays().items() if name != "squares"}
    return snapshot.model.numbers_of(arrays.pop("partitions")), arrays


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("rerank", ["float32", "float16"])
def test_a_partition_that_outgrew_the_others_is_split(shards, rerank):
    held = Held(shards, rerank=rerank)
    index = held.outgrown()
    reader, ids = held.open(), sorted(held.rows)
    before, codes = coded(index, ids)
    report = index.optimize(retune=False, force=True)
    assert report.split >= 1
    assert report.merged == shards
    assert largest_over_mean(index) <= 4
    after, again = coded(index, ids)
    split = np.isin(before, np.unique(before[before != after]))
    assert len(np.unique(before[split])) <= report.split
    for name, array in codes.items():
        stay = after == before  # of other partitions all, and of those that were split who stays
        assert (again[name][stay] == array[stay]).all(), name
    partitions = index.info()["partitions"]
    assert partitions > 16
    assert sum(shard.partitions for shard in index.snapshot.manifest.shards) == partitions
    held.check(index, 1e-3 if rerank == "float32" else 1e-2)
    assert not index.optimize(retune=False, force=True).changed
    assert reader.refresh()
    held.check(reader, 1e-3 if rerank == "float32" else 1e-2)
    queries = cluster(5, 50)
    fresh = held.open().search(queries, k=9)
    for one in (index, reader):
        np.testing.assert_array_equal(one.search(queries, k=9).scores, fresh.scores)


def test_the_other_partitions_keep_their_scores():
    held = Held(metric="cosine", rerank="int8")
    index = held.outgrown()
    queries, k = cluster(4, 3), len(held.rows)
    before, numbers_before = index.search(queries, k, exact=True), coded(index, sorted(held.rows))[0]
    index.optimize(retune=False, force=True)
    after, numbers_after = index.search(queries, k, exact=True), coded(index, sorted(held.rows))[0]
    stays = dict(zip(sorted(held.rows), numbers_before == numbers_after, strict=True))
    assert 0 < sum(stays.values()) < k
    for query in range(4):
        old, new = (dict(zip(hits.ids[query], hits.scores[query], strict=True)) for hits in (before, after))
        assert old.keys() == new.keys()
        assert all(old[name] == new[name] for name in old if stays[name])
        assert max(abs(old[name] - new[name]) for name in old) < 0.02


@pytest.mark.parametrize(("rerank", "quantizer"), [(None, "osq"), (None, vsearch.PQ(4, 16))], ids=["osq", "pq"])
def test_nothing_is_split_without_rerank_codes(rerank, quantizer):
    held = Held(1, rerank=rerank, quantizer=quantizer)
    index = held.outgrown()
    report = index.optimize(retune=False, force=True)
    assert (report.merged, report.split) == (1, 0)
    assert largest_over_mean(index) > 4
    assert index.info()["partitions"] == 16
    assert len(index) == len(held.rows)


def test_rows_that_are_all_alike_are_dealt_out():
    held = Held(1)
    index = held.open()
    held.append(index, np.tile(cluster(1, 50), (LATER, 1)))
    assert index.optimize(retune=False, force=True).split == 1
    assert largest_over_mean(index) <= 4
    held.check(index)


def test_a_writer_that_encoded_before_a_split_commits_after_it():
    held = Held(3)
    index = held.outgrown()
    behind, other = held.open(), held.open()
    index.optimize(retune=False, force=True)
    assert behind.snapshot.manifest.partitions == 16
    held.append(behind, cluster(40, 50))
    held.append(other, np.concatenate([cluster(9, seed) for seed in range(8)]))
    held.check(other)
    behind.refresh()
    held.delete(behind, range(300, 310))
    held.check()
    index.refresh()
    assert (live_counts(index.snapshot) == live_counts(held.open().snapshot)).all()
    index.optimize(retune=False, force=True)
    held.check(index)
    assert not read_manifest(held.store).live.deltas


@pytest.mark.parametrize("when", [is_segment, is_manifest])
@pytest.mark.parametrize("store", [mapped, remote])
def test_what_others_do_during_a_split_counts_afterwards(when, store):
    held = Held(2, store=store())
    held.outgrown()
    far = cluster(20, 3)

    def event():
        writer = held.open()
        held.append(writer, far)
        held.append(writer, cluster(30, 50))
        held.append(writer, cluster(5, 2), np.arange(40, 45))
        held.delete(writer, range(400, 420))

    report, _ = optimize(held.open(Interrupted(held.store, when, event, after=when is is_segment)).snapshot, force=True)
    assert report.split >= 1
    assert len(read_manifest(held.store).live.deltas) == 5
    index = held.check()
    found = index.search(far, k=1).ids[:, 0]
    assert np.mean([(held.rows[one] == vector).all() for one, vector in zip(found.tolist(), far, strict=True)]) > 0.8
    assert index.optimize(retune=False, force=True).merged == 2
    held.check(index)


def test_two_splits_at_once_give_no_number_twice():
    held = Held(2)
    held.outgrown()

    def event():
        held.open().optimize(retune=False, force=True)

    report, _ = optimize(held.open(Interrupted(held.store, is_segment, event, after=True)).snapshot, force=True)
    assert (report.merged, report.split) == (0, 0)
    index = held.check()
    numbers = index.snapshot.model.numbers
    named = {entry.path for entry in index.snapshot.manifest.model.values()}
    assert named == {info.path for info in held.store.list("model")}
    held.append(index, cluster(2000, 60))
    assert index.optimize(retune=False, force=True).split >= 1
    assert set(numbers) < set(index.snapshot.model.numbers)
    assert largest_over_mean(held.check(index)) <= 4


def test_numbers_outlast_a_restore():
    held = Held(2)
    index = held.outgrown()
    start, rows = index.snapshot.manifest.snapshot, dict(held.rows)
    index.optimize(retune=False, force=True)
    late = held.open()
    used = set(index.snapshot.model.numbers.tolist())
    index.restore(snapshot=start)
    assert index.info()["partitions"] == 16
    assert index.snapshot.manifest.live.next_partition == max(used) + 1
    held.append(late, cluster(40, 50))  # encoded for partitions that are no more
    held.check(late)
    assert late.optimize(retune=False, force=True).split >= 1
    assert not {number for number in late.snapshot.model.numbers.tolist() if number >= 16} & used
    held.check(late)
    index.restore(snapshot=start)
    held.rows = rows
    held.check()


def test_settings_are_found_and_a_model_is_trained_past_a_split():
    held = Held(2)
    index = held.outgrown()
    tuner = held.open()
    index.optimize(retune=False, force=True)
    assert read_manifest(held.store).live.changed > LATER
    tuner.tune(0.9, k=5)  # begun on the partitions before
    held.check(tuner)
    trainer = held.open()

    def event():
        held.append(held.open(), cluster(20, 50))

    trainer.snapshot.store = Interrupted(held.store, is_manifest, event)
    trainer.retrain(partitions=9)
    held.check()
    assert SPLITS not in read_manifest(held.store).model
    assert trainer.snapshot.model.numbers is None
    assert read_manifest(held.store).live.next_partition > 16


def test_a_kill_at_every_call_of_a_split():
    held = Held(2, store=remote())
    held.outgrown()
    start = {info.path: bytes(held.store.get(info.path)) for info in held.store.list("")}
    counting = Deadly(held.store)
    opened = (held.open(counting), counting.calls)[1]
    optimize(held.open(counting).snapshot, force=True)
    for number in range(opened, counting.calls - opened):
        held.store = remote()
        for path, data in start.items():
            held.store.put(path, data)
        deadly = Deadly(held.store, number, done=True)
        with pytest.raises(Killed):
            optimize(held.open(deadly).snapshot, force=True)
        if deadly.writes:
            index = held.check()
            assert (index.info()["partitions"] > 16) == (not read_manifest(held.store).live.deltas)
            index.optimize(retune=False, force=True)
            prune(held.store, 1, grace=0, older_than=0)
            assert largest_over_mean(held.check()) <= 4
            assert len(held.store.list("model")) == len(read_manifest(held.store).model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("numbers"), "numbers must be an int32"),
        (lambda arrays: arrays.update(numbers=np.zeros_like(arrays["numbers"])), "must be unique"),
        (lambda arrays: arrays.update(numbers=arrays["numbers"] - 1), "must be unique"),
        (lambda arrays: arrays.update(numbers=arrays["numbers"].astype(np.int64)), "numbers must be an int32"),
        (lambda arrays: arrays.update(centroids=arrays["centroids"][:, 1:]), "centroids must be a finite"),
        (
            lambda arrays: arrays.update(centroids=arrays["centroids"] * np.float32(np.inf)),
            "centroids must be a finite",
        ),
        (lambda arrays: arrays.update({n: a[1:] for n, a in arrays.items()}), "centroids must be a finite"),
    ],
    ids=map(str, range(7)),
)
def test_a_damaged_file_of_centroids_is_refused(change, message):
    held = Held(1)
    index = held.outgrown()
    index.optimize(retune=False, force=True)
    model = index.snapshot.model
    arrays = {"centroids": model.centroids, "numbers": model.numbers}
    change(arrays)
    entry = write_arrays(held.store, "model/other-splits.arrow", arrays)[0]
    manifest = index.snapshot.manifest
    manifest = msgspec.structs.replace(manifest, model={**manifest.model, SPLITS: entry})
    with pytest.raises(CorruptIndexError, match=message):
        open_snapshot(held.store, manifest)


def test_rows_far_from_the_origin_are_split_with_all_their_digits():
    held = Held(1)
    index = held.open()
    base = cluster(1, 50) + np.float32(3000)
    held.append(index, base + cluster(LATER, 51, 1.0, 0.0))
    assert index.optimize(retune=False, force=True).split >= 1
    vectors = np.stack(list(held.rows.values())[FIRST:])
    hits = index.search(vectors[:50], k=2)
    assert (hits.ids[:, 0] == np.array(list(held.rows)[FIRST : FIRST + 50])).all()
    squares = np.square(vectors[:50, None].astype(np.float64) - vectors).sum(axis=2)
    np.testing.assert_allclose(hits.scores, np.sort(squares, axis=1)[:, :2], atol=0.02)


def test_one_shard_alone_has_the_rows_that_it_has_in_the_index():
    """As functions open it, without Arrow; its deltas were encoded before partitions of others were split."""
    held = Held(3)
    held.outgrown()

    def event():
        held.append(held.open(), np.concatenate([cluster(9, seed) for seed in (7, 50, 0, 3, 5)]))

    optimize(held.open(Interrupted(held.store, is_manifest, event)).snapshot, force=True)
    held.append(held.open(), np.concatenate([cluster(9, seed) for seed in (2, 50, 6)]))
    held.delete(held.open(), range(800, 810))
    manifest = read_manifest(held.store)
    whole = open_snapshot(held.store, manifest, plain=True)
    assert SPLITS in manifest.model
    assert sum(delta.rows for delta in manifest.live.deltas) == 72
    seen = np.zeros(whole.rows, np.int64)
    for number in range(3):
        for run in open_shard(held.store, manifest, number).shards:
            rows = run.first_row + np.arange(run.rows)
            seen[rows] += 1
            np.testing.assert_array_equal(take_ids(whole, rows), run.files["ids"].array("id"))
    assert (seen == 1).all()


@pytest.mark.slow
@pytest.mark.usefixtures("full_tuning")
def test_recall_after_a_drift(tmp_path):
    def clusters(n, seed, many, d=24):
        rng = np.random.default_rng(seed)
        centers = rng.standard_normal((many, d))[np.arange(n) % many]
        return (centers + 0.6 * rng.standard_normal((n, d))).astype(np.float32)

    first, later = clusters(1000, 1, 12), clusters(10_000, 2, 3)
    index = vsearch.build(first, tmp_path / "index", partitions=24, shards=2)
    index.append(later)
    report = index.optimize(force=True)
    assert (report.merged, report.tuned) == (2, True)
    assert report.split >= 1
    assert largest_over_mean(index) <= 4
    assert "11 times" in index.info()["drift"]["recommendation"]
    queries = np.concatenate([clusters(1100, 1, 12)[-100:], clusters(10_100, 2, 3)[-100:]])
    true, found = index.search(queries, k=10, exact=True).ids, index.search(queries, k=10).ids
    recall = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(true, found, strict=True)])
    assert recall > index.info()["settings"]["target"] - 0.02
