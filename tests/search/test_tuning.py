from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
import vsearch.search.tuning
from tests.indexes import METRICS, best, brute_force, clustered
from vsearch.search.recall import recall_by_score
from vsearch.search.samples import draw_rows
from vsearch.search.state.model import SearchSettings
from vsearch.search.tuning import ALLOWANCE, tune

pytestmark = pytest.mark.usefixtures("full_tuning")

ROWS = 1200


def build(tmp_path, metric="cosine", n=ROWS, name="index", **options):
    table = pa.table({"number": np.arange(n), "name": [f"row {i}" for i in range(n)]})
    options = {"bits": 1.0, "shards": 2, "partitions": min(n, 20)} | options
    return vsearch.build(clustered(n), tmp_path / name, attributes=table, metric=metric, **options)


@pytest.fixture
def index(build_once, metric):
    table = pa.table({"number": np.arange(ROWS)})
    return build_once(("tuning", metric), clustered(ROWS), attributes=table, metric=metric, shards=2, partitions=20)


@pytest.fixture(params=METRICS)
def metric(request):
    return request.param


# -- recall


def test_recall_is_that_of_the_search(index, metric):
    queries = clustered(60, seed=1)
    report = index.recall(queries, k=10)
    assert (report.queries, report.k) == (60, 10)
    assert float(report) == report.recall == report.to_dict()["recall"]
    assert report.milliseconds_per_query > 0
    hits, exact = index.search(queries), index.search(queries, exact=True)
    worst = exact.scores[:, -1:]
    reached = hits.scores <= worst + 1e-5 if metric == "l2" else hits.scores >= worst - 1e-5
    assert report.recall == pytest.approx(reached.mean(), abs=0.01)
    assert report.rows_scanned_per_query == pytest.approx(hits.stats.rows_scanned / 60, rel=0.05)


def test_recall_of_all_partitions_is_at_least_that_of_one(index):
    queries = clustered(60, seed=1)
    one, all_ = (index.recall(queries, nprobe=n) for n in (1, 1000))
    assert one.recall <= all_.recall
    assert all_.recall > 0.95
    assert one.rows_scanned_per_query < all_.rows_scanned_per_query


def test_drawn_rows_do_not_count_themselves(tmp_path):
    """Every row has one neighbor at k=1: another row. A search that returned the row itself would be wrong there."""
    pairs = np.repeat(clustered(100), 2, axis=0)
    pairs[1::2] += np.float32(0.01)
    index = vsearch.build(pairs, tmp_path / "index", metric="l2", rerank="float32", partitions=4)
    snapshot = index._snapshot
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.recall import run_sample

    sample = draw_rows(snapshot, 50, seed=3)
    answer = run_sample(snapshot, sample, SearchRequest(1, snapshot.settings, exact=True))
    assert (answer.rows[:, 0] != sample.own_rows).all()
    ids = np.concatenate([shard.files["ids"].array("id") for shard in snapshot.shards])
    np.testing.assert_array_equal(ids[answer.rows[:, 0]], ids[sample.own_rows].astype(np.int64) ^ 1)
    assert index.recall(k=1, sample=50).recall >= 0.9


def test_recall_of_more_rows_than_there_are(index):
    report = index.recall(sample=10_000, k=3)
    assert report.queries == ROWS
    assert 0.8 < report.recall <= 1


@pytest.mark.parametrize("matches", [0, 1, 2, 30])
def test_recall_under_a_predicate(index, matches):
    """Also where a drawn row is the only match, so that nothing is left for it to find."""
    assert index.recall(where=f"number < {matches}", sample=ROWS).recall == pytest.approx(1.0, abs=0.1)


def test_recall_against_truth(index, metric):
    queries = clustered(40, seed=2)
    truth = best(metric, brute_force(metric, queries, clustered(ROWS)), 15)
    report = index.recall(queries, truth=truth)
    hits = index.search(queries)
    shared = [len(set(a) & set(b)) for a, b in zip(hits.ids.tolist(), truth[:, :10].tolist(), strict=True)]
    assert report.recall == pytest.approx(sum(shared) / 400, abs=0.01)  # rotated in NumPy, or in words
    assert report.recall > 0.85
    assert index.recall(queries, truth=truth[::-1]).recall < 0.5


