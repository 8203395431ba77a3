from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from bench.million import MEASURED, Curve, crossing, kept_curves
from bench.synthetic import clustered


def curve(name, recalls, speeds, *, ours=False):
    labels = [f"{r:g}" for r in recalls]
    return Curve(name, name, ours, 1.0, 0.0, 1.0, labels, list(recalls), list(speeds), list(speeds), "2026-01-01")


def test_the_speed_at_a_recall_is_that_of_the_fastest_setting_that_reaches_it():
    one = curve("one", [0.9, 0.95, 0.99], [30, 40, 10])
    assert [one.speed_at(r) for r in (0.85, 0.95, 0.96, 0.995)] == [40, 40, 10, None]


def test_where_two_curves_cross():
    graph = curve("graph", [0.8, 0.9, 0.99], [100, 50, 10])
    assert crossing(curve("ours", [0.99], [200]), graph) == "faster at every recall from 0.8 to 0.99"
    assert crossing(curve("ours", [0.99], [5]), graph) == "slower at every recall from 0.8 to 0.99"
    assert crossing(curve("ours", [0.9, 0.99], [40, 20]), graph) == "slower at 0.8; the curves cross after 0.9"
    assert crossing(curve("ours", [0.85, 0.95], [150, 5]), graph) == "faster at 0.8; the curves cross after 0.85"
    assert crossing(curve("ours", [0.5], [1]), graph) == "no recall is reached by both"


def test_what_was_measured_is_kept(tmp_path):
    assert kept_curves(None) == kept_curves(tmp_path) == {}
    kept = [curve("scann", [0.9], [7]), curve("one who takes part no more", [0.9], [8])]
    (tmp_path / MEASURED).write_text(json.dumps([asdict(one) for one in kept]))
    assert kept_curves(tmp_path) == {"scann": kept[0]}


def test_clustered_vectors_are_unit_vectors_with_a_falling_spectrum():
    base, queries = clustered(4000, 50, 32, centers=64)
    assert base.shape == (4000, 32)
    assert queries.shape == (50, 32)
    np.testing.assert_allclose(np.linalg.norm(base, axis=1), 1, rtol=1e-5)
    deviations = base.std(axis=0)
    assert deviations[:4].mean() > 2 * deviations[-4:].mean()
    assert np.array_equal(base, clustered(4000, 50, 32, centers=64)[0])
    nearest = (queries @ base.T).max(axis=1)
    assert nearest.mean() > (base[:50] @ base[2000:2050].T).mean() + 0.2
