"""Queries unlike those used for tuning: far from all rows, or with a filter that excludes nearby rows."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from vsearch.predicates import bind, parse
from vsearch.search.engine.promise import uncovered
from vsearch.search.engine.steps import evaluate_mask
from vsearch.search.recall import recall_by_score
from vsearch.search.samples import draw_foreign, draw_mixture
from vsearch.search.state.model import SearchSettings
from vsearch.search.tuning import tune

pytestmark = pytest.mark.usefixtures("full_tuning")

ROWS, DIMENSIONS, CLUSTERS = 12_000, 32, 100

KINDS = {
    "cosine": {"metric": "cosine"},
    "l2": {"metric": "l2"},
    "ip": {"metric": "ip"},
    "shards": {"metric": "cosine", "shards": 4},
    "l2 shards": {"metric": "l2", "shards": 4},
    "pq": {"metric": "cosine", "quantizer": "pq", "rerank": "int8"},
}


class Clusters:
    """Rows in tight clusters, queries of one of them, and filters on the number of the cluster."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        centers = rng.normal(size=(CLUSTERS, DIMENSIONS))
        total = ROWS + 2_000
        cluster = rng.integers(0, CLUSTERS, total)
        made = (centers[cluster] + 0.3 * rng.normal(size=(total, DIMENSIONS))).astype(np.float32)
        self.rows, self.cluster, self.held_out = made[:ROWS], cluster[:ROWS], made[ROWS:]
        self.attributes = pa.table({"cluster": self.cluster, "u": rng.random(ROWS)})
        self.own = int(cluster[ROWS])
        self.queries = self.held_out[cluster[ROWS:] == self.own][:20]
        by_nearness = np.argsort(centers @ centers[self.own])
        self.farthest = by_nearness[:10].tolist()
        deviation = self.rows.std()
        self.directions = (deviation * rng.normal(size=(60, DIMENSIONS))).astype(np.float32)

    def cases(self):
        yield "held out", self.held_out[:100], None
        yield "directions of no row", self.directions, None
        yield "mirrored rows", -self.held_out[:60], None
        yield "far outside", 4 * self.directions, None
        yield "own cluster", self.queries, f"cluster = {self.own}"
        yield "all but the own cluster", self.queries, f"cluster <> {self.own}"
        yield "the farthest clusters", self.queries, vsearch.col("cluster").is_in(self.farthest)
        yield "ten percent", self.held_out[:60], "u < 0.1"
        yield "one in a thousand", self.held_out[:60], "u < 0.001"


@pytest.fixture(scope="module")
def data():
    return Clusters()


@pytest.fixture
def index(request, build_once, data):
    return build_once(("foreign", request.param), data.rows, attributes=data.attributes, **KINDS[request.param])


def recall(index, queries, where):
    found, exact = (index.search(queries, where=where, exact=exact) for exact in (False, True))
    return recall_by_score(found.scores, exact.scores, smaller_is_better=index.info()["metric"] == "l2")


@pytest.mark.slow
@pytest.mark.parametrize("index", KINDS, indirect=True)
def test_a_default_build_finds_what_is_far(index, data):
    found = {name: recall(index, queries, where) for name, queries, where in data.cases()}
    assert min(found.values()) >= 0.95, found


def test_without_a_tail_it_does_not(build_once, data):
    """The data can show the fault: settings fitted to rows stop before the first partitions that matter."""
    index = build_once(("foreign", "cosine"), data.rows, attributes=data.attributes, metric="cosine")
    blind = vsearch.Index(replace(index.snapshot, settings=replace(index.snapshot.settings, tail=0.0)))
    found = {name: recall(blind, queries, where) for name, queries, where in data.cases()}
    assert min(found.values()) < 0.8, found


def test_settings_of_before_have_a_tail(build_once, data):
    """Manifests without one were tuned to rows alone."""
    index = build_once(("foreign", "cosine"), data.rows, attributes=data.attributes, metric="cosine")
    stored = {
        name: value
        for name, value in index.snapshot.settings.to_dict().items()
        if name in ("radius_factor", "error_sigmas", "radius_decay", "recall")
    }
    old = vsearch.Index(replace(index.snapshot, settings=SearchSettings.from_dict(stored)))
    found = {name: recall(old, queries, where) for name, queries, where in data.cases()}
    assert min(found.values()) >= 0.95, found
    assert any("tuned without filters" in note for note in old.explain(data.queries, where="u < 0.1").notes)


