"""The bench of batches writes a line for every contestant, and the stages of single queries."""

from __future__ import annotations

import pytest

from bench import report
from bench.batches import STAGES, main
from bench.spilling import LEVELS


@pytest.mark.slow
def test_every_contestant_has_a_line_for_every_recall(tmp_path):
    results = tmp_path / "RESULTS.md"
    asked = ["--rows", "2000", "--queries", "200", "--repetitions", "1", "--work", str(tmp_path), "--peers"]
    main([*asked, "--results", str(results)])
    (key,) = [line for line in results.read_text().splitlines() if line.startswith("<!-- batches")]
    lines = report.rows(results, key.removeprefix("<!-- ").removesuffix(" -->"))
    assert [line[:2] for line in lines] == [
        [name, f"{level:.2f}"] for level in LEVELS for name in ("vsearch", "vsearch, copies")
    ]
    assert all(float(cell) > 0 for line in lines for cell in line[2:])
    assert " | ".join(STAGES) in results.read_text()