def test_padding_of_truth_is_no_hit(tmp_path):
    """Fewer rows than k: both sides are padded, and only rows count."""
    index = build(tmp_path, n=6, partitions=1, shards=1)
    queries = clustered(4, seed=2)
    truth = best("cosine", brute_force("cosine", queries, clustered(6)), 10)
    assert (truth[:, 6:] == -1).all()
    assert index.recall(queries, truth=truth).recall == 1.0
    assert index.recall(queries, truth=np.where(truth >= 0, truth + 100, -1)).recall == 0.0


def test_truth_of_string_ids(tmp_path):
    names = np.array([f"n{i}" for i in range(300)])
    index = vsearch.build(clustered(300), tmp_path / "index", ids=names.tolist())
    queries = clustered(10, seed=2)
    truth = names[best("cosine", brute_force("cosine", queries, clustered(300)), 10)]
    assert index.recall(queries, truth=truth).recall > 0.85


@pytest.mark.parametrize("truth", [np.zeros((40, 9), int), np.zeros((39, 10), int), np.zeros(400, int)])
def test_unusable_truth(index, truth):
    with pytest.raises(vsearch.InputError, match=r"truth must have the shape \(40, at least 10\)"):
        index.recall(clustered(40, seed=2), truth=truth)


def test_truth_needs_queries(index):
    with pytest.raises(vsearch.InputError, match="queries"):
        index.recall(truth=np.zeros((1, 10), int))


@pytest.mark.parametrize("sample", [0, -1, 2.5, None, True])
def test_unusable_sample(index, sample):
    with pytest.raises(vsearch.InputError, match="sample must be"):
        index.recall(sample=sample)


def test_equal_scores_are_hits():
    truth = np.array([[3, 2, 2]], np.float32)
    assert recall_by_score(np.array([[3, 2, 2]], np.float32), truth, smaller_is_better=False) == 1
    assert recall_by_score(np.array([[3, 2, 1]], np.float32), truth, smaller_is_better=False) == pytest.approx(2 / 3)
    assert recall_by_score(np.array([[2, 2, 3]], np.float32), truth, smaller_is_better=True) == 1
    assert recall_by_score(np.array([[2, 4, 5]], np.float32), truth, smaller_is_better=True) == pytest.approx(1 / 3)
    nothing = np.full((2, 3), np.nan, np.float32)
    assert recall_by_score(nothing, nothing, smaller_is_better=True) == 1
    some = np.array([[1, np.nan, np.nan], [np.nan, np.nan, np.nan]], np.float32)
    assert recall_by_score(some, some, smaller_is_better=False) == 1
    assert recall_by_score(nothing, some, smaller_is_better=False) == 0


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_the_unit_of_the_vectors_does_not_matter(tmp_path, metric):
    """A power of two is exact: the same recall, the same settings, the same rows."""
    queries, found = clustered(60, seed=8), []
    for number, unit in enumerate((1.0, 2.0**-14, 2.0**10)):
        unit = np.float32(unit)
        index = vsearch.build(clustered(ROWS) * unit, tmp_path / str(number), metric=metric, bits=0.5, partitions=20)
        settings = index.info()["settings"]
        assert settings.pop("near_regions") is None
        found.append((settings, index.recall(queries * unit).recall, index.search(queries * unit).ids))
    for settings, recall, ids in found[1:]:
        assert settings == pytest.approx(found[0][0], rel=1e-4)
        assert recall == pytest.approx(found[0][1], abs=1e-4)
        assert np.mean(ids == found[0][2]) > 0.99


# -- tune


def test_tune_reaches_and_stores(tmp_path, metric):
    index = build(tmp_path, metric)
    url = tmp_path / "index"
    queries = clustered(150, seed=3)
    before = index.info()
    low = index.tune(recall=0.6, queries=queries)
    assert low.reached
    assert low.recall >= 0.6
    assert (low.target, low.k, low.queries) == (0.6, 10, 150)
    cheap = index.search(queries).stats
    high = index.tune(recall=0.995, queries=queries)
    assert high.reached
    assert high.recall >= 0.995
    assert high.settings["radius_factor"] >= low.settings["radius_factor"]
    dear = index.search(queries).stats
    assert cheap.rows_scanned + cheap.rows_reranked < dear.rows_scanned + dear.rows_reranked
    assert index.recall(queries).recall == pytest.approx(high.recall, abs=0.005)
    # each is a snapshot of its own, and the newest is what opens
    after = index.info()
    assert after["snapshot"] == before["snapshot"] + 2
    assert after["settings"] == high.settings != before["settings"]
    assert vsearch.open(url).info()["settings"] == high.settings
    assert vsearch.open(url, snapshot=before["snapshot"] + 1).info()["settings"] == low.settings
    assert vsearch.open(url, snapshot=before["snapshot"]).info()["settings"] == before["settings"]
    fresh = vsearch.open(url).search(queries)
    np.testing.assert_array_equal(fresh.ids, index.search(queries).ids)
    assert fresh.stats.rows_scanned == dear.rows_scanned


