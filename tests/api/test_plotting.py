"""Curves have the recall and the cost that searches have, and pictures show them."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.search.curves import map_partitions


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    attributes = {"price": np.arange(2000)}
    return vsearch.build(clustered(2000, 16), tmp_path_factory.mktemp("curves") / "i", attributes, partitions=40)


def test_wider_settings_cost_more_and_find_more(index):
    before = index.info()["settings"]
    curve = index.recall_curve(sample=60, factors=(0.2, 0.5, 1, 2, 5))
    scanned = [point.rows_scanned for point in curve.points]
    assert scanned == sorted(scanned)
    assert curve.points[0].recall < curve.points[2].recall <= curve.points[-1].recall + 0.01
    assert curve.points[-1].recall > 0.99
    assert (curve.queries, curve.k, curve.rows, curve.tuned) == (60, 10, 2000, before["recall"])
    assert index.info()["settings"] == before
    queries = clustered(30, 16, seed=3)
    measured = index.recall(queries, where="price < 900")
    point = index.recall_curve(queries, where="price < 900", factors=[1.0]).points[0]
    assert (point.recall, point.share) == (measured.recall, 0.45)
    assert point.rows_scanned == measured.rows_scanned_per_query


def test_filters_that_few_rows_pass(index):
    curve = index.selectivity_curve(sample=20, shares=(0.0001, 0.05, 0.5, 1))
    assert [round(point.share, 1) for point in curve.points[-3:]] == [0.1, 0.5, 1.0] or len(curve.points) >= 3
    assert curve.points[-1].share == 1.0
    assert all(point.recall > 0.8 for point in curve.points)


def test_the_map_keeps_the_distances_of_the_plane(index):
    places, rows = map_partitions(index.snapshot)
    assert places.shape == (40, 2)
    assert rows.sum() == 2000
    centroids = index.snapshot.model.centroids.astype(np.float64)
    centered = (centroids - np.average(centroids, axis=0, weights=rows)) * np.sqrt(rows)[:, None]
    explained = np.linalg.svd(centered, compute_uv=False)[:2]
    np.testing.assert_allclose(np.linalg.norm(places * np.sqrt(rows)[:, None], axis=0), explained, rtol=1e-4)
    single = vsearch.build(clustered(20, 4), "memory://curves-single/i")
    assert map_partitions(single.snapshot)[0].shape[1] == 2


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("recall_curve", {"factors": []}), ("recall_curve", {"factors": [0]}), ("recall_curve", {"factors": [float("nan")]}),
        ("recall_curve", {"k": 0}), ("recall_curve", {"sample": 0}), ("recall_curve", {"where": "nothing = 1"}),
        ("recall_curve", {"factors": ["a"]}), ("recall_curve", {"factors": 2}), ("recall_curve", {"factors": "12"}),
        ("recall_curve", {"factors": [1e308]}), ("recall_curve", {"factors": [True]}), ("selectivity_curve", {"shares": 0.5}),
        ("selectivity_curve", {"shares": ["a"]}), ("selectivity_curve", {"shares": [1e-12]}),
        ("selectivity_curve", {"shares": [2]}), ("selectivity_curve", {"shares": []}), ("selectivity_curve", {"k": 0}),
    ],
)  # fmt: skip
def test_unusable_options_are_refused(index, method, options):
    with pytest.raises(vsearch.InputError):
        getattr(index, method)(**options)


def test_what_cannot_be_measured(tmp_path):
    empty = vsearch.create("memory://curves-empty/i", dimensions=4)
    documents = vsearch.build_documents(clustered(80, 16), np.arange(0, 81, 4), tmp_path / "d")
    for index, message in ((empty, "empty|not trained"), (documents, "documents")):
        for method in ("recall_curve", "selectivity_curve", "plot_partitions"):
            with pytest.raises(vsearch.InputError, match=message):
                getattr(index, method)()


def test_time_runs_out(index):
    with pytest.raises(vsearch.SearchTimeoutError):
        index.recall_curve(timeout=1e-6)


def test_pictures(index, tmp_path):
    pytest.importorskip("matplotlib")
    for name, options in (("recall", {"sample": 10}), ("selectivity", {"sample": 5}), ("partitions", {})):
        figure = getattr(index, f"plot_{name}")(**options)
        figure.savefig(tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").read_text().count("<path") > 5
        assert figure.axes[0].get_xlabel()
    from vsearch.api.plotting import draw_recall

    curve = index.recall_curve(sample=5, factors=[1.0])
    draw_recall(replace(curve, tuned=None)).savefig(tmp_path / "one.svg")  # a single point, never tuned


def test_without_matplotlib(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for name in ("recall", "selectivity", "partitions"):
        with pytest.raises(vsearch.MissingDependencyError, match=r"vsearch\[plot\]"):
            getattr(index, f"plot_{name}")()
