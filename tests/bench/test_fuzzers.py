from __future__ import annotations

import pytest

from bench.fuzzers.kills import fuzz_kills


@pytest.mark.slow
def test_processes_that_are_killed_at_a_store_call():
    assert fuzz_kills(seed=3, tries=4) >= 1
