from __future__ import annotations

import pytest

from bench import report
from bench.spilling import main


@pytest.mark.slow
def test_every_recall_has_a_line_with_and_without_copies(tmp_path):
    results = tmp_path / "RESULTS.md"
    asked = ["--rows", "2000", "--queries", "80", "--repetitions", "1", "--work", str(tmp_path)]
    for _ in range(2):  # the second time with the indexes of the first
        main([*asked, "--results", str(results)])
    lines = report.rows(results, "spilling wordnet-10k default")
    assert [line[:2] for line in lines] == [
        [level, copies] for level in ("0.95", "0.98", "0.99") for copies in ("no", "yes")
    ]
    assert [line[-1] for line in lines[::2]] == ["1.00"] * 3
    assert all(float(line[2].removesuffix("%").rstrip()) > 0.5 for line in lines)
