"""Later runs of a partition are left out if their few rows hardly reach as far as a search needs; never with a filter or by force."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.search.state.spread import TAIL, spread

D, ROWS, LATER = 16, 3000, 300


def rows_of(seed=1, far=0.0):
    rows = clustered(ROWS + LATER, D, seed=seed)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    rows[ROWS:] += np.float32(far)
    return rows


def grown(path, rows, metric, **options):
    """An index with a tail, whose attribute says which rows were appended."""
    index = vsearch.build(
        rows[:ROWS], path, {"late": np.zeros(ROWS, np.int64)}, metric=metric, partitions=60, **options
    )
    index.append(rows[ROWS:], {"late": np.ones(len(rows) - ROWS, np.int64)})
    return index


def without_reaches(path):
    """The same index, whose runs are scanned wherever their partition is."""
    index = vsearch.open(path)
    snapshot = index.snapshot
    snapshot.table = msgspec.structs.replace(snapshot.table, reaches=(None,) * len(snapshot.table.runs))
    return index


def recall(index, queries, k, **options):
    true = index.search(queries, k=k, exact=True, **options).ids
    found = index.search(queries, k=k, **options).ids
    return np.mean([len(np.intersect1d(*pair)) / k for pair in zip(true, found, strict=True)])


def same(one, two):
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.scores, two.scores)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("deleted", [0, 300])
def test_fewer_runs_are_scanned_at_about_the_same_recall(tmp_path, metric, deleted):
    rows = rows_of()
    index = grown(tmp_path / "index", rows, metric)
    if deleted:
        index.delete(np.random.default_rng(2).permutation(ROWS + LATER)[:deleted])
    plain, queries = without_reaches(tmp_path / "index"), clustered(200, D, seed=9)
    visited = [one.search(queries, k=10).stats.partitions_visited for one in (index, plain)]
    assert visited[0] < visited[1]
    assert recall(index, queries, 10) >= recall(plain, queries, 10) - 0.01


@pytest.mark.filterwarnings("ignore:.*far from all partitions")
def test_rows_farther_from_centroids_than_others_reach_farther(tmp_path):
    for far in (0.0, 3.0):
        rows = rows_of(far=far)
        index = grown(tmp_path / f"{far}", rows, "l2")
        few, table = index.snapshot.shards[-1].table, index.snapshot.table
        of_tail = table.reaches[-1][few.rows > 0]
        assert table.reaches[0] is None
        assert (of_tail == 1).all() if far else (of_tail < 1).mean() > 0.7
    same(index.search(rows[ROWS:], k=3), without_reaches(tmp_path / "3.0").search(rows[ROWS:], k=3))


@pytest.mark.parametrize("where", ["late = 1", "late = 0"])
def test_filters_reach_all_runs(tmp_path, where):
    index = grown(tmp_path / "index", rows_of(), "l2")
    plain, queries = without_reaches(tmp_path / "index"), clustered(50, D, seed=9)
    same(index.search(queries, k=10, where=where), plain.search(queries, k=10, where=where))
    for query in queries[:10]:
        same(index.search(query, k=10, where=where), plain.search(query, k=10, where=where))
        index.search(query, k=10)  # another request on the same workspace


def test_partitions_that_must_be_visited_are_visited_in_all_runs(tmp_path):
    index = grown(tmp_path / "index", rows_of(), "l2")
    plain, queries = without_reaches(tmp_path / "index"), clustered(50, D, seed=9)
    for options in ({"nprobe": 7}, {"exact": True}):
        same(index.search(queries, k=10, **options), plain.search(queries, k=10, **options))
    everything = index.search(queries[:3], k=ROWS + LATER).ids
    np.testing.assert_array_equal(np.sort(everything, axis=1), np.tile(np.arange(ROWS + LATER), (3, 1)))


def test_an_index_without_a_base_reaches_as_far_as_its_tail(tmp_path):
    index = vsearch.build(rows_of()[:200], tmp_path / "index", partitions=4)
    index.delete(np.arange(200))
    index.optimize(force=True, retune=False)
    index.append(rows_of()[200:400])
    assert (index.snapshot.table.reaches[-1] == 1).all()
    assert recall(index, rows_of()[200:250], 5) >= 0.95


def test_few_rows_spread_less():
    few, rows = np.array([0, 1, 10, 100, 1000]), np.full(5, 1000)
    expected = np.sqrt((np.log([1, 1, 10, 100, 1000]) + TAIL) / (np.log(1000) + TAIL))
    np.testing.assert_allclose(spread(few, rows), expected)
    assert spread(np.array([0]), np.array([0])) == [1.0]
