"""The kernels of text encoders: compiled by Numba, or loaded from the precompiled library."""

from __future__ import annotations

from vsearch.kernels.toolchain.compiling import LIBRARY

if LIBRARY is None:
    from vsearch.kernels.encoders.layers import run_layers
    from vsearch.kernels.encoders.rotary_layers import run_rotary_layers
    from vsearch.kernels.encoders.unpacking import sum_weights, take_rows, unpack_weights
else:
    run_layers = LIBRARY.function("encoders.layers.run_layers")
    run_rotary_layers = LIBRARY.function("encoders.rotary_layers.run_rotary_layers")
    sum_weights = LIBRARY.function("encoders.unpacking.sum_weights")
    take_rows = LIBRARY.function("encoders.unpacking.take_rows")
    unpack_weights = LIBRARY.function("encoders.unpacking.unpack_weights")

__all__ = ["run_layers", "run_rotary_layers", "sum_weights", "take_rows", "unpack_weights"]
