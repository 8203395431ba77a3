"""Copies of rows in second partitions: the same answers with fewer visits, whatever is asked, changed or read first."""

from __future__ import annotations

import json

import msgspec
import numba as nb
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import vsearch
from tests.buckets import opened
from tests.indexes import METRICS, brute_force, clustered, same
from vsearch.building.copies import second_partitions
from vsearch.building.spilling import without_copies
from vsearch.cli.app import app
from vsearch.errors import CorruptIndexError, InputError
from vsearch.kernels.query.copies import partition_of
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.steps import merge_hits, search_each_shard
from vsearch.search.recall import run_sample
from vsearch.search.samples import draw_rows
from vsearch.search.state.model import prepare_queries
from vsearch.search.tuning import tune
from vsearch.storage import CHECKSUMS, join_checksums, open_store, read_manifest, verify, write_arrays
from vsearch.storage.snapshots.kinds import COPY_KINDS, COPY_ROWS
from vsearch.storage.snapshots.manifest import encode_manifest
from vsearch.storage.snapshots.shards import open_files

ROWS, D = 3000, 24


def attributes(n, first=0):
    return pa.table({"number": np.arange(first, first + n) % 100})


def built(folder, **options):
    options = {"partitions": 40, "spill": True} | options
    return vsearch.build(clustered(ROWS, D, clusters=60), folder, attributes(ROWS), ids=np.arange(ROWS), **options)


def widely(index):
    """The index with settings that visit everything and drop nothing by its estimate."""
    settings = type(index.snapshot.settings)
    index.snapshot.settings = settings(radius_factor=1e4, error_sigmas=1e4)
    return index


@pytest.fixture(scope="module", params=METRICS)
def spilled(request, tmp_path_factory):
    return built(tmp_path_factory.mktemp("copies") / "index", metric=request.param, shards=2)


@pytest.fixture(scope="module")
def queries():
    return clustered(24, D, seed=1, clusters=60)


# -- which partition


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_the_second_partition_minimizes_the_residual_and_its_projection(shift):
    rng = np.random.default_rng(3)
    centroids = (rng.standard_normal((9, 6)) + shift).astype(np.float32)
    first = np.sort(rng.integers(0, 9, 200))
    rows = (centroids[first] + 0.7 * rng.standard_normal((200, 6))).astype(np.float32)
    rows[0] = centroids[first[0]]  # has no direction
    residuals = rows[:, None].astype(np.float64) - centroids
    own = residuals[np.arange(200), first]
    lengths = np.maximum(np.linalg.norm(own, axis=1), 1e-30)
    losses = (residuals**2).sum(axis=2) + (np.einsum("ijk,ik->ij", residuals, own) / lengths[:, None]) ** 2
    losses[np.arange(200), first] = np.inf
    np.testing.assert_array_equal(second_partitions(rows, first, centroids), losses.argmin(axis=1))
    used = np.arange(9) % 2 == 0
    losses[:, ~used] = np.inf
    some = used[first]
    expected = losses.argmin(axis=1)
    np.testing.assert_array_equal(second_partitions(rows, first, centroids, used)[some], expected[some])


def test_one_partition_has_no_second():
    rows, first = np.ones((5, 3), np.float32), np.zeros(5, np.int64)
    assert (second_partitions(rows, first, np.zeros((1, 3), np.float32)) == -1).all()
    alone = np.array([True, False, False])
    assert (second_partitions(rows, first, np.eye(3, dtype=np.float32), alone) == -1).all()


@nb.njit
def partition_of_row(starts, row):
    return partition_of(starts, row)


@pytest.mark.parametrize("counts", [[3], [0, 0, 5, 0, 1, 0], [1, 2, 3, 4], [0, 9, 0]])
def test_the_kernel_finds_the_partition_of_a_row(counts):
    counts = np.array(counts)
    starts = (np.cumsum(counts) - counts).astype(np.int64)
    expected = np.repeat(np.arange(len(counts)), counts)
    np.testing.assert_array_equal([partition_of_row(starts, row) for row in range(counts.sum())], expected)


