from __future__ import annotations

from hypothesis import settings

# Kernels compile on their first call, so a deadline would measure the compiler.
settings.register_profile("vsearch", deadline=None)
settings.load_profile("vsearch")

pytest_plugins = ["tests.seaweed"]
