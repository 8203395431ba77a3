"""The floor of a plan: what is above it holds enough rows, and little is lost by it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from vsearch.kernels.query.api import plan_query
from vsearch.kernels.query.fields import CallField
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.score_floor import COVER, NOTHING, find_floor, prune_visits
from vsearch.search.engine.steps import evaluate_mask
from vsearch.search.engine.steps import plan_query as plan_shards
from vsearch.search.where import bound_of

PREDICATES = [None, "a < 0.3", "a < 0.31 AND b = 2", "a < 1e-3"]


@pytest.fixture(scope="module", params=["cosine", "ip", "l2"])
def index(request, tmp_path_factory):
    return built(request.param, str(tmp_path_factory.mktemp("floor") / request.param), 90)


@pytest.fixture(scope="module", params=["cosine", "ip", "l2"])
def divided(request, tmp_path_factory):
    """An index with many more partitions than are ordered first."""
    return built(request.param, str(tmp_path_factory.mktemp("floor") / request.param), 1200)


def built(metric, url, partitions):
    rng = np.random.default_rng(7)
    centers = rng.normal(size=(40, 24)) * 2
    vectors = (centers[rng.integers(0, 40, 6000)] + rng.normal(size=(6000, 24))).astype(np.float32)
    attributes = pa.table({"a": rng.uniform(size=6000), "b": rng.integers(0, 4, 6000)})
    queries = (centers[rng.integers(0, 40, 30)] + rng.normal(size=(30, 24))).astype(np.float32)
    return vsearch.build(vectors, url, attributes, metric=metric, shards=4, partitions=partitions), queries


def plan(snapshot, query, k, mask):
    workspace = snapshot.workspace()
    workspace.begin(
        k=k,
        nprobe=None,
        exact=False,
        settings=snapshot.settings,
        match_counts=None if mask is None else mask.matches,
        effective_radii=None if mask is None else mask.effective_radii,
        filtered=mask is not None,
    )
    workspace.use_query(query, prepared=False)
    plan_query(snapshot.native.address, workspace.fields.address)
    prune_visits(snapshot, workspace, mask)
    return workspace, find_floor(snapshot, workspace, mask)


@pytest.mark.slow
@pytest.mark.parametrize("where", PREDICATES)
@pytest.mark.parametrize("k", [1, 10, 300])
def test_enough_rows_are_above_the_floor(index, where, k):
    opened, queries = index
    snapshot = opened._snapshot
    mask = None if where is None else evaluate_mask(snapshot, bound_of(opened.snapshot, where))
    rows = snapshot.partition_rows if mask is None else mask.certain
    floors = []
    for query in queries:
        workspace, floor = plan(snapshot, query, k, mask)
        floors.append(floor)
        if floor == NOTHING:
            assert rows.sum() < COVER * k
        else:
            assert rows[workspace.upper_bounds >= np.float32(floor)].sum() >= COVER * k
        visited = workspace.order[: workspace.values[CallField.VISITS]]
        assert rows[visited].sum() >= min(k, rows.sum())
    assert (min(floors) > NOTHING) == (rows.sum() >= COVER * k)


def test_certain_rows_are_among_the_matches(index):
    opened, _ = index
    mask = evaluate_mask(opened._snapshot, bound_of(opened.snapshot, "a < 0.31"))
    assert mask.rechecked > 0
    assert (mask.certain <= mask.matches).all()
    assert mask.certain.sum() < mask.matches.sum()


@pytest.mark.parametrize("where", PREDICATES)
def test_min_k_matches_rows_come_back(index, where):
    opened, queries = index
    matches = 6000 if where is None else evaluate_mask(opened._snapshot, bound_of(opened.snapshot, where)).rows
    for k in (10, 700):
        assert (~np.isnan(opened.search(queries, k, where).scores)).sum(axis=1).tolist() == [min(k, matches)] * 30


def test_little_is_lost_and_much_is_saved(index):
    opened, queries = index
    exact = opened.search(queries, 10, exact=True)
    found = opened.search(queries, 10)
    hits = [len(set(a) & set(b)) for a, b in zip(found.ids.tolist(), exact.ids.tolist(), strict=True)]
    assert np.mean(hits) >= 9.5
    assert found.stats.partitions_visited < 0.7 * len(queries) * 90


def test_one_shard_has_no_floor(index):
    opened, queries = index
    alone = opened._snapshot.like()
    alone.groups = alone.groups[:1]
    workspace, _ = plan(alone, queries[0], 10, None)
    assert workspace.values[CallField.VISITS] == opened._snapshot.manifest.partitions


@pytest.mark.parametrize("where", PREDICATES)
@pytest.mark.parametrize("k", [1, 40])
def test_only_partitions_are_left_unordered_that_would_be_dropped(divided, where, k):
    opened, queries = divided
    snapshot = opened._snapshot
    mask = None if where is None else evaluate_mask(snapshot, bound_of(opened.snapshot, where))
    far = np.random.default_rng(0).normal(size=(5, 24)).astype(np.float32) * 100
    for query in [*queries[:10], *far, np.zeros(24, np.float32)]:
        workspace, _ = plan(snapshot, query, k, mask)
        expected = workspace.order[: workspace.values[CallField.VISITS]].tolist()
        _, visits = plan_shards(snapshot, query, SearchRequest(k, snapshot.settings), mask)
        pairs = zip(visits, snapshot.groups, strict=True)
        sent = [int(place) + shard.first_partition for planned, shard in pairs for place in planned.order]
        assert sorted(sent) == sorted(expected)