def test_every_row_has_a_copy_in_another_partition_of_its_shard(spilled):
    for run in spilled.snapshot.shards:
        copies = run.copies
        np.testing.assert_array_equal(np.sort(copies.positions), np.arange(run.rows))
        assert copies.table.rows.sum() == run.rows
        first = np.searchsorted(run.table.row_starts + run.table.rows, copies.positions, side="right")
        second = np.repeat(np.arange(run.partitions), copies.table.rows)
        assert (first != second).all()
        for partition in range(run.partitions):  # ascending, as in files of rows
            own = copies.positions_in(np.array([partition]))
            assert (np.diff(own) > 0).all()


# -- what is found


def candidates(index):
    """What a visit of the first partition in the kernel's order finds: rows and copies, numbered in the snapshot."""
    snapshot = index.snapshot
    workspace = snapshot.workspace()
    partition = int(workspace.order[0])
    rows = []
    for run in snapshot.shards:
        local = partition - run.first_partition
        if 0 <= local < run.partitions:
            start = run.table.row_starts[local]
            rows += (run.first_row + np.arange(start, start + run.table.rows[local])).tolist()
            rows += (run.first_row + run.copies.positions_in(np.array([local]))).tolist()
    return rows


def test_a_visit_finds_the_rows_and_the_copies_of_a_partition_once(spilled, queries):
    """The reference in NumPy: the best rows among both, by the scores of an exhaustive search."""
    index, k = widely(spilled), 12
    everything = index.search(queries, ROWS, exact=True)
    for place, query in enumerate(queries):
        hits = index.search(query, k, nprobe=1)
        inside = set(_ids(index, candidates(index)))
        ranked = [name for name in everything.ids[place].tolist() if name in inside]
        assert hits.ids[0].tolist() == ranked[:k]
        assert len(inside) > k


def _ids(index, rows):
    firsts, ids = index.snapshot.plain_ids()
    places = np.searchsorted(firsts, rows, side="right") - 1
    return [int(ids[place][row - firsts[place]]) for place, row in zip(places.tolist(), rows, strict=True)]


def test_wide_searches_find_what_exhaustive_ones_find(spilled, queries):
    index = widely(spilled)
    for options in ({}, {"where": "number < 7"}, {"where": "number = 3", "k": 50}, {"k": ROWS + 5}, {"k": 1}):
        expected = index.search(queries, exact=True, **options)
        same(index.search(queries, **options), expected)
        for place in range(0, len(queries), 8):
            alone = index.search(queries[place], **options)
            np.testing.assert_array_equal(alone.ids[0], expected.ids[place])
            np.testing.assert_array_equal(alone.scores[0], expected.scores[place])


def test_no_row_is_returned_twice_and_filters_return_what_matches(spilled, queries):
    index = vsearch.open(spilled.snapshot.store.url)
    for where, matching in (("number = 3", 30), ("number < 50", 1500), (None, ROWS)):
        for nprobe in (None, 1, 3, 40):
            hits = index.search(queries, 45, where, nprobe=nprobe)
            for ids in hits.ids.tolist():
                found = [name for name in ids if name >= 0]
                assert len(set(found)) == len(found) == min(45, matching)
                assert where is None or all(name % 100 < 50 for name in found)


def test_functions_find_it_shard_by_shard(spilled, queries):
    index = widely(spilled)
    snapshot = index.snapshot
    prepared = prepare_queries(snapshot.model, queries)
    found = search_each_shard(snapshot, prepared, SearchRequest(9, snapshot.settings), None, prepared=True)
    expected = index.search(queries, 9, exact=True)
    rows = np.stack([merge_hits(snapshot, hits, 9).rows for hits in found])
    np.testing.assert_array_equal([_ids(index, each) for each in rows.tolist()], expected.ids)


