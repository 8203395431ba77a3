from __future__ import annotations

import pytest

from bench import report
from bench.shards import main


@pytest.mark.slow
def test_every_number_of_shards_and_queries_has_a_line(tmp_path):
    results = tmp_path / "RESULTS.md"
    asked = [
        "--rows",
        "1000",
        "--queries",
        "64",
        "--repetitions",
        "1",
        "--work",
        str(tmp_path),
        "--results",
        str(results),
    ]
    for _ in range(2):  # the second time with the indexes of the first
        main(asked)
    (key,) = [line for line in results.read_text().splitlines() if line.startswith("<!-- shards")]
    lines = report.rows(results, key.removeprefix("<!-- ").removesuffix(" -->"))
    assert [line[:2] for line in lines] == [[str(n), str(size)] for n in (1, 8) for size in (1, 16, 64)]
    assert lines[0][-1] == "1.00"
