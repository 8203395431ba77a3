from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.live.small import Twin
from vsearch.live.plan import MOST_DELTAS
from vsearch.storage import read_manifest


@pytest.fixture
def twin(tmp_path):
    return Twin(tmp_path / "index")


def test_an_index_that_was_only_built_needs_nothing(twin):
    report = twin.index.optimize()
    assert not report.changed
    assert report.snapshot == 1
    assert twin.index.info()["format"] == 1
    assert twin.index.info()["drift"] == {"energy": 1.0, "rows": 1.0, "recommendation": None}


def test_optimize_folds_merges_and_tunes_and_then_does_nothing(twin):
    for seed in range(20):
        twin.append(5, seed)
    twin.delete(range(30))
    info = twin.index.info()
    assert (info["deltas"], info["tail_rows"], info["removed"], info["runs"]) == (21, 100, 30, [1])
    report = twin.index.optimize()
    assert report.merged == 1
    assert report.tuned  # more than a tenth of the rows changed
    assert report.rows_written == 190
    twin.check()
    info = twin.index.info()
    assert (info["deltas"], info["tail_rows"], info["removed"]) == (0, 0, 0)
    assert info["bytes_per_vector"] > 0
    before = info["snapshot"]
    again = twin.index.optimize()
    assert not again.changed
    assert again.snapshot == before
    assert vsearch.open(twin.url).info()["snapshot"] == before


def test_retune_is_forced_or_left(twin):
    twin.append(60)
    assert "optimize" in twin.index.info()["drift"]["recommendation"]
    assert not twin.index.optimize(retune=False).tuned
    assert twin.index.optimize().tuned
    assert twin.index.info()["drift"]["recommendation"] is None
    assert not twin.index.optimize().tuned
    assert twin.index.optimize(retune=True).tuned
    twin.check()


def test_rows_that_lie_elsewhere_are_tuned_for_and_drift_says_so(twin):
    twin.append(6, far=3.0)  # a twentieth of the rows
    drift = twin.index.info()["drift"]
    assert drift["energy"] > 1.5
    assert drift["rows"] == 1.05
    assert "retrain" in drift["recommendation"]
    assert twin.index.optimize().tuned
    assert not twin.index.optimize().tuned


def test_what_a_tune_was_to_reach_is_reached_again(twin):
    twin.index.tune(recall=0.9, k=5)
    twin.append(60)
    twin.index.optimize()
    settings = twin.index.info()["settings"]
    assert (settings["target"], settings["k"]) == (0.9, 5)


def test_a_budget_that_is_over_leaves_the_rest(twin):
    twin.append(60)
    assert not twin.index.optimize(0).changed
    assert twin.index.optimize(60, force=True).merged == 1
    twin.check()


@pytest.mark.parametrize(
    "options", [{"retune": "often"}, {"retune": 1}, {"budget_seconds": -1}, {"budget_seconds": "x"}]
)
def test_options_that_are_none(twin, options):
    with pytest.raises(vsearch.InputError, match=r"must be"):
        twin.index.optimize(**options)


def test_an_append_folds_what_is_too_much(twin, monkeypatch):
    from vsearch.live import maintenance

    monkeypatch.setattr(maintenance, "MOST_DELTAS", 16)  # 64 take longer to reach
    assert MOST_DELTAS == 64
    for seed in range(17):
        twin.append(1, seed)
    assert twin.index.info()["deltas"] == 2
    twin.check()
    twin.check(vsearch.open(twin.url))


def test_tune_goes_on_from_what_others_appended(twin):
    other = vsearch.open(twin.url)
    twin.append(3)
    report = other.tune(recall=0.8, sample=20)
    twin.check(other)
    newest = vsearch.open(twin.url)
    assert newest.info()["settings"] == report.settings
    twin.check(newest)
    assert newest.info()["format"] == 2


def test_tune_keeps_an_index_that_was_never_changed_in_its_format(twin):
    other = vsearch.open(twin.url)
    twin.index.tune(recall=0.8, sample=20)
    report = other.tune(recall=0.9, sample=20)  # the later one counts
    manifest = read_manifest(other.snapshot.store)
    assert (manifest.format, manifest.snapshot, manifest.settings.target) == (1, 3, 0.9)
    assert vsearch.open(twin.url).info()["settings"] == report.settings


def test_tune_of_an_index_that_was_replaced_is_refused(twin):
    other = vsearch.open(twin.url)
    vsearch.build(np.eye(8, dtype=np.float32), twin.url, overwrite=True)
    with pytest.raises(vsearch.ConflictError, match="rebuilt in the meantime"):
        other.tune(sample=20)


def test_optimize_beside_a_writer_loses_nothing(twin):
    other = vsearch.open(twin.url)
    twin.append(40)
    other.refresh()

    def meanwhile(stage, done, total):
        if stage == "merge" and done == 0:
            twin.delete([1, 2, 121])
            twin.append(2, seed=5)
            twin.upsert([7, 125], seed=6)

    assert other.optimize(force=True, progress=meanwhile).merged == 1
    twin.check(other)
    twin.check(vsearch.open(twin.url))
