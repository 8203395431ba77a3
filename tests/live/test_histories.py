"""Histories of several writers, interleaved at every store call, on stores at which something goes wrong."""

from __future__ import annotations

import pytest

from bench.fuzzers.live import fuzz_live


@pytest.mark.parametrize("seed", range(4))
def test_no_row_is_lost_doubled_or_brought_back(seed):
    counts = fuzz_live(seed, 50)
    assert counts["histories"] == 50
    assert counts["commits"] > 100
    assert counts["killed"] > 0 < counts["failed"]
