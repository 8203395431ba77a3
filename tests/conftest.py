from __future__ import annotations

import os

from hypothesis import settings

# Tests of kernels call their pieces, which a library has no names for; the library has tests of its own.
os.environ["VSEARCH_JIT"] = "1"

# Kernels compile on their first call, so a deadline would measure the compiler.
settings.register_profile("vsearch", deadline=None)
settings.load_profile("vsearch")

pytest_plugins = ["tests.seaweed"]
