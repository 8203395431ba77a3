from __future__ import annotations

import importlib
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

import vsearch

FOLDER = Path(__file__).parents[2] / "bench" / "ann_benchmarks"
METRICS = ("angular", "euclidean", "hamming")
EXACT = {"rerank": "float32"}


class BaseANN:
    """Of the methods of that project's class, those that its runner calls."""

    def get_additional(self):
        return {}

    def __str__(self):
        return self.name


@pytest.fixture
def module(monkeypatch):
    try:
        importlib.import_module("ann_benchmarks.algorithms.base.module")
    except ImportError:
        base = types.ModuleType("ann_benchmarks.algorithms.base.module")
        base.BaseANN = BaseANN
        for name in ("ann_benchmarks", "ann_benchmarks.algorithms", "ann_benchmarks.algorithms.base"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, base.__name__, base)
    monkeypatch.delitem(sys.modules, "bench.ann_benchmarks.module", raising=False)
    yield importlib.import_module("bench.ann_benchmarks.module")
    sys.modules.pop("bench.ann_benchmarks.module", None)


def made(metric, rows=4000, queries=40, d=24):
    random = np.random.default_rng(0)
    centers = random.standard_normal((40, d))
    X, Q = (centers[random.integers(40, size=n)] + 0.8 * random.standard_normal((n, d)) for n in (rows, queries))
    return (X > 0, Q > 0) if metric == "hamming" else (X.astype(np.float32), Q.astype(np.float32))


def distances(metric, X, Q):
    X, Q = X.astype(np.float64), Q.astype(np.float64)
    if metric == "hamming":
        return (X[None] != Q[:, None]).mean(axis=2)
    if metric == "euclidean":
        return np.sqrt(((X[None] - Q[:, None]) ** 2).sum(axis=2))
    return 1 - (Q @ X.T) / np.outer(np.linalg.norm(Q, axis=1), np.linalg.norm(X, axis=1))


def recall(metric, X, Q, found, k=10):
    """As that project counts: by distance, so that either of two equally distant rows is right."""
    all_ = distances(metric, X, Q)
    limit = np.sort(all_, axis=1)[:, k - 1] + 1e-3
    assert all(len(ids) == len(set(ids.tolist())) == k for ids in found)
    return np.mean([(row[ids] <= least).mean() for row, ids, least in zip(all_, found, limit, strict=True)])


@pytest.mark.parametrize("metric", METRICS)
def test_neighbors_are_the_true_ones_and_a_batch_has_those_of_its_queries(module, metric):
    X, Q = made(metric)
    algorithm = module.Vsearch(metric, 10, EXACT)
    algorithm.fit(X)
    algorithm.set_query_arguments(1)
    single = [algorithm.query(q, 10) for q in Q]
    assert recall(metric, X, Q, single) == 1
    algorithm.batch_query(Q, 10)
    assert recall(metric, X, Q, algorithm.get_batch_results()) == 1
    assert algorithm.get_additional() == {"dist_comps": 2 * X.shape[0] * len(Q)}
    algorithm.done()


@pytest.mark.parametrize("metric", METRICS)
def test_a_tuned_recall_is_reached_with_a_part_of_the_rows(module, metric):
    X, Q = made(metric)
    algorithm = module.Vsearch(metric, 10, {})
    algorithm.fit(X)
    seen = []
    for target in (0.6, 0.95):
        algorithm.set_query_arguments(target)
        settings = algorithm._index.info()["settings"]
        assert (settings["target"], settings["k"]) == (target, 10)
        found = [algorithm.query(q, 10) for q in Q]
        assert recall(metric, X, Q, found) >= target - 0.05
        seen.append(algorithm.get_additional()["dist_comps"])
        assert f"recall={target}" in str(algorithm)
    assert 0 < seen[0] <= seen[1] < X.shape[0] * len(Q) / 2
    algorithm.done()


def test_a_row_of_zeros_has_no_angle_and_the_others_keep_their_numbers(module):
    X, Q = made("angular")
    X[5] = 0
    algorithm = module.Vsearch("angular", 10, EXACT)
    with pytest.warns(vsearch.VsearchWarning, match="1 row has no usable vector"):
        algorithm.fit(X)
    algorithm.set_query_arguments(1)
    rest = np.delete(X, 5, axis=0)
    found = np.array([algorithm.query(q, 10) for q in Q])
    assert 5 not in found
    assert recall("angular", rest, Q, found - (found > 5)) == 1
    algorithm.done()


def test_batches_with_fewer_rows_than_asked_for_have_no_filling(module):
    X, Q = made("euclidean", rows=6)
    algorithm = module.Vsearch("euclidean", 10, {})
    algorithm.fit(X)
    algorithm.batch_query(Q, 10)
    assert [sorted(ids.tolist()) for ids in algorithm.get_batch_results()] == [list(range(6))] * len(Q)
    algorithm.done()


def test_the_index_is_measured_by_its_files_and_removed_at_the_end(module):
    algorithm = module.Vsearch("euclidean", 10, {})
    assert algorithm.get_memory_usage() == 0
    algorithm.fit(made("euclidean")[0])
    folder = algorithm._folder
    assert 0 < algorithm.get_memory_usage() * 1024 <= sum(file.stat().st_size for file in folder.rglob("*.*"))
    algorithm.done()
    assert not folder.exists()
    algorithm.done()


def test_another_metric_is_refused(module):
    with pytest.raises(ValueError, match="metric must be one of angular, euclidean, hamming, got 'jaccard'"):
        module.Vsearch("jaccard", 10, {})


def test_every_definition_of_the_configuration_builds(module):
    config = yaml.safe_load((FOLDER / "config.yml").read_text())
    assert {metric for metrics in config.values() for metric in metrics} == set(METRICS)
    for metric, (definition,) in [("angular", config["float"]["angular"]), ("hamming", config["bit"]["hamming"])]:
        X, Q = made(metric, rows=2500)
        assert definition["base_args"] == ["@metric", "@count"]
        for group in definition["run_groups"].values():
            algorithm = getattr(module, definition["constructor"])(metric, 10, group["arg_groups"][0])
            algorithm.fit(X)
            algorithm.set_query_arguments(group["query_args"][0][-1])
            assert recall(metric, X, Q, [algorithm.query(q, 10) for q in Q]) > 0.95
            algorithm.done()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", [False, True])
def test_its_own_runner_measures_what_it_should(tmp_path, module, batch):
    runner = pytest.importorskip("ann_benchmarks.runner", reason="ann-benchmarks is not on the path")
    definitions = importlib.import_module("ann_benchmarks.definitions")
    shutil.copytree(FOLDER, tmp_path / "vsearch")
    found = definitions.get_definitions(24, "float", "angular", 10, str(tmp_path))
    assert [d.arguments[:2] for d in found] == [["angular", 10]] * len(found)
    X, Q = made("angular")
    algorithm = module.Vsearch(*found[0].arguments)
    _, kilobytes = runner.build_index(algorithm, X)
    assert kilobytes > 0
    algorithm.set_query_arguments(*found[0].query_argument_groups[-1])
    attributes, results = runner.run_individual_query(algorithm, X, Q, "angular", 10, 1, batch)
    assert recall("angular", X, Q, [np.array([row for row, _ in pairs]) for _, pairs in results]) > 0.95
    assert attributes["candidates"] == 10
    algorithm.done()
