"""First searches in an object store, measured on the bundled sample."""

from __future__ import annotations

import pytest

from bench import cold, report


@pytest.mark.slow
def test_the_sample_is_measured(tmp_path, s3_server):
    results = tmp_path / "results.md"
    cold.main(["--work", str(tmp_path / "work"), "--count", "2", "--only", "vsearch", "--results", str(results)])
    rows = {row[0]: row[1:] for row in report.rows(results, "cold wordnet-10k")}
    assert len(rows) == 2 * len(cold.PLACES)
    for name in ("vsearch", "vsearch, copies"):
        assert float(rows[f"{name}: open"][0]) > 0
        assert float(rows[f"{name}: first"][0]) > 0
        assert float(rows[f"{name}: again"][0]) == 0
        assert float(rows[f"{name}: next"][1]) < 2 * float(rows[f"{name}: first"][1])