def test_the_same_recall_takes_fewer_visits_and_rows(tmp_path):
    vectors = np.ascontiguousarray(vsearch.datasets.load("wordnet-10k").vectors[:4000], np.float32)
    recalls, visited, scanned = [], [], []
    for spill in (False, True):
        snapshot = vsearch.build(vectors, tmp_path / str(spill), partitions=160, spill=spill).snapshot
        settings, report = tune(snapshot, draw_rows(snapshot, 100, 1), 0.95, 10)
        stats = run_sample(snapshot, draw_rows(snapshot, 100, 2), SearchRequest(10, settings)).stats
        recalls.append(report.recall)
        visited.append(stats.partitions_visited)
        scanned.append(stats.rows_scanned)
    assert abs(recalls[1] - recalls[0]) < 0.01
    assert visited[1] < 0.6 * visited[0]
    assert scanned[1] < 0.95 * scanned[0]  # of 115,659 such rows, it scans half


# -- reading


def test_a_cold_search_finds_what_a_warm_one_finds(spilled, queries):
    folder = str(spilled.snapshot.store.url).removeprefix("file://")
    warm = vsearch.open(spilled.snapshot.store.url)
    for query in queries[:6]:
        _, cold = opened(folder)
        same(cold.search(query), warm.search(query))
        assert not cold.snapshot.ready
    _, cold = opened(folder)
    for query in queries:
        same(cold.search(query, where="number < 40"), warm.search(query, where="number < 40"))
    cold.snapshot.table.ensure(np.arange(40, dtype=np.int32))
    assert cold.snapshot.ready


def forge(folder, change):
    """Rewrite the file of copies of a shard, with correct checksums."""
    store = open_store(str(folder))
    manifest = read_manifest(store)
    shard = manifest.shards[0]
    read = open_files(store, shard)
    for file in read.values():
        file.ensure_all()
    files, sums = {}, {}
    arrays = {kind: {name: file.array(name).copy() for name in file.arrays} for kind, file in read.items()}
    change(arrays)
    for kind, each in arrays.items():
        files[kind], sums[kind] = write_arrays(store, f"segments/forged-{kind}.arrow", each)
    files[CHECKSUMS], _ = write_arrays(store, "segments/forged.arrow", {"crc32c": join_checksums(sums)})
    forged = msgspec.structs.replace(
        manifest, snapshot=2, shards=(msgspec.structs.replace(shard, files=files),), attributes=()
    )
    assert without_copies(store, forged).shards[0].files.keys() == files.keys() - set(COPY_KINDS)
    store.put("manifest/00000000000000000002.json", encode_manifest(forged))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays[COPY_ROWS]["row"].__setitem__(slice(None), 1 << 20), "a copy belongs to row 1048576"),
        (lambda arrays: arrays[COPY_ROWS].pop("row"), "'row' of the copies is missing"),
        (lambda arrays: arrays.pop(COPY_ROWS), "incomplete"),
        (lambda arrays: arrays[COPY_ROWS].update(row=arrays[COPY_ROWS]["row"].astype(np.int64)), "expected uint32"),
        (lambda arrays: arrays["copy-partitions"]["rows"].__setitem__(0, 999), "do not add up|expected"),
    ],
)
def test_forged_copies_are_refused(tmp_path, change, message):
    vsearch.build(clustered(400, 8), tmp_path / "index", partitions=5, spill=True)
    forge(tmp_path / "index", change)
    with pytest.raises(CorruptIndexError, match=message):
        vsearch.open(tmp_path / "index").search(clustered(1, 8)[0], 5)


# -- changes


