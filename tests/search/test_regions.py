"""Routing by regions: with many partitions only those of the nearest regions are scored, and answers stay what they were."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import same
from vsearch.building import regions as dividing
from vsearch.errors import CorruptIndexError
from vsearch.kernels.query.api import plan_query
from vsearch.kernels.query.fields import TOGETHER, CallField
from vsearch.kernels.query.regions import REGION_TAIL
from vsearch.search.engine.promise import TOLERANCE
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.steps import begin
from vsearch.search.engine.steps import plan_query as plan_shards
from vsearch.search.state.model import prepare_queries
from vsearch.search.state.regions import RegionTable, check_regions

ROWS, PARTITIONS, D = 9000, 400, 24


def vectors_of(metric, seed=0, rows=ROWS):
    """Clusters of clusters, with unlike sizes and spreads."""
    rng = np.random.default_rng(seed)
    far = np.random.default_rng(1).standard_normal((8, D)) * 3
    near = far[np.random.default_rng(2).integers(0, 8, 90)] + np.random.default_rng(3).standard_normal((90, D))
    spread = rng.uniform(0.2, 0.6, (rows, 1))
    shift = 2 if metric == "l2" else 0
    return (near[rng.integers(0, 90, rows)] + spread * rng.standard_normal((rows, D)) + shift).astype(np.float32)


@pytest.fixture(scope="module", params=["cosine", "ip", "l2"])
def index(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dividing, "LEAST_PARTITIONS", 64)
        url = tmp_path_factory.mktemp("regions") / request.param
        table = pa.table({"row": np.arange(ROWS)})
        vsearch.build(
            vectors_of(request.param), url, table, metric=request.param, partitions=PARTITIONS, shards=3, id="row"
        )
    return Built(str(url), request.param)


@dataclass(frozen=True)
class Built:
    url: str
    metric: str


def use(index, near_regions, **changes):
    """The index, routed by so many regions."""
    opened = vsearch.open(index.url)
    opened._snapshot.settings = replace(opened._snapshot.settings, near_regions=near_regions, **changes)
    return opened


def planned(snapshot, query, k=10):
    """The order of all visits to be made, before those are left out that cannot matter; and the number of candidates."""
    workspace = snapshot.workspace()
    begin(workspace, SearchRequest(k, snapshot.settings), None)
    workspace.use_query(query, prepared=False)
    plan_query(snapshot.native.address, workspace.fields.address)
    order = workspace.order[: workspace.values[CallField.VISITS]].copy()
    return order, workspace.upper_bounds[order], workspace.values[CallField.CANDIDATE_COUNT]


def nearest_regions(snapshot, query, count):
    """The nearest regions in NumPy."""
    model, table = snapshot.model, snapshot.model.region_table
    rotated = prepare_queries(model, query[None])[0]
    heights = REGION_TAIL * model.deviations(rotated[None])[0] * table.spreads
    scores = table.means @ rotated
    if model.metric == "l2":
        scores = 2 * scores - table.squares - rotated @ rotated
        distances = np.sqrt(np.maximum(-scores, 0))
        bounds = scores + 2 * (heights * distances + np.maximum(heights - distances, 0) ** 2) - table.spreads**2
    else:
        bounds = scores + np.linalg.norm(rotated) * heights
    return np.argsort(-bounds, kind="stable")[:count], bounds


def test_the_candidates_are_the_partitions_of_the_nearest_regions(index):
    snapshot, every = (use(index, count, radius_decay=0.0)._snapshot for count in (5, None))
    model, routed = snapshot.model, 0
    for query in vectors_of(model.metric, seed=9, rows=40):
        order, bounds, count = planned(snapshot, query)
        if count == 0:
            continue
        routed += 1
        regions, of_regions = nearest_regions(snapshot, query, 5)
        candidates = np.flatnonzero(np.isin(model.regions, np.unique(model.regions)[regions]))
        if count != len(candidates) or set(order) != set(candidates):  # centroids of regions are rounded
            gap = np.sort(of_regions)[-5] - np.sort(of_regions)[-6]
            assert gap < 0.02 * np.ptp(of_regions)
            continue
        flat, flat_bounds, none = planned(every, query)
        assert none == 0
        assert len(flat) == np.count_nonzero(snapshot.partition_rows)
        kept = np.isin(flat, candidates)
        np.testing.assert_allclose(bounds, flat_bounds[kept], rtol=1e-5, atol=1e-4)
        moved = order != flat[kept]
        assert np.mean(moved) < 0.05
    assert routed > 20


def test_tuning_chooses_the_number_and_keeps_the_recall(index):
    snapshot = vsearch.open(index.url)._snapshot
    settings, table = snapshot.settings, snapshot.model.region_table
    assert len(table.sizes) == round(PARTITIONS**0.5) or len(table.sizes) > 10
    queries = vectors_of(index.metric, seed=5, rows=300)
    flat = use(index, None).recall(queries).recall
    if settings.near_regions is not None:
        assert vsearch.open(index.url).recall(queries).recall >= flat - 2 * TOLERANCE
    assert use(index, 10).recall(queries).recall >= flat - 0.05


@pytest.mark.parametrize("options", [{"exact": True}, {"nprobe": 3}, {"nprobe": 10**6}, {"where": "row % 7 = 3"}])
def test_promises_and_filters_do_not_depend_on_regions(index, options):
    queries = vectors_of(index.metric, seed=6, rows=20)
    if "where" in options:
        options = {"where": "row IN (" + ",".join(str(row) for row in range(3, ROWS, 97)) + ")"}
    same(use(index, 1).search(queries, 10, **options), use(index, None).search(queries, 10, **options))


def test_a_filter_that_leaves_only_distant_regions(index):
    query = vectors_of(index.metric, seed=7, rows=1)[0]
    hits = use(index, None).search(query, ROWS, exact=True)
    rows = hits.ids[0][-200:]  # the most distant
    where = "row IN (" + ",".join(map(str, rows)) + ")"
    routed = use(index, 2).search(query, 10, where=where)
    assert (routed.ids[0] >= 0).all()
    same(routed, use(index, None).search(query, 10, where=where))


def test_foreign_queries_are_routed_to_all_partitions(index):
    rng = np.random.default_rng(3)
    foreign = (rng.standard_normal((20, D)) * (30 if index.metric == "l2" else 1)).astype(np.float32)
    routed, every = use(index, 1), use(index, None)
    for query in [*foreign, np.zeros(D, np.float32)]:
        if planned(routed._snapshot, query)[2] == 0:
            same(routed.search(query, 10), every.search(query, 10))
    strict = use(index, 1, familiar=None)
    assert all(planned(strict._snapshot, query)[2] == 0 for query in vectors_of(index.metric, seed=8, rows=20))


@pytest.mark.parametrize("near_regions", [1, 2, 10**6])
def test_more_results_than_the_nearest_regions_hold(index, near_regions):
    queries = vectors_of(index.metric, seed=4, rows=5)
    hits = use(index, near_regions).search(queries, 4000)
    assert all(len(set(row)) == 4000 for row in hits.ids.tolist())
    same(hits, use(index, None).search(queries, 4000))


def test_shards_get_the_visits_that_one_process_makes(index):
    snapshot = use(index, 8)._snapshot
    for query in vectors_of(index.metric, seed=10, rows=10):
        _, visits = plan_shards(snapshot, query, SearchRequest(10, snapshot.settings), None)
        sent = np.concatenate(
            [plan.order + group.first_partition for plan, group in zip(visits, snapshot.groups, strict=True)]
        )
        order, _, _ = planned(snapshot, query)
        assert set(sent) <= set(order)
        assert order[0] in sent
        assert snapshot.partition_rows[sent].sum() >= 10


def test_an_index_of_an_earlier_version_has_no_regions(index):
    opened = use(index, 3)
    snapshot = opened._snapshot
    snapshot.model = replace(snapshot.model, regions=None)
    queries = vectors_of(index.metric, seed=11, rows=5)
    assert planned(snapshot, queries[0])[2] == 0
    hits, expected = opened.search(queries, 10), use(index, None).search(queries, 10)
    np.testing.assert_array_equal(hits.ids, expected.ids)


@pytest.mark.parametrize("stored", [np.zeros(3, np.int32), np.zeros(4, np.int64), np.array([0, 1, -1, 0], np.int32),
                                    np.array([0, 4, 1, 1], np.int32), np.zeros((4, 1), np.int32)])  # fmt: skip
def test_damaged_regions_are_refused(stored):
    with pytest.raises(CorruptIndexError, match="regions must be"):
        check_regions(stored, 4)


@pytest.mark.parametrize(
    "regions", [[0] * 200, list(range(200)), [0] * 199 + [150], [7] * 64 + [9] * 65 + [3] * 71, [5, 2] * 100]
)
def test_tables_of_unlike_regions(regions):
    centroids = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    table = RegionTable.of(np.array(regions, np.int32), centroids)
    assert (table.starts % TOGETHER == 0).all()
    assert table.sizes.sum() == 200
    for place, region in enumerate(np.unique(regions)):
        members = np.flatnonzero(np.array(regions) == region)
        at = slice(table.starts[place], table.starts[place] + table.sizes[place])
        np.testing.assert_array_equal(table.members[at], members)
        np.testing.assert_allclose(table.means[place], centroids[members].mean(axis=0), atol=1e-5)
        spread = np.sqrt(np.square(centroids[members] - centroids[members].mean(axis=0)).sum(axis=1).mean())
        np.testing.assert_allclose(table.spreads[place], spread, atol=1e-4)
    placed = table.at_positions(np.arange(200, dtype=np.float32))
    np.testing.assert_array_equal(table.by_partition(placed, 200), np.arange(200))
    assert (placed[table.members < 0] == 0).all()


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_partitions_far_from_the_origin_have_no_regions(offset, monkeypatch):
    monkeypatch.setattr(dividing, "LEAST_PARTITIONS", 64)
    centroids = (np.random.default_rng(0).standard_normal((300, 8)) + offset).astype(np.float32)
    assert (dividing.divide_into_regions(centroids) is None) == (offset > 0)
    assert dividing.divide_into_regions(centroids[:63]) is None
    equal = dividing.divide_into_regions(np.ones((300, 8), np.float32))
    assert equal is None or len(np.unique(equal)) == 1
