"""The kernels of fusion: compiled by Numba, or loaded from the precompiled library."""

from __future__ import annotations

from vsearch.kernels.toolchain.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.legs.fusing import fuse, unite
else:
    fuse = LIBRARY.function("legs.fusing.fuse")
    unite = LIBRARY.function("legs.fusing.unite")

__all__ = ["fuse", "unite"]
