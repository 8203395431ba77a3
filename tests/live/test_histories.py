"""Histories of several writers, interleaved at every store call, on faulty stores."""

from __future__ import annotations

import pytest

from bench.fuzzers.live import fuzz_live


@pytest.mark.parametrize("seed", range(2))
def test_no_row_is_lost_doubled_or_brought_back(seed):
    counts = fuzz_live(seed, 60)
    assert counts["histories"] == 60
    assert counts["commits"] > 120
    assert counts["killed"] > 0 < counts["failed"]