def check(index, live, queries):
    """Compare all kinds of searches with the vectors by id in `live`."""
    metric = index.info()["metric"]
    names = np.array(sorted(live))
    vectors = np.stack([live[name] for name in names])
    sign = 1 if metric == "l2" else -1
    widely(index)
    for where, allowed in ((None, np.ones(len(names), bool)), ("number < 40", names % 100 < 40)):
        order = names[allowed][np.argsort(sign * brute_force(metric, queries, vectors[allowed]), axis=1, kind="stable")]
        exact, hits = (index.search(queries, where=where, exact=exact) for exact in (True, False))
        same(hits, exact)
        agreeing = [len(set(a) & set(b)) for a, b in zip(hits.ids.tolist(), order[:, :10].tolist(), strict=True)]
        assert np.mean(agreeing) > 9.5  # the rest are roundings of the rerank codes
        some = index.search(queries, len(names) + 3, where, nprobe=1)
        assert (some.ids >= 0).sum(axis=1).tolist() == [allowed.sum()] * len(queries)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_changes_keep_every_answer_right(tmp_path, queries, metric):
    index = built(tmp_path / "index", metric=metric, shards=2)
    live = dict(enumerate(clustered(ROWS, D, clusters=60)))
    more = clustered(500, D, seed=8, clusters=60)
    index.append(more, attributes(500, ROWS), ids=np.arange(ROWS, ROWS + 500))
    live |= dict(zip(range(ROWS, ROWS + 500), more, strict=True))
    index.delete(ids=np.arange(0, 900, 2))
    live = {name: vector for name, vector in live.items() if name >= 900 or name % 2}
    moved = clustered(60, D, seed=9, clusters=60)
    index.upsert(moved, attributes(60, 1001), ids=np.arange(1001, 1061))
    live |= dict(zip(range(1001, 1061), moved, strict=True))
    check(index, live, queries)
    assert [run.copies is not None for run in index.snapshot.shards] == [True, True, False]  # the tail has none
    index.optimize(force=True, retune=False)
    check(index, live, queries)
    for run in index.snapshot.shards:
        np.testing.assert_array_equal(np.sort(run.copies.positions), np.arange(run.rows))
    index.delete(where="number >= 90")
    live = {name: vector for name, vector in live.items() if name % 100 < 90}
    check(index, live, queries)
    again = vsearch.open(tmp_path / "index")
    check(again, live, queries)
    assert verify(again.snapshot.store).ok


def test_a_crowd_splits_partitions_and_its_rows_are_copied_anew(tmp_path, queries):
    index = built(tmp_path / "index")
    crowd = clustered(1, D)[0] + 0.05 * np.random.default_rng(2).standard_normal((1500, D)).astype(np.float32)
    index.append(crowd, attributes(1500), ids=np.arange(10_000, 11_500))
    before = index.info()["partitions"]
    report = index.optimize(force=True, retune=False)
    assert report.split
    assert index.info()["partitions"] > before
    live = dict(enumerate(clustered(ROWS, D, clusters=60))) | dict(zip(range(10_000, 11_500), crowd, strict=True))
    (run,) = index.snapshot.shards
    np.testing.assert_array_equal(np.sort(run.copies.positions), np.arange(run.rows))
    assert run.table.rows[run.copies.table.rows > 0].all()  # searches pass over partitions without rows
    widely(index)
    same(index.search(queries), index.search(queries, exact=True))
    assert len(live) == len(index)


def test_retraining_and_restoring_keep_copies(tmp_path, queries):
    index = built(tmp_path / "index", shards=2)
    index.delete(ids=[5])
    index.retrain(partitions=30)
    assert index.info()["spill"]
    assert all(run.copies is not None for run in index.snapshot.shards)
    same(widely(index).search(queries), index.search(queries, exact=True))
    index.retrain(rerank="float16", bits=2.0)
    assert index.info()["spill"]
    index.restore(snapshot=1)
    assert index.info()["spill"]
    same(widely(index).search(queries), index.search(queries, exact=True))


# -- options


def test_what_copies_cost_is_reported(tmp_path, spilled):
    info = spilled.info()
    parts = info["bytes_per_vector_by_part"]
    assert info["spill"]
    assert parts["copies"] > 0
    plan = vsearch.plan(clustered(ROWS, D), partitions=40, spill=True)
    assert plan.bytes_per_vector["copies"] > 5
    assert not vsearch.build(clustered(300, 8), tmp_path / "one", partitions=1, spill=True).snapshot.shards[0].copies


