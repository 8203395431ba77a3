from __future__ import annotations

from bench.fuzzers.kills import fuzz_kills


def test_processes_that_are_killed_at_a_store_call():
    assert fuzz_kills(seed=3, tries=4) >= 1
