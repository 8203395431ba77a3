from __future__ import annotations

import pytest

from bench.start import EMPTY, NUMPY, Run, modules, own_modules, run, table

REPORT = """import time: self [us] | cumulative | imported package
import time:       250 |        250 |   zipimport
import time:      1500 |       1750 | numpy
a line of the program itself
import time:       100 |        100 |     vsearch.errors
"""


def test_modules_are_read_from_the_report_of_import_times():
    assert modules(REPORT) == [("zipimport", 0.25), ("numpy", 1.5), ("vsearch.errors", 0.1)]


def test_only_modules_that_numpy_does_not_load_are_our_own():
    worker = [("numpy", 3.0), ("small", 0.1), ("large", 2.0)]
    assert own_modules(worker, [("numpy", 1.0)]) == [("large", 2.0), ("small", 0.1)]


def test_a_process_is_timed_to_its_end_and_a_failure_is_said():
    spent = run("total = sum(range(2_000_000))")
    assert spent.wall > 0
    assert spent.processor > 0.005
    with pytest.raises(SystemExit, match="status 3"):
        run("raise SystemExit(3)")


def test_ratios_are_those_of_the_same_turn():
    names = (EMPTY, NUMPY, "worker")
    runs = [[Run(1, 1)] * 3, [Run(2, 4), Run(4, 8), Run(8, 16)], [Run(3, 4), Run(6, 8), Run(12, 16)]]
    assert table(names, runs).splitlines()[-1] == "| worker | 6,000 | 1.5 | 8,000 | 1 |"