@pytest.mark.slow
def test_a_wide_partition_does_not_shut_out_a_tight_one_behind_it(tmp_path):
    """Half of the rows are nearly one point: partitions of the others come first, and their bounds decay first."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(8000, 24)).astype(np.float32)
    rows[4000:] = rows[0] + 0.02 * rng.normal(size=(4000, 24))
    index = vsearch.build(rows, tmp_path / "index")
    queries = (0.7 * rows[0] + rng.normal(size=(60, 24))).astype(np.float32)
    assert recall(index, queries, None) >= 0.95


def test_samples_of_the_hard_cases(build_once, data):
    snapshot = build_once(("foreign", "shards"), data.rows, attributes=data.attributes, **KINDS["shards"]).snapshot
    samples = draw_foreign(snapshot, 32, 1)
    assert len(samples) == 8
    for sample in samples[1:]:
        assert sample.mask.rows == sample.mask.matches.sum() == sample.mask.certain.sum()
        bits = sum(int(np.bitwise_count(mask.words).sum()) for mask in sample.mask.shards)
        assert 0 < bits == sample.mask.rows < ROWS
    norms = np.linalg.norm(np.concatenate([sample.queries for sample in samples]), axis=1)
    np.testing.assert_allclose(norms, 1, rtol=0.02)
    again = draw_foreign(snapshot, 32, 1)
    assert all((a.queries == b.queries).all() for a, b in zip(samples, again, strict=True))


def test_half_of_a_mixture_is_moved(build_once, data):
    snapshot = build_once(("foreign", "l2"), data.rows, attributes=data.attributes, **KINDS["l2"]).snapshot
    from vsearch.search.state.fetching import reconstruct

    sample = draw_mixture(snapshot, 40, 1)
    offsets = np.linalg.norm(sample.queries - reconstruct(snapshot, sample.own_rows), axis=1)
    assert (offsets[1::2] == 0).all()
    assert (offsets[::2] > 0).all()


def test_one_partition_has_no_hard_cases(tmp_path):
    index = vsearch.build(np.eye(20, dtype=np.float32), tmp_path / "index")
    assert draw_foreign(index.snapshot, 32, 1) == []
    assert index.tune(0.9).foreign_recall is None


@pytest.mark.slow
def test_tuning_under_a_filter(tmp_path, data):
    index = vsearch.build(data.rows, tmp_path / "index", attributes=data.attributes)
    where = f"cluster <> {data.own}"
    report = index.tune(0.99, queries=data.queries, where=where)
    assert report.reached
    assert index.recall(data.queries, where=where).recall >= 0.985
    again = vsearch.open(tmp_path / "index")
    assert again.snapshot.settings == index.snapshot.settings
    assert again.snapshot.settings.k == 10
    assert report.settings == index.snapshot.settings.to_dict()


def test_tuning_under_a_filter_leaves_searches_without_it_their_recall(tmp_path):
    """A few matching rows need a radius factor near 0; searches without the filter need more."""
    rng = np.random.default_rng(0)
    made = (rng.normal(size=(4100, 32)) * 0.9 ** np.arange(32)).astype(np.float32)
    index = vsearch.build(made[:4000], tmp_path / "index", attributes=pa.table({"u": rng.random(4000)}))
    held_out, where, before = made[4000:], "u < 0.005", index.snapshot
    assert index.tune(0.98, where=where, sample=200).reached
    assert index.recall(held_out).recall >= 0.97
    assert index.recall(held_out, where=where).recall >= 0.97
    # the data can show the fault
    sample = replace(draw_mixture(before, 200, 1), mask=evaluate_mask(before, bind(parse(where), before.schema)))
    settings, _ = tune(before, sample, 0.98, 10)
    assert vsearch.Index(replace(before, settings=settings)).recall(held_out).recall < 0.95


def test_nothing_to_tune_or_to_measure_with(build_once, data):
    index = build_once(("foreign", "cosine"), data.rows, attributes=data.attributes, metric="cosine")
    with pytest.raises(vsearch.InputError, match="no row satisfies the filter"):
        index.tune(0.9, where="u > 2")
    for measured in (index.tune, index.recall):
        with pytest.raises(vsearch.InputError, match="at least one"):
            measured(queries=data.held_out[:0])
    assert "nothing was measured" in index.recall(data.held_out[:5], where="u > 2").notes[0]
    assert "nothing was measured" in index.recall(data.held_out[:5], min_score=0.9999).notes[0]


@pytest.mark.slow
def test_tuning_reaches_what_held_out_queries_find(build_once, data):
    snapshot = build_once(("foreign", "cosine"), data.rows, attributes=data.attributes, metric="cosine").snapshot
    for target in (0.9, 0.97):
        settings, report = tune(snapshot, draw_mixture(snapshot, 512, 1), target, 10, draw_foreign(snapshot, 64, 1))
        assert report.reached
        tuned = vsearch.Index(replace(snapshot, settings=settings))
        assert recall(tuned, data.held_out, None) >= target - 0.005


# -- settings of manifests


#: Names in manifests, of settings that have other names there.
STORED = {"radius_factor": "reach", "error_sigmas": "margin", "radius_decay": "decay"}


def test_settings_of_later_versions_are_understood():
    assert SearchSettings.from_dict({"radius_factor": 0.5, "later": {"a": 1}}) == SearchSettings(0.5)
    tuned = SearchSettings(0.5, 2.0, 0.1, 0.97, 3.0, -0.4, 0.96, 10)
    assert SearchSettings.from_dict(tuned.to_dict()) == tuned
    assert SearchSettings.from_entry(tuned.to_entry()) == tuned


def test_settings_are_stored_with_all_their_fields():
    """So that an index does not change where a later version has other defaults."""
    stored, settings = msgspec.to_builtins(SearchSettings().to_entry()), SearchSettings().to_dict()
    assert stored == {STORED.get(name, name): value for name, value in settings.items()}


@pytest.mark.parametrize(
    "name", ["radius_factor", "error_sigmas", "radius_decay", "tail", "familiar", "recall", "foreign_recall", "k"]
)
@pytest.mark.parametrize("value", ["0.5", True, float("nan"), float("inf"), [], {}])
def test_settings_that_are_no_numbers_are_refused(name, value):
    with pytest.raises(vsearch.CorruptIndexError, match=STORED.get(name, name)):
        SearchSettings.from_dict({name: value})


# -- what the tuned recall covers


def test_what_it_does_not_cover_is_said():
    tuned = SearchSettings(recall=0.97, foreign_recall=0.969, k=10)
    ask = {"k": 10, "filtered": False, "nprobe": None}
    assert uncovered(tuned, **ask) == ()
    assert uncovered(tuned, **(ask | {"filtered": True})) == ()
    assert "k=500" in uncovered(tuned, **(ask | {"k": 500}))[0]
    assert "nprobe=3" in uncovered(tuned, **(ask | {"nprobe": 3}))[0]
    assert "never measured" in uncovered(SearchSettings(), **ask)[0]
    assert "0.900" in uncovered(replace(tuned, foreign_recall=0.9), **ask)[0]


def test_recall_and_explain_say_it(build_once, data):
    index = build_once(("foreign", "cosine"), data.rows, attributes=data.attributes, metric="cosine")
    assert index.recall(data.held_out[:100]).tuned == index.snapshot.settings.recall
    assert index.recall(data.held_out[:100], nprobe=1).notes
    explanation = index.explain(data.held_out[:2], k=50)
    assert "k=50" in explanation.notes[0]
    assert "note" in str(explanation)
    assert explanation.to_dict()["notes"] == list(explanation.notes)


def test_the_recall_of_a_range_search(build_once, data):
    """All rows within a distance, up to k."""
    index = build_once(("foreign", "l2"), data.rows, attributes=data.attributes, **KINDS["l2"])
    near = np.sort(((data.held_out[:20, None] - data.rows[None]) ** 2).sum(-1), axis=1)[:, 60]
    for bar in (float(np.median(near)), float(near.min())):
        report = index.recall(data.held_out[:20], k=10_000, min_score=bar)
        assert report.recall >= 0.97


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_a_small_index_loses_nothing(tmp_path, metric):
    """Where a sample of the rows says little about other queries."""
    rng = np.random.default_rng(5)
    for rows in (60, 100, 300, 500):
        centers = rng.normal(size=(5, 16))
        vectors = (centers[rng.integers(0, 5, rows)] + 0.05 * rng.normal(size=(rows, 16))).astype(np.float32)
        index = vsearch.build(vectors, tmp_path / f"{metric}-{rows}", metric=metric)
        queries = np.concatenate([-vectors[:20], 3 * rng.normal(size=(20, 16))]).astype(np.float32)
        assert recall(index, queries, None) >= 0.98


def test_removed_rows_are_no_filter(tmp_path):
    """`nprobe` stays exact, and as many partitions are visited as before, if the rows were removed at random."""
    rng = np.random.default_rng(0)
    rows, queries = (rng.normal(size=(count, 16)).astype(np.float32) for count in (4000, 40))
    index = vsearch.build(rows, tmp_path / "index", ids=np.arange(len(rows)), metric="l2")
    before, probed = index.search(queries).stats, index.search(queries, nprobe=1).stats
    index.delete(rng.choice(len(rows), 200, replace=False))
    after = index.search(queries).stats
    assert index.search(queries, nprobe=1).stats.partitions_visited == probed.partitions_visited == len(queries)
    assert after.partitions_visited < 1.1 * before.partitions_visited
    assert recall(index, queries, None) >= 0.95
    filtered = index.search(queries, nprobe=1, where="id <> 5").stats
    assert filtered.partitions_visited > len(queries)


@pytest.mark.slow
def test_rows_that_were_removed_around_a_query(tmp_path, data):
    index = vsearch.build(data.rows, tmp_path / "index", ids=np.arange(len(data.rows)))
    probed = index.search(data.queries, nprobe=2).stats.partitions_visited
    index.delete(np.flatnonzero(data.cluster == data.own))
    assert index.search(data.queries, nprobe=2).stats.partitions_visited == probed
    assert recall(index, data.queries, None) >= 0.95