def test_an_index_without_copies_has_no_trace_of_them(tmp_path):
    index = built(tmp_path / "index", spill=False)
    manifest = json.loads((tmp_path / "index/manifest/00000000000000000001.json").read_text())["manifest"]
    assert "spill" not in manifest
    assert not any(kind in shard["files"] for shard in manifest["shards"] for kind in COPY_KINDS)
    assert not index.info()["spill"]
    assert index.snapshot.workspace().values is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spill": "yes"}, "spill must be True, False or \"auto\", got 'yes'"),
        ({"spill": 1}, "spill must be"),
        ({"spill": True, "rerank": None}, "needs rerank codes"),
        ({"spill": True, "quantizer": "pq"}, "needs rerank codes"),
        ({"spill": True, "quantizer": "osq-lloyd"}, "osq-lloyd"),
    ],
)
def test_what_copies_cannot_go_with_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        built(tmp_path / "index", **options)


def test_pq_codes_with_rerank_codes_have_copies(tmp_path, queries):
    index = widely(built(tmp_path / "index", quantizer="pq", rerank="int8"))
    same(index.search(queries), index.search(queries, exact=True))


@pytest.mark.parametrize(("least", "kept"), [(-1e9, True), (1.0, False)])
def test_auto_keeps_copies_where_they_save_enough(tmp_path, monkeypatch, queries, least, kept):
    monkeypatch.setattr("vsearch.building.spilling.LEAST_GAIN", least)
    index = built(tmp_path / "index", spill="auto", shards=2)
    assert index.info()["spill"] == kept
    assert all((run.copies is not None) == kept for run in index.snapshot.shards)
    store = index.snapshot.store
    assert verify(store).ok
    named = {entry.path for shard in index.snapshot.manifest.shards for entry in shard.files.values()}
    assert {info.path for info in store.list("segments")} == named
    index.delete(ids=[3])
    same(widely(index).search(queries), index.search(queries, exact=True))


def test_auto_is_off_where_copies_save_nothing(tmp_path):
    """Clusters that are partitions: one visit finds everything, and copies only add rows to it."""
    auto = built(tmp_path / "auto", spill="auto", partitions=60)
    off = built(tmp_path / "off", spill=False, partitions=60)
    assert not auto.info()["spill"]
    assert auto.snapshot.settings == off.snapshot.settings
    assert not built(tmp_path / "estimates", spill="auto", rerank=None).info()["spill"]


def test_an_index_that_begins_empty_has_copies_once_it_is_trained(tmp_path, queries):
    with pytest.raises(InputError, match="spill must be True or False for an index without rows"):
        vsearch.create(tmp_path / "other", D, spill="auto")
    index = vsearch.create(tmp_path / "index", D, partitions=20, spill=True)
    index.append(clustered(100, D))
    assert not index.info()["spill"]
    index.append(clustered(2000, D, seed=6, clusters=60))
    assert index.info()["spill"]
    assert any(run.copies is not None for run in index.snapshot.shards)
    same(widely(index).search(queries), index.search(queries, exact=True))


def test_documents_refuse_copies(tmp_path):
    with pytest.raises(InputError, match="spill"):
        vsearch.build_documents(clustered(60, 8), np.arange(0, 61, 3), tmp_path / "index", spill=True)


def test_the_command_line_builds_copies(tmp_path):
    np.save(tmp_path / "rows.npy", clustered(400, 8))
    for said, expected in (("on", True), ("off", False), ("auto", False)):
        folder = tmp_path / said
        command = ["build", str(tmp_path / "rows.npy"), str(folder), "--partitions", "4", "--spill", said]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert vsearch.open(folder).info()["spill"] == expected
    result = CliRunner().invoke(app, [*command[:-3], "--overwrite", "--spill", "often"])
    assert result.exit_code != 0
