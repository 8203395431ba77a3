from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Tests of kernels call their pieces, which a library has no names for; the library has tests of its own.
os.environ["VSEARCH_JIT"] = "1"

# Tests run side by side: more threads than cores would only wait for each other, and OpenMP's wait at full speed.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Kernels compile on their first call, so a deadline would measure the compiler.
settings.register_profile("vsearch", deadline=None)
settings.load_profile("vsearch")

pytest_plugins = ["tests.once", "tests.seaweed"]


@pytest.fixture
def two_threads():
    """BLAS and OpenMP as a user has them, with more than one thread."""
    import faiss  # noqa: F401  what is not loaded yet cannot be told
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2):
        yield
