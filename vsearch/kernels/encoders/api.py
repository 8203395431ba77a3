"""The kernel of text encoders for whoever calls it: compiled here, or out of the library."""

from __future__ import annotations

from vsearch.kernels.toolchain.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.encoders.layers import run_layers
else:
    run_layers = LIBRARY.function("encoders.layers.run_layers")

__all__ = ["run_layers"]
