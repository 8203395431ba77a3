"""Random predicates find what DuckDB finds; more of them with VSEARCH_FUZZ_TRIES, or by ``python -m bench.soak``."""

from __future__ import annotations

import os

import pytest

from bench.fuzzers.predicates import fuzz_predicates


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_predicates(seed: int) -> None:
    fuzz_predicates(seed, int(os.environ.get("VSEARCH_FUZZ_TRIES", "300")))
