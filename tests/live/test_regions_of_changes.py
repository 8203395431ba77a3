"""Indexes with regions stay right when they change: rows come and go, partitions are split, builds run as many tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.cluster.conftest import check_same, job_of
from vsearch.building import regions as dividing
from vsearch.cluster.engines import SerialEngine
from vsearch.cluster.job import Columns
from vsearch.cluster.running import build_job
from vsearch.kernels.query.fields import CallField
from vsearch.search.engine.masks import live_mask
from vsearch.storage import open_store, read_manifest
from vsearch.storage.snapshots.kinds import SPLITS

ROWS, D = 4000, 16


@pytest.fixture(autouse=True)
def with_regions(monkeypatch):
    monkeypatch.setattr(dividing, "LEAST_PARTITIONS", 20)


def vectors(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((60, D)) * 2
    return (centers[rng.integers(0, 60, rows)] + 0.4 * rng.standard_normal((rows, D))).astype(np.float32)


def opened(url, near_regions=4):
    index = vsearch.open(url)
    index._snapshot.settings = replace(index._snapshot.settings, near_regions=near_regions, familiar=-10.0)
    return index


def begin(url, **options):
    vsearch.build(vectors(), url, pa.table({"n": np.arange(ROWS)}), np.arange(ROWS), partitions=160, **options)
    return opened(url)


def routed(index):
    """Whether the last query was routed by regions."""
    return index._snapshot.workspace().values[CallField.CANDIDATE_COUNT] > 0


def recall(index, queries, k=5):
    hits, exact = index.search(queries, k), index.search(queries, k, exact=True)
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(hits.ids.tolist(), exact.ids.tolist(), strict=True)])


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_added_and_removed_rows(tmp_path, metric):
    index = begin(tmp_path / "index", metric=metric)
    queries = vectors(5, 60)
    assert recall(index, queries) > 0.9
    assert [index.search(query, 5) and routed(index) for query in queries].count(True) > 30
    index.append(vectors(6, 500), pa.table({"n": np.arange(500)}), np.arange(ROWS, ROWS + 500))
    index.delete(list(range(0, ROWS, 9)))  # evenly, so it is no filter
    changed = opened(tmp_path / "index")
    mask = live_mask(changed._snapshot)
    assert mask is not None
    if not mask.filters(None):
        assert [changed.search(query, 5) and routed(changed) for query in queries].count(True) > 30
    assert recall(changed, queries) > 0.9
    fresh = vectors(6, 500)
    assert (changed.search(fresh, 1).ids[:, 0] >= ROWS).mean() > 0.9


def test_all_rows_near_a_query_are_removed(tmp_path):
    index = begin(tmp_path / "index", metric="l2")
    query = vectors(5, 1)[0]
    near = index.search(query, 3000, exact=True).ids[0]
    index.delete(near.tolist())
    left = opened(tmp_path / "index", near_regions=1)
    hits = left.search(query, 20)
    assert (hits.ids[0] >= 0).all()
    assert not set(hits.ids[0].tolist()) & set(near.tolist())
    index.delete(left.search(query, 1000, exact=True).ids[0].tolist())
    assert len(opened(tmp_path / "index", 1)) == 0
    assert (opened(tmp_path / "index", 1).search(query, 3).ids == -1).all()


def test_partitions_that_are_split_join_the_nearest_region(tmp_path):
    index = begin(tmp_path / "index", metric="l2", rerank="float32")
    before = index._snapshot.model
    crowd = (vectors()[7] + 0.3 * np.random.default_rng(1).standard_normal((2500, D))).astype(np.float32)
    ids = np.arange(ROWS, ROWS + len(crowd))
    index.append(crowd, pa.table({"n": ids}), ids)
    assert index.optimize(force=True, retune=False).split
    assert SPLITS in read_manifest(open_store(tmp_path / "index")).model
    after = opened(tmp_path / "index")
    model = after._snapshot.model
    assert len(model.regions) == len(model.centroids) > len(before.centroids)
    kept = model.numbers < len(before.centroids)
    np.testing.assert_array_equal(model.regions[kept], before.regions)
    assert set(model.regions) <= set(before.regions)
    added = after.search(crowd[:200], 1)
    assert (added.ids[:, 0] == ids[:200]).mean() > 0.95
    assert recall(after, crowd[:100]) > 0.85


def test_splits_of_an_earlier_version_leave_no_regions(tmp_path):
    model = begin(tmp_path / "index")._snapshot.model
    assert model.with_centroids(model.centroids, np.arange(len(model.centroids), dtype=np.int32)).region_table is None


@pytest.mark.slow
def test_many_tasks_write_the_regions_of_one_process(tmp_path):
    rows = vectors(rows=20_000)
    np.save(tmp_path / "rows.npy", rows)
    vsearch.build(rows, tmp_path / "one", partitions=24, shards=3, seed=7)
    job = job_of(tmp_path / "rows.npy", Columns())
    store = open_store(tmp_path / "many")
    build_job(store, job, SerialEngine(), storage={}, source_storage={}, overwrite=False, progress=lambda *_: None)
    assert opened(tmp_path / "many")._snapshot.model.regions is not None
    check_same(tmp_path / "one", tmp_path / "many")