def test_tune_on_rows_of_its_own(tmp_path):
    index = build(tmp_path)
    report = index.tune(recall=0.9, k=5, sample=80)
    assert (report.k, report.queries) == (5, 80)
    assert report.reached
    assert index.recall(clustered(100, seed=4), k=5).recall > 0.8


def test_what_codes_cannot_reach_is_said(tmp_path):
    """Half a bit of 24 dimensions, nothing to rerank with: recall 1 is for those who score all rows."""
    index = build(tmp_path, bits=1.0, rerank=None)
    truth = best("cosine", brute_force("cosine", clustered(50, seed=5), clustered(ROWS)), 10)
    assert index.recall(clustered(50, seed=5), truth=truth).recall < 0.9
    report = index.tune(recall=1.0, queries=clustered(50, seed=5))
    assert report.reached == (report.recall >= 1.0 and report.foreign_recall >= 1.0 - ALLOWANCE)


def test_of_two_tunes_the_later_one_counts(tmp_path):
    index, other = build(tmp_path), vsearch.open(tmp_path / "index")
    index.tune(0.8, sample=20)
    report = other.tune(0.9, sample=20)
    newest = vsearch.open(tmp_path / "index")
    assert len(newest.snapshots()) == 3
    assert newest.info()["settings"] == report.settings


@pytest.mark.parametrize("recall", [0, -0.1, 1.1, float("nan"), "high", None])
def test_unusable_target(index, recall):
    with pytest.raises(vsearch.InputError, match="recall must be"):
        index.tune(recall)


@pytest.mark.parametrize("options", [{"k": 0}, {"sample": 0}, {"sample": "all"}, {"queries": np.zeros((2, 3))}])
def test_unusable_tuning(index, options):
    with pytest.raises(vsearch.InputError):
        index.tune(0.9, **options)


# -- explain


def test_explain_tells_plan_and_counts(index):
    explanation = index.explain(clustered(3, seed=6), k=7, where="number BETWEEN 10 AND 500", nprobe=4, min_score=0.0)
    assert "number" in explanation.predicate
    assert explanation.plan["k"] == 7
    assert explanation.plan["nprobe"] == 4
    assert explanation.plan["min_score"] == 0.0
    assert explanation.stats.rows_masked == 491
    assert explanation.stats.queries == 3
    text = str(explanation)
    for word in ("plan", "route", "mask", "scan", "refine", "rerank", "merge", "491 rows pass", "nprobe=4"):
        assert word in text
    told = explanation.to_dict()
    assert told["stats"]["total_milliseconds"] == pytest.approx(sum(told["stats"]["milliseconds"].values()))
    assert set(told["stats"]["milliseconds"]) >= {"mask", "scan", "merge", "fetch"}


def test_explain_without_a_predicate(index):
    explanation = index.explain(clustered(1, seed=6))
    assert explanation.predicate is None
    assert "no predicate" in str(explanation)
    assert explanation.stats.rows_masked == ROWS


def test_stats_count_each_level(index):
    queries = clustered(5, seed=7)
    index.search(queries, exact=True)
    stats = index.search(queries).stats
    assert stats.queries == 5
    assert stats.partitions == index.info()["partitions"]
    assert 5 <= stats.partitions_visited <= 5 * stats.partitions
    assert 50 <= stats.rows_reranked <= stats.rows_scanned <= 5 * ROWS
    assert stats.bytes_read > 0
    assert stats.bytes_fetched == 0
    assert not stats.estimated
    exact = index.search(queries, exact=True).stats
    assert exact.rows_scanned == 0
    assert exact.rows_reranked == 5 * ROWS
    assert exact.partitions_visited == 5 * exact.partitions


def test_partitions_without_extent_need_no_reach(build_once, metric):
    index = build_once(("points", metric), clustered(40), metric=metric, partitions=40)
    snapshot = index._snapshot
    if (snapshot.radii > 1e-6).any():
        pytest.skip("rows share partitions")
    settings, _ = tune(snapshot, draw_rows(snapshot, 40, 0), 0.5, 5)
    assert settings.radius_factor < 0.01


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_rows_of_tight_partitions_are_found(tmp_path, metric):
    """Where rounded centroids are off by more than the partitions are wide."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((40, 128))
    rows = centers[rng.integers(0, 40, 2100)] + 0.02 * rng.standard_normal((2100, 128))
    index = vsearch.build(rows[:2000], tmp_path / "index", metric=metric, partitions=30)
    assert index.recall(rows[2000:], nprobe=30).recall > 0.98


def test_recall_grows_with_the_reach(tmp_path):
    """For l2 too, where the radius factor extends beyond the nearest partitions."""
    rows = np.random.default_rng(0).random((4200, 16)).astype(np.float32)
    index = vsearch.build(rows[:4000], tmp_path / "index", metric="l2", partitions=100)
    recalls = []
    for radius_factor in (0.5, 1.0, 1.5, 2.0):
        index._snapshot.settings = SearchSettings(radius_factor, 3.0, 0.1)
        recalls.append(index.recall(rows[4000:]).recall)
    assert recalls == sorted(recalls)
    assert recalls[-1] > 0.98


def test_bounds_fade_less_where_the_recall_is_not_reached(tmp_path, monkeypatch):
    """No allowed radius factor makes up for far too much decay."""
    index = build(tmp_path, partitions=40, shards=1)
    sample = draw_rows(index._snapshot, 100, 0)
    monkeypatch.setattr("vsearch.search.tuning.DECAYS", (1e5, 0.0))
    settings, report = tune(index._snapshot, sample, 0.9, 10)
    assert report.reached
    assert settings.radius_decay == 0.0
    monkeypatch.setattr("vsearch.search.tuning.DECAYS", (1e5,))
    settings, report = tune(index._snapshot, sample, 0.9, 10)
    assert not report.reached
    assert report.recall < 0.9
    assert settings.recall == pytest.approx(report.recall, abs=1e-4)


def noting(monkeypatch, recalls):
    """Let tuning measure these recalls; returns the settings it measured."""
    measured, given = [], iter(recalls)
    run = vsearch.search.recall.run_sample

    def noted(snapshot, sample, asked):
        if not asked.exact:
            measured.append(asked.settings)
        return run(snapshot, sample, asked)

    monkeypatch.setattr("vsearch.search.recall.run_sample", noted)
    monkeypatch.setattr("vsearch.search.recall.recall_by_score", lambda *_, **__: next(given))
    return measured


def test_the_best_that_was_measured_is_kept(tmp_path, monkeypatch):
    index = build(tmp_path, shards=1)
    sample = draw_rows(index._snapshot, 50, 0)
    measured = noting(monkeypatch, [0.5, 0.8, 0.7, *[0.1] * 100])
    settings, report = tune(index._snapshot, sample, 0.95, 10)
    assert (report.recall, report.reached) == (0.8, False)
    assert (settings.radius_factor, settings.error_sigmas, settings.radius_decay) == (
        measured[1].radius_factor,
        measured[1].error_sigmas,
        measured[1].radius_decay,
    )


def test_settings_are_narrowed_to_the_least_that_reach_the_recall(tmp_path, monkeypatch):
    index = build(tmp_path, shards=1)
    sample = draw_rows(index._snapshot, 50, 0)
    measured = noting(monkeypatch, [0.90, 0.99, 0.94, 0.97, 0.965, 0.96])
    settings, report = tune(index._snapshot, sample, 0.95, 10)
    assert (report.recall, report.reached) == (0.96, True)  # a little more than asked for: others find less
    tried_sigmas = [tried.error_sigmas for tried in measured]
    assert len(tried_sigmas) == 6
    assert tried_sigmas[0] < tried_sigmas[2] < tried_sigmas[5] < tried_sigmas[4] < tried_sigmas[3] < tried_sigmas[1]
    assert settings.error_sigmas == tried_sigmas[5]
